//! Tells from an engine's own pages that it has restarted, so that its caches are empty.
//!
//! A start time later than any seen before says so, and so does a count of served requests that is lower than before. Of several
//! processes behind one address the latest counts, so that they are not taken for restarts of each other for ever.

use pointsman_wire::prometheus::Readings;

/// Start times that differ by less are the same one, read by a clock that was set.
const JITTER_SECONDS: f64 = 0.5;

/// What an engine said of its own life so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Continuity {
    started: Option<f64>,
    served: Option<f64>,
}

impl Continuity {
    /// Takes in the next page; true if the engine has restarted since the one before.
    pub(crate) fn is_broken_by(&mut self, readings: &Readings) -> bool {
        let mut broken = false;
        if let Some(started) = readings.start_time {
            broken |= self.started.is_some_and(|s| started > s + JITTER_SECONDS);
            self.started = Some(self.started.map_or(started, |s| s.max(started)));
        }
        if let Some(served) = readings.served {
            broken |= self.served.is_some_and(|before| served < before);
            self.served = Some(served);
        }
        broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pages as start time and count of served requests; the numbers of those that tell a restart.
    #[track_caller]
    fn check(pages: &[(Option<f64>, Option<f64>)], expected: &[usize]) {
        let mut continuity = Continuity::default();
        let found: Vec<usize> = pages
            .iter()
            .enumerate()
            .filter(|(_, (start_time, served))| {
                continuity.is_broken_by(&Readings {
                    start_time: *start_time,
                    served: *served,
                    ..Readings::default()
                })
            })
            .map(|(at, _)| at)
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_later_start_or_a_count_that_falls_is_a_restart() {
        check(&[(None, None), (None, None)], &[]);
        check(
            &[
                (Some(5.0), Some(9.0)),
                (Some(5.1), Some(9.0)),
                (Some(8.0), Some(0.0)),
            ],
            &[2],
        );
        check(&[(None, Some(4.0)), (None, None), (None, Some(3.0))], &[2]);
        // Two processes behind one address.
        check(
            &[
                (Some(1.0), None),
                (Some(9.0), None),
                (Some(1.0), None),
                (Some(9.0), None),
            ],
            &[1],
        );
    }
}
