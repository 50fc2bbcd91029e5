//! What a step loop does at a boundary: end one stretch, plan the next.

use std::cmp::Reverse;

use crate::engine::kv_cache::NO_NODE;
use crate::engine::ramp::{Fine, Ramp};
use crate::engine::request::{EngineEvent, EventKind, Summary};
use crate::engine::roster::{NO_ROW, Phase};
use crate::engine::step_loop::{LONGEST, StepLoop, Stretch, scaled, to_tick};
use crate::engine::timing::doubled_pairs;
use crate::engine::transfer;

impl StepLoop {
    /// Ends the stretch: everybody in it gets their tokens.
    pub(super) fn complete(&mut self, out: &mut Vec<EngineEvent>) {
        let Some(stretch) = self.stretch.take() else {
            return;
        };
        // The first step's blocks were taken when it was planned.
        let blocks = self.batch.blocks_needed(1, stretch.steps - 1);
        self.kv.take(blocks as u32);
        self.batch.advance(stretch.steps);
        self.clock = stretch.end;
        self.counters.generation_tokens += u64::from(self.batch.size()) * stretch.steps;
        self.tell_observed(out);
        self.sample_landed(out);
        while let Some(at) = self
            .batch
            .pop_ended(|row, ticket| self.roster.row(row).ticket == ticket)
        {
            self.leave_batch(at);
            self.finish(at, out);
        }
        for index in 0..self.chunks.len() {
            let (at, _) = self.chunks[index];
            let row = self.roster.row(at);
            if row.computed >= row.target && !row.aborted {
                self.sample_first(at, out);
            }
        }
        let roster = &self.roster;
        self.prefilling
            .retain(|&at| roster.row(at).phase == Phase::Prefilling);
        self.chunks.clear();
    }

    /// Decides what the next stretch holds and how long it takes.
    pub(super) fn plan(&mut self) {
        debug_assert!(self.stretch.is_none() && self.chunks.is_empty());
        self.carry_out_aborts();
        self.land_transfers();
        let preempted = self.find_blocks();
        let (prefill, pairs) = self.fill_budget(preempted);
        let (decodes, context) = (u64::from(self.batch.size()), self.batch.context());
        let (ramp, steps) = if prefill > 0 {
            (
                Ramp::single(self.cost.mixed_step(decodes, context, prefill, pairs)),
                1,
            )
        } else if decodes > 0 {
            // After a preemption the queue's head is looked at again one step later.
            let steps = if preempted { 1 } else { self.undisturbed() };
            (self.cost.decode_ramp(decodes, context), steps)
        } else {
            return;
        };
        let factor = self.jitter.factor(steps);
        let mut stretch = Stretch {
            ramp,
            steps,
            factor,
            end: self.clock + scaled(ramp.total(steps), factor),
        };
        if let Some(&Reverse((arrival, _, _))) = self.arrivals.peek()
            && arrival < stretch.end
        {
            stretch.steps = (self.steps_done(&stretch, to_tick(arrival)) + 1).min(steps);
            stretch.end = self.clock + scaled(ramp.total(stretch.steps), factor);
        }
        self.stretch = Some(stretch);
    }

    /// Steps until the batch changes by itself.
    fn undisturbed(&mut self) -> u64 {
        if self.config.stepwise || !self.observed.is_empty() || !self.landed.is_empty() {
            return 1;
        }
        let roster = &self.roster;
        let ending = self
            .batch
            .until_first_ending(|row, ticket| roster.row(row).ticket == ticket);
        let limit = ending.unwrap_or(1).clamp(1, LONGEST);
        self.batch
            .steps_with_blocks(u64::from(self.kv.available()), limit)
    }

    fn tell_observed(&self, out: &mut Vec<EngineEvent>) {
        let (at, steps) = (to_tick(self.clock), self.batch.steps());
        for &observed in &self.observed {
            let row = self.roster.row(observed);
            if !row.aborted {
                let n = row.generated + (steps - row.joined) as u32;
                out.push(EngineEvent {
                    key: row.key,
                    at,
                    kind: EventKind::Token(n),
                });
            }
        }
    }

    /// Requests whose KV came from elsewhere have done their first step.
    fn sample_landed(&mut self, out: &mut Vec<EngineEvent>) {
        let now = to_tick(self.clock);
        while let Some(at) = self.landed.pop() {
            let row = self.roster.row_mut(at);
            if row.aborted {
                continue;
            }
            row.first_token = now;
            self.counters.prompt_tokens += u64::from(row.prompt);
            out.push(EngineEvent {
                key: row.key,
                at: now,
                kind: EventKind::FirstToken,
            });
            self.observe(at);
        }
    }

    fn observe(&mut self, at: u32) {
        let row = self.roster.row_mut(at);
        if row.observed {
            row.observed_at = self.observed.len() as u32;
            self.observed.push(at);
        }
    }

