//! Whether a request's prefill runs on another endpoint than its decode.
pub mod always;
pub mod prefix_based;
