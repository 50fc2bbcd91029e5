//! What a request is expected to cost at each candidate: milliseconds until it begins, and until its first token then.
//!
//! ```text
//!  wait    = 0 while requests under way < seats, else until the (under way − seats + 1)-th of them ends
//!  prefill = model(uncached, ahead, load) × speed of the endpoint
//! ```
//! A prompt that a slow endpoint holds would be sent there for ever, as each time it is a little faster than to have it
//! prefilled elsewhere. So what such requests lose to a middling endpoint adds up to a surcharge on the slow one;
//! the request that goes elsewhere for it clears it. The prompt is then held elsewhere, and all together have lost at
//! most as much again as that took.

use pointsman_core::contract::context::Ctx;
use pointsman_core::contract::produced::PrefixMatch;
use pointsman_core::model::slots::Reading;

use crate::expected_ttft::endpoint::{Endpoint, Full};
use crate::expected_ttft::memory::Memory;
use crate::expected_ttft::model::{Model, Prefill, Work};
use crate::expected_ttft::queue::Answer;

/// Bytes that a producer takes for a token.
const BLOCK_TOKEN_BYTES: f64 = 4.0;

/// A first token is overdue after so many times the time that an uncached prompt takes.
const PATIENCE: f64 = 1.25;

/// An endpoint with a factor above this is slow.
const SLOW: f64 = 1.25;

/// Share of what requests lose at a slow endpoint that is held against it.
const SHARE: f64 = 0.5;

/// No cost is below this, so that shares of it mean something.
const LEAST: f64 = 0.1;

/// One candidate's cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Estimate {
    /// Milliseconds until the request begins.
    pub wait: f64,
    /// Milliseconds from there to its first token.
    pub prefill: f64,
    /// What the prefill depends on.
    pub work: Work,
    /// Tokens of the prompt that are believed to be cached.
    pub cached: f64,
    /// Milliseconds of a prefill if nothing were cached.
    pub patience: f64,
    /// Milliseconds that count against the endpoint besides.
    pub surcharge: f64,
    /// Milliseconds that this request would add to that.
    pub loss: f64,
}

impl Estimate {
    /// What candidates are compared by.
    pub fn cost(&self) -> f64 {
        self.ttft() + self.surcharge
    }

    /// Milliseconds to the first token.
    pub fn ttft(&self) -> f64 {
        self.wait + self.prefill
    }
}

/// One request, ready to be priced at each candidate.
pub struct Pricing<'a> {
    ctx: &'a Ctx<'a>,
    memory: &'a Memory,
    model: &'a Model,
    coefficients: Prefill,
    /// Whether there is anything to predict from.
    pub informed: bool,
    in_flight: &'a [f64],
    found: Option<&'a PrefixMatch>,
    block_tokens: f64,
    prompt_tokens: f64,
    seats: Option<f64>,
}

impl<'a> Pricing<'a> {
    /// The request of `ctx`. Its cached part is taken from the producer of this name, or else from the first there
    /// is; `seats` counts where it is given, else what was learned.
    pub fn new(ctx: &'a Ctx<'a>, memory: &'a Memory, producer: &str, seats: Option<f64>) -> Self {
        let model = memory.predictor(memory.model_row(ctx.request.model));
        let found = ctx
            .produced
            .prefix(producer)
            .or_else(|| ctx.produced.prefixes().first());
        let bytes_per_token = model.bytes_per_token();
        let block_bytes = found.map_or(0.0, |found| {
            f64::from(found.block_tokens) * BLOCK_TOKEN_BYTES
        });
        Self {
            ctx,
            memory,
            model,
            coefficients: model.prefill(),
            informed: model.prefill_samples() > 0.0,
            in_flight: ctx.readings.values(Reading::InFlight),
            found,
            block_tokens: block_bytes / bytes_per_token,
            prompt_tokens: (ctx.request.prompt_bytes as f64 / bytes_per_token).max(1.0),
            seats,
        }
    }

    /// Requests under way at a candidate.
    pub fn in_flight(&self, row: usize) -> f64 {
        self.in_flight[row]
    }

    /// The cost at a candidate.
    pub fn at(&self, row: usize) -> Estimate {
        let slot = self.ctx.snapshot.slots()[row];
        let blocks = self.found.map_or(0, |found| found.matched[row]);
        // The last token of a prompt is worked on even when all are cached.
        let cached = (f64::from(blocks) * self.block_tokens).min(self.prompt_tokens - 1.0);
        let mut work = Work {
            uncached: self.prompt_tokens - cached,
            ahead: 0.0,
            load: self.in_flight[row],
        };
        let endpoint = self.memory.endpoint(slot);
        let Some(endpoint) = endpoint.filter(|e| e.is(self.ctx.slots.epoch(slot))) else {
            return Estimate {
                wait: 0.0,
                prefill: self.coefficients.millis(&work).max(LEAST),
                work,
                cached,
                patience: self.patience(work, 1.0),
                ..Estimate::default()
            };
        };
        let under_way = self.in_flight[row] + endpoint.foreign.get();
        let seats = self.seats_of(endpoint);
        let wait = if under_way < seats {
            work.ahead = endpoint.ahead.get();
            work.load = under_way;
            0.0
        } else {
            work.load = seats - 1.0;
            self.wait(endpoint, under_way, seats)
        };
        let speed = endpoint.prefill.get();
        let prefill = self.coefficients.millis(&work) * speed * endpoint.lateness(self.ctx.now);
        let (surcharge, loss) = if cached > 0.0 && speed > SLOW {
            (
                endpoint.surcharge.get(),
                SHARE * prefill * (1.0 - 1.0 / speed),
            )
        } else {
            (0.0, 0.0)
        };
        Estimate {
            wait,
            prefill: prefill.max(LEAST),
            work,
            cached,
            patience: self.patience(work, speed),
            surcharge,
            loss,
        }
    }

    fn patience(&self, work: Work, speed: f64) -> f64 {
        let uncached = self.prompt_tokens;
        PATIENCE * speed * self.coefficients.millis(&Work { uncached, ..work })
    }

    /// Seats of an endpoint: as given, as learned, or as of a middling endpoint.
    fn seats_of(&self, endpoint: &Endpoint) -> f64 {
        let learned = endpoint.seats.get();
        match self.seats {
            Some(seats) => seats,
            None if learned > 0.0 => learned,
            None => self.memory.seats_elsewhere(endpoint.at_least.get()),
        }
    }

    fn wait(&self, endpoint: &Endpoint, under_way: f64, seats: f64) -> f64 {
        let (memory, pace) = (self.memory, endpoint.pace.get());
        let token = |model: &Model| model.token_millis(seats - 1.0) * pace;
        let full = || Full {
            before: under_way - seats + 1.0,
            seats,
            service: token(self.model) * self.model.survival().mean(),
            under_way,
        };
        endpoint.wait(self.ctx.now, full, |row| {
            let model = memory.predictor(row);
            Answer {
                survival: model.survival(),
                token_millis: token(model),
            }
        })
    }
}
