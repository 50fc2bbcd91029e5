//! What `expected-ttft-scorer` learns from answers and predicts with, part by part.
//!
//! ```text
//!  memory ─► model      per model: prefill cost, time per token, lengths of answers, bytes per token
//!     │        └► regression, lengths
//!     └────► endpoint   per endpoint: speed, seats, what is under way
//!              └► speed, seats, queue
//! ```
//! All times are milliseconds; time itself comes in with each call.

pub mod endpoint;
pub mod estimate;
pub mod lengths;
pub mod memory;
pub mod model;
pub mod number;
pub mod queue;
pub mod regression;
pub mod report;
pub mod scale;
pub mod seats;
pub mod speed;
