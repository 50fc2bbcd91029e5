//! The requests an engine holds: a slab of rows, the queue, the running in order of admission.
//!
//! Rows are reused with the memory of their block hashes, so a warm engine allocates nothing per
//! request. The running are an intrusive list, oldest first: the youngest is the one to preempt.

use std::collections::VecDeque;

use pointsman_core::time::Tick;

use crate::engine::kv_cache::NO_NODE;
use crate::engine::request::{EngineRequest, RequestHandle};

/// No row.
pub const NO_ROW: u32 = u32::MAX;

/// Where a request stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Phase {
    /// The row is free.
    #[default]
    Vacant,
    /// In the queue.
    Waiting,
    /// Holds blocks; its KV is on the way.
    Transferring,
    /// Holds blocks; its prompt is being computed.
    Prefilling,
    /// Generates.
    Decoding,
}

/// One request.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// The caller's name for it.
    pub key: u64,
    /// Counts the uses of the row.
    pub generation: u32,
    /// Where it stands.
    pub phase: Phase,
    /// To be dropped at the next step boundary.
    pub aborted: bool,
    /// Whether every token is told.
    pub observed: bool,
    /// Place in the batch's list of observed rows.
    pub observed_at: u32,
    /// Distinguishes this stay in the batch or on a link from earlier ones of the same row.
    pub ticket: u32,
    /// Length of the prompt.
    pub prompt: u32,
    /// Tokens to generate in all.
    pub output: u32,
    /// Tokens generated when it (last) entered the batch.
    pub generated: u32,
    /// Tokens to compute before the next token can be sampled: the prompt, after a preemption also
    /// what was generated.
    pub target: u32,
    /// How many of them are computed or scheduled.
    pub computed: u32,
    /// Tokens in the cache when it entered the batch.
    pub context: u32,
    /// Steps the batch had done by then.
    pub joined: u64,
    /// The peer that its KV comes from.
    pub remote: Option<u32>,
    /// Chained hashes of the prompt's full blocks.
    pub hashes: Vec<u64>,
    /// Where its shared blocks end in the tree.
    pub node: u32,
    /// How many shared blocks it has.
    pub stored: u32,
    /// Its further blocks stay private: another request stored the same ones.
    pub detached: bool,
    /// Prompt tokens reused.
    pub cached_tokens: u32,
    /// Times preempted.
    pub preemptions: u32,
    /// When it came.
    pub arrived: Tick,
    /// When it first left the queue.
    pub scheduled: Option<Tick>,
    /// When its first token was there.
    pub first_token: Tick,
    older: u32,
    younger: u32,
}

/// All requests of an engine.
#[derive(Clone, Debug)]
pub struct Roster {
    rows: Vec<Row>,
    spare: Vec<u32>,
    queue: VecDeque<u32>,
    oldest: u32,
    youngest: u32,
    running: u32,
}

impl Default for Roster {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            spare: Vec::new(),
            queue: VecDeque::new(),
            oldest: NO_ROW,
            youngest: NO_ROW,
            running: 0,
        }
    }
}

impl Roster {
    /// The row of this number.
    pub fn row(&self, at: u32) -> &Row {
        &self.rows[at as usize]
    }

    /// The row of this number.
    pub fn row_mut(&mut self, at: u32) -> &mut Row {
        &mut self.rows[at as usize]
    }

    /// The row a handle names, unless the request has ended.
    pub fn resolve(&self, handle: RequestHandle) -> Option<u32> {
        let row = self.rows.get(handle.slot as usize)?;
        (row.generation == handle.generation && row.phase != Phase::Vacant).then_some(handle.slot)
    }

    /// Requests that hold a sequence slot.
    pub fn running(&self) -> u32 {
        self.running
    }

    /// Requests in the queue.
    pub fn queued(&self) -> u32 {
        self.queue.len() as u32
    }

    /// The next in the queue.
    pub fn head(&self) -> Option<u32> {
        self.queue.front().copied()
    }

    /// The request that was admitted last.
    pub fn youngest(&self) -> Option<u32> {
        (self.youngest != NO_ROW).then_some(self.youngest)
    }

