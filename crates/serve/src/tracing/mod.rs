//! Traces: which requests are traced, their spans, and the way to a collector.
//!
//! A request that is not traced costs one look at whether there is a tracer. Spans go into a bounded queue that one task
//! empties; where it is full they are dropped and counted, and no request waits.

pub mod context;
pub mod exporter;
pub mod open;
pub mod settings;
pub mod traced;
pub mod tracer;
