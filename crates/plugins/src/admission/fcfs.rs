//! Lets the requests of a flow go in the order in which they were queued.
//!
//! # When to use
//! Where nothing says that one request is more pressing than another. It stands where a band names no other policy.
//!
//! # Rule
//! Ordered by the moment of queueing; those of one moment by their arrival.
//!
//! # Reads
//! Nothing.
//!
//! # Example
//! ```yaml
//! - type: fcfs-ordering-policy
//! ```
//!
//! # Limits
//! Within one flow only; a band's fairness policy chooses among flows.

use pointsman_core::contract::admission::{OrderingPolicy, Waiter};
use pointsman_core::contract::roles::Built;
use pointsman_core::contract::spec::{
    ParamFault, Params, PluginSpec, Role, Stability, needs_nothing, schema_of,
};
use pointsman_core::time::Tick;
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "fcfs-ordering-policy",
    aliases: &[],
    role: Role::Ordering,
    stability: Stability::Beta,
    reads: &[],
    requires: needs_nothing,
    source: include_str!("fcfs.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema, Default)]
struct Parameters {}

struct Fcfs;

fn build(_: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    Ok(Built::Ordering(Box::new(Fcfs)))
}

impl OrderingPolicy for Fcfs {
    fn key(&self, waiter: &Waiter) -> Tick {
        waiter.enqueued
    }
}
