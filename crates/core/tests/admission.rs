//! Who is let in, whatever happens in whatever order: one answer each, no bound exceeded, order and turns kept, and the
//! same again from the same steps.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pointsman_core::admission::gatekeeper::{Answer, Gatekeeper, Pool, Settled};
use pointsman_core::admission::permits::{Permit, Permits};
use pointsman_core::admission::queue::Ask;
use pointsman_core::admission::rules::{Admission, BandRules, FlowRules};
use pointsman_core::admission::saturation::Concurrency;
use pointsman_core::contract::admission::{
    FairnessPolicy, Flows, OrderingPolicy, UsageLimitPolicy, Waiter,
};
use pointsman_core::model::endpoint::{Endpoint, Labels};
use pointsman_core::model::pool::Snapshot;
use pointsman_core::model::reject::Reject;
use pointsman_core::model::slots::{InFlight, Slot, Slots};
use pointsman_core::schedule::named::Named;
use pointsman_core::time::{Span, Tick};
use proptest::prelude::*;

struct ByDeadline;
impl OrderingPolicy for ByDeadline {
    fn key(&self, waiter: &Waiter) -> Tick {
        let within = waiter.first_token_within;
        within.map_or(Tick(u64::MAX), |within| waiter.arrived + within)
    }
}

struct ByArrival;
impl OrderingPolicy for ByArrival {
    fn key(&self, waiter: &Waiter) -> Tick {
        waiter.enqueued
    }
}

struct Strict;
impl FairnessPolicy for Strict {
    fn next<'f>(&self, flows: &'f dyn Flows, _: Option<&str>) -> Option<&'f str> {
        flows.earliest()
    }
}

struct Turns;
impl FairnessPolicy for Turns {
    fn next<'f>(&self, flows: &'f dyn Flows, served: Option<&str>) -> Option<&'f str> {
        served.map_or_else(|| flows.first(), |served| flows.after(served))
    }
}

/// A part of the pool for each priority: the lower, the less.
struct Steps;
impl UsageLimitPolicy for Steps {
    fn ceiling(&self, _: f64, priority: i64, _: usize, _: usize) -> f64 {
        if priority < 0 { 0.5 } else { 1.0 }
    }
}

fn named<T: ?Sized>(name: &'static str, plugin: Arc<T>) -> Named<T> {
    Named {
        name: name.into(),
        kind: name,
        plugin,
    }
}

const CONCURRENCY: u32 = 3;
const TTL: Span = Span(1_000);
const EMPTY_TTL: Span = Span(300);
const MOST: u64 = 12;
const MOST_BYTES: u64 = 60;
const BAND_MOST: u64 = 8;
const BAND_BYTES: u64 = 40;

fn admission() -> Arc<Admission> {
    printed(1)
}

/// The rules under a print.
fn printed(print: u64) -> Arc<Admission> {
    let band = |fairness: Arc<dyn FairnessPolicy>, ordering: Arc<dyn OrderingPolicy>| BandRules {
        max_bytes: BAND_BYTES,
        max_requests: BAND_MOST,
        fairness: named("fairness", fairness),
        ordering: named("ordering", ordering),
    };
    let detector = Concurrency {
        requests: CONCURRENCY,
        ..Concurrency::default()
    };
    Arc::new(Admission {
        flow: Some(Arc::new(FlowRules {
            max_bytes: Some(MOST_BYTES),
            max_requests: Some(MOST),
            ttl: Some(TTL),
            no_endpoint_ttl: Some(EMPTY_TTL),
            bands: BTreeMap::from([(1, band(Arc::new(Turns), Arc::new(ByDeadline)))]),
            others: band(Arc::new(Strict), Arc::new(ByArrival)),
            negative: band(Arc::new(Turns), Arc::new(ByArrival)),
            limit: named("limit", Arc::new(Steps)),
            print,
            eviction: None,
        })),
        detector: named("detector", Arc::new(detector)),
        tokens: None,
        objectives: BTreeMap::from([("low".to_owned(), -1), ("high".to_owned(), 1)]),
        most_in_flight: Vec::new(),
    })
}

