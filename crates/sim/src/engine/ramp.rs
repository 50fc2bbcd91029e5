//! A run of steps whose cost is flat at first and then grows by a constant: the closed form of the jump.
//!
//! While nothing joins or leaves, decode step `i` (from 0) of a batch costs
//! `base + max(compute, memory + slope * i)`. The total of the first `k` steps is therefore
//! `k * flat` up to the step where memory overtakes compute, and an arithmetic series after it.
//! All numbers are integers in [`Fine`] units, so the sum over a jump equals the sum over its single
//! steps exactly; that is why jumping and stepping give the same finish times.

/// Time in 1/256 of a nanosecond: fine enough that a rounding per step does not add up.
pub type Fine = u64;

/// Fractional bits of a [`Fine`].
pub const FINE_BITS: u32 = 8;

/// The cost of consecutive decode steps of one unchanged batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Ramp {
    /// Cost of a step while compute bounds it.
    flat: Fine,
    /// Number of steps that cost `flat`.
    flat_steps: u64,
    /// Cost of the first step that memory bounds.
    first: Fine,
    /// What each further step costs more.
    slope: Fine,
}

impl Ramp {
    /// The steps `base + max(compute, memory + slope * i)`.
    pub fn new(base: Fine, compute: Fine, memory: Fine, slope: Fine) -> Self {
        let flat_steps = match compute.checked_sub(memory) {
            None | Some(0) => 0,
            Some(_) if slope == 0 => u64::MAX,
            Some(gap) => gap.div_ceil(slope),
        };
        let first = base.saturating_add(memory.saturating_add(slope.saturating_mul(flat_steps)));
        Self {
            flat: base + compute,
            flat_steps,
            first,
            slope,
        }
    }

    /// One step of a fixed cost.
    pub fn single(cost: Fine) -> Self {
        Self {
            flat: cost,
            flat_steps: u64::MAX,
            first: cost,
            slope: 0,
        }
    }

    /// Cost of the first `k` steps together.
    pub fn total(&self, k: u64) -> Fine {
        if k <= self.flat_steps {
            return self.flat * k;
        }
        let rising = k - self.flat_steps;
        let triangle = rising * (rising - 1) / 2;
        self.flat * self.flat_steps + self.first * rising + self.slope * triangle
    }

    /// How many of at most `limit` steps have ended after `elapsed`.
    pub fn steps_within(&self, elapsed: Fine, limit: u64) -> u64 {
        let flat_total = self.total(self.flat_steps.min(limit));
        let guess = if elapsed < flat_total || self.flat_steps >= limit {
            elapsed.checked_div(self.flat).unwrap_or(limit)
        } else {
            self.flat_steps + self.rising_within(elapsed - flat_total)
        };
        // The root is computed in floating point: correct it by at most a few steps.
        let mut k = guess.min(limit);
        while k > 0 && self.total(k) > elapsed {
            k -= 1;
        }
        while k < limit && self.total(k + 1) <= elapsed {
            k += 1;
        }
        k
    }

    /// The root of `first * r + slope * r * (r - 1) / 2 = rest`.
    fn rising_within(&self, rest: Fine) -> u64 {
        if self.slope == 0 {
            return rest.checked_div(self.first).unwrap_or(u64::MAX);
        }
        let a = self.slope as f64 / 2.0;
        let b = self.first as f64 - a;
        let root = (libm::sqrt(b * b + 4.0 * a * rest as f64) - b) / (2.0 * a);
        root.max(0.0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn by_steps(base: u64, compute: u64, memory: u64, slope: u64, k: u64) -> u64 {
        (0..k).map(|i| base + compute.max(memory + slope * i)).sum()
    }

    proptest! {
        #[test]
        fn the_closed_form_is_the_sum_of_the_steps(
            base in 0u64..5_000, compute in 0u64..5_000, memory in 0u64..5_000, slope in 0u64..50, k in 0u64..500,
        ) {
            let ramp = Ramp::new(base, compute, memory, slope);
            prop_assert_eq!(ramp.total(k), by_steps(base, compute, memory, slope, k));
        }

        #[test]
        fn steps_within_inverts_the_total(
            base in 1u64..5_000, compute in 0u64..5_000, memory in 0u64..5_000, slope in 0u64..50,
            elapsed in 0u64..2_000_000, limit in 1u64..400,
        ) {
            let ramp = Ramp::new(base, compute, memory, slope);
            let k = ramp.steps_within(elapsed, limit);
            prop_assert!(k <= limit);
            prop_assert!(ramp.total(k) <= elapsed);
            prop_assert!(k == limit || ramp.total(k + 1) > elapsed);
        }
    }

    #[test]
    fn a_single_step_costs_what_it_says() {
        assert_eq!(Ramp::single(77).total(1), 77);
        assert_eq!(Ramp::single(77).steps_within(76, 1), 0);
        assert_eq!(Ramp::single(77).steps_within(77, 1), 1);
    }
}
