//! The one task that owns the gatekeeper: takes in who asks, wakes at deadlines, sends answers.
//!
//! Dropping its future leaves those who wait without an answer, which they take for a router that shuts down.

use std::sync::Arc;
use std::time::Duration;

use pointsman_core::admission::gatekeeper::{Answer, Gatekeeper, LOOK_EVERY, Pool, Settled};
use pointsman_core::admission::permits::Permit;
use pointsman_core::model::reject::Reject;
use pointsman_core::schedule::plan::Plan;
use pointsman_core::time::{Span, Tick};
use pointsman_http::Drain;
use tokio::sync::{mpsc, oneshot};

use crate::admission::front::Order;
use crate::admission::tally::{DISPATCHED, Series, outcome_of};
use crate::router::Router;

/// How often the plan in force is looked at while none asks for waiting.
const IDLE: Duration = Duration::from_millis(250);

/// Orders taken in per round; as many as the channel holds.
const BATCH: usize = 1024;

/// What is kept of one who waits.
struct Slip {
    reply: oneshot::Sender<Result<Permit, Reject>>,
    series: Series,
    /// Whether it had been let in before, and found no place.
    again: bool,
}

/// The gatekeeper and what it needs between two rounds.
struct Keeper {
    router: Arc<Router>,
    gate: Gatekeeper<Slip>,
    settled: Vec<Settled<Slip>>,
    /// The numbers of those who have left since the last round.
    left: Vec<u64>,
    inbox: mpsc::Receiver<Order>,
}

/// Answers whoever asks, until the drain starts; then refuses all who wait. A second call ends at once.
pub async fn keep(router: Arc<Router>, drain: Drain) {
    let Some(inbox) = router.admission.take_inbox() else {
        return;
    };
    let gate = Gatekeeper::new(Arc::clone(&router.admission.permits));
    let mut keeper = Keeper {
        router,
        gate,
        settled: Vec::new(),
        left: Vec::new(),
        inbox,
    };
    let mut first = None;
    loop {
        let pause = keeper.round(first.take());
        let front = Arc::clone(&keeper.router);
        tokio::select! {
            biased;
            () = drain.started() => break,
            order = keeper.inbox.recv() => first = order,
            () = front.admission.woken() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
    keeper.close();
}

impl Keeper {
    fn now(&self) -> Tick {
        self.router.clock.now()
    }

    /// Takes in what there is, settles what can be settled, and says how long nothing will happen by itself.
    fn round(&mut self, first: Option<Order>) -> Duration {
        let began = self.now();
        let plan = self.router.plan.load_full();
        self.gate.adopt(&plan.admission, &mut self.settled);
        // Taken before the orders: whoever is in the list has sent its order before it left.
        self.left = self.router.admission.take_left();
        let mut next = first;
        for _ in 0..BATCH {
            let Some(order) = next.take().or_else(|| self.inbox.try_recv().ok()) else {
                break;
            };
            self.take(order);
        }
        self.turn();
        self.answer();
        self.make_way(&plan);
        self.show(&plan, began);
        if plan.admission.flow.is_none() {
            return IDLE;
        }
        let next = self.gate.deadline().map(|at| at.since(self.now()));
        let pause = next.unwrap_or(LOOK_EVERY).min(LOOK_EVERY);
        Duration::from_nanos(pause.0)
    }

    /// Settles whoever can be settled now.
    fn turn(&mut self) {
        for &number in &self.left {
            self.settled.extend(self.gate.leave(number));
        }
        let snapshot = self.router.membership.snapshot();
        let pool = Pool {
            snapshot: &snapshot,
            slots: self.router.membership.slots(),
        };
        let now = self.now();
        self.gate.turn(pool, now, &mut self.settled);
    }

    /// Has requests in flight give way to those who are blocked, where the plan wants that.
    fn make_way(&self, plan: &Plan) {
        let rules = plan.admission.flow.as_ref().and_then(|flow| flow.eviction);
        let blocked = self.gate.blocked();
        let leases = &self.router.admission.leases;
        leases.reclaim(blocked.as_ref(), rules, self.now());
    }

    fn take(&mut self, order: Order) {
        let Order {
            ask,
            model,
            sent,
            reply,
        } = order;
        // Its client has left while it was on its way here.
        if reply.is_closed() {
            return;
        }
        // Of those who came in the same round, some may not have to wait at all.
        if !self.gate.has_room(&ask) {
            self.turn();
        }
        let now = self.now();
        let mut tally = self.router.admission.tally.lock();
        let series = tally.series(&ask, &model);
        let (bytes, took, again) = (ask.bytes, now.since(sent), ask.turned_back > 0);
        let slip = Slip {
            reply,
            series: series.clone(),
            again,
        };
        match self.gate.ask(ask, slip, now) {
            None => tally.queued(&series, bytes, (!again).then_some(took)),
            Some(settled) => {
                tally.turned_away(&series, outcome_of(&settled.answer, false), took);
                send(settled);
            }
        }
    }

    /// Sends the answers of those who have stood in the queue.
    fn answer(&mut self) {
        if self.settled.is_empty() {
            return;
        }
        let now = self.now();
        let mut tally = self.router.admission.tally.lock();
        for settled in self.settled.drain(..) {
            let outcome = outcome_of(&settled.answer, true);
            let Slip { series, again, .. } = &settled.payload;
            let new = !*again || outcome != DISPATCHED;
            let waited = new.then(|| now.since(settled.ask.waiter.enqueued));
            tally.settled(series, settled.ask.bytes, outcome, waited);
            send(settled);
        }
    }

    /// Leaves what the admin port shows.
    fn show(&self, plan: &Plan, began: Tick) {
        let mut tally = self.router.admission.tally.lock();
        tally.in_effect = plan.admission.flow.is_some();
        if !tally.in_effect {
            return;
        }
        let took: Span = self.now().since(began);
        tally.rounds.observe(took.as_secs_f64());
        tally.saturation = self.gate.saturation();
        tally.stale = self.gate.stale();
        tally.detector = plan.admission.detector.kind;
        let flow = plan.admission.flow.as_ref();
        tally.evicts = flow.is_some_and(|flow| flow.eviction.is_some());
        if let Some(queue) = self.gate.queue() {
            tally.bands.clear();
            tally.bands.extend(queue.filled());
            let rules = queue.rules();
            let share = |held: u64, most: Option<u64>| most.map(|most| held as f64 / most as f64);
            tally.queue = (
                share(queue.len(), rules.max_requests),
                share(queue.bytes(), rules.max_bytes),
            );
        }
    }

    fn close(&mut self) {
        self.gate.close(&mut self.settled);
        self.answer();
        self.inbox.close();
        while let Ok(order) = self.inbox.try_recv() {
            self.take(order);
        }
    }
}

fn send(settled: Settled<Slip>) {
    let answer = match settled.answer {
        Answer::Pass(permit) => Ok(permit),
        Answer::Refuse(reject) => Err(reject),
        Answer::Left => return,
    };
    // Nobody there: the client has left, and a permit for it comes back by being dropped.
    let _ = settled.payload.reply.send(answer);
}
