//! One request at a door: the core's life of a request, joined to the worker's lane and to the records.
//!
//! Dropping an [`Exchange`] that has not ended means that the client left: its endpoint is released and the
//! outcome written down, whatever the door was doing.

mod spans;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pointsman_core::admission::permits::Permit;
use pointsman_core::admission::queue::Ask;
use pointsman_core::contract::admission::Waiter;
use pointsman_core::contract::table::Table;
use pointsman_core::exchange::event::{
    Cause, Deciding, Effect, End, Entering, Event, Outcome, Usage,
};
use pointsman_core::exchange::life::Life;
use pointsman_core::model::endpoint::Endpoint;
use pointsman_core::model::pool::Snapshot;
use pointsman_core::model::reject::Reject;
use pointsman_core::model::request::InferenceRequest;
use pointsman_core::schedule::decision::Decision;
use pointsman_core::schedule::plan::Plan;
use pointsman_core::time::{Span, Tick};
use pointsman_wire::receipt::Meta;

use crate::admission::claims::first_token_within;
use crate::admission::leases::Lease;
use crate::metrics::decided::Decided;
use crate::metrics::meter::Meter;
use crate::record::log::{PrettyLine, Tickets};
use crate::record::ring::{Facts, RecordId};
use crate::router::{Counts, Lane};
use crate::tracing::traced::Traced;

/// A request under way.
pub struct Exchange {
    lane: Arc<Lane>,
    door: &'static str,
    life: Life,
    plan: Arc<Plan>,
    snapshot: Arc<Snapshot>,
    request_id: Arc<str>,
    path: Arc<str>,
    record: Option<RecordId>,
    tickets: Tickets,
    last_row: Option<usize>,
    meter: Meter,
    /// What is asked of the gatekeeper, once it has to be asked.
    ask: Option<Box<Ask>>,
    /// The request's size.
    bytes: usize,
    /// Its priority, until it is counted as let in.
    uncounted: Option<i64>,
    /// The same, until it ends.
    priority: i64,
    /// By which it hears that it has to give way, if it may have to.
    lease: Option<Lease>,
    /// Whether only a part of the pool are candidates.
    narrowed: bool,
    /// What it wants, where it may end without a decision.
    wants: Option<Box<Wants>>,
    /// When it was asked.
    asked: Tick,
    /// How long it has waited to be let in.
    queued: Span,
    /// How long another endpoint computed its prompt, if that was told.
    prefilled: Option<Span>,
    /// Its place in a trace, if it is traced.
    trace: Option<Box<Traced>>,
}

/// What a receipt says of a request that never came to a decision.
struct Wants {
    model: String,
    prompt_bytes: usize,
}

/// A question to the gatekeeper that is not answered yet.
pub type Asking = Pin<Box<dyn Future<Output = Result<Permit, Reject>> + Send>>;

impl Exchange {
    /// A request that has just arrived at the door of this name.
    pub fn begin(lane: &Arc<Lane>, door: &'static str, request_id: &str, path: &str) -> Self {
        let router = &lane.router;
        Self {
            door,
            life: Life::begin(router.clock.now()),
            plan: router.plan.load_full(),
            snapshot: router.membership.snapshot(),
            request_id: request_id.into(),
            path: path.into(),
            record: None,
            tickets: Tickets::default(),
            last_row: None,
            meter: Meter::default(),
            ask: None,
            bytes: 0,
            uncounted: None,
            priority: 0,
            lease: None,
            narrowed: false,
            wants: None,
            asked: Tick(0),
            queued: Span(0),
            prefilled: None,
            trace: None,
            lane: Arc::clone(lane),
        }
    }

    /// The plan the request goes by: the one it started with or, where it had to wait, that in force when it was let
    /// in.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// The membership it goes by.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The request id.
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    fn now(&self) -> Tick {
        self.lane.router.clock.now()
    }

    /// Only the endpoints that `keep` holds of are candidates. For before the decision.
    pub fn narrow(&mut self, keep: impl Fn(&Endpoint) -> bool) {
        if self.life.attempts().is_empty() {
            self.snapshot = self.lane.router.membership.snapshot();
        }
        self.narrowed = true;
        if !self.snapshot.endpoints.iter().all(&keep) {
            self.snapshot = Arc::new(self.snapshot.narrowed(keep));
        }
    }

