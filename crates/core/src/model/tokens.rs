//! Tokens in flight by endpoint: what the requests under way still ask of it.
//!
//! Writers are the guards of requests; readers never wait. The atomics are relaxed: each is one number, and one that
//! is a few nanoseconds old is as good as any.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::model::slots::Slot;

/// A counter alone on its cache line.
#[repr(align(64))]
#[derive(Default)]
struct Padded(AtomicU64);

/// Tokens in flight, by slot. The default counts nothing until it is told for how many endpoints.
#[derive(Default)]
pub struct TokensInFlight(OnceLock<Box<[Padded]>>);

impl TokensInFlight {
    /// Counters for `capacity` endpoints, all zero.
    pub fn new(capacity: usize) -> Self {
        let counts = Self::default();
        counts.size_to(capacity);
        counts
    }

    /// Counts for `capacity` endpoints from now on, unless a number was told before.
    pub fn size_to(&self, capacity: usize) {
        self.0
            .get_or_init(|| (0..capacity).map(|_| Padded::default()).collect());
    }

    fn count(&self, slot: Slot) -> Option<&AtomicU64> {
        let count = self.0.get()?.get(slot.0 as usize)?;
        Some(&count.0)
    }

    /// Tokens in flight on `slot`.
    pub fn on(&self, slot: Slot) -> u64 {
        self.count(slot)
            .map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Counts `tokens` on `slot` until the guard is dropped.
    pub fn hold(self: &Arc<Self>, slot: Slot, tokens: u64) -> TokensHeld {
        let counted = self.count(slot);
        if let Some(count) = counted {
            count.fetch_add(tokens, Ordering::Relaxed);
        }
        TokensHeld {
            counts: Arc::clone(self),
            slot,
            // What was not added is not given back either.
            tokens: counted.map_or(0, |_| tokens),
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

impl TokensHeld {
    /// The request has gone from one endpoint to another: what it holds on the one counts on the other from now on.
    pub fn follow(&mut self, from: Slot, to: Slot) {
        if self.slot == from {
            let counts = Arc::clone(&self.counts);
            *self = counts.hold(to, self.tokens);
        }
    }
}

impl Drop for TokensHeld {
    fn drop(&mut self) {
        if let Some(count) = self.counts.count(self.slot) {
            count.fetch_sub(self.tokens, Ordering::Relaxed);
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
        let mut a = a;
        a.follow(Slot(1), Slot(0));
        a.follow(Slot(1), Slot(9));
        assert_eq!((counts.on(Slot(0)), counts.on(Slot(1))), (5, 7));
        drop((a, outside));
        assert_eq!((counts.on(Slot(1)), counts.on(Slot(9))), (7, 0));
        drop(b);
        assert_eq!(counts.on(Slot(1)), 0);

        let later = Arc::new(TokensInFlight::default());
        let before = later.hold(Slot(0), 5);
        later.size_to(1);
        let after = later.hold(Slot(0), 3);
        drop(before);
        assert_eq!(later.on(Slot(0)), 3);
        drop(after);
        assert_eq!(later.on(Slot(0)), 0);
    }
}