fn snapshot(generation: u64, endpoints: u32) -> Snapshot {
    let endpoint = |n: u32| {
        let address = ([10, 0, 0, 1], 8000).into();
        Endpoint::new(&format!("ns/e{n}"), address, Labels::default(), Slot(n))
    };
    Snapshot::new(generation, (0..endpoints).map(endpoint).collect())
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A request of this flow, priority, size and wish.
    Arrive(u8, i64, u64, Option<u64>),
    /// One of those who wait leaves.
    Leave(usize),
    /// One of those let in ends.
    End(usize),
    /// Time passes.
    Pass(u64),
    /// The pool has so many endpoints now.
    Pool(u32),
    /// The gatekeeper looks.
    Turn,
    /// The configuration is read again, with the same words about the queue or with others that mean the same.
    Reload(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let wish = prop::option::of(0u64..500);
    prop_oneof![
        6 => (0u8..4, -1i64..2, 1u64..15, wish).prop_map(|(f, p, b, w)| Step::Arrive(f, p, b, w)),
        2 => any::<prop::sample::Index>().prop_map(|at| Step::Leave(at.index(64))),
        4 => any::<prop::sample::Index>().prop_map(|at| Step::End(at.index(64))),
        3 => (1u64..400).prop_map(Step::Pass),
        1 => (0u32..3).prop_map(Step::Pool),
        5 => Just(Step::Turn),
        1 => (0u64..2).prop_map(Step::Reload),
    ]
}

/// The gatekeeper, those it let in, and a model of the queue that is looked through from end to end.
struct World {
    gate: Gatekeeper<()>,
    permits: Arc<Permits>,
    slots: Arc<Slots>,
    snapshot: Snapshot,
    now: Tick,
    next: u64,
    asked: BTreeMap<u64, Ask>,
    waiting: BTreeSet<u64>,
    let_in: Vec<(u64, Permit, InFlight)>,
    log: Vec<(u64, String)>,
    served: BTreeMap<i64, Arc<str>>,
    regime: Tick,
}

impl World {
    fn new() -> Self {
        let permits = Arc::new(Permits::new(|| {}));
        let mut gate = Gatekeeper::new(Arc::clone(&permits));
        gate.adopt(&admission(), &mut Vec::new());
        Self {
            gate,
            permits,
            slots: Arc::new(Slots::new(4)),
            snapshot: snapshot(1, 1),
            now: Tick(1_000_000),
            next: 0,
            asked: BTreeMap::new(),
            waiting: BTreeSet::new(),
            let_in: Vec::new(),
            log: Vec::new(),
            served: BTreeMap::new(),
            regime: Tick(0),
        }
    }

    fn waiting_in(&self, priority: i64) -> impl Iterator<Item = &Ask> {
        let waiting = self.waiting.iter().map(|number| &self.asked[number]);
        waiting.filter(move |ask| ask.priority == priority)
    }

    fn key(ask: &Ask) -> (u64, u64) {
        let key = match (ask.priority, ask.waiter.first_token_within) {
            (1, Some(within)) => (ask.waiter.arrived + within).0,
            (1, None) => u64::MAX,
            _ => ask.waiter.enqueued.0,
        };
        (key, ask.number)
    }

    /// Who must go next in a band, by looking at everybody.
    fn expected(&self, priority: i64) -> u64 {
        let first_of = |flow: Option<&str>| {
            let of_flow = self
                .waiting_in(priority)
                .filter(|ask| flow.is_none_or(|flow| *ask.flow == *flow));
            of_flow.map(Self::key).min().map(|(_, number)| number)
        };
        if priority == 0 {
            return first_of(None).unwrap();
        }
        let flows: BTreeSet<&str> = self.waiting_in(priority).map(|ask| &*ask.flow).collect();
        let after = self
            .served
            .get(&priority)
            .and_then(|served| flows.iter().find(|flow| ***flow > **served).copied());
        first_of(after.or_else(|| flows.first().copied())).unwrap()
    }

    fn take(&mut self, settled: Settled<()>, queued: bool) {
        let number = settled.ask.number;
        assert_eq!(
            self.waiting.contains(&number),
            queued,
            "{number} has two answers"
        );
        let word = match settled.answer {
            Answer::Pass(mut permit) => {
                assert!(queued);
                let priority = settled.ask.priority;
                let above = self
                    .waiting
                    .iter()
                    .any(|n| self.asked[n].priority > priority);
                assert!(!above, "{number} went before a higher priority");
                assert_eq!(number, self.expected(priority), "out of order");
                self.served.insert(priority, Arc::clone(&settled.ask.flow));
                // The fullest that is not full is as good as any: only the sum counts here.
                let slot = self
                    .snapshot
                    .slots()
                    .iter()
                    .find(|&&slot| self.slots.in_flight(slot) < CONCURRENCY);
                let guard = self
                    .slots
                    .enter_below(*slot.expect("there is room"), CONCURRENCY);
                permit.enter();
                let guard = guard.expect("nobody else takes it");
                self.let_in.push((number, permit, guard));
                if priority < 0 {
                    let all = u64::from(CONCURRENCY) * self.snapshot.len() as u64;
                    assert!(self.slots.total_in_flight() <= all.div_ceil(2));
                }
                "passed"
            }
            Answer::Left => "left",
            Answer::Refuse(reject) => {
                let waited = self.now.since(settled.ask.waiter.enqueued.max(self.regime));
                let empty = self.snapshot.is_empty();
                match &reject {
                    Reject::TtlExpired => assert!(queued && !empty && waited >= TTL),
                    Reject::NoEndpointsQueued { waited: true } => {
                        assert!(queued && empty && waited >= EMPTY_TTL);
                    }
                    Reject::NoEndpointsQueued { waited: false } => assert!(!queued),
                    Reject::QueueFull { retry_after_s } => {
                        assert!(!queued && (1..=60).contains(retry_after_s));
                    }
                    Reject::ShuttingDown => assert!(queued),
                    other => panic!("{other:?}"),
                }
                reject.word()
            }
        };
        self.waiting.remove(&number);
        self.log.push((number, word.to_owned()));
    }

    fn turn(&mut self) {
        let (pool, mut settled) = (self.snapshot.clone(), Vec::new());
        if pool.is_empty() != self.gate_saw_empty() {
            self.regime = self.now;
        }
        let pool = Pool {
            snapshot: &pool,
            slots: &self.slots,
        };
        self.gate.turn(pool, self.now, &mut settled);
        settled.into_iter().for_each(|one| self.take(one, true));
    }

    fn gate_saw_empty(&self) -> bool {
        self.gate.pool_is_empty()
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Arrive(flow, priority, bytes, wish) => {
                self.next += 1;
                let ask = Ask {
                    number: self.next,
                    flow: format!("f{flow}").into(),
                    priority,
                    bytes,
                    waiter: Waiter {
                        arrived: self.now,
                        enqueued: self.now,
                        ttl: None,
                        first_token_within: wish.map(Span),
                    },
                    turned_back: 0,
                };
                self.asked.insert(self.next, ask.clone());
                match self.gate.ask(ask, (), self.now) {
                    None => {
                        self.waiting.insert(self.next);
                    }
                    Some(settled) => self.take(settled, false),
                }
            }
            Step::Leave(at) => {
                let Some(&number) = self.waiting.iter().nth(at % self.waiting.len().max(1)) else {
                    return assert!(self.gate.leave(u64::MAX).is_none());
                };
                let settled = self.gate.leave(number).unwrap();
                self.take(settled, true);
            }
            Step::End(at) => {
                if !self.let_in.is_empty() {
                    let (_, mut permit, guard) = self.let_in.swap_remove(at % self.let_in.len());
                    permit.leave();
                    drop((guard, permit));
                }
            }
            Step::Pass(nanoseconds) => self.now = self.now + Span(nanoseconds),
            Step::Pool(endpoints) => {
                self.snapshot = snapshot(self.snapshot.generation + 1, endpoints);
                // An endpoint that goes takes its requests with it.
                let stays = |guard: &InFlight| self.snapshot.slots().contains(&guard.slot());
                self.let_in.retain_mut(|(_, permit, guard)| {
                    let stays = stays(guard);
                    if !stays {
                        permit.leave();
                    }
                    stays
                });
                // What was seen of the pool is as old as a look may be.
                self.now = self.now + Span::from_millis(10);
                self.turn();
            }
            Step::Turn => self.turn(),
            Step::Reload(print) => {
                let mut settled = Vec::new();
                self.gate.adopt(&printed(print), &mut settled);
                assert!(settled.is_empty(), "nobody is answered by a reload");
            }
        }
    }

    fn check(&self) {
        let queue = self.gate.queue().unwrap();
        assert_eq!(queue.len(), self.waiting.len() as u64);
        let bytes: u64 = self.waiting.iter().map(|n| self.asked[n].bytes).sum();
        assert_eq!(queue.bytes(), bytes);
        assert!(queue.len() <= MOST && bytes <= MOST_BYTES);
        for (priority, filled) in queue.filled() {
            let held = self.waiting_in(priority);
            let (count, bytes) = held.fold((0, 0), |(n, b), ask| (n + 1, b + ask.bytes));
            assert_eq!((filled.requests.0, filled.bytes.0), (count, bytes));
            assert!(count <= BAND_MOST && bytes <= BAND_BYTES);
        }
        assert_eq!(self.permits.held(), self.let_in.len() as u64);
        for slot in 0..4 {
            assert!(self.slots.in_flight(Slot(slot)) <= CONCURRENCY);
        }
    }

    fn finish(mut self) -> Vec<(u64, String)> {
        let mut settled = Vec::new();
        self.gate.close(&mut settled);
        settled.into_iter().for_each(|one| self.take(one, true));
        self.let_in.clear();
        assert!(self.waiting.is_empty());
        assert_eq!((self.permits.held(), self.permits.entered()), (0, 0));
        assert_eq!(self.slots.total_in_flight(), 0);
        let mut answered: Vec<u64> = self.log.iter().map(|(number, _)| *number).collect();
        answered.sort_unstable();
        assert_eq!(
            answered,
            (1..=self.next).collect::<Vec<_>>(),
            "one answer each"
        );
        self.log
    }
}

