//! The reference simulator's timing: every request sleeps on its own, whatever the others compute.
//!
//! Time to first token is `first_token`, or `prefill_overhead + (n - n_cached) * prefill_per_token`, or,
//! when the KV comes from elsewhere, `transfer` or `n * transfer_per_token`; time between tokens is
//! `inter_token`. Each is drawn from a normal number clamped to 70 % around its mean and multiplied by
//! `1 + (f - 1) * (running - 1) / (max_running - 1)` with the requests that run at that moment.
//!
//! Prefill capacity is unlimited in this model and a long context costs nothing: it is here for
//! comparison with the reference, not as a model of an engine. Blocks for the whole answer are taken
//! at admission, so nothing is ever preempted; a request without blocks waits.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use pointsman_core::time::{Span, Tick};

use crate::engine::config::{EngineConfig, ReferenceTiming};
use crate::engine::jitter::Jitter;
use crate::engine::kv_cache::{KvCache, NO_NODE};
use crate::engine::request::{
    Counters, EngineEvent, EngineRequest, EventKind, Gauges, Refusal, RequestHandle, Summary,
};
use crate::engine::roster::{Phase, Roster};

/// An engine whose requests do not disturb each other.
#[derive(Clone, Debug)]
pub struct Independent {
    config: EngineConfig,
    timing: ReferenceTiming,
    slow: f64,
    draws: Jitter,
    kv: KvCache,
    roster: Roster,
    /// (next token, ticket, row).
    wakes: BinaryHeap<Reverse<(Tick, u32, u32)>>,
    tickets: u32,
    counters: Counters,
}

