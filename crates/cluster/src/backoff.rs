//! How long to wait before the API server is asked again.

use std::time::Duration;

/// The first wait of a row.
const FIRST: Duration = Duration::from_millis(100);

/// Waits that double up to a bound, each shortened by up to a half at random so that many clients do not come back
/// at one moment.
#[derive(Debug, Default)]
pub struct Backoff {
    tries: u32,
}

impl Backoff {
    /// The next wait, at most `longest`. `draw` is a random number.
    pub fn next(&mut self, longest: Duration, draw: u64) -> Duration {
        let doubled = FIRST.saturating_mul(1 << self.tries.min(16));
        self.tries = self.tries.saturating_add(1);
        let wait = doubled.min(longest);
        let part = (draw % 1024) as u32;
        wait - wait / 2 * part / 1024
    }

    /// All is well again: the next row begins anew.
    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

/// A random number, for waits and names; not for keys.
pub(crate) fn draw() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0_u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_bound_and_begin_anew() {
        let (mut backoff, longest) = (Backoff::default(), Duration::from_secs(2));
        let waits: Vec<_> = (0..40).map(|_| backoff.next(longest, 0)).collect();
        assert_eq!(waits[..3], [100, 200, 400].map(Duration::from_millis));
        assert_eq!(waits[39], longest);
        let shortest = backoff.next(longest, 1023);
        assert!(shortest > longest / 2 && shortest < longest, "{shortest:?}");
        backoff.reset();
        assert_eq!(backoff.next(longest, 0), FIRST);
    }
}
