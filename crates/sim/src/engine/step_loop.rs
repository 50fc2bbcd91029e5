//! Continuous batching as a state machine in virtual time.
//!
//! The engine works in steps. At a *boundary* it plans the next stretch: aborts are carried out,
//! arrived KV joins, blocks are found for the decodes (else the youngest request is preempted), the
//! token budget goes to prompt chunks in order of arrival, the queue's head is admitted while slots and
//! blocks last. If the stretch holds prompt chunks it is one step; if it is decodes only, it is as many
//! steps as nothing can change in: up to the first ending, the block that cannot be had, the KV that
//! arrives. Something new (arrival, abort, change of speed) cuts it at the end of the step in progress.
//!
//! All sums are integers, so a jump and its single steps give the same times (jitter aside, which is
//! drawn per stretch). What is done at a boundary is in the child module `plan`.
//!
//! Calls must come with times that do not go back. Everything costs O(log running), no matter how many
//! tokens a stretch covers.

mod plan;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use pointsman_core::time::Tick;

use crate::engine::batch::Batch;
use crate::engine::config::EngineConfig;
use crate::engine::jitter::{FACTOR_BITS, Jitter};
use crate::engine::kv_cache::KvCache;
use crate::engine::ramp::{FINE_BITS, Fine, Ramp};
use crate::engine::request::{
    Counters, EngineEvent, EngineRequest, Gauges, Refusal, RequestHandle,
};
use crate::engine::roster::{Phase, Roster};
use crate::engine::timing::{Roofline, StepCost};
use crate::engine::transfer::Links;

/// Longest stretch, so that totals cannot overflow.
const LONGEST: u64 = 1 << 16;

/// Steps that are under way.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    ramp: Ramp,
    steps: u64,
    factor: Option<u64>,
    end: Fine,
}

/// An engine that follows a roofline.
#[derive(Clone, Debug)]
pub struct StepLoop {
    config: EngineConfig,
    roofline: Roofline,
    cost: StepCost,
    slow: f64,
    jitter: Jitter,
    /// The last boundary.
    clock: Fine,
    stretch: Option<Stretch>,
    kv: KvCache,
    roster: Roster,
    batch: Batch,
    /// Rows whose prompt is not wholly computed, in order of admission.
    prefilling: Vec<u32>,
    /// Prompt chunks of the step under way: row and tokens.
    chunks: Vec<(u32, u32)>,
    /// Decodes whose tokens are told.
    observed: Vec<u32>,
    /// Decodes whose KV has arrived and whose first token comes with the step under way.
    landed: Vec<u32>,
    /// (arrival of the KV, ticket, row).
    arrivals: BinaryHeap<Reverse<(Fine, u32, u32)>>,
    links: Links,
    aborts: Vec<u32>,
    tickets: u32,
    counters: Counters,
}

impl StepLoop {
    /// An idle engine.
    pub fn new(config: EngineConfig, roofline: Roofline, seed: u64) -> Self {
        let config = config.lawful();
        Self {
            cost: StepCost::new(&roofline, 1.0 / config.speed),
            roofline,
            slow: 1.0,
            jitter: Jitter::new(seed, config.jitter),
            clock: 0,
            stretch: None,
            kv: KvCache::new(config.kv_blocks),
            roster: Roster::default(),
            batch: Batch::new(config.block_size),
            prefilling: Vec::new(),
            chunks: Vec::new(),
            observed: Vec::new(),
            landed: Vec::new(),
            arrivals: BinaryHeap::new(),
            links: Links::default(),
            aborts: Vec::new(),
            tickets: 0,
            counters: Counters::default(),
            config,
        }
    }

    /// Takes a request in at `now`, after everything that happened until then.
    pub fn submit(
        &mut self,
        now: Tick,
        request: &EngineRequest<'_>,
        out: &mut Vec<EngineEvent>,
    ) -> Result<RequestHandle, Refusal> {
        self.advance(now, out);
        // The last token is sampled and never written to the cache.
        let tokens = request
            .prompt_tokens
            .max(1)
            .saturating_add(request.output_tokens.max(1) - 1);
        let needed = tokens.div_ceil(self.config.block_size);
        if needed > self.kv.total() {
            return Err(Refusal::NeverFits {
                needed,
                total: self.kv.total(),
            });
        }
        if self.roster.queued() >= self.config.max_waiting {
            return Err(Refusal::QueueFull {
                limit: self.config.max_waiting,
            });
        }
        let behind = self.roster.queued() > 0;
        let blocks = if self.config.prefix_caching {
            request.blocks
        } else {
            &[]
        };
        let full = (request.prompt_tokens / self.config.block_size) as usize;
        let handle = self
            .roster
            .enqueue(request, &blocks[..blocks.len().min(full)], now);
        if self.stretch.is_none() {
            self.clock = self.clock.max(to_fine(now));
            self.plan();
        } else if !behind && self.roster.running() < self.config.max_running {
            // Behind a head that cannot be admitted, or without a slot, the stretch need not be cut.
            self.cut(now);
        }
        Ok(handle)
    }

    /// When something happens next if nothing is submitted; `None` while idle.
    pub fn next_event(&self) -> Option<Tick> {
        match (&self.stretch, self.arrivals.peek()) {
            (Some(stretch), _) => Some(to_tick(stretch.end)),
            (None, Some(&Reverse((at, _, _)))) => Some(to_tick(at)),
            (None, None) => None,
        }
    }

