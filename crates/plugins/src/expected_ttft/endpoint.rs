//! What is known of one endpoint: published numbers that every pick reads, and the state behind them.
//!
//! A pick waits for the lock of an endpoint only where all its seats are taken and the wait was last worked
//! out too long ago, or something has begun or ended there since.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
// Held for the few microseconds that a wait takes to work out, and by no two workers at once as a rule: a worker
// that needs the same wait finds it published.
#[allow(clippy::disallowed_types)]
use std::sync::Mutex;
use std::sync::{MutexGuard, PoisonError};

use pointsman_core::model::slots::{Reading, Slot, Slots};
use pointsman_core::time::{Span, Tick};

use crate::expected_ttft::number::Number;
use crate::expected_ttft::queue::{Answer, Queue};
use crate::expected_ttft::seats::Seats;
use crate::expected_ttft::speed::Speed;

/// Gauges older than this tell nothing.
const OLD: Span = Span::from_millis(5_000);

/// Share of a new sample in the count of requests that others sent.
const FOREIGN_SHARE: f64 = 0.1;

/// How long an endpoint without answers keeps its speed, and the share of the way back to the fleet's that it goes
/// in each second then.
const UNUSED: Span = Span::from_millis(20_000);
const RELAX: f64 = 0.005;

/// A worked out wait stays good for this share of it, in milliseconds at least and at most.
const GOOD: (f64, f64, f64) = (0.1, 1.0, 20.0);

/// The state behind the numbers.
#[derive(Debug, Default)]
pub struct Inner {
    /// Requests under way.
    pub queue: Queue,
    /// How many run at once.
    pub seats: Seats,
    /// How fast it is.
    pub speed: Speed,
    /// Whether its answers tell how much of a prompt was cached.
    pub reports_cached: bool,
    /// When something was learned of its speed last.
    pub learned_at: Tick,
    foreign: f64,
    /// Whether requests waited when the gauges were looked at last.
    waited: bool,
    /// When its speed was brought nearer to the fleet's last.
    relaxed: Tick,
    /// The gauges that were looked at last.
    scraped: Tick,
}

/// One endpoint.
#[derive(Debug, Default)]
#[repr(align(64))]
#[allow(clippy::disallowed_types)]
pub struct Endpoint {
    /// One more than the epoch that the numbers belong to; 0: never used.
    epoch: AtomicU32,
    /// Seats; 0 while unknown.
    pub seats: Number,
    /// Seats that there are at least.
    pub at_least: Number,
    /// Requests there that others sent.
    pub foreign: Number,
    /// Factor on prefill times.
    pub prefill: Number,
    /// Factor on times between tokens.
    pub pace: Number,
    /// What slow prefills of cached prompts have cost here beyond a middling endpoint, in milliseconds; see
    /// [`crate::expected_ttft::estimate`].
    pub surcharge: Number,
    /// Prompt tokens that are being worked on.
    pub ahead: Number,
    /// The first token that is due first: since when it is worked on, and how long that should take at most.
    due_since: AtomicU64,
    patience: Number,
    free_at: AtomicU64,
    good_until: AtomicU64,
    inner: Mutex<Inner>,
}

/// How long a request would wait at an endpoint whose seats are taken.
#[derive(Clone, Copy, Debug)]
pub struct Full {
    /// Requests that must go first.
    pub before: f64,
    /// Seats.
    pub seats: f64,
    /// Mean milliseconds that a seat is taken.
    pub service: f64,
    /// Requests under way, those of others too.
    pub under_way: f64,
}

impl Endpoint {
    /// Whether the numbers are those of this epoch.
    pub fn is(&self, epoch: u32) -> bool {
        self.epoch.load(Ordering::Acquire) == epoch.wrapping_add(1)
    }

