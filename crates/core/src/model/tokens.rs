//! Tokens in flight by endpoint: what the requests under way still ask of it.
//!
//! Writers are the guards of requests; readers never wait. The atomics are relaxed: each is one number, and one that
//! is a few nanoseconds old is as good as any.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::slots::Slot;

/// A counter alone on its cache line.
#[repr(align(64))]
#[derive(Default)]
struct Padded(AtomicU64);

/// Tokens in flight, by slot.
pub struct TokensInFlight(Box<[Padded]>);

impl TokensInFlight {
    /// Counters for `capacity` endpoints, all zero.
    pub fn new(capacity: usize) -> Self {
        Self((0..capacity).map(|_| Padded::default()).collect())
    }

    /// Tokens in flight on `slot`.
    pub fn on(&self, slot: Slot) -> u64 {
        self.0
            .get(slot.0 as usize)
            .map_or(0, |count| count.0.load(Ordering::Relaxed))
    }

    /// Counts `tokens` on `slot` until the guard is dropped.
    pub fn hold(self: &Arc<Self>, slot: Slot, tokens: u64) -> TokensHeld {
        if let Some(count) = self.0.get(slot.0 as usize) {
            count.0.fetch_add(tokens, Ordering::Relaxed);
        }
        TokensHeld {
            counts: Arc::clone(self),
            slot,
            tokens,
        }
    }
}

/// Tokens of one request on one endpoint; dropping it gives them back, exactly once on any end.
#[must_use = "the tokens count as in flight only while the guard lives"]
pub struct TokensHeld {
    counts: Arc<TokensInFlight>,
    slot: Slot,
    tokens: u64,
}

impl Drop for TokensHeld {
    fn drop(&mut self) {
        if let Some(count) = self.counts.0.get(self.slot.0 as usize) {
            count.0.fetch_sub(self.tokens, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_count_until_their_guard_is_dropped() {
        let counts = Arc::new(TokensInFlight::new(2));
        let (a, b) = (counts.hold(Slot(1), 5), counts.hold(Slot(1), 7));
        let outside = counts.hold(Slot(9), 1);
        assert_eq!((counts.on(Slot(0)), counts.on(Slot(1))), (0, 12));
        drop((a, outside));
        assert_eq!((counts.on(Slot(1)), counts.on(Slot(9))), (7, 0));
        drop(b);
        assert_eq!(counts.on(Slot(1)), 0);
    }
}