    /// Lets time pass until `now` and appends what happened to `out`.
    pub fn advance(&mut self, now: Tick, out: &mut Vec<EngineEvent>) {
        let limit = to_fine(now);
        loop {
            match (&self.stretch, self.arrivals.peek()) {
                (Some(stretch), _) if stretch.end <= limit => self.complete(out),
                (None, Some(&Reverse((at, _, _)))) if at <= limit => {
                    self.clock = self.clock.max(at)
                }
                _ => return,
            }
            self.plan();
        }
    }

    /// Drops a request; nothing more will be said of it. False if it has already ended.
    pub fn abort(&mut self, now: Tick, handle: RequestHandle, out: &mut Vec<EngineEvent>) -> bool {
        self.advance(now, out);
        let Some(at) = self.roster.resolve(handle) else {
            return false;
        };
        let row = self.roster.row_mut(at);
        if row.aborted {
            return false;
        }
        row.aborted = true;
        self.counters.aborted += 1;
        if row.phase == Phase::Waiting {
            self.roster.unqueue(at);
            self.roster.forget(at);
        } else {
            self.aborts.push(at);
        }
        self.disturb(now);
        true
    }

    /// Multiplies all step times from the next boundary on (1 = as modelled).
    pub fn set_slow(&mut self, now: Tick, factor: f64, out: &mut Vec<EngineEvent>) {
        if factor.is_finite() && factor > 0.0 && (factor - self.slow).abs() > f64::EPSILON {
            self.advance(now, out);
            self.slow = factor;
            self.recost(now);
        }
    }

    /// Changes how fast the simulation runs.
    pub fn set_speed(&mut self, now: Tick, speed: f64, out: &mut Vec<EngineEvent>) {
        if speed.is_finite() && speed > 0.0 && (speed - self.config.speed).abs() > f64::EPSILON {
            self.advance(now, out);
            self.config.speed = speed;
            self.recost(now);
        }
    }

    /// Changes the most requests that run at once; running ones stay.
    pub fn set_max_running(&mut self, now: Tick, max_running: u32, out: &mut Vec<EngineEvent>) {
        self.advance(now, out);
        self.config.max_running = max_running;
        self.config = self.config.clone().lawful();
        self.disturb(now);
    }

    /// Forgets cached prefixes; true when none is left.
    pub fn reset_prefix_cache(&mut self) -> bool {
        self.kv.reset()
    }

    /// How loaded the engine is at `now`, which lies before [`Self::next_event`].
    pub fn gauges(&self, now: Tick) -> Gauges {
        let transferring = self.roster.running() - self.batch.size() - self.prefilling.len() as u32;
        let done = self
            .stretch
            .as_ref()
            .map_or(0, |stretch| self.steps_done(stretch, now));
        let ahead = self.batch.blocks_needed(1, done) as u32;
        Gauges {
            running: self.roster.running() - transferring,
            waiting: self.roster.queued() + transferring,
            used_blocks: (self.kv.used() + ahead).min(self.kv.total()),
            cached_blocks: self
                .kv
                .cached()
                .min(self.kv.available().saturating_sub(ahead)),
            total_blocks: self.kv.total(),
        }
    }

    /// What the engine has done until the last boundary.
    pub fn counters(&self) -> Counters {
        Counters {
            steps: self.batch.steps(),
            ..self.counters
        }
    }

    /// The configuration in force.
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    fn recost(&mut self, now: Tick) {
        self.cost = StepCost::new(&self.roofline, self.slow / self.config.speed);
        self.disturb(now);
    }

    /// Makes sure that a change is looked at soon: at the end of the step under way, or now.
    fn disturb(&mut self, now: Tick) {
        if self.stretch.is_some() {
            self.cut(now);
        } else {
            self.clock = self.clock.max(to_fine(now));
            self.plan();
        }
    }

    /// Ends the stretch with the step that is under way at `now`.
    fn cut(&mut self, now: Tick) {
        let Some(mut stretch) = self.stretch else {
            return;
        };
        if stretch.steps > 1 {
            stretch.steps = (self.steps_done(&stretch, now) + 1).min(stretch.steps);
            stretch.end = self.clock + scaled(stretch.ramp.total(stretch.steps), stretch.factor);
            self.stretch = Some(stretch);
        }
    }

    /// Steps of the stretch that have ended by `now`.
    fn steps_done(&self, stretch: &Stretch, now: Tick) -> u64 {
        let elapsed = to_fine(now).saturating_sub(self.clock);
        let Some(factor) = stretch.factor else {
            return stretch.ramp.steps_within(elapsed, stretch.steps);
        };
        let unscaled = ((u128::from(elapsed) << FACTOR_BITS) / u128::from(factor.max(1))) as Fine;
        let mut done = stretch.ramp.steps_within(unscaled, stretch.steps);
        // Scaling rounds down: correct by the one step it may be off.
        if done < stretch.steps && scaled(stretch.ramp.total(done + 1), stretch.factor) <= elapsed {
            done += 1;
        }
        done
    }
}

/// `span` times `factor`.
fn scaled(span: Fine, factor: Option<u64>) -> Fine {
    factor.map_or(span, |factor| {
        ((u128::from(span) * u128::from(factor)) >> FACTOR_BITS) as Fine
    })
}

fn to_fine(tick: Tick) -> Fine {
    tick.0.saturating_mul(1 << FINE_BITS)
}

/// The first whole nanosecond that is not before `at`.
fn to_tick(at: Fine) -> Tick {
    Tick(at.div_ceil(1 << FINE_BITS))
}
