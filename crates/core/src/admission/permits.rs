//! How many requests are let in, as counts that every worker touches: the way in while nobody waits.
//!
//! ```text
//!  held     requests let in and not ended
//!  entered  those among them that are counted in flight on an endpoint
//!  limit    how many may be held; written by the gatekeeper alone
//!  waiting  requests that asked the gatekeeper and have no answer yet
//!  freed    permits given back that had been on an endpoint, so far
//! ```
//! A request that finds `waiting` at zero and `held` below `limit` takes a permit with one compare-and-swap, so that
//! checking and taking are one step and nobody is let in above the limit, however many workers there are. Everybody
//! else asks the gatekeeper, who uses the same counts. A permit given back while somebody waits wakes it.
//!
//! Order: a permit that is put on an endpoint counts there first and in `entered` after, and the other way round when
//! it leaves, so that whoever reads `entered` before and after the endpoints never sees more than stands there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The counts that all workers and the gatekeeper share.
pub struct Permits {
    held: AtomicU64,
    entered: AtomicU64,
    limit: AtomicU64,
    waiting: AtomicU64,
    freed: AtomicU64,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Permits {
    /// Counts at zero, with a limit of none; `wake` is called when a permit comes back while somebody waits.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            held: AtomicU64::new(0),
            entered: AtomicU64::new(0),
            limit: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            freed: AtomicU64::new(0),
            wake: Box::new(wake),
        }
    }

    /// A permit, if nobody waits and the limit is not reached.
    pub fn pass(self: &Arc<Self>) -> Option<Permit> {
        if self.waiting() > 0 {
            return None;
        }
        self.take_below(self.limit.load(Ordering::SeqCst))
    }

    /// A permit, if fewer than `limit` are held.
    pub fn take_below(self: &Arc<Self>, limit: u64) -> Option<Permit> {
        let take = |held| (held < limit).then_some(held + 1);
        self.held
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
            .ok()
            .map(|_| Permit::of(self))
    }

    /// A permit whatever the limit: for those who waited under rules that are no longer in force.
    pub fn take(self: &Arc<Self>) -> Permit {
        self.held.fetch_add(1, Ordering::SeqCst);
        Permit::of(self)
    }

    /// Sets how many may be held without asking.
    pub fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::SeqCst);
    }

    /// Requests let in and not ended.
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::SeqCst)
    }

    /// Those of them that are in flight on an endpoint.
    pub fn entered(&self) -> u64 {
        self.entered.load(Ordering::SeqCst)
    }

    /// Requests that have asked and have no answer.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Permits that came back from an endpoint since the start: so many places have become free.
    pub fn freed(&self) -> u64 {
        self.freed.load(Ordering::SeqCst)
    }

    /// Counts one who asks until the guard is dropped; who comes later waits behind.
    pub fn join(self: &Arc<Self>) -> Place {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        Place(Arc::clone(self))
    }
}

/// One who has asked and waits for the answer.
#[must_use = "those who come later wait only while the place is held"]
pub struct Place(Arc<Permits>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// One request let in; dropping it makes room for another, exactly once on any end.
#[must_use = "the request is let in only while the permit lives"]
pub struct Permit {
    permits: Arc<Permits>,
    entered: bool,
    /// Whether it has ever been on an endpoint.
    used: bool,
}

impl Permit {
    fn of(permits: &Arc<Permits>) -> Self {
        Self {
            permits: Arc::clone(permits),
            entered: false,
            used: false,
        }
    }

    /// The request now counts in flight on an endpoint; to be called after it does.
    pub fn enter(&mut self) {
        if !self.entered {
            (self.entered, self.used) = (true, true);
            self.permits.entered.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// The request leaves its endpoint; to be called before it no longer counts there.
    pub fn leave(&mut self) {
        if self.entered {
            self.entered = false;
            self.permits.entered.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Permit")
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.leave();
        self.permits.held.fetch_sub(1, Ordering::SeqCst);
        if self.used {
            self.permits.freed.fetch_add(1, Ordering::SeqCst);
        }
        if self.permits.waiting() > 0 {
            (self.permits.wake)();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)]
    use super::*;

    #[test]
    fn a_permit_is_taken_below_the_limit_and_only_while_nobody_waits() {
        let woken = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&woken);
        let permits = Arc::new(Permits::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        }));
        assert!(
            permits.pass().is_none(),
            "nothing is open before it is said so"
        );
        permits.set_limit(2);
        let (mut first, second) = (permits.pass().unwrap(), permits.pass().unwrap());
        assert!(permits.pass().is_none());
        first.enter();
        first.enter();
        assert_eq!((permits.held(), permits.entered()), (2, 1));
        drop(second);
        assert_eq!(permits.freed(), 0, "it was on no endpoint");
        assert_eq!(woken.load(Ordering::SeqCst), 0);
        let place = permits.join();
        assert!(permits.pass().is_none(), "who comes later waits behind");
        drop(first);
        assert_eq!(permits.freed(), 1);
        assert_eq!(woken.load(Ordering::SeqCst), 1);
        drop(place);
        assert_eq!(
            (permits.held(), permits.entered(), permits.waiting()),
            (0, 0, 0)
        );
    }

    #[test]
    fn threads_together_never_hold_more_than_the_limit() {
        let permits = Arc::new(Permits::new(|| {}));
        permits.set_limit(3);
        let most = Arc::new(AtomicU64::new(0));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (permits, most) = (Arc::clone(&permits), Arc::clone(&most));
                std::thread::spawn(move || {
                    let mut passed = 0;
                    while passed < 2_000 {
                        if let Some(permit) = permits.pass() {
                            most.fetch_max(permits.held(), Ordering::SeqCst);
                            passed += 1;
                            drop(permit);
                        }
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert!((1..=3).contains(&most.load(Ordering::SeqCst)));
        assert_eq!(permits.held(), 0);
    }
}