    /// Puts a new request at the end of the queue.
    pub fn enqueue(
        &mut self,
        request: &EngineRequest<'_>,
        blocks: &[u64],
        now: Tick,
    ) -> RequestHandle {
        let at = self.spare.pop().unwrap_or_else(|| {
            self.rows.push(Row::default());
            (self.rows.len() - 1) as u32
        });
        let row = &mut self.rows[at as usize];
        let mut hashes = std::mem::take(&mut row.hashes);
        hashes.clear();
        hashes.extend_from_slice(blocks);
        let prompt = request.prompt_tokens.max(1);
        *row = Row {
            key: request.key,
            generation: row.generation.wrapping_add(1),
            phase: Phase::Waiting,
            observed: request.observed,
            observed_at: NO_ROW,
            prompt,
            output: request.output_tokens.max(1),
            target: prompt,
            remote: request.remote,
            hashes,
            node: NO_NODE,
            arrived: now,
            older: NO_ROW,
            younger: NO_ROW,
            ..Row::default()
        };
        let generation = row.generation;
        self.queue.push_back(at);
        RequestHandle {
            slot: at,
            generation,
        }
    }

    /// Moves the head of the queue to the end of the running.
    pub fn admit_head(&mut self, phase: Phase) {
        let Some(at) = self.queue.pop_front() else {
            return;
        };
        let youngest = std::mem::replace(&mut self.youngest, at);
        match youngest {
            NO_ROW => self.oldest = at,
            _ => self.rows[youngest as usize].younger = at,
        }
        let row = &mut self.rows[at as usize];
        (row.phase, row.older, row.younger) = (phase, youngest, NO_ROW);
        self.running += 1;
    }

    /// Takes a running request off the list; it is then neither running nor queued.
    pub fn leave(&mut self, at: u32) {
        let (older, younger) = (self.rows[at as usize].older, self.rows[at as usize].younger);
        match older {
            NO_ROW => self.oldest = younger,
            _ => self.rows[older as usize].younger = younger,
        }
        match younger {
            NO_ROW => self.youngest = older,
            _ => self.rows[younger as usize].older = older,
        }
        self.running -= 1;
    }

    /// Puts a request that has left the running at the head of the queue.
    pub fn requeue(&mut self, at: u32) {
        self.rows[at as usize].phase = Phase::Waiting;
        self.queue.push_front(at);
    }

    /// Takes a request out of the queue.
    pub fn unqueue(&mut self, at: u32) {
        if let Some(place) = self.queue.iter().position(|&queued| queued == at) {
            self.queue.remove(place);
        }
    }

    /// Frees the row.
    pub fn forget(&mut self, at: u32) {
        self.rows[at as usize].phase = Phase::Vacant;
        self.spare.push(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(key: u64) -> EngineRequest<'static> {
        EngineRequest {
            key,
            prompt_tokens: 4,
            blocks: &[],
            output_tokens: 1,
            observed: false,
            remote: None,
        }
    }

    #[test]
    fn the_running_keep_their_order_and_rows_are_reused() {
        let mut roster = Roster::default();
        let handles: Vec<_> = (0..3)
            .map(|key| roster.enqueue(&request(key), &[], Tick(0)))
            .collect();
        for _ in 0..3 {
            roster.admit_head(Phase::Prefilling);
        }
        assert_eq!(
            (roster.running(), roster.youngest()),
            (3, Some(handles[2].slot))
        );
        roster.leave(handles[1].slot);
        roster.forget(handles[1].slot);
        roster.leave(handles[2].slot);
        roster.requeue(handles[2].slot);
        assert_eq!(
            (roster.running(), roster.youngest(), roster.head()),
            (1, Some(handles[0].slot), Some(handles[2].slot))
        );
        let next = roster.enqueue(&request(9), &[], Tick(0));
        assert_eq!(next.slot, handles[1].slot);
        assert_eq!(roster.resolve(handles[1]), None);
        assert_eq!(roster.resolve(next), Some(next.slot));
        assert_eq!(roster.queued(), 2);
        roster.unqueue(next.slot);
        assert_eq!(roster.queued(), 1);
    }
}
