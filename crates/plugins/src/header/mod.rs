//! Plugins that look at a request's headers before anything else does.

pub mod agent_identity;
