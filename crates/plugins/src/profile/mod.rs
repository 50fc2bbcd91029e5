//! Plugins that decide which profiles run, and what is told of their picks.
pub mod data_parallel;
pub mod disagg;
pub mod disagg_headers;
pub mod prefill_decode;
pub mod prefill_header;
pub mod single;
