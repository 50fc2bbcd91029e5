//! Whether a request's prefill runs on another endpoint than its decode.
pub mod always;
pub mod multimodal;
pub mod prefix_based;
