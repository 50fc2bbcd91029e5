//! How many requests an engine runs at once, learned from what it shows: more of them wait.
//!
//! ```text
//!  unknown ──full three times at the same most──► known ──more run──► raised at once
//!                                                   └──a window full at fewer──► lowered
//! ```
//! A sample is full when requests wait while nearly the most of the present window run. Until that has been seen often
//! enough an engine counts as one without a bound: an engine that has room for all never shows how much.

use pointsman_core::time::{Span, Tick};

/// How long the most of a window counts.
const WINDOW: Span = Span::from_millis(10_000);

/// Full samples that make a bound.
const FULL: u32 = 3;

/// Share of the most that counts as full.
const NEARLY: f64 = 0.9;

/// What is known of one engine.
#[derive(Clone, Debug, Default)]
pub struct Seats {
    known: f64,
    /// The most that ran at once, ever.
    most: f64,
    window_most: f64,
    window_full: u32,
    window_began: Tick,
}

impl Seats {
    /// The bound; 0 while unknown.
    pub const fn known(&self) -> f64 {
        self.known
    }

    /// So many are known to fit.
    pub const fn at_least(&self) -> f64 {
        self.most
    }

    /// So many run, whether others wait or not.
    pub fn runs(&mut self, running: f64) {
        self.most = self.most.max(running);
        if self.known > 0.0 {
            self.known = self.known.max(running);
        }
    }

    /// So many run while some wait.
    pub fn full(&mut self, running: f64, now: Tick) {
        self.runs(running);
        if now.since(self.window_began) > WINDOW {
            if self.window_full >= FULL {
                self.known = self.window_most;
            }
            (self.window_most, self.window_full, self.window_began) = (0.0, 0, now);
        }
        if running > self.window_most {
            (self.window_most, self.window_full) = (running, 1);
        } else if running >= NEARLY * self.window_most {
            self.window_full += 1;
        }
        if self.window_full >= FULL && self.window_most > self.known {
            self.known = self.window_most;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_needs_requests_that_wait_more_than_once() {
        let mut seats = Seats::default();
        for n in 0..50 {
            seats.runs(f64::from(n));
        }
        assert_eq!((seats.known(), seats.at_least()), (0.0, 49.0));
        let mut seats = Seats::default();
        seats.full(6.0, Tick(1));
        seats.full(6.0, Tick(2));
        assert!(seats.known().abs() < 1e-9);
        seats.full(6.0, Tick(3));
        assert!((seats.known() - 6.0).abs() < 1e-9);
    }

    #[test]
    fn more_raise_it_at_once_and_fewer_lower_it_after_a_window() {
        let mut seats = Seats::default();
        for n in 0..3 {
            seats.full(64.0, Tick(n));
        }
        seats.runs(70.0);
        assert!((seats.known() - 70.0).abs() < 1e-9);
        for n in 0..100 {
            seats.full(20.0, Tick(n * 1_000_000_000));
        }
        assert!((seats.known() - 20.0).abs() < 1e-9);
    }

    #[test]
    fn a_queue_that_is_seen_before_it_is_let_in_does_not_bound_for_long() {
        let mut seats = Seats::default();
        for n in 0..5 {
            seats.full(1.0, Tick(n));
        }
        seats.runs(9.0);
        assert!((seats.known() - 9.0).abs() < 1e-9);
    }
}
