//! Says loudly when traffic flows past the picker and none through it.
//!
//! A route to a Service bypasses the picker on purpose, for a part of the traffic. When *all* of it does, for ten
//! seconds, the usual cause is a route that names a Service where it should name the pool.

/// Seconds without a decision, while requests went past the picker, after which it is said.
const QUIET_S: u32 = 10;

/// Fewer requests than this are no traffic.
const TRAFFIC: u64 = 20;

/// Looks at the counters once a second.
#[derive(Debug, Default)]
pub struct IdleWatch {
    decisions: u64,
    bypassed_then: u64,
    quiet_s: u32,
    said: bool,
}

impl IdleWatch {
    /// The counters as they are now. `Some` with the number of requests that went past the picker, once, when it is
    /// to be said; said again only after the picker has worked in between.
    pub fn look(&mut self, decisions: u64, bypassed: u64) -> Option<u64> {
        if decisions != self.decisions {
            *self = Self {
                decisions,
                bypassed_then: bypassed,
                ..Self::default()
            };
            return None;
        }
        let past = bypassed - self.bypassed_then;
        if past == 0 {
            return None;
        }
        self.quiet_s += 1;
        let loud = !self.said && self.quiet_s >= QUIET_S && past >= TRAFFIC;
        self.said |= loud;
        loud.then_some(past)
    }
}

/// The sentence for the log.
pub fn sentence(past: u64) -> String {
    format!(
        "warning: the picker is idle while traffic flows: {past} requests went past it and none through it; \
         a route leads to a Service where it should lead to the InferencePool (/debug/routes)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said second by second, for counters (decisions, bypassed) a second.
    #[track_caller]
    fn check(rates: &[(u64, u64)], said: &[usize]) {
        let (mut watch, mut decisions, mut bypassed) = (IdleWatch::default(), 0, 0);
        let mut heard = Vec::new();
        for (second, (picked, past)) in rates.iter().enumerate() {
            decisions += picked;
            bypassed += past;
            if watch.look(decisions, bypassed).is_some() {
                heard.push(second);
            }
        }
        assert_eq!(heard, said);
    }

    #[test]
    fn only_traffic_that_all_goes_past_the_picker_is_said_and_once() {
        check(&[(0, 5); 30], &[9]);
        check(&[(1, 50); 30], &[]);
        check(&[(0, 0); 30], &[]);
        check(&[(0, 1); 15], &[]);
        check(&[(0, 1); 30], &[19]);
        let mut twice = vec![(0, 5); 12];
        twice.push((1, 0));
        twice.extend([(0, 5); 12]);
        check(&twice, &[9, 22]);
    }
}
