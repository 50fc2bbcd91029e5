//! Which endpoint each session was sent to, by the session's id.
//!
//! A binding ends when it has not been used for its time to live; it moves only when its endpoint is no candidate any
//! more, or has just failed for the request. The number of sessions is bounded: at the bound new sessions are not
//! bound until old ones have ended. Ids come from clients, so they are kept in an ordered map, which no choice of ids
//! can slow down.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};

// The exception to "no locks on the path of a pick": a session's binding must be seen by the next request, whichever
// worker takes it. The map is split, so that two workers seldom want the same part.
#[allow(clippy::disallowed_types)]
use std::sync::Mutex;

use pointsman_core::model::pool::Snapshot;
use pointsman_core::model::slots::Slot;
use pointsman_core::time::{Span, Tick};

const PARTS: usize = 16;

/// Most sessions in one part.
const MOST: usize = 1 << 16;

/// Longest id that is bound.
const LONGEST_ID: usize = 512;

/// One session.
struct Binding {
    endpoint: Arc<str>,
    slot: Slot,
    used: Tick,
}

type Part = BTreeMap<Box<str>, Binding>;

/// The bindings; shared by all workers.
#[allow(clippy::disallowed_types)]
pub(crate) struct Bindings {
    parts: [Mutex<Part>; PARTS],
    ttl: AtomicU64,
    sweep_every: AtomicU64,
    swept: AtomicU64,
}

impl Bindings {
    /// No session yet.
    pub(crate) fn new() -> Self {
        Self {
            parts: Default::default(),
            ttl: AtomicU64::new(0),
            sweep_every: AtomicU64::new(0),
            swept: AtomicU64::new(0),
        }
    }

    /// How long an unused binding lasts (zero: for ever), and how often ended ones are removed.
    pub(crate) fn set_times(&self, ttl: Span, sweep_every: Span) {
        // Relaxed: a request that still sees the old times is as good as one that came before.
        self.ttl.store(ttl.0, Ordering::Relaxed);
        self.sweep_every.store(sweep_every.0, Ordering::Relaxed);
    }

    /// The row of the endpoint that the session is bound to, if it is among the candidates.
    pub(crate) fn row_of(&self, id: &str, snapshot: &Snapshot, now: Tick) -> Option<usize> {
        let part = self.part(id);
        let binding = part.get(id).filter(|one| !self.has_ended(one, now))?;
        row_of(binding, snapshot)
    }

    /// The session was sent to `row`. A session that is bound elsewhere stays there, unless that endpoint is gone or
    /// has `failed`.
    pub(crate) fn bind(
        &self,
        id: &str,
        snapshot: &Snapshot,
        row: usize,
        now: Tick,
        failed: &dyn Fn(usize) -> bool,
    ) {
        let endpoint = &snapshot.endpoints[row];
        let mut part = self.part(id);
        let full = part.len() >= MOST;
        match part.get_mut(id) {
            Some(binding) => {
                let stays = !self.has_ended(binding, now)
                    && row_of(binding, snapshot).is_some_and(|bound| !failed(bound));
                if !stays {
                    binding.endpoint = Arc::clone(&endpoint.name);
                    binding.slot = endpoint.slot;
                }
                binding.used = now;
            }
            None if !full && id.len() <= LONGEST_ID => {
                let binding = Binding {
                    endpoint: Arc::clone(&endpoint.name),
                    slot: endpoint.slot,
                    used: now,
                };
                part.insert(id.into(), binding);
            }
            None => {}
        }
    }

    /// Removes bindings that have ended, if it is time to.
    pub(crate) fn sweep(&self, now: Tick) {
        let last = Tick(self.swept.load(Ordering::Relaxed));
        if now.since(last) < Span(self.sweep_every.load(Ordering::Relaxed)) {
            return;
        }
        self.swept.store(now.0, Ordering::Relaxed);
        for part in &self.parts {
            let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
            part.retain(|_, binding| !self.has_ended(binding, now));
        }
    }

