//! What one metrics page said.

use thiserror::Error;

/// What one page said. A value is `None` if the page does not have it, or has it unusable.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Readings {
    /// Requests that wait in the engine; a whole number.
    pub waiting: Option<f64>,
    /// Requests that run in the engine; a whole number.
    pub running: Option<f64>,
    /// Share of the KV cache in use, 0 to 1.
    pub kv_usage: Option<f64>,
    /// Tokens per KV block.
    pub block_size: Option<u32>,
    /// KV blocks of the engine.
    pub num_blocks: Option<u32>,
    /// Unix time at which the process started, in seconds; a later one means a restart.
    pub start_time: Option<f64>,
    /// Requests served since the process started; fewer than before mean a restart.
    pub served: Option<f64>,
    /// Series of wanted names that could not be used.
    pub problems: u32,
}

/// The page is no exposition text: empty, HTML, JSON or binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a metrics page; check that the path serves prometheus text")]
pub struct NotExposition;
