//! How long answers get: a distribution that forgets, and what it says of an answer that is under way.
//!
//! Buckets are a quarter of an octave wide. `S(x)`, the share of answers longer than `x` tokens, is kept at their
//! bounds and is linear in between; one imaginary answer with a heavy tail is always among the samples, so
//! that no answer, however long, is sure to end. An answer that has come to `x` tokens ends within the next `d` with
//! probability `1 − S(x + d) / S(x)`.

use crate::expected_ttft::number::Number;

/// Bounds of buckets: quarters of octaves from 1 to 2^18.
const BOUNDS: usize = 73;

/// What is left of a sample's weight after the next one.
const DECAY: f64 = 1.0 - 1.0 / 512.0;

/// Median of the imaginary answer.
const PRIOR: f64 = 150.0;

/// A distribution of lengths (or of anything else that is positive), as it is learned.
#[derive(Clone, Debug)]
pub struct Lengths {
    counts: [f64; BOUNDS],
    total: f64,
}

impl Default for Lengths {
    fn default() -> Self {
        Self {
            counts: [0.0; BOUNDS],
            total: 0.0,
        }
    }
}

/// The bucket of `x`, and how far into it `x` lies.
fn place(x: f64) -> (usize, f64) {
    // The exponent and two bits of the mantissa of a float count quarters of octaves; the rest is the way into one.
    let bits = (x as f32).clamp(1.0, 262_143.0).to_bits();
    let at = (bits >> 21) - (127 << 2);
    (
        at as usize,
        f64::from(bits & 0x1f_ffff) / f64::from(1 << 21),
    )
}

/// The lower bound of a bucket.
fn bound(at: usize) -> f64 {
    f64::from(f32::from_bits((at as u32 + (127 << 2)) << 21))
}

impl Lengths {
    /// Takes in one more; below 1 counts as 1.
    pub fn learn(&mut self, length: f64) {
        for count in &mut self.counts {
            *count *= DECAY;
        }
        self.total = self.total * DECAY + 1.0;
        self.counts[place(length).0] += 1.0;
    }

    /// Samples that count, older ones in part.
    pub const fn samples(&self) -> f64 {
        self.total
    }

    /// The length that a share `q` of all are below; 0 without samples.
    pub fn quantile(&self, q: f64) -> f64 {
        let mut left = q * self.total;
        for (at, &count) in self.counts.iter().enumerate() {
            if count > 0.0 && left <= count {
                let width = bound(at + 1) - bound(at);
                return bound(at) + width * left / count;
            }
            left -= count;
        }
        0.0
    }

    /// Writes the shares that picks read.
    pub fn publish(&self, to: &Survival) {
        let (mut above, mut mean, mut before) = (self.total, 0.0, 1.0);
        for at in 0..BOUNDS {
            let tail = 1.0 / (1.0 + bound(at) / PRIOR);
            let share = (above + tail * tail) / (self.total + 1.0);
            to.shares[at].set(share);
            if at > 0 {
                mean += (bound(at) - bound(at - 1)) * (share + before) / 2.0;
            }
            above -= self.counts[at];
            before = share;
        }
        to.mean.set(mean);
    }
}

/// The published shares.
#[derive(Debug)]
pub struct Survival {
    shares: [Number; BOUNDS],
    mean: Number,
}

impl Default for Survival {
    fn default() -> Self {
        let fresh = Self {
            shares: [const { Number::new(1.0) }; BOUNDS],
            mean: Number::default(),
        };
        Lengths::default().publish(&fresh);
        fresh
    }
}

impl Survival {
    /// The mean length in tokens.
    pub fn mean(&self) -> f64 {
        self.mean.get()
    }

    /// The share of answers that are longer than `length`.
    pub fn share(&self, length: f64) -> f64 {
        let (at, way) = place(length);
        let (low, high) = (self.shares[at].get(), self.shares[at + 1].get());
        low + (high - low) * way
    }

    /// The chance that an answer of `so_far` tokens is over within `more`, if it may get no longer than `most`.
    pub fn ends_within(&self, so_far: f64, more: f64, most: f64) -> f64 {
        if more <= 0.0 {
            0.0
        } else if so_far + more >= most {
            1.0
        } else {
            let beyond = self.share(so_far + more) / self.share(so_far).max(1e-9);
            (1.0 - beyond).clamp(0.0, 1.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(lengths: impl Iterator<Item = f64>) -> Survival {
        let (mut all, to) = (Lengths::default(), Survival::default());
        for length in lengths {
            all.learn(length);
        }
        all.publish(&to);
        to
    }

    #[test]
    fn bounds_are_quarters_of_octaves() {
        for at in 0..BOUNDS - 1 {
            assert_eq!(place(bound(at)), (at, 0.0));
            assert!(bound(at + 1) > bound(at));
        }
        assert_eq!(place(0.0).0, 0);
        assert_eq!(place(1e12).0, BOUNDS - 2);
    }

    #[test]
    fn answers_of_one_length_end_there() {
        let survival = learned((0..600).map(|_| 100.0));
        assert!(survival.ends_within(10.0, 80.0, 1e9) < 0.05);
        assert!(survival.ends_within(10.0, 105.0, 1e9) > 0.9);
        assert!(
            (80.0..140.0).contains(&survival.mean()),
            "{}",
            survival.mean()
        );
    }

    #[test]
    fn a_bound_is_an_end_and_nothing_lasts_for_ever() {
        let survival = learned((0..600).map(|_| 100.0));
        assert!(survival.ends_within(10.0, 10.0, 20.0) > 0.999);
        let late = survival.ends_within(5_000.0, 5_000.0, 1e9);
        assert!((0.3..1.0).contains(&late), "{late}");
    }

    #[test]
    fn chances_grow_with_time() {
        let survival = learned((0..800).map(|n| f64::from(n % 97) + 3.0));
        for so_far in [0.0, 5.0, 60.0, 300.0] {
            let chances: Vec<f64> = (0..200)
                .map(|n| survival.ends_within(so_far, f64::from(n), 1e9))
                .collect();
            assert!(chances.is_sorted(), "{chances:?}");
        }
    }

    #[test]
    fn quantiles_are_within_a_bucket() {
        let mut all = Lengths::default();
        assert!(all.quantile(0.5).abs() < 1e-9);
        for n in 0..4_000 {
            all.learn(f64::from(n % 100) + 1.0);
        }
        assert!((42.0..58.0).contains(&all.quantile(0.5)));
        assert!((80.0..105.0).contains(&all.quantile(0.9)));
    }
}
