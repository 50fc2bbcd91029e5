//! What an engine is made of: limits, block sizes and one of the two timing models.

use pointsman_core::time::Span;

use crate::engine::timing::Roofline;
use crate::engine::transfer::TransferModel;

/// The timing of the reference simulator: every request sleeps on its own.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ReferenceTiming {
    /// Constant time to first token; when zero the per-token numbers apply.
    pub first_token: Span,
    /// Deviation of `first_token`.
    pub first_token_deviation: Span,
    /// Fixed part of a prefill.
    pub prefill_overhead: Span,
    /// Prefill time per token that is not cached.
    pub prefill_per_token: Span,
    /// Deviation of the whole prefill time.
    pub prefill_deviation: Span,
    /// Time between two tokens.
    pub inter_token: Span,
    /// Deviation of `inter_token`.
    pub inter_token_deviation: Span,
    /// Time to first token of a request whose KV comes from another engine; when zero the per-token number applies.
    pub transfer: Span,
    /// Transfer time per prompt token.
    pub transfer_per_token: Span,
    /// Deviation of the whole transfer time.
    pub transfer_deviation: Span,
    /// Factor on every time when all sequence slots are taken; 1 with one request, linear between.
    pub factor_under_load: f64,
}

/// Which timing model an engine follows.
#[derive(Clone, Debug, PartialEq)]
pub enum Timing {
    /// Steps of a batch, from the roofline.
    Roofline(Roofline),
    /// Independent sleeps, as the reference simulator does.
    Reference(ReferenceTiming),
}

/// The configuration of one engine.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineConfig {
    /// What steps cost.
    pub timing: Timing,
    /// What moving KV to this engine costs.
    pub transfer: TransferModel,
    /// Bytes of keys and values per token, for the transfer.
    pub kv_bytes: f64,
    /// Tokens per KV block.
    pub block_size: u32,
    /// KV blocks of the engine.
    pub kv_blocks: u32,
    /// Most requests that run at once (`max-num-seqs`).
    pub max_running: u32,
    /// Most requests that wait; one more is refused.
    pub max_waiting: u32,
    /// Most tokens in one step (`max-num-batched-tokens`).
    pub token_budget: u32,
    /// Whether a prompt may be computed in several steps.
    pub chunked_prefill: bool,
    /// Whether prompt blocks are reused.
    pub prefix_caching: bool,
    /// Relative deviation of a step's time; 0 is deterministic.
    pub jitter: f64,
    /// How much faster than modelled everything runs.
    pub speed: f64,
    /// Never jump: for tests that compare the two ways.
    pub stepwise: bool,
}

impl EngineConfig {
    /// The limits that vLLM has by default, over `timing` and `kv_blocks` blocks of 16 tokens.
    pub fn new(timing: Timing, kv_bytes: f64, kv_blocks: u32) -> Self {
        Self {
            timing,
            transfer: crate::engine::transfer::TRANSFER_PRESETS[1],
            kv_bytes,
            block_size: 16,
            kv_blocks,
            max_running: 256,
            max_waiting: u32::MAX,
            token_budget: 8192,
            chunked_prefill: true,
            prefix_caching: true,
            jitter: 0.0,
            speed: 1.0,
            stepwise: false,
        }
    }

    /// The same with every number in its lawful range, so that the engine never has to check again.
    pub fn lawful(mut self) -> Self {
        self.block_size = self.block_size.max(1);
        self.kv_blocks = self.kv_blocks.max(1);
        self.max_running = self.max_running.max(1);
        // Decodes never wait for the budget: there is always one token for each running request.
        self.token_budget = self.token_budget.max(self.max_running).max(1);
        self.speed = if self.speed.is_finite() && self.speed > 0.0 {
            self.speed
        } else {
            1.0
        };
        self.jitter = if self.jitter.is_finite() {
            self.jitter.max(0.0)
        } else {
            0.0
        };
        self
    }
}
