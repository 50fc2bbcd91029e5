//! Who is let in: pass, wait, refuse; a state machine with deadlines.
//!
//! ```text
//!            ┌─ has room? ─ no ──────────────────────────► refused: queue full, or no endpoints
//!  ask ──────┤
//!            └─ yes ──► waits ──┬── permit taken ─────────► passes
//!                               ├── waited too long ──────► refused: too long, or no endpoints
//!                               ├── client left ──────────► left
//!                               └── router closes ────────► refused: shutting down
//! ```
//! Those who find a permit in [`Permits`] never come here. The others are let in from the highest priority that waits
//! down; where a band finds no permit below its ceiling, everybody of lower priority waits too. The bound on waiting
//! is one for a pool with endpoints and another for an empty one; when the pool changes between the two, the time
//! waited so far is forgiven.
//!
//! The room is that of the whole pool. Who is let in and finds the endpoints that it may use full asks again: it keeps
//! its number and the moment since which it waits, so the bound on waiting is the same one, and it stands aside until
//! the next look, or until an endpoint has a place free again; meanwhile the others go.
//!
//! The machine has no clock and does no IO: whoever owns it says when it is, and hands on what it settles.

use std::sync::Arc;

use crate::admission::permits::{Permit, Permits};
use crate::admission::queue::{Ask, Entry, Queue};
use crate::admission::rate::DrainRate;
use crate::admission::reclaim::Blocked;
use crate::admission::rules::{Admission, FlowRules};
use crate::admission::watch::{Saturation, Watch};
use crate::model::pool::Snapshot;
use crate::model::reject::Reject;
use crate::model::slots::Slots;
use crate::time::{Span, Tick};

/// How much longer one stands aside each time it was turned back, at most so many looks.
const MOST_LOOKS_ASIDE: u64 = 5;

/// How often one is let in again that was turned back where nobody waits any more: it goes by rules that are no longer
/// in force, and under those it may never find a place.
const MOST_TURNED_BACK: u32 = 8;

/// How long what was seen of the pool is good for.
pub const LOOK_EVERY: Span = Span::from_millis(10);

/// The pool as it is.
#[derive(Clone, Copy)]
pub struct Pool<'a> {
    /// The membership.
    pub snapshot: &'a Snapshot,
    /// Live readings.
    pub slots: &'a Slots,
}

/// What became of one who asked.
#[derive(Debug)]
pub enum Answer {
    /// It is let in.
    Pass(Permit),
    /// It is not.
    Refuse(Reject),
    /// It left.
    Left,
}

/// One who asked, and what became of it.
pub struct Settled<T> {
    /// The request.
    pub ask: Ask,
    /// What the caller gave along.
    pub payload: T,
    /// What became of it.
    pub answer: Answer,
}

/// The machine.
pub struct Gatekeeper<T> {
    permits: Arc<Permits>,
    admission: Option<Arc<Admission>>,
    queue: Option<Queue<T>>,
    /// Priorities that can occur, highest first.
    priorities: Vec<i64>,
    watch: Watch,
    saturation: Saturation,
    stale: usize,
    looked: Option<Tick>,
    /// Limits by ceiling, as of the last look.
    limits: Vec<(f64, u64)>,
    /// Since when the pool is empty, or is not.
    regime: (bool, Tick),
    rate: DrainRate,
    /// How many places had become free at the last turn.
    freed: u64,
    /// Who found no permit at the last turn, and nobody below it either.
    blocked: Option<Blocked>,
    closed: bool,
}

impl<T> Gatekeeper<T> {
    /// Nobody waits, and nobody has to until rules are adopted.
    pub fn new(permits: Arc<Permits>) -> Self {
        Self {
            permits,
            admission: None,
            queue: None,
            priorities: Vec::new(),
            watch: Watch::default(),
            saturation: Saturation::default(),
            stale: 0,
            looked: None,
            limits: Vec::new(),
            regime: (false, Tick(0)),
            rate: DrainRate::default(),
            freed: 0,
            blocked: None,
            closed: false,
        }
    }

