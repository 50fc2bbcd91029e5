//! What becomes of a scraped value that is too old, or was never taken.
//!
//! Only the readings that the plan asks for are looked at. A row counts as stale where such a value is
//! older than `maxAge`. If no row is fresh, nothing is changed: the pool stays routable on what is known.

use crate::index::row_set::RowSet;
use crate::time::{Span, Tick};

/// What a stale value does to its row.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Policy {
    /// Nothing: the value counts as it was scraped, and one never scraped counts 0, as in the reference.
    #[default]
    Use,
    /// It counts as the largest fresh value of the pool.
    Penalise,
    /// It counts as the mean of the fresh values, so that it neither helps nor hurts.
    Ignore,
    /// The row is crossed out, unless all are.
    Exclude,
}

impl Policy {
    /// All policies by their names in a configuration.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Use, "use"),
        (Self::Penalise, "penalise"),
        (Self::Ignore, "ignore"),
        (Self::Exclude, "exclude"),
    ];

    /// The name in a configuration.
    pub fn word(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// From which age on a value is stale, and what follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Staleness {
    /// Older values are stale.
    pub max_age: Span,
    /// What follows.
    pub policy: Policy,
}

impl Default for Staleness {
    fn default() -> Self {
        Self {
            max_age: Span::from_millis(2000),
            policy: Policy::default(),
        }
    }
}

impl Staleness {
    /// Whether a value taken then (tick 0: never) is stale now.
    pub fn is_stale(&self, taken: Tick, now: Tick) -> bool {
        taken == Tick(0) || now.since(taken) > self.max_age
    }

    /// Treats the stale values of one column; rows to leave out are added to `out`.
    pub fn apply(&self, values: &mut [f64], taken: &[Tick], now: Tick, out: &mut RowSet) {
        let (mut fresh, mut sum, mut most) = (0_u32, 0.0, 0.0_f64);
        for (value, &at) in values.iter().zip(taken) {
            if !self.is_stale(at, now) {
                fresh += 1;
                sum += value;
                most = most.max(*value);
            }
        }
        if fresh as usize == values.len() || fresh == 0 && self.policy != Policy::Exclude {
            return;
        }
        let stand_in = match self.policy {
            Policy::Use => return,
            Policy::Penalise => Some(most),
            Policy::Ignore => Some(sum / f64::from(fresh)),
            Policy::Exclude => None,
        };
        for (row, (value, &at)) in values.iter_mut().zip(taken).enumerate() {
            if self.is_stale(at, now) {
                match stand_in {
                    Some(stand_in) => *value = stand_in,
                    None => out.insert(row),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(policy: Policy, expected: [f64; 4], left_out: &[usize]) {
        let staleness = Staleness {
            max_age: Span(10),
            policy,
        };
        // Fresh, fresh, too old, never taken.
        let mut values = [2.0, 6.0, 1.0, 0.0];
        let mut out = RowSet::default();
        out.clear(4);
        staleness.apply(
            &mut values,
            &[Tick(95), Tick(100), Tick(80), Tick(0)],
            Tick(100),
            &mut out,
        );
        assert_eq!(values, expected, "{policy:?}");
        assert!(out.iter().eq(left_out.iter().copied()), "{policy:?}");
    }

    #[test]
    fn each_policy_treats_old_values_its_way() {
        check(Policy::Use, [2.0, 6.0, 1.0, 0.0], &[]);
        check(Policy::Penalise, [2.0, 6.0, 6.0, 6.0], &[]);
        check(Policy::Ignore, [2.0, 6.0, 4.0, 4.0], &[]);
        check(Policy::Exclude, [2.0, 6.0, 1.0, 0.0], &[2, 3]);
    }

    #[test]
    fn without_a_fresh_value_nothing_is_made_up() {
        let staleness = Staleness {
            max_age: Span(10),
            policy: Policy::Penalise,
        };
        let mut values = [3.0, 4.0];
        staleness.apply(
            &mut values,
            &[Tick(1), Tick(0)],
            Tick(100),
            &mut RowSet::default(),
        );
        assert_eq!(values, [3.0, 4.0]);
    }
}