fn play(steps: &[Step]) -> Vec<(u64, String)> {
    let mut world = World::new();
    for &step in steps {
        world.apply(step);
        world.check();
    }
    world.finish()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn each_has_one_answer_in_order_within_all_bounds(steps in prop::collection::vec(step(), 0..200)) {
        let log = play(&steps);
        prop_assert_eq!(log, play(&steps), "the same steps give the same answers");
    }
}

#[test]
fn a_flow_that_sends_much_does_not_delay_one_that_sends_little() {
    let mut world = World::new();
    for (flow, count) in [(0, 5), (1, 2)] {
        (0..count).for_each(|_| world.apply(Step::Arrive(flow, 1, 1, None)));
    }
    let mut order = Vec::new();
    for _ in 0..7 {
        world.apply(Step::Pass(LOOK));
        world.turn();
        order.extend(
            world
                .let_in
                .iter()
                .map(|(number, ..)| world.asked[number].flow.to_string()),
        );
        (0..world.let_in.len()).for_each(|_| world.apply(Step::End(0)));
    }
    assert_eq!(order, ["f0", "f1", "f0", "f1", "f0", "f0", "f0"]);
}

const LOOK: u64 = 1;

#[test]
fn other_rules_do_not_begin_the_turns_anew() {
    let mut world = World::new();
    for (flow, count) in [(0, 3), (1, 2)] {
        (0..count).for_each(|_| world.apply(Step::Arrive(flow, 1, 1, None)));
    }
    world.turn();
    let flows = |world: &World| -> Vec<String> {
        let let_in = world.let_in.iter();
        let_in
            .map(|(number, ..)| world.asked[number].flow.to_string())
            .collect()
    };
    assert_eq!(flows(&world), ["f0", "f1", "f0"]);
    world.gate.adopt(&admission(), &mut Vec::new());
    (0..3).for_each(|_| world.apply(Step::End(0)));
    world.turn();
    assert_eq!(flows(&world), ["f1", "f0"]);
}