    /// Goes on under other rules. Where they change nothing for the queue, it stays as it is. Else those who wait keep
    /// their places in time, also where there is less room now; without rules for waiting they all pass.
    pub fn adopt(&mut self, admission: &Arc<Admission>, out: &mut Vec<Settled<T>>) {
        let same = self.admission.as_ref();
        if same.is_some_and(|same| Arc::ptr_eq(same, admission)) {
            return;
        }
        let mut priorities: Vec<i64> = admission.objectives.values().copied().collect();
        let listed = admission.flow.iter().flat_map(|flow| flow.bands.keys());
        priorities.extend(listed.chain([&0]));
        priorities.sort_unstable_by(|one, other| other.cmp(one));
        priorities.dedup();
        self.priorities = priorities;
        self.admission = Some(Arc::clone(admission));
        (self.looked, self.limits) = (None, Vec::new());
        let keeps = |queue: &&mut Queue<T>| {
            let flow = admission.flow.as_ref();
            flow.is_some_and(|flow| flow.print == queue.rules().print)
        };
        if let (Some(queue), Some(flow)) = (self.queue.as_mut().filter(keeps), &admission.flow) {
            queue.go_by(Arc::clone(flow));
            return;
        }
        let before = self.queue.take();
        let before = before.map(|mut queue| (queue.served(), queue.drain()));
        let (served, waiting) = before.unwrap_or_default();
        let Some(flow) = &admission.flow else {
            // Whoever comes when there are rules again asks: this limit is of the pool as it is now.
            self.permits.set_limit(0);
            let passed = waiting.into_iter().map(|entry| self.settle_passed(entry));
            out.extend(passed);
            return;
        };
        let mut queue = Queue::new(Arc::clone(flow));
        queue.resume(served);
        for Entry {
            mut ask, payload, ..
        } in waiting
        {
            ask.waiter.ttl = flow.ttl(self.regime.0);
            queue.push(ask, payload);
        }
        self.queue = Some(queue);
    }

    fn settle_passed(&self, entry: Entry<T>) -> Settled<T> {
        let permit = self.permits.take();
        settled(entry.ask, entry.payload, Answer::Pass(permit))
    }

    /// One asks: refused at once where there is no room, else it waits, at least until the next [`Gatekeeper::turn`].
    pub fn ask(&mut self, mut ask: Ask, payload: T, now: Tick) -> Option<Settled<T>> {
        if self.closed {
            let answer = Answer::Refuse(Reject::ShuttingDown);
            return Some(settled(ask, payload, answer));
        }
        let Some(queue) = &mut self.queue else {
            let answer = if ask.turned_back > MOST_TURNED_BACK {
                Answer::Refuse(Reject::Saturated)
            } else {
                Answer::Pass(self.permits.take())
            };
            return Some(settled(ask, payload, answer));
        };
        if ask.turned_back > 0 {
            let looks = u64::from(ask.turned_back).min(MOST_LOOKS_ASIDE);
            ask.waiter.ttl = queue.rules().ttl(self.regime.0);
            queue.push_aside(ask, payload, now + Span(LOOK_EVERY.0 * looks));
            return None;
        }
        if !queue.has_room(ask.priority, ask.bytes) {
            let ahead = queue.ahead_of(ask.priority);
            let reject = if self.regime.0 {
                Reject::NoEndpointsQueued { waited: false }
            } else {
                let retry_after_s = self.rate.retry_after_s(ahead, now);
                Reject::QueueFull { retry_after_s }
            };
            return Some(settled(ask, payload, Answer::Refuse(reject)));
        }
        ask.waiter.enqueued = now;
        ask.waiter.ttl = queue.rules().ttl(self.regime.0);
        queue.push(ask, payload);
        None
    }

    /// Whether one would stand in the queue, or pass it: whether it is not refused at once for want of room.
    pub fn has_room(&self, ask: &Ask) -> bool {
        let queue = self.queue.as_ref();
        queue.is_none_or(|queue| ask.turned_back > 0 || queue.has_room(ask.priority, ask.bytes))
    }

    /// One who waits has left; `None` where it no longer waits.
    pub fn leave(&mut self, number: u64) -> Option<Settled<T>> {
        let entry = self.queue.as_mut()?.remove(number)?;
        Some(settled(entry.ask, entry.payload, Answer::Left))
    }

    /// Settles whoever can be settled now.
    pub fn turn(&mut self, pool: Pool<'_>, now: Tick, out: &mut Vec<Settled<T>>) {
        let changed = self.regime.0 != pool.snapshot.is_empty();
        if changed {
            self.regime = (pool.snapshot.is_empty(), now);
        }
        let fresh = |looked: Tick| now.since(looked) < LOOK_EVERY;
        if changed || !self.looked.is_some_and(fresh) {
            self.look(pool, now);
        }
        self.expire(now, out);
        let freed = self.permits.freed();
        if let Some(queue) = &mut self.queue {
            queue.come_back(now, freed.saturating_sub(self.freed));
        }
        self.freed = freed;
        self.blocked = None;
        self.let_in(pool, now, out);
    }

    /// The highest priority that waits because the pool is full for it, as of the last turn. Where the room is only
    /// used up by those let in since the readings were taken, nobody is blocked: the next reading will tell.
    pub fn blocked(&self) -> Option<Blocked> {
        self.blocked
            .filter(|blocked| blocked.saturation >= blocked.ceiling)
    }

