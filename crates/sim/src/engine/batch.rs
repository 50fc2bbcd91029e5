//! The decodes of an engine as sums, so that `k` steps cost as little as one.
//!
//! Every decode takes part in every step. What a jump needs is therefore kept, never counted: how many
//! there are, the sum of their contexts, who ends first (a heap by step number), and how many need a
//! new block in which step (a histogram of `context - steps` modulo the block size: a request needs a
//! block in step `s` when its phase plus `s` is a multiple of the block size).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The running decodes.
#[derive(Clone, Debug)]
pub struct Batch {
    steps: u64,
    size: u32,
    context: u64,
    phases: Vec<u32>,
    /// (last step, ticket, row); an entry whose ticket is not the row's any more is stale.
    endings: BinaryHeap<Reverse<(u64, u32, u32)>>,
}

impl Batch {
    /// An empty batch over blocks of `block_size` tokens.
    pub fn new(block_size: u32) -> Self {
        Self {
            steps: 0,
            size: 0,
            context: 0,
            phases: vec![0; block_size as usize],
            endings: BinaryHeap::new(),
        }
    }

    /// Steps done since the start of the engine.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Number of decodes.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Sum of their contexts.
    pub fn context(&self) -> u64 {
        self.context
    }

    /// Adds a decode of this context that ends after `remaining` steps.
    pub fn join(&mut self, row: u32, ticket: u32, context: u32, remaining: u32) {
        self.size += 1;
        self.context += u64::from(context);
        let phase = self.phase(context);
        self.phases[phase] += 1;
        self.endings
            .push(Reverse((self.steps + u64::from(remaining), ticket, row)));
    }

    /// Takes out a decode whose context is now `context`.
    pub fn leave(&mut self, context: u32) {
        self.size -= 1;
        self.context -= u64::from(context);
        let phase = self.phase(context);
        self.phases[phase] -= 1;
        if self.size == 0 {
            self.endings.clear();
        }
    }

    /// Moves on by `steps` steps.
    pub fn advance(&mut self, steps: u64) {
        self.steps += steps;
        self.context += steps * u64::from(self.size);
    }

    /// Steps until the first decode ends; `live(row, ticket)` says whether an entry still holds.
    pub fn until_first_ending(&mut self, live: impl Fn(u32, u32) -> bool) -> Option<u64> {
        while let Some(&Reverse((step, ticket, row))) = self.endings.peek() {
            if live(row, ticket) {
                return Some(step - self.steps);
            }
            self.endings.pop();
        }
        None
    }

    /// A row that ends with the steps done so far; call until `None`.
    pub fn pop_ended(&mut self, live: impl Fn(u32, u32) -> bool) -> Option<u32> {
        while let Some(&Reverse((step, ticket, row))) = self.endings.peek() {
            let holds = live(row, ticket);
            if holds && step > self.steps {
                return None;
            }
            self.endings.pop();
            if holds {
                return Some(row);
            }
        }
        None
    }

    /// New blocks that steps `from..from + count` (counted from now) need.
    pub fn blocks_needed(&self, from: u64, count: u64) -> u64 {
        let size = self.phases.len() as u64;
        let whole = count / size * u64::from(self.size);
        let first = self.steps + from + count / size * size;
        whole
            + (0..count % size)
                .map(|i| u64::from(self.phases[self.due(first + i)]))
                .sum::<u64>()
    }

    /// The most steps, at most `limit`, that from step 1 on (step 0 has its blocks) need at most `blocks`.
    pub fn steps_with_blocks(&self, blocks: u64, limit: u64) -> u64 {
        let size = self.phases.len() as u64;
        let most = (limit.div_ceil(size) + 1) * u64::from(self.size);
        if most <= blocks || self.size == 0 {
            return limit;
        }
        let cycles = blocks / u64::from(self.size);
        let mut steps = 1 + cycles * size;
        let mut left = blocks - cycles * u64::from(self.size);
        while steps < limit {
            let need = u64::from(self.phases[self.due(self.steps + steps)]);
            if need > left {
                break;
            }
            left -= need;
            steps += 1;
        }
        steps.min(limit)
    }

    fn phase(&self, context: u32) -> usize {
        let size = self.phases.len() as u64;
        ((u64::from(context) + size - self.steps % size) % size) as usize
    }

    /// The phase whose decodes need a block in `step`.
    fn due(&self, step: u64) -> usize {
        let size = self.phases.len() as u64;
        ((size - step % size) % size) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_histogram_counts_what_each_request_would(
            block_size in 1u32..20, before in 0u64..50, contexts in proptest::collection::vec(0u32..100, 1..20),
            from in 0u64..5, count in 0u64..70, blocks in 0u64..60,
        ) {
            let mut batch = Batch::new(block_size);
            batch.advance(before);
            for (row, &context) in contexts.iter().enumerate() {
                batch.join(row as u32, 0, context, 1000);
            }
            let naive = |from: u64, count: u64| (from..from + count)
                .map(|s| contexts.iter().filter(|&&c| (u64::from(c) + s) % u64::from(block_size) == 0).count() as u64)
                .sum::<u64>();
            prop_assert_eq!(batch.blocks_needed(from, count), naive(from, count));
            let k = batch.steps_with_blocks(blocks, 80);
            prop_assert!((1..=80).contains(&k));
            prop_assert!(naive(1, k - 1) <= blocks);
            prop_assert!(k == 80 || naive(1, k) > blocks);
        }
    }

    #[test]
    fn decodes_end_in_order_and_stale_entries_are_skipped() {
        let mut batch = Batch::new(4);
        batch.join(0, 10, 5, 3);
        batch.join(1, 11, 5, 2);
        batch.join(2, 12, 5, 3);
        let live = |_: u32, ticket: u32| ticket != 11;
        assert_eq!(batch.until_first_ending(live), Some(3));
        batch.advance(3);
        assert_eq!(batch.context(), 15 + 9);
        assert_eq!(
            (
                batch.pop_ended(live),
                batch.pop_ended(live),
                batch.pop_ended(live)
            ),
            (Some(0), Some(2), None)
        );
    }
}