    fn has_ended(&self, binding: &Binding, now: Tick) -> bool {
        let ttl = self.ttl.load(Ordering::Relaxed);
        ttl > 0 && now.since(binding.used) > Span(ttl)
    }

    #[allow(clippy::disallowed_types)]
    fn part(&self, id: &str) -> MutexGuard<'_, Part> {
        let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let part = &self.parts[hash as usize % PARTS];
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    #[allow(clippy::disallowed_types)]
    fn len(&self) -> usize {
        let len = |part: &Mutex<Part>| part.lock().unwrap_or_else(PoisonError::into_inner).len();
        self.parts.iter().map(len).sum()
    }
}

/// The row of a binding's endpoint. It mostly has the slot that it had; a new snapshot may give it another one.
fn row_of(binding: &Binding, snapshot: &Snapshot) -> Option<usize> {
    let by_slot = snapshot
        .slots()
        .iter()
        .position(|&slot| slot == binding.slot);
    by_slot
        .filter(|&row| snapshot.endpoints[row].name == binding.endpoint)
        .or_else(|| snapshot.row_of(&binding.endpoint))
}

#[cfg(test)]
#[allow(clippy::disallowed_types)]
mod tests {
    use super::*;
    use pointsman_core::fixture::pool;

    const SECOND: u64 = 1_000_000_000;

    fn bindings() -> Bindings {
        let bindings = Bindings::new();
        bindings.set_times(Span(10 * SECOND), Span(5 * SECOND));
        bindings
    }

    #[test]
    fn a_binding_lasts_while_it_is_used_and_is_swept_afterwards() {
        let (bindings, pool) = (bindings(), pool("a\nb\n"));
        let row = |at: u64| bindings.row_of("s", &pool.snapshot, Tick(at * SECOND));
        let bind = |at: u64, row| {
            bindings.bind("s", &pool.snapshot, row, Tick(at * SECOND), &|_| false);
        };
        assert_eq!(row(1), None);
        bind(1, 1);
        assert_eq!(row(11), Some(1));
        assert_eq!(row(12), None, "eleven seconds unused");
        bind(9, 0);
        assert_eq!(row(19), Some(1), "used, and still where it was");
        bindings.sweep(Tick(19 * SECOND));
        assert_eq!(bindings.len(), 1);
        bindings.sweep(Tick(23 * SECOND));
        assert_eq!(bindings.len(), 1, "not time to sweep again");
        bindings.sweep(Tick(24 * SECOND));
        assert_eq!(bindings.len(), 0);
    }

    #[test]
    fn a_binding_moves_when_its_endpoint_is_gone_or_has_failed() {
        let (bindings, both) = (bindings(), pool("a\nb\n"));
        let now = Tick(SECOND);
        bindings.bind("s", &both.snapshot, 0, now, &|_| false);
        bindings.bind("s", &both.snapshot, 1, now, &|row| row == 0);
        assert_eq!(bindings.row_of("s", &both.snapshot, now), Some(1));
        let other = pool("c\nx\n");
        assert_eq!(bindings.row_of("s", &other.snapshot, now), None);
        bindings.bind("s", &other.snapshot, 0, now, &|_| false);
        assert_eq!(bindings.row_of("s", &other.snapshot, now), Some(0));
        // The same endpoint in another row of a later snapshot.
        let later = pool("x\nc\n");
        assert_eq!(bindings.row_of("s", &later.snapshot, now), Some(1));
    }

    #[test]
    fn ids_and_their_number_are_bounded() {
        let (bindings, pool) = (bindings(), pool("a\n"));
        let now = Tick(SECOND);
        let long = "x".repeat(LONGEST_ID + 1);
        bindings.bind(&long, &pool.snapshot, 0, now, &|_| false);
        assert_eq!(bindings.len(), 0);
        for n in 0..PARTS * MOST + 1_000 {
            bindings.bind(&n.to_string(), &pool.snapshot, 0, now, &|_| false);
        }
        assert!(bindings.len() <= PARTS * MOST);
    }
}
