//! The profile `balanced` as a whole: decisions by the plan, answers that follow a rule, what is predicted then.
#![allow(clippy::unwrap_used)]

use std::ops::ControlFlow;
use std::sync::Arc;

use pointsman_core::config::basis::{Basis, Registry};
use pointsman_core::config::resolved::resolve;
use pointsman_core::config::written::Written;
use pointsman_core::contract::spec::Generation;
use pointsman_core::contract::table::Table;
use pointsman_core::exchange::event::{Cause, Deciding, Effect, Event, Usage};
use pointsman_core::exchange::life::Life;
use pointsman_core::fixture::{Pool, pool};
use pointsman_core::model::prompt::{Form, Piece, Prompt, PromptView};
use pointsman_core::model::request::InferenceRequest;
use pointsman_core::model::slots::{CacheConfig, Reading, Slot};
use pointsman_core::schedule::plan::Plan;
use pointsman_core::time::Tick;
use proptest::prelude::*;

/// What the profile `balanced` stands for.
const BALANCED: &str = "
apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: engine-prefix-cache-producer
- type: expected-ttft-scorer
- type: max-score-picker
- type: single-profile-handler
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: expected-ttft-scorer
  - pluginRef: max-score-picker
";

/// Places of the terms.
const WAIT: usize = 0;
const PREFILL: usize = 1;
const TTFT: usize = 2;
const CACHED: usize = 4;

fn plan(generation: Generation, previous: Option<&Plan>) -> Arc<Plan> {
    let written: Written = serde_saphyr::from_str(BALANCED).unwrap();
    let registry = Registry::new(pointsman_plugins::ALL);
    let basis = Basis {
        previous,
        ..Basis::new(&registry, generation, "balanced")
    };
    let resolved = resolve(&written, &basis).unwrap_or_else(|faults| panic!("{faults:?}"));
    assert_eq!(resolved.warnings, []);
    Arc::new(resolved.plan)
}

/// A prompt in one piece.
struct Text(Vec<u8>);

impl PromptView for Text {
    fn walk(&self, _: Form, take: &mut dyn FnMut(Piece<'_>) -> ControlFlow<()>) {
        if take(Piece::Bytes(&self.0)).is_continue() {
            let _ = take(Piece::End);
        }
    }
}

/// `tokens` tokens that begin like all others of this `kind`.
fn text(kind: u8, tokens: usize) -> Text {
    Text(
        (0..tokens * 4)
            .map(|at| kind ^ (at / 4 % 251) as u8)
            .collect(),
    )
}

/// A pool, a plan and time.
struct World {
    plan: Arc<Plan>,
    pool: Pool,
    table: Table,
    now: u64,
    seed: u64,
    streams: bool,
}

/// A request under way: where, and what was expected.
struct Sent {
    life: Life,
    row: usize,
    terms: Vec<f64>,
    tokens: u32,
}

impl World {
    fn new(endpoints: usize) -> Self {
        let lines: String = (0..endpoints).map(|n| format!("e{n}\n")).collect();
        let pool = pool(&lines);
        for n in 0..endpoints as u32 {
            let cache = CacheConfig {
                block_size: 16,
                blocks: 1_000,
            };
            pool.slots.set_cache_config(Slot(n), cache);
        }
        Self {
            plan: plan(Generation::G1, None),
            pool,
            table: Table::default(),
            now: 1_000,
            seed: 0,
            streams: true,
        }
    }

    fn tick(&self) -> Tick {
        Tick(self.now * 1_000_000)
    }

    fn send(&mut self, text: &Text) -> Sent {
        let request = InferenceRequest {
            model: "m",
            prompt: Some(Prompt(text)),
            prompt_bytes: text.0.len(),
            max_output_tokens: Some(4_096),
            stream: self.streams,
            ..InferenceRequest::default()
        };
        self.seed += 1;
        let mut life = Life::begin(self.tick());
        let now = self.tick();
        let deciding = Deciding {
            plan: &self.plan,
            snapshot: &self.pool.snapshot,
            slots: &self.pool.slots,
            request: &request,
            table: &mut self.table,
            seed: self.seed,
        };
        let Effect::Forward { row, .. } = life.on(Event::Ready(deciding), now) else {
            panic!("not forwarded")
        };
        let terms = self.table.runs()[0]
            .terms
            .iter()
            .map(|term| term[row])
            .collect();
        Sent {
            life,
            row,
            terms,
            tokens: text.0.len() as u32 / 4,
        }
    }

    /// The answer begins after `first` and ends after `answer` more milliseconds.
    fn answer(&mut self, mut sent: Sent, first: f64, cached: u32, output: u32, answer: f64) {
        let usage = Usage {
            prompt_tokens: sent.tokens,
            completion_tokens: output,
            cached_tokens: Some(cached),
        };
        let after = |world: &Self, ms: f64| Tick(world.tick().0 + (ms * 1e6) as u64);
        let head = if self.streams { first } else { first + answer };
        let (head, end) = (after(self, head), after(self, first + answer));
        let _ = sent.life.on(Event::Head { status: 200 }, head);
        let _ = sent.life.on(Event::End { usage: Some(usage) }, end);
        self.now = end.0 / 1_000_000 + 1;
    }