    /// The prompt is computed: its request gets a token and decodes from now on.
    fn sample_first(&mut self, at: u32, out: &mut Vec<EngineEvent>) {
        let now = to_tick(self.clock);
        self.counters.generation_tokens += 1;
        let row = self.roster.row_mut(at);
        row.generated += 1;
        let (key, generated, target) = (row.key, row.generated, row.target);
        let first = generated == 1;
        if first {
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
        row.context = target;
        row.joined = self.batch.steps();
        if row.generated >= row.output {
            row.phase = Phase::Decoding;
            self.finish(at, out);
        } else {
            self.join_batch(at);
            self.observe(at);
        }
    }

    fn join_batch(&mut self, at: u32) {
        self.tickets = self.tickets.wrapping_add(1);
        let row = self.roster.row_mut(at);
        row.phase = Phase::Decoding;
        row.ticket = self.tickets;
        row.joined = self.batch.steps();
        self.batch
            .join(at, row.ticket, row.context, row.output - row.generated);
    }

    /// Takes a decode out of the batch and brings its numbers up to date.
    fn leave_batch(&mut self, at: u32) {
        let row = self.roster.row_mut(at);
        let steps = (self.batch.steps() - row.joined) as u32;
        row.ticket = 0;
        row.context += steps;
        row.generated += steps;
        row.joined = self.batch.steps();
        let context = row.context;
        let place = std::mem::replace(&mut row.observed_at, NO_ROW) as usize;
        self.batch.leave(context);
        if place < self.observed.len() {
            self.observed.swap_remove(place);
            if let Some(&moved) = self.observed.get(place) {
                self.roster.row_mut(moved).observed_at = place as u32;
            }
        }
    }

    fn finish(&mut self, at: u32, out: &mut Vec<EngineEvent>) {
        let finished = to_tick(self.clock);
        self.give_back(at);
        let row = self.roster.row(at);
        if !row.aborted {
            self.counters.finished += 1;
            let summary = Summary {
                prompt_tokens: row.prompt,
                cached_tokens: row.cached_tokens,
                output_tokens: row.generated,
                preemptions: row.preemptions,
                arrived: row.arrived,
                scheduled: row.scheduled.unwrap_or(row.arrived),
                first_token: row.first_token,
                finished,
            };
            out.push(EngineEvent {
                key: row.key,
                at: finished,
                kind: EventKind::Finished(summary),
            });
        }
        self.roster.leave(at);
        self.roster.forget(at);
    }

    /// Returns the blocks of a running request, whose numbers are up to date.
    fn give_back(&mut self, at: u32) {
        let row = self.roster.row_mut(at);
        let tokens = match row.phase {
            Phase::Decoding => row.context,
            Phase::Transferring => row.prompt - 1,
            Phase::Prefilling => row.target,
            Phase::Vacant | Phase::Waiting => return,
        };
        self.kv
            .give(tokens.div_ceil(self.config.block_size) - row.stored);
        let node = std::mem::replace(&mut row.node, NO_NODE);
        row.stored = 0;
        row.detached = false;
        if node != NO_NODE {
            self.kv.unpin(node);
        }
    }

    fn carry_out_aborts(&mut self) {
        while let Some(at) = self.aborts.pop() {
            // It may have ended with the very step it was aborted in.
            match self.roster.row(at).phase {
                Phase::Vacant => continue,
                Phase::Waiting => self.roster.unqueue(at),
                Phase::Decoding | Phase::Prefilling | Phase::Transferring => {
                    self.withdraw(at);
                }
            }
            self.roster.forget(at);
        }
    }

    /// Takes a running request out of everything but its row.
    fn withdraw(&mut self, at: u32) {
        match self.roster.row(at).phase {
            Phase::Decoding => {
                self.leave_batch(at);
                self.landed.retain(|&other| other != at);
            }
            Phase::Prefilling => self.prefilling.retain(|&other| other != at),
            Phase::Transferring | Phase::Vacant | Phase::Waiting => {}
        }
        self.roster.row_mut(at).ticket = 0;
        self.give_back(at);
        self.roster.leave(at);
    }

    /// KV that has arrived joins the batch.
    fn land_transfers(&mut self) {
        while let Some(&Reverse((arrival, ticket, at))) = self.arrivals.peek() {
            let stale = self.roster.row(at).ticket != ticket;
            if arrival > self.clock && !stale {
                return;
            }
            self.arrivals.pop();
            if !stale {
                let full = self.roster.row(at).prompt - 1;
                self.store_up_to(at, full);
                let row = self.roster.row_mut(at);
                row.context = full;
                self.join_batch(at);
                self.landed.push(at);
            }
        }
    }

    /// Takes the blocks that the decodes need in the next step; preempts the youngest while there are
    /// not enough. Says whether it had to.
    fn find_blocks(&mut self) -> bool {
        let mut preempted = false;
        loop {
            let needed = self.batch.blocks_needed(0, 1) as u32;
            if needed <= self.kv.available() {
                self.kv.take(needed);
                return preempted;
            }
            let Some(at) = self.roster.youngest() else {
                return preempted;
            };
            self.withdraw(at);
            let row = self.roster.row_mut(at);
            row.preemptions += 1;
            row.remote = None;
            row.target = row.prompt + row.generated;
            row.computed = 0;
            self.counters.preemptions += 1;
            self.roster.requeue(at);
            preempted = true;
        }
    }

    /// Gives the token budget to prompt chunks; returns their tokens and doubled pairs.
    fn fill_budget(&mut self, preempted: bool) -> (u64, u64) {
        let mut budget = self.config.token_budget.saturating_sub(self.batch.size());
        let (mut prefill, mut pairs) = (0, 0);
        for index in 0..self.prefilling.len() {
            if budget == 0 {
                break;
            }
            let (tokens, looked_at) = self.schedule_chunk(self.prefilling[index], budget);
            budget -= tokens.min(budget);
            prefill += u64::from(tokens);
            pairs += looked_at;
        }
        while !preempted && self.roster.running() < self.config.max_running {
            let Some(at) = self.roster.head() else { break };
            if !self.admit(at, budget) {
                break;
            }
            if self.roster.row(at).phase == Phase::Prefilling {
                let (tokens, looked_at) = self.schedule_chunk(at, budget);
                budget -= tokens.min(budget);
                prefill += u64::from(tokens);
                pairs += looked_at;
            }
        }
        (prefill, pairs)
    }

    fn schedule_chunk(&mut self, at: u32, budget: u32) -> (u32, u64) {
        let whole = !self.config.chunked_prefill;
        let row = self.roster.row_mut(at);
        let left = row.target - row.computed;
        let tokens = if whole { left } else { left.min(budget) };
        let pairs = doubled_pairs(u64::from(row.computed), u64::from(tokens));
        row.computed += tokens;
        let computed = row.computed;
        self.store_up_to(at, computed);
        self.chunks.push((at, tokens));
        (tokens, pairs)
    }

    /// Makes the full prompt blocks among the first `tokens` tokens reusable.
    fn store_up_to(&mut self, at: u32, tokens: u32) {
        let row = self.roster.row_mut(at);
        let full = (tokens / self.config.block_size).min(row.hashes.len() as u32);
        if row.detached || full <= row.stored {
            return;
        }
        match self
            .kv
            .store(row.node, &row.hashes[row.stored as usize..full as usize])
        {
            Some(node) => {
                row.node = node;
                row.stored = full;
            }
            None => row.detached = true,
        }
    }

    /// Gives the head of the queue a slot and its blocks, if there are enough.
    fn admit(&mut self, at: u32, budget: u32) -> bool {
        let block_size = self.config.block_size;
        let row = self.roster.row(at);
        let tokens = if row.remote.is_some() {
            row.prompt - 1
        } else {
            row.target
        };
        // At least one token is always computed, so the block of the last one is never a hit.
        let reusable = row
            .hashes
            .len()
            .min(((row.target - 1) / block_size) as usize);
        let hit = self.kv.find(&row.hashes[..reusable]);
        let needed = tokens.div_ceil(block_size) - hit.blocks;
        if needed > self.kv.available() - hit.idle {
            return false;
        }
        let cached = hit.blocks * block_size;
        if row.remote.is_none() {
            // A prompt that must be computed in one piece waits for a step with room for it, or for a
            // step of its own if no step has.
            let uncut = !self.config.chunked_prefill && tokens - cached > budget;
            if budget == 0 || (uncut && !self.chunks.is_empty()) {
                return false;
            }
        }
        let node = self.kv.pin(&row.hashes, hit.blocks);
        self.kv.take(needed);
        let now = to_tick(self.clock);
        let row = self.roster.row_mut(at);
        (row.node, row.stored, row.computed) = (node, hit.blocks, cached);
        if row.scheduled.is_none() {
            row.scheduled = Some(now);
            row.cached_tokens = cached;
            self.counters.prefix_queries += u64::from(row.prompt);
            self.counters.prefix_hits += u64::from(cached);
        }
        match row.remote {
            Some(peer) => {
                let moved = u64::from(tokens.saturating_sub(cached));
                self.roster.admit_head(Phase::Transferring);
                self.start_transfer(at, peer, moved);
            }
            None => {
                self.roster.admit_head(Phase::Prefilling);
                self.prefilling.push(at);
            }
        }
        true
    }

    fn start_transfer(&mut self, at: u32, peer: u32, tokens: u64) {
        let span = self.config.transfer.span(tokens, self.config.kv_bytes);
        let length: Fine = transfer::fine(span, self.config.speed);
        let arrival = self.links.book(peer, self.clock, length);
        self.counters.transferred_tokens += tokens;
        self.tickets = self.tickets.wrapping_add(1);
        self.roster.row_mut(at).ticket = self.tickets;
        self.arrivals.push(Reverse((arrival, self.tickets, at)));
    }
}
