//! The doors: each turns IO into the core's events and the core's effects into IO.

pub mod readiness;

pub mod record;

pub mod metrics;

pub mod reloads;
pub mod resolved;

pub mod rewriting;

pub mod speech;

pub mod admission;

pub mod router;

pub mod exchange;

pub mod handoff;

pub mod door;

pub mod admin;

pub mod tracing;
pub mod upkeep;

pub mod idle;

pub mod what_ifs;
