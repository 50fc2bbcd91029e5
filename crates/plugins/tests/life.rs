//! Property tests over the life of a request: whatever happens in whatever order, every request has exactly one
//! outcome and nothing stays in flight.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use pointsman_core::config::basis::{Basis, Registry};
use pointsman_core::config::presets::preset;
use pointsman_core::config::resolved::resolve;
use pointsman_core::contract::context::Asked;
use pointsman_core::contract::produced::Produced;
use pointsman_core::contract::spec::Generation;
use pointsman_core::contract::table::Table;
use pointsman_core::exchange::event::{Cause, Deciding, Effect, End, Event};
use pointsman_core::exchange::life::Life;
use pointsman_core::fixture::{Pool, pool};
use pointsman_core::model::prompt::Prompt;
use pointsman_core::model::reject::Reject;
use pointsman_core::model::request::InferenceRequest;
use pointsman_core::schedule::plan::Plan;
use pointsman_core::time::Tick;
use proptest::prelude::*;

/// What may happen to a request next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Ready,
    Bypass,
    Fail { last: bool },
    Refuse,
    Head,
    End,
    Break,
    Leave,
    Drop,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Ready),
        1 => Just(Step::Bypass),
        3 => any::<bool>().prop_map(|last| Step::Fail { last }),
        1 => Just(Step::Refuse),
        3 => Just(Step::Head),
        2 => Just(Step::End),
        1 => Just(Step::Break),
        1 => Just(Step::Leave),
        1 => Just(Step::Drop),
    ]
}

fn plan(name: &str) -> Arc<Plan> {
    let registry = Registry::new(pointsman_plugins::ALL);
    let basis = Basis::new(&registry, Generation::G1, name);
    Arc::new(resolve(&preset(name).unwrap(), &basis).ok().unwrap().plan)
}

struct World {
    plan: Arc<Plan>,
    pool: Pool,
    table: Table,
    seed: u64,
}

impl World {
    fn deciding<'a>(&'a mut self, request: &'a InferenceRequest<'a>) -> Deciding<'a> {
        self.seed += 1;
        Deciding {
            plan: &self.plan,
            snapshot: &self.pool.snapshot,
            slots: &self.pool.slots,
            request,
            table: &mut self.table,
            seed: self.seed,
        }
    }

    fn apply(&mut self, life: &mut Life, step: Step, now: Tick) -> Effect {
        let request = InferenceRequest::default();
        match step {
            Step::Ready => life.on(Event::Ready(self.deciding(&request)), now),
            Step::Bypass => {
                let (snapshot, slots) = (
                    Arc::clone(&self.pool.snapshot),
                    Arc::clone(&self.pool.slots),
                );
                life.on(
                    Event::Bypass {
                        row: 0,
                        snapshot: &snapshot,
                        slots: &slots,
                    },
                    now,
                )
            }
            Step::Fail { last: true } => life.on(
                Event::AttemptFailed {
                    cause: Cause::Connect,
                    retry: None,
                },
                now,
            ),
            Step::Fail { last: false } => {
                let retry = Some(self.deciding(&request));
                life.on(
                    Event::AttemptFailed {
                        cause: Cause::Reset,
                        retry,
                    },
                    now,
                )
            }
            Step::Refuse => life.on(Event::Refused(Reject::ShuttingDown), now),
            Step::Head => life.on(Event::Head { status: 200 }, now),
            Step::End => life.on(Event::End { usage: None }, now),
            Step::Break => life.on(Event::Broken(Cause::Reset), now),
            Step::Leave | Step::Drop => life.on(Event::ClientGone, now),
        }
    }
}

proptest! {
    #[test]
    fn every_life_has_one_outcome_and_nothing_stays_in_flight(
        steps in prop::collection::vec((0usize..6, step()), 0..120),
        by_backend in any::<bool>(),
    ) {
        let name = if by_backend { "proxy-performance-by-backend" } else { "proxy-performance" };
        let text = "a llm-d.ai/kv-backend=nvlink\nb llm-d.ai/kv-backend=fs\nc llm-d.ai/kv-backend=nvlink\n";
        let mut world = World { plan: plan(name), pool: pool(text), table: Table::default(), seed: 0 };
        let mut lives: Vec<Option<Life>> = (0..6).map(|_| Some(Life::begin(Tick(1)))).collect();
        let mut outcomes = [0; 6];
        for (at, (who, step)) in steps.into_iter().enumerate() {
            let Some(mut life) = lives[who].take() else { continue };
            let before = world.pool.slots.total_in_flight();
            let effect = world.apply(&mut life, step, Tick(2 + at as u64));
            match &effect {
                Effect::Note(outcome) => {
                    outcomes[who] += 1;
                    prop_assert!(outcome.end != End::Served || outcome.status.is_some());
                }
                Effect::Forward { row, .. } => {
                    prop_assert!(!by_backend || *row != 1 || matches!(step, Step::Bypass));
                    prop_assert!(*row < 3);
                }
                Effect::Reply(_) => prop_assert!(world.pool.slots.total_in_flight() <= before),
                Effect::AskAdmission => prop_assert!(false, "nobody waits under these plans"),
                Effect::Nothing => {}
            }
            prop_assert!(outcomes[who] <= 1);
            if !matches!(step, Step::Drop) {
                lives[who] = Some(life);
            }
            let under_way = lives.iter().flatten().filter(|l| !l.is_ended()).count() as u64;
            prop_assert!(world.pool.slots.total_in_flight() <= under_way);
        }
        drop(lives);
        prop_assert_eq!(world.pool.slots.total_in_flight(), 0);
    }
}

