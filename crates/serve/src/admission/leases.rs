//! Requests in flight that may have to give way: who they are, and the way to tell one.
//!
//! Only requests of a negative priority under a plan that evicts are listed here; all others never touch the lock.
//! The gatekeeper's task decides by core's rules who is to give way; the door that has the request hears it by
//! [`Lease::poll`], and the end of the lease, however it comes, says that the place is free.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use pointsman_core::admission::reclaim::{Blocked, Eviction, Reclaim, Reclaimed};
use pointsman_core::time::Tick;
use pointsman_feeds::clock::Clock;
use tokio::sync::oneshot;

use crate::metrics::buckets;
use crate::metrics::histogram::Histogram;

/// All of them.
pub struct Leases {
    held: Mutex<Held>,
    /// Seconds from telling a request to give way until it has.
    took: Arc<Histogram>,
}

#[derive(Default)]
struct Held {
    reclaim: Reclaim,
    tell: HashMap<u64, oneshot::Sender<()>>,
    next: u64,
}

/// What is counted of those who gave way.
#[derive(Clone)]
pub struct Counts {
    /// By the rules' own count.
    pub reclaimed: Reclaimed,
    /// Seconds until each had ended.
    pub took: Arc<Histogram>,
}

impl Default for Leases {
    fn default() -> Self {
        Self {
            held: Mutex::default(),
            took: Arc::new(Histogram::new(&buckets::GIVING_WAY)),
        }
    }
}

impl Leases {
    /// A request of this priority is in flight from now on, until the lease is dropped; `None` where it never has to
    /// give way.
    pub fn hold(self: &Arc<Self>, priority: i64, rules: Eviction, clock: Clock) -> Option<Lease> {
        if priority >= 0 {
            return None;
        }
        let (tell, told) = oneshot::channel();
        let mut held = self.held.lock();
        held.next += 1;
        let number = held.next;
        held.reclaim.enter(number, priority, clock.now());
        held.tell.insert(number, tell);
        Some(Lease {
            leases: Arc::clone(self),
            number,
            told: Some(told),
            rules,
            clock,
        })
    }

    /// Tells those who are to give way to whoever is blocked. Without rules nobody is.
    pub fn reclaim(&self, blocked: Option<&Blocked>, rules: Option<Eviction>, now: Tick) {
        let mut held = self.held.lock();
        let held = &mut *held;
        if rules.is_none() && !held.reclaim.is_pending() {
            return;
        }
        let blocked = blocked.filter(|_| rules.is_some());
        for number in held.reclaim.decide(blocked, rules.unwrap_or(NO_GRACE), now) {
            if let Some(tell) = held.tell.remove(&number) {
                // Nobody there: it is just ending by itself.
                let _ = tell.send(());
            }
        }
    }

    /// What is counted.
    pub fn counts(&self) -> Counts {
        Counts {
            reclaimed: self.held.lock().reclaim.counts().clone(),
            took: Arc::clone(&self.took),
        }
    }
}

/// Where the rules that somebody gave way under are no longer in force, nobody else will have to.
const NO_GRACE: Eviction = Eviction {
    grace: pointsman_core::time::Span(0),
};

/// One request in flight that may have to give way.
pub struct Lease {
    leases: Arc<Leases>,
    number: u64,
    /// `None` once it has been told.
    told: Option<oneshot::Receiver<()>>,
    rules: Eviction,
    clock: Clock,
}

impl Lease {
    /// Ready as soon as the request has to give way, and from then on.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(told) = &mut self.told else {
            return Poll::Ready(());
        };
        match Pin::new(told).poll(cx) {
            Poll::Ready(Ok(())) => {
                self.told = None;
                Poll::Ready(())
            }
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut held = self.leases.held.lock();
        held.tell.remove(&self.number);
        held.reclaim
            .leave(self.number, self.rules, self.clock.now());
        for took in held.reclaim.take_times() {
            self.leases.took.observe(took.as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use pointsman_core::time::Span;
    use std::future::poll_fn;
    use std::sync::atomic::{AtomicBool, Ordering};

    const RULES: Eviction = Eviction { grace: Span(0) };

    const FULL: Blocked = Blocked {
        priority: 0,
        ceiling: 1.0,
        saturation: 1.0,
        in_flight: 2,
    };

    fn tell(leases: &Leases, clock: Clock) {
        leases.reclaim(Some(&FULL), Some(RULES), clock.now());
    }

    #[tokio::test]
    async fn who_is_told_is_woken_and_its_end_is_counted_once() {
        let (leases, clock) = (Arc::new(Leases::default()), Clock::start());
        assert!(leases.hold(0, RULES, clock).is_none());
        let mut lease = leases.hold(-1, RULES, clock).unwrap();
        let woken = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&woken);
        let waits = tokio::spawn(async move {
            poll_fn(|cx| lease.poll(cx)).await;
            poll_fn(|cx| lease.poll(cx)).await;
            seen.store(true, Ordering::SeqCst);
        });
        tokio::task::yield_now().await;
        assert!(!woken.load(Ordering::SeqCst));
        leases.reclaim(Some(&FULL), None, clock.now());
        leases.reclaim(None, Some(RULES), clock.now());
        tokio::task::yield_now().await;
        assert!(!woken.load(Ordering::SeqCst), "nobody is blocked");
        tell(&leases, clock);
        waits.await.unwrap();
        let counts = leases.counts().reclaimed;
        assert_eq!((counts.confirmed, counts.timed_out), (1, 0));
        assert_eq!(counts.issued.values().sum::<u64>(), 1);
        let held = leases.held.lock();
        assert_eq!((held.tell.len(), held.reclaim.evictable()), (0, 0));
    }

    #[test]
    fn one_that_ends_by_itself_leaves_nothing_behind() {
        let (leases, clock) = (Arc::new(Leases::default()), Clock::start());
        drop(leases.hold(-1, RULES, clock));
        tell(&leases, clock);
        assert_eq!(leases.counts().reclaimed, Reclaimed::default());
        assert!(leases.held.lock().tell.is_empty());
    }
}
