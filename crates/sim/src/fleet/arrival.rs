//! A request as it arrives: lengths, and what its prompt is made of.

use crate::engine::block_hash::hash_ids;
use crate::fleet::trace::{Ask, Trace};
use pointsman_core::time::Tick;

/// The request that arrives next, or that is kept until nobody may ask for it again.
#[derive(Debug, Default)]
pub struct Arrival {
    /// When it comes.
    pub at: Tick,
    /// Length of the prompt.
    pub prompt_tokens: u32,
    /// Length of the answer.
    pub output_tokens: u32,
    /// The client's bound on it.
    pub max_output_tokens: u32,
    /// Ids of the prompt's full blocks.
    pub ids: Vec<u64>,
    /// Chained hashes of `ids`, for the engines.
    pub blocks: Vec<u64>,
}

impl Arrival {
    /// Becomes a request of `trace`; only the time stays.
    pub fn take(&mut self, trace: &Trace, ask: &Ask) {
        self.prompt_tokens = ask.prompt_tokens;
        self.output_tokens = ask.output_tokens;
        self.max_output_tokens = ask.max_output_tokens;
        self.ids.clear();
        self.ids.extend_from_slice(trace.ids(ask));
        self.hash();
    }

    /// Hashes the ids anew.
    pub fn hash(&mut self) {
        self.blocks.clear();
        hash_ids(&self.ids, &mut self.blocks);
    }

    /// Becomes a copy of `other`, in the memory that is there.
    pub fn copy(&mut self, other: &Self) {
        let Self {
            at,
            prompt_tokens,
            output_tokens,
            max_output_tokens,
            ids,
            blocks,
        } = self;
        (*at, *prompt_tokens) = (other.at, other.prompt_tokens);
        (*output_tokens, *max_output_tokens) = (other.output_tokens, other.max_output_tokens);
        ids.clone_from(&other.ids);
        blocks.clone_from(&other.blocks);
    }
}