    /// Takes a new look at the pool, and says how many may pass without asking.
    fn look(&mut self, pool: Pool<'_>, now: Tick) {
        let Some(admission) = self.admission.clone() else {
            return;
        };
        self.looked = Some(now);
        self.limits.clear();
        self.watch.look(pool.snapshot, pool.slots);
        if let Some(flow) = &admission.flow {
            let detector = admission.detector.plugin.as_ref();
            let tokens = admission.tokens.as_deref();
            self.saturation = self.watch.saturation(detector, pool.slots, tokens, now);
            self.stale = self.watch.stale(detector, pool.slots, now);
            let priorities = self.priorities.iter().copied();
            let ceilings = priorities.map(|priority| self.ceiling(flow, priority));
            let lowest = ceilings.fold(f64::INFINITY, f64::min);
            let limit = self.limit(&admission, pool, lowest, now);
            self.permits.set_limit(limit);
        }
    }

    fn ceiling(&self, flow: &FlowRules, priority: i64) -> f64 {
        let saturation = self.saturation.effective;
        let rank = self.priorities.iter().position(|&p| p <= priority);
        let of = self.priorities.len();
        let rank = rank.unwrap_or_else(|| of.saturating_sub(1));
        flow.limit.plugin.ceiling(saturation, priority, rank, of)
    }

    /// How many may be held below `ceiling`: those in flight, and as many more as there is room for.
    fn limit(&mut self, admission: &Admission, pool: Pool<'_>, ceiling: f64, now: Tick) -> u64 {
        if let Some(&(_, limit)) = self.limits.iter().find(|(known, _)| *known == ceiling) {
            return limit;
        }
        let detector = admission.detector.plugin.as_ref();
        let tokens = admission.tokens.as_deref();
        // Read before and after the endpoints: see the order in `permits`.
        let before = self.permits.entered();
        let room = self.watch.room(detector, pool.slots, tokens, now, ceiling);
        let entered = i64::try_from(before.min(self.permits.entered())).unwrap_or(i64::MAX);
        let limit = entered.saturating_add(room).max(0).unsigned_abs();
        self.limits.push((ceiling, limit));
        limit
    }

    fn let_in(&mut self, pool: Pool<'_>, now: Tick, out: &mut Vec<Settled<T>>) {
        let Some(admission) = self.admission.clone() else {
            return;
        };
        // Only a pool with endpoints lets anybody in, whatever a detector makes of an empty one.
        if self.regime.0 {
            return;
        }
        while let Some(queue) = &self.queue
            && let Some(priority) = queue.highest()
        {
            let ceiling = self.ceiling(&Arc::clone(queue.rules()), priority);
            let limit = self.limit(&admission, pool, ceiling, now);
            let Some(permit) = self.permits.take_below(limit) else {
                self.blocked = Some(Blocked {
                    priority,
                    ceiling,
                    saturation: self.saturation.effective,
                    in_flight: self.permits.entered(),
                });
                return;
            };
            let Some(entry) = self
                .queue
                .as_mut()
                .and_then(|queue| queue.next_of(priority))
            else {
                return;
            };
            self.rate.count(now);
            out.push(settled(entry.ask, entry.payload, Answer::Pass(permit)));
        }
    }

    fn expire(&mut self, now: Tick, out: &mut Vec<Settled<T>>) {
        while let Some(deadline) = self.deadline()
            && deadline <= now
            && let Some(queue) = &mut self.queue
            && let Some((_, number)) = queue.oldest()
            && let Some(entry) = queue.remove(number)
        {
            let reject = if self.regime.0 {
                Reject::NoEndpointsQueued { waited: true }
            } else {
                Reject::TtlExpired
            };
            out.push(settled(entry.ask, entry.payload, Answer::Refuse(reject)));
        }
    }

    /// When somebody will have waited too long, if nothing else happens.
    pub fn deadline(&self) -> Option<Tick> {
        let queue = self.queue.as_ref()?;
        let (since, _) = queue.oldest()?;
        let ttl = queue.rules().ttl(self.regime.0)?;
        Some(since.max(self.regime.1) + ttl)
    }

    /// Lets nobody wait any more, and refuses all who do. Who finds room without asking still passes, up to the last
    /// limit: it was inside already, and only its body took its time.
    pub fn close(&mut self, out: &mut Vec<Settled<T>>) {
        self.closed = true;
        let waiting = self.queue.as_mut().map(Queue::drain);
        out.extend(waiting.unwrap_or_default().into_iter().map(|entry| {
            let answer = Answer::Refuse(Reject::ShuttingDown);
            settled(entry.ask, entry.payload, answer)
        }));
    }

    /// Who waits.
    pub fn queue(&self) -> Option<&Queue<T>> {
        self.queue.as_ref()
    }

    /// Whether the pool had no endpoint at the last turn.
    pub fn pool_is_empty(&self) -> bool {
        self.regime.0
    }

    /// How full the pool was at the last look.
    pub fn saturation(&self) -> Saturation {
        self.saturation
    }

    /// How many endpoints counted as full at the last look because their readings are too old.
    pub fn stale(&self) -> usize {
        self.stale
    }
}

fn settled<T>(ask: Ask, payload: T, answer: Answer) -> Settled<T> {
    Settled {
        ask,
        payload,
        answer,
    }
}