    /// The request stands whole, in so many bytes: whether it is let in. [`Effect::Nothing`] says that it is.
    pub fn arrive(&mut self, request: &InferenceRequest<'_>, bytes: usize) -> Effect {
        // The body may have taken its time, and the pool may be another by now.
        if !self.narrowed {
            self.snapshot = self.lane.router.membership.snapshot();
        }
        self.bytes = bytes;
        self.priority = request.priority;
        let admission = Arc::clone(&self.plan.admission);
        let router = Arc::clone(&self.lane.router);
        let declared = router.directives.load();
        let named = !admission.objectives.is_empty() || !declared.objectives.is_empty();
        // Nobody waits, and no request has another priority than 0.
        if admission.flow.is_none() && !named {
            return Effect::Nothing;
        }
        let front = &self.lane.router.admission;
        let entering = Entering {
            admission: &admission,
            permits: &front.permits,
            snapshot: &self.snapshot,
            slots: self.lane.router.membership.slots(),
            priority: request.priority,
        };
        let now = self.lane.router.clock.now();
        let effect = self.life.on(Event::Arrived(entering), now);
        self.uncounted = admission.flow.as_ref().map(|_| request.priority);
        if matches!(effect, Effect::Reply(_)) {
            self.wants(request);
        }
        effect
    }

    /// The request was understood, and may end without a decision: this is what is counted and written of it then.
    pub fn wants(&mut self, request: &InferenceRequest<'_>) {
        self.meter.asks_for(&self.lane.cells, request);
        self.wants = Some(Box::new(Wants {
            model: request.model.to_owned(),
            prompt_bytes: request.prompt_bytes,
        }));
    }

    /// Asks to be let in and waits for the answer; then decides. Dropping the future gives the place up.
    pub async fn wait(&mut self, request: &InferenceRequest<'_>) -> Effect {
        loop {
            match self.asking(request).await {
                Ok(permit) => self.admitted(permit),
                Err(reject) => return self.refuse(reject),
            }
            let effect = self.ready(request);
            if effect != Effect::AskAdmission {
                return effect;
            }
        }
    }

    /// The question to the gatekeeper, after [`Effect::AskAdmission`]; resolves with its answer, which goes to
    /// [`Exchange::admitted`] or [`Exchange::refuse`]. Dropping it gives the place up.
    pub fn asking(&mut self, request: &InferenceRequest<'_>) -> Asking {
        let mut kept = match self.ask.take() {
            Some(ask) => ask,
            None => {
                self.wants(request);
                Box::new(self.first_ask(request))
            }
        };
        kept.turned_back = self.life.turned_back();
        // It is in flight nowhere now.
        self.lease = None;
        let ask = Ask::clone(&kept);
        self.ask = Some(kept);
        let (router, model, sent) = (
            Arc::clone(&self.lane.router),
            Box::<str>::from(request.model),
            self.now(),
        );
        self.asked = sent;
        Box::pin(async move { router.admission.ask(ask, &model, sent).await })
    }

    /// The question; also one that was let in without asking may come to it, when it finds every endpoint taken.
    fn first_ask(&self, request: &InferenceRequest<'_>) -> Ask {
        Ask {
            number: self.lane.router.admission.number(),
            flow: request.flow.into(),
            priority: request.priority,
            bytes: self.bytes as u64,
            waiter: Waiter {
                arrived: self.life.arrived(),
                enqueued: self.now(),
                ttl: None,
                first_token_within: first_token_within(request.headers),
            },
            turned_back: 0,
        }
    }

    /// The gatekeeper lets the request in.
    pub fn admitted(&mut self, permit: Permit) {
        let now = self.now();
        self.note_wait(now);
        self.life.on(Event::Admitted(permit), now);
        // The pool and the plan may be others by now, and it was let in by the rules in force; rows that have failed are
        // rows of the pool before.
        if self.life.attempts().is_empty() {
            self.snapshot = self.lane.router.membership.snapshot();
            self.plan = self.lane.router.plan.load_full();
        }
    }

    /// The time that it has stood in the queue, if that ends now.
    fn note_wait(&mut self, now: Tick) {
        if self.life.is_queued() {
            self.queued = self.queued + now.since(self.asked);
        }
    }