    /// The state, of this epoch: what was learned under another one is forgotten.
    pub fn at(&self, epoch: u32) -> MutexGuard<'_, Inner> {
        let mut inner = self.inner();
        if !self.is(epoch) {
            *inner = Inner {
                queue: std::mem::take(&mut inner.queue),
                ..Inner::default()
            };
            self.surcharge.set(0.0);
            self.publish(&inner);
            self.epoch.store(epoch.wrapping_add(1), Ordering::Release);
        }
        inner
    }

    /// The state, of whatever epoch.
    pub fn inner(&self) -> MutexGuard<'_, Inner> {
        // What is left of a state whose writer panicked is as good as any estimate.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes the numbers; the wait has to be worked out anew.
    pub fn publish(&self, inner: &Inner) {
        self.seats.set(inner.seats.known());
        self.at_least.set(inner.seats.at_least());
        self.prefill.set(inner.speed.prefill());
        self.pace.set(inner.speed.pace());
        self.ahead.set(inner.queue.ahead());
        let (since, patience) = inner.queue.due().unwrap_or_default();
        self.due_since.store(since.0, Ordering::Relaxed);
        self.patience.set(patience);
        self.good_until.store(0, Ordering::Release);
    }

    /// How many times as long as it should a first token has been in coming; 1 if none is overdue.
    pub fn lateness(&self, now: Tick) -> f64 {
        let (since, patience) = (self.due_since.load(Ordering::Relaxed), self.patience.get());
        if since == 0 || patience <= 0.0 {
            return 1.0;
        }
        (now.since(Tick(since)).as_millis_f64() / patience).max(1.0)
    }

    /// Looks at the gauges, if they are new.
    pub fn look(&self, inner: &mut Inner, slot: Slot, slots: &Slots, now: Tick) {
        let (running, taken) = slots.read_raw(slot, Reading::Running);
        let (waiting, _) = slots.read_raw(slot, Reading::Waiting);
        if taken == Tick(0) || taken == inner.scraped || now.since(taken) > OLD {
            return;
        }
        inner.scraped = taken;
        // One look may meet requests that an engine is just about to let in; two in a row are a queue.
        if waiting > 0.0 && inner.waited {
            inner.seats.full(running, now);
        } else {
            inner.seats.runs(running);
        }
        inner.waited = waiting > 0.0;
        // On average over the moments of scrapes what is ours cancels out.
        let others = running + waiting - f64::from(slots.in_flight(slot));
        inner.foreign += (others - inner.foreign) * FOREIGN_SHARE;
        let others = if inner.foreign >= 1.0 {
            inner.foreign
        } else {
            0.0
        };
        self.foreign.set(others);
    }

    /// Lets what was learned of the speed of an endpoint that is not used fade.
    pub fn relax(inner: &mut Inner, now: Tick) {
        let since = now.since(inner.relaxed.max(inner.learned_at + UNUSED));
        inner.relaxed = now;
        if inner.queue.entries().is_empty() {
            inner.speed.relax((since.as_secs_f64() * RELAX).min(0.5));
        }
    }

    /// Whether the engine's gauges have been seen.
    pub fn is_scraped(inner: &Inner) -> bool {
        inner.scraped != Tick(0)
    }

    /// Milliseconds until a seat is free.
    pub fn wait<'a>(
        &self,
        now: Tick,
        full: impl FnOnce() -> Full,
        answer: impl Fn(usize) -> Answer<'a>,
    ) -> f64 {
        if self.good_until.load(Ordering::Acquire) > now.0 {
            return Tick(self.free_at.load(Ordering::Relaxed))
                .since(now)
                .as_millis_f64();
        }
        let full = full();
        let mut inner = self.inner();
        let ours = inner.queue.entries().len() as f64 / full.under_way;
        let Full {
            before,
            seats,
            service,
            ..
        } = full;
        let wait = inner
            .queue
            .wait(now, before, seats, service, ours.min(1.0), answer);
        let good = (wait * GOOD.0).clamp(GOOD.1, GOOD.2);
        let after = |millis: f64| (now + Span::from_secs_f64(millis / 1e3)).0;
        self.free_at.store(after(wait), Ordering::Relaxed);
        self.good_until.store(after(good), Ordering::Release);
        wait
    }
}
