//! From a configuration as written to a plan.
pub mod duration;
pub mod fault;
pub mod own;
pub mod parts;
pub mod presets;
pub mod resolved;
pub mod written;
