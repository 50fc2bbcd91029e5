//! Quantiles of many durations in constant memory.
//!
//! Buckets are linear within each power of two: 128 of them, so a quantile is at most 0.8 % above the
//! exact one; below 256 ns every value has its own bucket. Mean and largest are exact. Counting is one
//! addition, and the result does not depend on the order of the values.

use pointsman_core::time::Span;
use serde::Serialize;

/// Linear buckets per power of two, as bits.
const FINE: u32 = 7;
/// Buckets for all of `u64`.
const BUCKETS: usize = ((64 - FINE as usize) + 1) << FINE;

/// Durations counted by size.
#[derive(Clone, Debug)]
pub struct Durations {
    counts: Vec<u64>,
    count: u64,
    sum: u128,
    largest: u64,
}

/// The distribution of durations, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Quantiles {
    /// How many durations were counted.
    pub count: u64,
    /// Their mean.
    pub mean_ms: f64,
    /// Half are at most this.
    pub p50_ms: f64,
    /// Nine of ten are at most this.
    pub p90_ms: f64,
    /// 95 of 100 are at most this.
    pub p95_ms: f64,
    /// 99 of 100 are at most this.
    pub p99_ms: f64,
    /// 999 of 1,000 are at most this.
    pub p999_ms: f64,
    /// The largest.
    pub max_ms: f64,
}

impl Default for Durations {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            count: 0,
            sum: 0,
            largest: 0,
        }
    }
}

impl Durations {
    /// Counts one.
    pub fn add(&mut self, span: Span) {
        self.counts[bucket(span.0)] += 1;
        self.count += 1;
        self.sum += u128::from(span.0);
        self.largest = self.largest.max(span.0);
    }

    /// Counts all that `other` has counted.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum += other.sum;
        self.largest = self.largest.max(other.largest);
    }

    /// Forgets all; the memory stays.
    pub fn clear(&mut self) {
        self.counts.fill(0);
        (self.count, self.sum, self.largest) = (0, 0, 0);
    }

    /// The distribution so far; all zero when nothing was counted.
    pub fn quantiles(&self) -> Quantiles {
        if self.count == 0 {
            return Quantiles::default();
        }
        Quantiles {
            count: self.count,
            mean_ms: self.sum as f64 / self.count as f64 / 1e6,
            p50_ms: self.at_share(500),
            p90_ms: self.at_share(900),
            p95_ms: self.at_share(950),
            p99_ms: self.at_share(990),
            p999_ms: self.at_share(999),
            max_ms: Span(self.largest).as_millis_f64(),
        }
    }

    /// Milliseconds, and the share of all durations that do not exceed them: at most `points` points, the last one
    /// being the largest duration.
    pub fn curve(&self, points: usize) -> Vec<(f64, f64)> {
        let mut curve = Vec::new();
        let (mut below, mut told) = (0_u64, 0);
        for (at, &count) in self
            .counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
        {
            below += count;
            let step = (below as u128 * points as u128 / u128::from(self.count)) as usize;
            if step > told {
                told = step;
                let value = Span(upper(at).min(self.largest)).as_millis_f64();
                curve.push((value, below as f64 / self.count as f64));
            }
        }
        curve
    }

    /// The upper end of the bucket that `share` of 1,000 durations do not exceed.
    fn at_share(&self, share: u64) -> f64 {
        let rank = (self.count * share).div_ceil(1_000).max(1);
        let mut below = 0;
        for (at, &count) in self.counts.iter().enumerate() {
            below += count;
            if below >= rank {
                return Span(upper(at).min(self.largest)).as_millis_f64();
            }
        }
        Span(self.largest).as_millis_f64()
    }
}

/// The bucket of a value: its highest `FINE + 1` bits and their place.
fn bucket(value: u64) -> usize {
    let shift = (63 - (value | 1).leading_zeros()).saturating_sub(FINE);
    ((u64::from(shift) << FINE) + (value >> shift)) as usize
}

/// The largest value of a bucket.
fn upper(at: usize) -> u64 {
    let shift = ((at >> FINE) as u32).saturating_sub(1);
    let top = at as u64 - (u64::from(shift) << FINE);
    // The last bucket ends with the last number: the sum wraps to it.
    ((top + 1) << shift).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_value_lies_in_its_bucket_and_the_bucket_is_narrow(value in any::<u64>(), shift in 0u32..64) {
            let value = value >> shift;
            let at = bucket(value);
            prop_assert!(at < BUCKETS);
            prop_assert!(value <= upper(at));
            prop_assert!(at == 0 || upper(at - 1) < value);
            prop_assert!(upper(at) - value <= value / 128);
        }
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_list() {
        let mut durations = Durations::default();
        assert_eq!(durations.quantiles(), Quantiles::default());
        for ms in (1..=1000).rev() {
            durations.add(Span::from_millis(ms));
        }
        let q = durations.quantiles();
        for (got, exact) in [
            (q.p50_ms, 500.0),
            (q.p90_ms, 900.0),
            (q.p95_ms, 950.0),
            (q.p99_ms, 990.0),
        ] {
            assert!((exact..exact * 1.008).contains(&got), "{got} for {exact}");
        }
        assert!((q.mean_ms - 500.5).abs() < 1e-9 && (q.max_ms - 1000.0).abs() < 1e-9);
        let curve = durations.curve(10);
        assert_eq!(curve.len(), 10);
        assert!(curve.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 < w[1].1));
        assert_eq!(curve[9], (1000.0, 1.0));
        assert!((0.5..0.52).contains(&curve[4].1) && (500.0..520.0).contains(&curve[4].0));
        let mut twice = durations.clone();
        twice.merge(&durations);
        assert_eq!(
            twice.quantiles(),
            Quantiles {
                count: 2000,
                ..durations.quantiles()
            }
        );
        durations.clear();
        assert_eq!(durations.quantiles().count, 0);
    }
}
