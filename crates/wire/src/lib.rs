//! Bytes in, core types out, and back: the only crate that knows formats.
//!
//! In reading order, along the way of a request:
//!
//! - [`json`]: one-pass reading of JSON over a list of frames, which everything below stands on.
//! - [`request`]: what scheduling needs to know of a request.
//! - [`status`]: from a reject to an HTTP status, headers and body.
//! - [`error_form`]: in whose form a client reads a refusal, or the event that ends a broken stream.
//! - [`reply`]: usage, id and end of an answer, seen in its bytes as they pass.
//! - [`extproc`]: what a gateway and an endpoint picker say to one another over gRPC.
//! - [`models`]: one list of models out of several endpoints' lists.
//! - [`prometheus`]: the gauges of model servers.
//! - [`handoff`]: ids, bodies and answers of a request that is handed from prefill to decode.
//! - [`receipt`] and [`decision_log`]: a decision written down.
//!
//! No sockets, no clock, no runtime: bytes come as arguments and go as values.

pub mod decision_log;
pub mod error_form;
pub mod extproc;
pub mod handoff;
pub mod json;
pub mod models;
pub mod otlp;
pub mod parser;
pub mod prometheus;
pub mod receipt;
pub mod reply;
pub mod request;
pub mod status;
