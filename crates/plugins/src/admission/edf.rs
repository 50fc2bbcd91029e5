//! Lets the request of a flow go first whose time to wait ends first.
//!
//! # When to use
//! Where requests of one flow may wait for different times.
//!
//! # Rule
//! Ordered by the moment of queueing plus the time that the request may wait; one that may wait for ever goes last.
//!
//! # Reads
//! `flowControl.defaultRequestTTL`, or `noEndpointRequestTTL` for requests that were queued while the pool was empty.
//!
//! # Example
//! ```yaml
//! - type: edf-ordering-policy
//! ```
//!
//! # Limits
//! No request says by itself how long it may wait, so this differs from `fcfs-ordering-policy` only where the pool has
//! been empty; a client's wish for its first token is read by `slo-deadline-ordering-policy`.

use pointsman_core::contract::admission::{LAST, OrderingPolicy, Waiter};
use pointsman_core::contract::roles::Built;
use pointsman_core::contract::spec::{
    ParamFault, Params, PluginSpec, Role, Stability, needs_nothing, schema_of,
};
use pointsman_core::time::Tick;
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "edf-ordering-policy",
    aliases: &[],
    role: Role::Ordering,
    stability: Stability::Beta,
    reads: &[],
    requires: needs_nothing,
    source: include_str!("edf.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema, Default)]
struct Parameters {}

struct Edf;

fn build(_: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    Ok(Built::Ordering(Box::new(Edf)))
}

impl OrderingPolicy for Edf {
    fn key(&self, waiter: &Waiter) -> Tick {
        waiter.ttl.map_or(LAST, |ttl| waiter.enqueued + ttl)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_core::time::Span;

    #[test]
    fn who_may_wait_for_ever_goes_last() {
        let waiter = |enqueued, ttl| Waiter {
            arrived: Tick(1),
            enqueued: Tick(enqueued),
            ttl,
            first_token_within: None,
        };
        assert_eq!(Edf.key(&waiter(5, Some(Span(10)))), Tick(15));
        assert!(Edf.key(&waiter(9, Some(Span(2)))) < Edf.key(&waiter(5, Some(Span(10)))));
        assert_eq!(Edf.key(&waiter(5, None)), LAST);
    }
}
