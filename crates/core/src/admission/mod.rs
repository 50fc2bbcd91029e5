//! Before a request is scheduled: how full the pool is, who waits, and who is let in.
pub mod gatekeeper;
pub mod permits;
pub mod queue;
pub mod rate;
pub mod reclaim;
pub mod rules;
pub mod saturation;
pub mod watch;
