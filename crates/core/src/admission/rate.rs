//! How fast requests are let in, for telling a refused client when to come back.

use crate::time::{Span, Tick};

/// Seconds that are looked back on, one bucket each.
const BUCKETS: usize = 8;
const BUCKET: u64 = 1_000_000_000;

/// Longest advice.
const LONGEST_S: u32 = 60;

/// Requests let in over the last seconds.
#[derive(Clone, Debug, Default)]
pub struct DrainRate {
    counts: [u64; BUCKETS],
    /// The second that the newest bucket counts, and the first one ever.
    newest: u64,
    first: Option<Tick>,
}

impl DrainRate {
    /// One was let in.
    pub fn count(&mut self, now: Tick) {
        self.turn(now);
        let _ = *self.first.get_or_insert(now);
        self.counts[(self.newest % BUCKETS as u64) as usize] += 1;
    }

    fn turn(&mut self, now: Tick) {
        let second = now.0 / BUCKET;
        let passed = second.saturating_sub(self.newest).min(BUCKETS as u64);
        for n in 0..passed {
            self.counts[((second - n) % BUCKETS as u64) as usize] = 0;
        }
        self.newest = self.newest.max(second);
    }

    /// Requests per second, over the time there is to look back on.
    pub fn per_second(&mut self, now: Tick) -> f64 {
        self.turn(now);
        let Some(first) = self.first else { return 0.0 };
        let whole = Span(BUCKET * BUCKETS as u64);
        let looked = now.since(first).min(whole).max(Span(BUCKET));
        self.counts.iter().sum::<u64>() as f64 / looked.as_secs_f64()
    }

    /// Seconds, from 1 to 60, after which `ahead` requests are expected to have gone.
    pub fn retry_after_s(&mut self, ahead: u64, now: Tick) -> u32 {
        let rate = self.per_second(now);
        if rate <= 0.0 {
            return LONGEST_S;
        }
        (ahead as f64 / rate)
            .ceil()
            .clamp(1.0, f64::from(LONGEST_S)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = BUCKET;

    #[test]
    fn the_advice_is_the_queue_over_the_rate() {
        let mut rate = DrainRate::default();
        assert_eq!(rate.retry_after_s(5, Tick(0)), LONGEST_S, "nothing moves");
        for n in 0..40 {
            rate.count(Tick(100 * SECOND + n * SECOND / 10));
        }
        let now = Tick(104 * SECOND);
        assert!((rate.per_second(now) - 10.0).abs() < 0.1);
        assert_eq!(rate.retry_after_s(0, now), 1);
        assert_eq!(rate.retry_after_s(95, now), 10);
        assert_eq!(rate.retry_after_s(1_000_000, now), LONGEST_S);
    }

    #[test]
    fn what_is_long_past_no_longer_counts() {
        let mut rate = DrainRate::default();
        (0..100).for_each(|_| rate.count(Tick(SECOND)));
        assert!(rate.per_second(Tick(2 * SECOND)) > 99.0);
        assert_eq!(rate.per_second(Tick(60 * SECOND)), 0.0);
        rate.count(Tick(60 * SECOND));
        assert!((rate.per_second(Tick(60 * SECOND)) - 0.125).abs() < 1e-9);
    }
}
