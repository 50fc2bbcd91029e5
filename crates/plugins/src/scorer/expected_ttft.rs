//! Prefers the candidate whose first token is expected first: wait and prefill in one unit, milliseconds.
//!
//! # When to use
//! As the only scorer of a profile, for any traffic: it weighs load, cached prefixes and unequal engines against each
//! other by what they cost in time, learns that cost by itself, and has no weights to tune. The profile `balanced`
//! is this scorer with its producer.
//!
//! # Formula
//! `cost = wait + prefill`. `wait` is 0 while fewer requests are under way than the endpoint has seats; else the
//! time until enough of those under way have ended, from the lengths that answers have and how far each has come.
//! `prefill = (a + b × uncached + c × ahead + (d + e × uncached) × n) × speed`: `uncached` tokens of the prompt that the
//! endpoint is not believed to hold, tokens `ahead` in other prompts that it works on, `n` requests there. `a` to
//! `e`, tokens per byte and lengths of answers are learned per model; the speed, for prefills and for tokens, and
//! the seats per endpoint. The least cost gets 1, a cost `k` times as high `0.98 / k`; within 2 % of the least the
//! candidates with the fewest requests under way get 1. A slow endpoint that holds the prompt has a `surcharge` besides:
//! what such requests have lost there so far, until one goes elsewhere for it. Before the first answer the cost is the number of
//! requests under way.
//!
//! # Reads
//! `inFlight`; matches of the producer `engine-prefix-cache-producer`, or of another if there is no such; the
//! engines' gauges for running and waiting requests, if there are any, to learn seats.
//!
//! # Example
//! ```yaml
//! - type: expected-ttft-scorer
//! ```
//!
//! # Limits
//! Learns from streamed answers with status 2xx; of others only whole times, which tell less. Nothing is known of
//! lengths of single answers beyond `max_tokens`. An endpoint that fails at once looks idle: leaving it out is not
//! a scorer's business. Weighing it against other scorers is possible, but its scores are ratios of costs.

use std::sync::Arc;

use pointsman_core::contract::context::Ctx;
use pointsman_core::contract::learner::{Learner, Lesson, Taught};
use pointsman_core::contract::roles::{Built, Scorer, State};
use pointsman_core::contract::spec::{
    DataKey, ParamFault, Params, PluginSpec, Requirement, Role, Stability, schema_of,
};
use pointsman_core::contract::table::ProfileRun;
use pointsman_core::index::row_set::RowSet;
use pointsman_core::model::pool::Snapshot;
use pointsman_core::model::slots::{Reading, Slot, Slots};
use pointsman_core::time::Tick;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::expected_ttft::estimate::{Estimate, Pricing};
use crate::expected_ttft::memory::Memory;
use crate::expected_ttft::queue::Entry;
use crate::expected_ttft::report;
use crate::expected_ttft::scale::scores;

/// The producer that is made for this scorer.
const PRODUCER: &str = "engine-prefix-cache-producer";

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "expected-ttft-scorer",
    aliases: &[],
    role: Role::Scorer,
    stability: Stability::Beta,
    reads: &[Reading::InFlight],
    requires,
    source: include_str!("expected_ttft.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    /// Requests that every engine runs at once; 0: learned for each.
    slots: i64,
    /// Name of the producer whose matches count; empty means `engine-prefix-cache-producer`.
    prefix_match_info_producer_name: String,
}

impl Parameters {
    fn producer(&self) -> &str {
        match self.prefix_match_info_producer_name.as_str() {
            "" => PRODUCER,
            name => name,
        }
    }
}

fn requires(params: &Params<'_>) -> Vec<Requirement> {
    let parameters: Parameters = params.read().unwrap_or_default();
    let named = !parameters.prefix_match_info_producer_name.is_empty();
    vec![Requirement {
        key: DataKey::PrefixMatch,
        producer: Some(parameters.producer().to_owned()),
        // Without any it still knows load and speed.
        optional: !named,
    }]
}

fn build(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    let given: Parameters = params.read()?;
    if given.slots < 0 {
        return Err(vec![ParamFault {
            path: "slots".to_owned(),
            message: format!("{} is below 0; 0 means that it is learned", given.slots),
        }]);
    }
    let memory = params
        .previous
        .and_then(|state| Arc::clone(state).downcast::<Memory>().ok())
        .unwrap_or_default();
    Ok(Built::Scorer(Box::new(ExpectedTtft {
        memory,
        producer: given.producer().to_owned(),
        seats: (given.slots > 0).then_some(given.slots as f64),
    })))
}