    /// The request is let in: decide where it goes, and write the decision down.
    pub fn ready(&mut self, request: &InferenceRequest<'_>) -> Effect {
        self.ready_and_look(request, |_, _| ())
    }

    /// As [`Exchange::ready`]; `look` is shown the table and what was decided, while it stands.
    pub fn ready_and_look(
        &mut self,
        request: &InferenceRequest<'_>,
        look: impl FnOnce(&Table, &Effect),
    ) -> Effect {
        let lane = Arc::clone(&self.lane);
        let mut scratch = lane.scratch.lock();
        let seed = scratch.seeds.next_seed() >> 11;
        let began = self.now();
        let again = !self.life.attempts().is_empty();
        let deciding = Deciding {
            plan: &self.plan,
            snapshot: &self.snapshot,
            slots: lane.router.membership.slots(),
            request,
            table: &mut scratch.table,
            seed,
        };
        let effect = self.life.on(Event::Ready(deciding), began);
        // Nothing is decided yet: the room it was given went to somebody else.
        if effect == Effect::AskAdmission {
            return effect;
        }
        let ended = self.now();
        if let Some(priority) = self.uncounted.take() {
            lane.cells.let_in(priority);
        }
        // As after any other failed attempt, the first decision is the one that is written down.
        if !again {
            self.write_decision(request, &scratch.table, &effect, (began, ended));
        }
        self.measure(request, &scratch.table, &effect, (began, ended));
        look(&scratch.table, &effect);
        self.trace_decision(request, &effect, (began, ended), &mut scratch.rng);
        drop(scratch);
        self.note_row(&effect);
        effect
    }

    /// Leaves a receipt of a decision that was made between the two `times`, and its line in the log.
    fn write_decision(
        &mut self,
        request: &InferenceRequest<'_>,
        table: &Table,
        effect: &Effect,
        (began, ended): (Tick, Tick),
    ) {
        let router = &self.lane.router;
        let pd = match effect {
            Effect::Forward { pd, .. } => *pd,
            _ => None,
        };
        let facts = Facts {
            pick_ns: ended.since(began).0,
            pd,
            ..self.facts(request.model, request.prompt_bytes)
        };
        let mut ring = self.lane.ring.lock();
        self.record = ring.record(&facts, &self.plan, &self.snapshot, table);
        drop(ring);
        self.wants = None;
        if matches!(effect, Effect::Forward { .. }) {
            Counts::add(&router.counts.decisions);
            if router.log.wants_decisions() {
                let decision = Decision::freeze(&self.plan, &self.snapshot, table);
                self.tickets = router.log.decision(&decision, &self.meta(request), ended);
            }
        }
    }

    fn facts<'a>(&'a self, model: &'a str, prompt_bytes: usize) -> Facts<'a> {
        Facts {
            request_id: &self.request_id,
            model,
            at_unix_ns: self.lane.router.clock.unix_ns(self.life.arrived()),
            prompt_bytes,
            queue_ns: self.queued.0,
            pick_ns: 0,
            door: self.door,
            pd: None,
        }
    }

    /// Leaves a receipt of a request that was understood and ends without a decision.
    fn write_undecided(&mut self) {
        let wants = self.wants.take().filter(|_| self.record.is_none());
        if let Some(wants) = wants {
            let facts = self.facts(&wants.model, wants.prompt_bytes);
            let mut ring = self.lane.ring.lock();
            self.record = ring.record(&facts, &self.plan, &self.snapshot, &Table::default());
        }
    }

    /// The request goes to a row without a decision.
    pub fn bypass(&mut self, row: usize) -> Effect {
        let lane = Arc::clone(&self.lane);
        if self.life.attempts().is_empty() {
            Counts::add(&lane.router.counts.bypassed);
        }
        let event = Event::Bypass {
            row,
            snapshot: &self.snapshot,
            slots: lane.router.membership.slots(),
        };
        let effect = self.life.on(event, lane.router.clock.now());
        self.note_row(&effect);
        effect
    }

