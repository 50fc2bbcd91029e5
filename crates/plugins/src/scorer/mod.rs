//! Plugins that rate candidates.
pub mod active_request;