/// Tokens in flight by row, as the plan's producer counts them.
fn tokens(world: &World) -> Vec<u64> {
    let request = InferenceRequest::default();
    let asked = Asked {
        now: Tick(1),
        request: &request,
        snapshot: &world.pool.snapshot,
        slots: &world.pool.slots,
    };
    let mut produced = Produced::default();
    for preparer in &world.plan.preparers {
        preparer.plugin.prepare(&asked, &mut produced);
    }
    produced
        .load("inflight-load-producer")
        .unwrap()
        .in_flight
        .clone()
}

fn token_plan(output: bool) -> Arc<Plan> {
    let text = format!(
        "plugins: [{{type: token-load-scorer}}, {{type: inflight-load-producer, parameters: {{addEstimatedOutputTokens: {output}}}}}]"
    );
    let written = serde_saphyr::from_str(&text).unwrap();
    let registry = Registry::new(pointsman_plugins::ALL);
    let basis = Basis::new(&registry, Generation::G2, "tokens");
    Arc::new(resolve(&written, &basis).ok().unwrap().plan)
}

#[test]
fn tokens_are_given_back_with_the_first_byte_or_at_the_end() {
    let text = vec![b'x'; 400];
    let view = text.as_slice();
    let request = InferenceRequest {
        prompt: Some(Prompt(&view)),
        max_output_tokens: Some(50),
        ..InferenceRequest::default()
    };
    for (output, at_pick, after_head) in [(false, 100, 0), (true, 150, 150)] {
        let mut world = World {
            plan: token_plan(output),
            pool: pool("a\nb\n"),
            table: Table::default(),
            seed: 1,
        };
        let sum = |world: &World| tokens(world).iter().sum::<u64>();
        let mut life = Life::begin(Tick(1));
        let effect = life.on(Event::Ready(world.deciding(&request)), Tick(2));
        let Effect::Forward { row, .. } = effect else {
            panic!("picked nobody")
        };
        assert_eq!(tokens(&world)[row], at_pick);
        // Another one is asked: the first has nothing to do any more.
        let retry = Some(world.deciding(&request));
        let cause = Cause::Reset;
        life.on(Event::AttemptFailed { cause, retry }, Tick(3));
        assert_eq!((tokens(&world)[row], sum(&world)), (0, at_pick));
        life.on(Event::Head { status: 200 }, Tick(4));
        assert_eq!(sum(&world), after_head);
        life.on(Event::End { usage: None }, Tick(5));
        assert_eq!(sum(&world), 0);
        let mut life = Life::begin(Tick(6));
        life.on(Event::Ready(world.deciding(&request)), Tick(6));
        drop(life);
        assert_eq!(sum(&world), 0, "a request that is dropped holds nothing");
    }
}

#[test]
fn each_failed_endpoint_is_left_out_and_the_last_failure_is_the_answer() {
    let mut world = World {
        plan: plan("proxy-performance"),
        pool: pool("a\nb\nc\n"),
        table: Table::default(),
        seed: 9,
    };
    let mut life = Life::begin(Tick(0));
    let mut seen = Vec::new();
    let mut effect = world.apply(&mut life, Step::Ready, Tick(1));
    while let Effect::Forward { row, .. } = effect {
        assert!(!seen.contains(&row), "row {row} twice");
        seen.push(row);
        assert_eq!(world.pool.slots.total_in_flight(), 1);
        effect = world.apply(&mut life, Step::Fail { last: false }, Tick(2));
    }
    assert_eq!(
        (seen.len(), effect),
        (3, Effect::Reply(Reject::UpstreamUnreachable { tried: 3 }))
    );
    assert_eq!(world.pool.slots.total_in_flight(), 0);
}

#[test]
fn the_filter_that_left_nothing_is_named() {
    let text = "a llm-d.ai/kv-backend=fs\n";
    let mut world = World {
        plan: plan("proxy-performance-by-backend"),
        pool: pool(text),
        table: Table::default(),
        seed: 9,
    };
    let mut life = Life::begin(Tick(0));
    let Effect::Reply(reject) = world.apply(&mut life, Step::Ready, Tick(1)) else {
        panic!("picked")
    };
    assert_eq!(
        reject,
        Reject::FilteredOut {
            profile: "default".to_owned(),
            filter: "by-kv-backend".to_owned()
        }
    );
}