    /// An attempt failed; with `request` the next best endpoint is chosen.
    pub fn failed(&mut self, cause: Cause, request: Option<&InferenceRequest<'_>>) -> Effect {
        let lane = Arc::clone(&self.lane);
        Counts::add(&lane.router.counts.failed_attempts);
        let now = self.now();
        let mut scratch = lane.scratch.lock();
        let seed = scratch.seeds.next_seed() >> 11;
        let retry = request.map(|request| Deciding {
            plan: &self.plan,
            snapshot: &self.snapshot,
            slots: lane.router.membership.slots(),
            request,
            table: &mut scratch.table,
            seed,
        });
        let effect = self.life.on(Event::AttemptFailed { cause, retry }, now);
        if let Some(request) = request {
            let times = (now, self.now());
            self.measure(request, &scratch.table, &effect, times);
        }
        drop(scratch);
        self.note_row(&effect);
        effect
    }

    /// The request went on without a decision and without counting in flight; nothing is written of it.
    pub fn unscheduled(&mut self) {
        Counts::add(&self.lane.router.counts.bypassed);
        let now = self.now();
        // Ends the life; that nobody waits for its outcome is the point.
        self.life.on(Event::ClientGone, now);
    }

    /// Who forwards asked the endpoint of this row, not the one that was picked.
    pub fn served_elsewhere(&mut self, row: usize) {
        let lane = Arc::clone(&self.lane);
        Counts::add(&lane.router.counts.served_elsewhere);
        let event = Event::ServedElsewhere {
            row,
            snapshot: &self.snapshot,
            slots: lane.router.membership.slots(),
        };
        self.life.on(event, lane.router.clock.now());
        let slot = self.snapshot.endpoints[row].slot;
        self.meter.moved(&lane.cells, slot);
        self.last_row = Some(row);
    }

    /// The row that the request was sent to last.
    pub fn row(&self) -> Option<usize> {
        self.last_row
    }

    /// The door ends the request itself.
    pub fn refuse(&mut self, reject: Reject) -> Effect {
        let now = self.now();
        self.note_wait(now);
        self.life.on(Event::Refused(reject), now)
    }

    /// The head of the answer arrived.
    pub fn head(&mut self, status: u16) {
        let now = self.now();
        self.life.on(Event::Head { status }, now);
    }

    /// The answer tells how long its prefill took; `None` where it says nothing of one.
    pub fn prefilled(&mut self, took: Option<Span>) {
        self.prefilled = took;
    }

    /// The answer is a stream, whatever the request asked for.
    pub fn streams(&mut self) {
        self.meter.streams();
    }

    /// A part of the answer's body passes to the client.
    pub fn passed(&mut self, bytes: usize) {
        let now = self.meter.wants_time().then(|| self.now());
        self.meter.passed(bytes, now);
    }

    /// The answer came to its natural end.
    pub fn end(&mut self, usage: Option<Usage>, reply_id: Option<&str>) {
        let now = self.now();
        let effect = self.life.on(Event::End { usage }, now);
        self.write_down(effect, reply_id);
    }

    /// The answer broke off.
    pub fn broken(&mut self, cause: Cause) {
        let now = self.now();
        let effect = self.life.on(Event::Broken(cause), now);
        self.write_down(effect, None);
    }

    /// The router's own answer is on its way.
    pub fn rejected(&mut self, reject: &Reject, status: u16) {
        let now = self.now();
        let mut meta = self.meta(&InferenceRequest::default());
        if let Some(wants) = &self.wants {
            meta.model.clone_from(&wants.model);
            meta.prompt_bytes = wants.prompt_bytes as u64;
        }
        self.lane.router.log.refused(reject, &meta, now);
        self.write_undecided();
        if let Effect::Note(mut outcome) = self.life.on(Event::End { usage: None }, now) {
            outcome.status = Some(status);
            self.write_down(Effect::Note(outcome), None);
        }
    }

    /// The door gives the request up for what its other side said of it: an answer under way breaks off, anything before
    /// is refused.
    pub fn give_up(&mut self, reject: &Reject, status: u16) {
        let now = self.now();
        match self.life.on(Event::Broken(Cause::Reset), now) {
            effect @ Effect::Note(_) => self.write_down(effect, None),
            _ => {
                self.refuse(reject.clone());
                self.rejected(reject, status);
            }
        }
    }

    /// Waits until the decision's log line is written.
    pub async fn logged(&self) {
        self.lane.router.log.written(self.tickets).await;
    }

