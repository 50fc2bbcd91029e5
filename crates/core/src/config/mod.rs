//! From a configuration as written to a plan.
pub mod duration;
pub mod fault;
pub mod presets;
pub mod resolved;
pub mod written;