    /// Requests one by one, of all lengths, to engines that take 30 ms and 0.25 ms per uncached token, and 12 ms for
    /// each further one; the engine of row `slow` takes three times as long.
    fn teach(&mut self, requests: usize, slow: Option<usize>) {
        for n in 0..requests {
            let tokens = 64 + n * 37 % 23 * 64;
            let sent = self.send(&text(n as u8, tokens));
            let factor = if Some(sent.row) == slow { 3.0 } else { 1.0 };
            let cached = sent.terms[CACHED];
            let first = factor * (30.0 + 0.25 * (tokens as f64 - cached));
            let output = 20 + (n * 13 % 60) as u32;
            let answer = factor * 12.0 * f64::from(output - 1);
            self.answer(sent, first, cached.round() as u32, output, answer);
            self.keep_up();
        }
    }

    fn keep_up(&self) {
        for (_, _, learner) in self.plan.learners() {
            learner.maintain(self.tick(), &self.pool.snapshot, &self.pool.slots);
        }
    }

    fn report(&self) -> serde_json::Value {
        let (_, _, learner) = self.plan.learners().next().unwrap();
        learner.report(&self.pool.snapshot)
    }

    /// Gauges of every engine as they would be with `seats` seats.
    fn scrape(&mut self, seats: u32) {
        self.now += 1;
        for n in 0..self.pool.snapshot.len() as u32 {
            let all = self.pool.slots.in_flight(Slot(n));
            let now = self.tick();
            let write = |reading, value: u32| {
                self.pool
                    .slots
                    .write(Slot(n), reading, f64::from(value), now);
            };
            write(Reading::Waiting, all.saturating_sub(seats));
            write(Reading::Running, all.min(seats));
        }
    }
}

#[test]
fn the_profile_resolves_in_both_generations_without_a_word() {
    for generation in [Generation::G1, Generation::G2] {
        let plan = plan(generation, None);
        assert_eq!(plan.learners().count(), 1);
        assert_eq!(plan.producers.len(), 1, "no other producer is added");
    }
}

#[test]
fn without_data_the_fewest_in_flight_win_and_equals_are_drawn() {
    let mut world = World::new(4);
    let sent: Vec<Sent> = (0..8).map(|_| world.send(&text(1, 400))).collect();
    let mut rows: Vec<usize> = sent.iter().map(|sent| sent.row).collect();
    rows.sort_unstable();
    assert_eq!(rows, [0, 0, 1, 1, 2, 2, 3, 3]);
}

#[track_caller]
fn close(found: f64, expected: f64, share: f64) {
    assert!(
        (found - expected).abs() <= share * expected,
        "{found}, not about {expected}"
    );
}

#[test]
fn prefill_is_predicted_from_what_is_not_cached() {
    let mut world = World::new(3);
    world.teach(200, None);
    let fresh = world.send(&text(201, 1_200));
    close(fresh.terms[PREFILL], 30.0 + 0.25 * 1_200.0, 0.1);
    let row = fresh.row;
    world.answer(fresh, 330.0, 0, 10, 100.0);
    let again = world.send(&text(201, 1_600));
    assert_eq!(again.row, row, "the cached prefix draws it");
    close(again.terms[CACHED], 1_200.0, 0.02);
    close(again.terms[TTFT], 30.0 + 0.25 * 400.0, 0.15);
    assert!(again.terms[WAIT].abs() < 1e-9);
}

#[test]
fn a_slow_engine_is_found_out_and_left_alone() {
    let mut world = World::new(4);
    world.teach(120, Some(2));
    let factor = |world: &World, row: usize| {
        world.report()["endpoints"][row]["prefillFactor"]
            .as_f64()
            .unwrap()
    };
    close(factor(&world, 2), 3.0, 0.35);
    close(factor(&world, 1), 1.0, 0.1);
    let rows: Vec<usize> = (0..3)
        .map(|n| world.send(&text(220 + n, 900)).row)
        .collect();
    assert!(!rows.contains(&2), "{rows:?}");
}

#[test]
fn a_full_engine_is_left_when_its_wait_is_longer_than_the_prefill_saved() {
    let mut world = World::new(2);
    world.teach(100, None);
    let first = world.send(&text(251, 1_200));
    let home = first.row;
    world.answer(first, 330.0, 0, 10, 100.0);
    let mut held = Vec::new();
    for _ in 0..40 {
        let sent = world.send(&text(251, 1_200));
        let away = sent.row != home;
        held.push(sent);
        world.scrape(2);
        if away {
            // Two run, and a few wait: as many as a prefill of 330 ms is worth.
            let there = held.iter().filter(|sent| sent.row == home).count();
            assert!((2..8).contains(&there), "{there}");
            return;
        }
    }
    panic!("everything went to the engine that had the prefix");
}

#[test]
fn a_new_plan_goes_on_with_what_was_learned() {
    let mut world = World::new(3);
    world.teach(100, Some(1));
    let before = world.report();
    let next = plan(Generation::G1, Some(&world.plan));
    let under_way = world.send(&text(9, 500));
    world.plan = next;
    assert_eq!(world.report()["models"], before["models"]);
    // A request of the old plan teaches the new one.
    let row = under_way.row;
    assert_eq!(world.report()["endpoints"][row]["underWay"], 1);
    world.answer(under_way, 100.0, 0, 10, 100.0);
    assert_eq!(world.report()["endpoints"][row]["underWay"], 0);
}

#[test]
fn an_engine_that_restarts_is_a_new_one() {
    let mut world = World::new(3);
    world.teach(100, Some(1));
    world.pool.slots.restarted(Slot(1));
    world.keep_up();
    let report = world.report();
    close(
        report["endpoints"][1]["prefillFactor"].as_f64().unwrap(),
        1.0,
        0.01,
    );
    assert_eq!(report["endpoints"][1]["samples"].as_f64(), Some(0.0));
}

#[test]
fn failures_teach_nothing_and_leave_nothing() {
    let mut world = World::new(2);
    world.teach(60, None);
    let before = world.report()["models"].clone();
    for n in 0..30 {
        let mut sent = world.send(&text(n, 700));
        let now = world.tick();
        let _ = match n % 3 {
            0 => {
                let _ = sent.life.on(Event::Head { status: 503 }, now);
                sent.life.on(Event::End { usage: None }, now)
            }
            1 => sent.life.on(
                Event::AttemptFailed {
                    cause: Cause::Connect,
                    retry: None,
                },
                now,
            ),
            _ => sent.life.on(Event::ClientGone, now),
        };
    }
    let report = world.report();
    assert_eq!(report["models"], before);
    assert!(
        report["endpoints"]
            .as_array()
            .unwrap()
            .iter()
            .all(|e| e["underWay"] == 0)
    );
}

#[test]
fn whole_answers_teach_too() {
    let mut world = World::new(2);
    world.streams = false;
    world.teach(150, None);
    let fresh = world.send(&text(201, 1_200));
    close(fresh.terms[PREFILL], 30.0 + 0.25 * 1_200.0, 0.35);
    let row = fresh.row;
    world.answer(fresh, 330.0, 0, 10, 100.0);
    assert_eq!(world.send(&text(201, 1_300)).row, row);
}

#[test]
fn an_engine_that_hangs_is_avoided_before_it_answers() {
    let mut world = World::new(2);
    world.teach(100, None);
    let hanging = world.send(&text(240, 1_000));
    let stuck = hanging.row;
    world.now += 5_000;
    let rows: Vec<usize> = (0..3).map(|_| world.send(&text(240, 1_000)).row).collect();
    assert!(!rows.contains(&stuck), "{rows:?}");
}

/// Scores and costs by endpoint name of one more request.
fn scores(world: &mut World, prompt: &Text) -> Vec<(String, f64, f64)> {
    let _ = world.send(prompt);
    let run = &world.table.runs()[0];
    let row = |(row, endpoint): (usize, &pointsman_core::model::endpoint::Endpoint)| {
        (
            endpoint.name.to_string(),
            run.scores[0][row],
            run.terms[TTFT][row],
        )
    };
    world
        .pool
        .snapshot
        .endpoints
        .iter()
        .enumerate()
        .map(row)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn scores_fall_with_the_expected_time_and_rows_have_no_order(
        loads in prop::collection::vec(0usize..12, 2..7),
        seats in 0u32..5,
        kind in any::<u8>(),
    ) {
        let mut world = World::new(loads.len());
        world.teach(40, Some(0));
        // Requests that stay: to whom they go is the plan's business, how many there are differs.
        let held: Vec<Sent> = (0..loads.iter().sum::<usize>()).map(|n| {
            if seats > 0 && n % 3 == 0 {
                world.scrape(seats);
            }
            world.send(&text(n as u8 % 5, 300 + n * 16))
        }).collect();
        let prompt = text(kind % 5, 900);
        let straight = scores(&mut world, &prompt);
        for (_, score, ttft) in &straight {
            prop_assert!((0.0..=1.0).contains(score) && *ttft > 0.0);
            for (_, other, later) in &straight {
                prop_assert!(ttft * 1.02 >= *later || score > other, "{straight:?}");
            }
        }
        prop_assert!(straight.iter().any(|(_, score, _)| *score == 1.0));
        // The last request is over without a trace.
        let mut endpoints = world.pool.snapshot.endpoints.clone();
        endpoints.reverse();
        world.pool.snapshot = Arc::new(pointsman_core::model::pool::Snapshot::new(2, endpoints));
        let mut turned = scores(&mut world, &prompt);
        turned.reverse();
        let cached = |all: &[(String, f64, f64)]| all.iter().map(|(name, ..)| name.clone()).collect::<Vec<_>>();
        prop_assert_eq!(cached(&straight), cached(&turned));
        drop(held);
        prop_assert!(world.report()["endpoints"].as_array().unwrap().iter().all(|e| e["underWay"] == 0));
    }
}