    /// The same, apart from the exchange; `None` where no line was asked for.
    pub fn logging(&self) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        let (router, tickets) = (Arc::clone(&self.lane.router), self.tickets);
        if tickets.is_empty() {
            return None;
        }
        Some(Box::pin(async move { router.log.written(tickets).await }))
    }

    /// Counts a decision that was made between the two `times`.
    fn measure(
        &mut self,
        request: &InferenceRequest<'_>,
        table: &Table,
        effect: &Effect,
        (began, ended): (Tick, Tick),
    ) {
        let decided = Decided {
            plan: &self.plan,
            snapshot: &self.snapshot,
            request,
            bytes: self.bytes,
            slots: self.lane.router.membership.slots(),
            table,
            effect,
            arrived: self.life.arrived(),
            began,
            ended,
        };
        self.meter.decided(&self.lane.cells, &decided);
    }

    fn note_row(&mut self, effect: &Effect) {
        if let Effect::Forward { row, .. } = effect {
            self.last_row = Some(*row);
            self.hold_lease();
        }
    }

    /// From now on the request may have to give way, if the plan has those of its priority do so.
    fn hold_lease(&mut self) {
        let flow = self.plan.admission.flow.as_ref();
        let rules = flow.and_then(|flow| flow.eviction);
        if let (Some(rules), None) = (rules, &self.lease) {
            let router = &self.lane.router;
            let leases = &router.admission.leases;
            self.lease = leases.hold(self.priority, rules, router.clock);
        }
    }

    /// Ready when the request has to give way to one of a higher priority: then [`Exchange::give_way`].
    pub fn poll_evicted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.lease {
            Some(lease) => lease.poll(cx),
            None => Poll::Pending,
        }
    }

    /// The request ends because it has to give way: unanswered, with this status, or amid its answer.
    pub fn give_way(&mut self, status: u16) {
        if self.life.is_answering() {
            self.broken(Cause::Evicted);
        } else {
            self.refuse(Reject::Evicted);
            self.rejected(&Reject::Evicted, status);
        }
    }

    fn meta(&self, request: &InferenceRequest<'_>) -> Meta {
        Meta {
            request_id: self.request_id.to_string(),
            at_unix_ns: self.lane.router.clock.unix_ns(self.life.arrived()),
            door: self.door,
            model: request.model.to_owned(),
            prompt_bytes: request.prompt_bytes as u64,
            ..Meta::default()
        }
    }

    fn write_down(&mut self, effect: Effect, reply_id: Option<&str>) {
        let Effect::Note(mut outcome) = effect else {
            return;
        };
        outcome.prefill = self.prefilled;
        self.lease = None;
        self.meter.ended(&self.lane.cells, &self.snapshot, &outcome);
        self.trace_end(&outcome);
        let router = &self.lane.router;
        let counter = match outcome.end {
            End::Served => 0,
            End::Broken => 1,
            End::Rejected => 2,
            End::ClientGone => 3,
        };
        Counts::add(&router.counts.ended[counter]);
        if router.log.wants_pretty() {
            self.pretty(&outcome);
        }
        if let Some(record) = self.record {
            let (at, answered) = (outcome.at, outcome.status.is_some());
            self.lane.ring.lock().finish(record, outcome, reply_id);
            if answered {
                self.meter.written(&self.lane.cells, at, self.now());
            }
            if router.log.wants_receipts() {
                let recorded = self.lane.ring.lock().get(record);
                if let Some(recorded) = recorded {
                    router.log.receipt(&recorded, at);
                }
            }
        }
    }

    fn pretty(&self, outcome: &Outcome) {
        let router = &self.lane.router;
        let endpoint = self
            .last_row
            .map_or("-", |row| self.snapshot.endpoints[row].name.as_ref());
        let line = PrettyLine {
            at_unix_ns: router.clock.unix_ns(outcome.at),
            path: &self.path,
            request_id: &self.request_id,
            endpoint,
            outcome,
        };
        router.log.ended(&line, outcome.at);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.life.is_ended() {
            let now = self.now();
            self.note_wait(now);
            self.write_undecided();
            let effect = self.life.on(Event::ClientGone, now);
            self.write_down(effect, None);
        }
    }
}
