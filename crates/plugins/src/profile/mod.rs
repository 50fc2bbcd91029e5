//! Plugins that decide which profiles run.
pub mod single;