/// One that was let in so often and found no place; it waits since `enqueued`.
fn turned_back(number: u64, turned_back: u32, enqueued: Tick) -> Ask {
    Ask {
        number,
        flow: "f".into(),
        priority: 0,
        bytes: 1,
        waiter: Waiter {
            arrived: enqueued,
            enqueued,
            ttl: None,
            first_token_within: None,
        },
        turned_back,
    }
}

#[test]
fn who_is_turned_back_stands_aside_and_keeps_its_place_in_time() {
    let mut world = World::new();
    let began = world.now;
    let asks = |world: &mut World, number, times| {
        let ask = turned_back(number, times, began);
        assert!(world.gate.ask(ask, (), world.now).is_none());
    };
    let turn = |world: &mut World| -> Vec<Settled<()>> {
        let (snapshot, mut out) = (world.snapshot.clone(), Vec::new());
        let pool = Pool {
            snapshot: &snapshot,
            slots: &world.slots,
        };
        world.gate.turn(pool, world.now, &mut out);
        out
    };
    let numbers = |out: &[Settled<()>]| out.iter().map(|one| one.ask.number).collect::<Vec<_>>();
    // There is room, but it was not where the first one may go; the second goes meanwhile.
    asks(&mut world, 1, 1);
    asks(&mut world, 2, 0);
    let mut out = turn(&mut world);
    assert_eq!(numbers(&out), [2]);
    assert_eq!(world.gate.queue().unwrap().len(), 1);
    // A place that becomes free may be the one.
    let Answer::Pass(permit) = &mut out[0].answer else {
        panic!("it was let in")
    };
    permit.enter();
    permit.leave();
    drop(out);
    let out = turn(&mut world);
    assert_eq!(numbers(&out), [1]);
    assert_eq!(out[0].ask.waiter.enqueued, began);
    drop(out);
    // Without one it is tried again after a while.
    asks(&mut world, 3, 1);
    assert_eq!(numbers(&turn(&mut world)), [] as [u64; 0]);
    assert_eq!(world.gate.deadline(), Some(began + TTL));
    world.now = began + Span(TTL.0 - 1);
    assert_eq!(numbers(&turn(&mut world)), [] as [u64; 0]);
    // It waits no longer than any other, however often it was turned back.
    world.now = began + TTL;
    let out = turn(&mut world);
    assert!(matches!(out[0].answer, Answer::Refuse(Reject::TtlExpired)));
    assert!(world.gate.queue().unwrap().is_empty());
    // One that leaves, and one that is there at the end.
    asks(&mut world, 4, 2);
    asks(&mut world, 5, 2);
    assert!(world.gate.leave(4).is_some());
    let mut out = Vec::new();
    world.gate.close(&mut out);
    assert_eq!(numbers(&out), [5]);
    assert_eq!(world.gate.queue().unwrap().bytes(), 0);
}