impl Independent {
    /// An idle engine.
    pub fn new(config: EngineConfig, timing: ReferenceTiming, seed: u64) -> Self {
        let config = config.lawful();
        Self {
            timing,
            slow: 1.0,
            draws: Jitter::new(seed, 0.0),
            kv: KvCache::new(config.kv_blocks),
            roster: Roster::default(),
            wakes: BinaryHeap::new(),
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
        let needed = self.blocks_of(request.prompt_tokens, request.output_tokens);
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
        let full = (request.prompt_tokens / self.config.block_size) as usize;
        let blocks = if self.config.prefix_caching {
            request.blocks
        } else {
            &[]
        };
        let handle = self
            .roster
            .enqueue(request, &blocks[..blocks.len().min(full)], now);
        self.admit(now);
        Ok(handle)
    }

    /// When something happens next; `None` while idle.
    pub fn next_event(&self) -> Option<Tick> {
        self.wakes.peek().map(|&Reverse((at, _, _))| at)
    }

    /// Lets time pass until `now` and appends what happened to `out`.
    pub fn advance(&mut self, now: Tick, out: &mut Vec<EngineEvent>) {
        while let Some(&Reverse((at, ticket, row))) = self.wakes.peek()
            && at <= now
        {
            self.wakes.pop();
            if self.roster.row(row).ticket == ticket {
                self.tell_token(at, row, out);
            }
        }
    }

    /// Drops a request. False if it has already ended.
    pub fn abort(&mut self, now: Tick, handle: RequestHandle, out: &mut Vec<EngineEvent>) -> bool {
        self.advance(now, out);
        let Some(at) = self.roster.resolve(handle) else {
            return false;
        };
        self.counters.aborted += 1;
        if self.roster.row(at).phase == Phase::Waiting {
            self.roster.unqueue(at);
            self.roster.forget(at);
        } else {
            self.release(at);
        }
        self.admit(now);
        true
    }

    /// Multiplies all times of what starts from now on.
    pub fn set_slow(&mut self, factor: f64) {
        if factor.is_finite() && factor > 0.0 {
            self.slow = factor;
        }
    }

    /// Changes how fast the simulation runs from now on.
    pub fn set_speed(&mut self, speed: f64) {
        if speed.is_finite() && speed > 0.0 {
            self.config.speed = speed;
        }
    }

    /// Changes the most requests that run at once; running ones stay.
    pub fn set_max_running(&mut self, now: Tick, max_running: u32) {
        self.config.max_running = max_running.max(1);
        self.admit(now);
    }

    /// Forgets cached prefixes; true when none is left.
    pub fn reset_prefix_cache(&mut self) -> bool {
        self.kv.reset()
    }

    /// How loaded the engine is.
    pub fn gauges(&self) -> Gauges {
        Gauges {
            running: self.roster.running(),
            waiting: self.roster.queued(),
            used_blocks: self.kv.used(),
            cached_blocks: self.kv.cached(),
            total_blocks: self.kv.total(),
        }
    }

    /// What the engine has done so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The configuration in force.
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    fn blocks_of(&self, prompt: u32, output: u32) -> u32 {
        prompt
            .max(1)
            .saturating_add(output.max(1) - 1)
            .div_ceil(self.config.block_size)
    }

    fn admit(&mut self, now: Tick) {
        while self.roster.running() < self.config.max_running {
            let Some(at) = self.roster.head() else { return };
            let row = self.roster.row(at);
            let reusable = row
                .hashes
                .len()
                .min(((row.prompt - 1) / self.config.block_size) as usize);
            let hit = self.kv.find(&row.hashes[..reusable]);
            let needed = self.blocks_of(row.prompt, row.output) - hit.blocks;
            if needed > self.kv.available() - hit.idle {
                return;
            }
            let mut node = self.kv.pin(&row.hashes, hit.blocks);
            self.kv.take(needed);
            let mut stored = hit.blocks;
            if let Some(whole) = self.kv.store(node, &row.hashes[stored as usize..]) {
                node = whole;
                stored = row.hashes.len() as u32;
            }
            let cached = hit.blocks * self.config.block_size;
            let (prompt, remote) = (row.prompt, row.remote.is_some());
            self.counters.prefix_queries += u64::from(prompt);
            self.counters.prefix_hits += u64::from(cached);
            let row = self.roster.row_mut(at);
            (row.node, row.stored, row.cached_tokens) = (node, stored, cached);
            row.scheduled = Some(now);
            self.roster.admit_head(Phase::Decoding);
            let wait = self.first_token(prompt, cached, remote);
            self.wake(at, now, wait);
        }
    }

    fn first_token(&mut self, prompt: u32, cached: u32, remote: bool) -> Span {
        let timing = &self.timing;
        let per_token = |span: Span, tokens: u32| span.0 as f64 * f64::from(tokens);
        let (mean, deviation) = if remote {
            self.counters.transferred_tokens += u64::from(prompt);
            let mean = if timing.transfer.0 > 0 {
                timing.transfer.0 as f64
            } else {
                per_token(timing.transfer_per_token, prompt)
            };
            (mean, timing.transfer_deviation)
        } else if timing.first_token.0 > 0 {
            (timing.first_token.0 as f64, timing.first_token_deviation)
        } else {
            let overhead = timing.prefill_overhead.0 as f64;
            (
                overhead + per_token(timing.prefill_per_token, prompt - cached),
                timing.prefill_deviation,
            )
        };
        self.draw(mean, deviation)
    }

    fn draw(&mut self, mean: f64, deviation: Span) -> Span {
        let sample = self.draws.clamped_normal(mean, deviation.0 as f64);
        let others = f64::from(self.roster.running().saturating_sub(1));
        let seats = f64::from(self.config.max_running.saturating_sub(1).max(1));
        let load = 1.0 + (self.timing.factor_under_load.max(1.0) - 1.0) * (others / seats).min(1.0);
        Span((sample * load * self.slow / self.config.speed) as u64)
    }

    fn wake(&mut self, at: u32, now: Tick, wait: Span) {
        self.tickets = self.tickets.wrapping_add(1);
        self.roster.row_mut(at).ticket = self.tickets;
        self.wakes.push(Reverse((now + wait, self.tickets, at)));
    }

    fn tell_token(&mut self, now: Tick, at: u32, out: &mut Vec<EngineEvent>) {
        self.counters.generation_tokens += 1;
        let row = self.roster.row_mut(at);
        row.generated += 1;
        let (key, generated) = (row.key, row.generated);
        if generated == 1 {
            row.first_token = now;
            self.counters.prompt_tokens += u64::from(row.prompt);
            out.push(EngineEvent {
                key,
                at: now,
                kind: EventKind::FirstToken,
            });
        } else if row.observed {
            out.push(EngineEvent {
                key,
                at: now,
                kind: EventKind::Token(generated),
            });
        }
        if generated < row.output {
            let wait = self.draw(
                self.timing.inter_token.0 as f64,
                self.timing.inter_token_deviation,
            );
            self.wake(at, now, wait);
            return;
        }
        let summary = Summary {
            prompt_tokens: row.prompt,
            cached_tokens: row.cached_tokens,
            output_tokens: generated,
            preemptions: 0,
            arrived: row.arrived,
            scheduled: row.scheduled.unwrap_or(row.arrived),
            first_token: row.first_token,
            finished: now,
        };
        out.push(EngineEvent {
            key,
            at: now,
            kind: EventKind::Finished(summary),
        });
        self.counters.finished += 1;
        self.release(at);
        self.admit(now);
    }

    fn release(&mut self, at: u32) {
        let row = self.roster.row_mut(at);
        row.ticket = 0;
        let (prompt, output, stored) = (row.prompt, row.output, row.stored);
        let node = std::mem::replace(&mut row.node, NO_NODE);
        self.kv.give(self.blocks_of(prompt, output) - stored);
        if node != NO_NODE {
            self.kv.unpin(node);
        }
        self.roster.leave(at);
        self.roster.forget(at);
    }
}
