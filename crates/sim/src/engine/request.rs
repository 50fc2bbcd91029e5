//! What goes into an engine and what comes out.

use pointsman_core::time::Tick;
use thiserror::Error;

/// A request as an engine sees it: sizes and block hashes, no text.
#[derive(Clone, Copy, Debug)]
pub struct EngineRequest<'a> {
    /// The caller's name for it; comes back in every event.
    pub key: u64,
    /// Length of the prompt; at least 1.
    pub prompt_tokens: u32,
    /// Chained hash of each full prompt block, or empty when nothing can be reused. Chained means that
    /// a hash stands for the whole prompt up to its block (see [`crate::engine::block_hash`]).
    pub blocks: &'a [u64],
    /// How many tokens it will generate; at least 1.
    pub output_tokens: u32,
    /// Whether every token is told ([`EventKind::Token`]); otherwise the engine jumps over them.
    pub observed: bool,
    /// Set when the prompt's KV comes from another engine: the number of that peer. The prompt is then
    /// not computed; the request waits for the transfer.
    pub remote: Option<u32>,
}

/// A request inside an engine; names it for `Engine::abort`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestHandle {
    /// Row of the engine's slab.
    pub slot: u32,
    /// Use of that row; an old handle of a reused row is harmless.
    pub generation: u32,
}

/// Why an engine does not take a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Even an empty engine could not hold it.
    #[error(
        "the request needs {needed} kv blocks and the engine has {total}; shorten it or raise --kv-cache-size"
    )]
    NeverFits {
        /// Blocks it would need at its end.
        needed: u32,
        /// Blocks of the engine.
        total: u32,
    },
    /// The waiting queue is full.
    #[error(
        "the waiting queue is full ({limit} requests); try again later or raise --max-waiting-queue-length"
    )]
    QueueFull {
        /// The queue's limit.
        limit: u32,
    },
}

/// The life of a finished request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Length of the prompt.
    pub prompt_tokens: u32,
    /// Prompt tokens that were reused from this engine's cache.
    pub cached_tokens: u32,
    /// Tokens generated.
    pub output_tokens: u32,
    /// Times it was preempted.
    pub preemptions: u32,
    /// When it came.
    pub arrived: Tick,
    /// When it first left the queue.
    pub scheduled: Tick,
    /// When its first token was there.
    pub first_token: Tick,
    /// When its last token was there.
    pub finished: Tick,
}

/// What happened to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Its first token is there.
    FirstToken,
    /// Token number `n` (from 2) is there; only for observed requests.
    Token(u32),
    /// Its last token is there; nothing more will be said of it.
    Finished(Summary),
}

/// One event of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineEvent {
    /// The caller's name for the request.
    pub key: u64,
    /// When it happened; may lie before the `now` that the engine was advanced to.
    pub at: Tick,
    /// What happened.
    pub kind: EventKind,
}

/// How loaded an engine is at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Gauges {
    /// Requests in the batch.
    pub running: u32,
    /// Requests that wait for a slot, for blocks or for their KV.
    pub waiting: u32,
    /// Blocks that running requests use.
    pub used_blocks: u32,
    /// Blocks that hold a reusable prefix and nobody uses.
    pub cached_blocks: u32,
    /// All blocks.
    pub total_blocks: u32,
}

impl Gauges {
    /// Share of the blocks in use, 0 to 1.
    pub fn kv_usage(&self) -> f64 {
        f64::from(self.used_blocks) / f64::from(self.total_blocks.max(1))
    }
}

/// What an engine has done since its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counters {
    /// Prompt tokens of requests that got their first token.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub generation_tokens: u64,
    /// Prompt tokens that were looked up in the cache.
    pub prefix_queries: u64,
    /// Prompt tokens that were found there.
    pub prefix_hits: u64,
    /// Prompt tokens whose KV came from another engine.
    pub transferred_tokens: u64,
    /// Preemptions.
    pub preemptions: u64,
    /// Requests finished.
    pub finished: u64,
    /// Requests aborted.
    pub aborted: u64,
    /// Steps done.
    pub steps: u64,
}