#[test]
fn a_reload_that_changes_nothing_for_the_queue_leaves_everybody_where_they_stand() {
    for (print, expected) in [(1, [].as_slice()), (2, [7].as_slice())] {
        let mut world = World::new();
        let ask = turned_back(7, 1, world.now);
        assert!(world.gate.ask(ask, (), world.now).is_none());
        let mut out = Vec::new();
        world.gate.adopt(&printed(print), &mut out);
        assert!(out.is_empty());
        assert_eq!(world.gate.queue().unwrap().len(), 1);
        let (snapshot, slots) = (world.snapshot.clone(), Arc::clone(&world.slots));
        let pool = Pool {
            snapshot: &snapshot,
            slots: &slots,
        };
        world.gate.turn(pool, world.now, &mut out);
        let numbers: Vec<u64> = out.iter().map(|one| one.ask.number).collect();
        assert_eq!(numbers, expected, "one that stands aside, print {print}");
    }
}

#[test]
fn the_wait_begins_anew_when_the_pool_becomes_empty_or_is_filled() {
    let mut world = World::new();
    world.apply(Step::Pool(0));
    world.apply(Step::Arrive(0, 0, 1, None));
    world.apply(Step::Pass(EMPTY_TTL.0 - 1));
    world.turn();
    assert_eq!(world.log, []);
    let before = world.gate.deadline().unwrap();
    assert_eq!(before, world.now + Span(1));
    world.apply(Step::Pass(1));
    world.turn();
    assert_eq!(world.log, [(1, "no-endpoints".to_owned())]);
    world.apply(Step::Arrive(0, 0, 1, None));
    world.apply(Step::Pool(2));
    assert_eq!(world.log.last().unwrap(), &(2, "passed".to_owned()));
}

#[test]
fn without_rules_for_waiting_those_who_wait_all_pass() {
    let mut world = World::new();
    world.apply(Step::Pool(0));
    (0..5).for_each(|_| world.apply(Step::Arrive(0, 0, 1, None)));
    let mut none = admission();
    Arc::get_mut(&mut none).unwrap().flow = None;
    let mut settled = Vec::new();
    world.permits.set_limit(9);
    world.gate.adopt(&none, &mut settled);
    assert_eq!(settled.len(), 5);
    assert!(
        world.permits.pass().is_none(),
        "whoever comes under rules again asks first"
    );
    assert!(
        settled
            .iter()
            .all(|one| matches!(one.answer, Answer::Pass(_)))
    );
    drop(settled);
    assert_eq!(world.permits.held(), 0);
    let more = admission();
    world.gate.adopt(&more, &mut Vec::new());
    assert!(world.gate.queue().unwrap().is_empty());
}