struct ExpectedTtft {
    memory: Arc<Memory>,
    producer: String,
    seats: Option<f64>,
}

impl ExpectedTtft {
    /// Writes the costs to `out` and what they are made of to `note`.
    fn costs(
        &self,
        ctx: &Ctx<'_>,
        rows: &RowSet,
        out: &mut [f64],
        mut note: impl FnMut(usize, &Estimate),
    ) {
        let pricing = Pricing::new(ctx, &self.memory, &self.producer, self.seats);
        rows.for_each(|row| {
            if pricing.informed {
                let estimate = pricing.at(row);
                note(row, &estimate);
                out[row] = estimate.cost();
            } else {
                out[row] = 1.0 + pricing.in_flight(row);
            }
        });
        scores(rows, |row| pricing.in_flight(row), out);
    }
}

impl Scorer for ExpectedTtft {
    fn score(&self, ctx: &Ctx<'_>, rows: &RowSet, out: &mut [f64]) {
        self.costs(ctx, rows, out, |_, _| {});
    }

    fn terms(&self) -> &'static [&'static str] {
        &[
            "waitMs",
            "prefillMs",
            "ttftMs",
            "uncachedTokens",
            "cachedTokens",
            "surchargeMs",
        ]
    }

    fn score_with_terms(
        &self,
        ctx: &Ctx<'_>,
        rows: &RowSet,
        out: &mut [f64],
        terms: &mut [Vec<f64>],
    ) {
        self.costs(ctx, rows, out, |row, estimate| {
            let values = [
                estimate.wait,
                estimate.prefill,
                estimate.ttft(),
                estimate.work.uncached,
                estimate.cached,
                estimate.surcharge,
            ];
            for (term, value) in terms.iter_mut().zip(values) {
                term[row] = value;
            }
        });
    }

    fn learner(&self) -> Option<&dyn Learner> {
        Some(self)
    }

    fn state(&self) -> Option<State> {
        Some(Arc::clone(&self.memory) as State)
    }
}

/// No lesson: the endpoint has a number beyond all that are kept.
const NONE: Lesson = Lesson(u64::MAX);

fn parts(lesson: Lesson) -> (Slot, u32) {
    (Slot((lesson.0 >> 32) as u32), lesson.0 as u32)
}

impl Learner for ExpectedTtft {
    fn picked(&self, ctx: &Ctx<'_>, run: &ProfileRun, row: usize) -> Lesson {
        let pricing = Pricing::new(ctx, &self.memory, &self.producer, self.seats);
        let estimate = pricing.at(row);
        if self.memory.has_surcharges() {
            run.alive.for_each(|other| {
                let there = pricing.at(other);
                if there.surcharge > 0.0 && there.ttft() < estimate.ttft() {
                    self.memory.clear_surcharge(ctx.snapshot.slots()[other]);
                }
            });
        }
        let slot = ctx.snapshot.slots()[row];
        let entry = Entry {
            sent: ctx.now,
            streams: ctx.request.stream,
            work: estimate.work,
            prompt_bytes: ctx.request.prompt_bytes as f64,
            cached: estimate.cached,
            most: ctx
                .request
                .max_output_tokens
                .map_or(f64::INFINITY, f64::from),
            wait: estimate.wait,
            prefill: estimate.prefill,
            patience: estimate.patience,
            loss: estimate.loss,
            ..Entry::default()
        };
        match self.memory.sent(ctx.slots, slot, ctx.request.model, entry) {
            Some(number) => Lesson(u64::from(slot.0) << 32 | u64::from(number)),
            None => NONE,
        }
    }

    fn head(&self, lesson: Lesson, status: u16, now: Tick) {
        let (slot, number) = parts(lesson);
        self.memory.head(slot, number, status, now);
    }

    fn ended(&self, lesson: Lesson, taught: &Taught, now: Tick) {
        let (slot, number) = parts(lesson);
        self.memory.ended(slot, number, taught, now);
    }

    fn maintain(&self, now: Tick, snapshot: &Snapshot, slots: &Slots) {
        self.memory.maintain(now, snapshot, slots);
    }

    fn report(&self, snapshot: &Snapshot) -> serde_json::Value {
        report::page(&self.memory, snapshot)
    }
}
