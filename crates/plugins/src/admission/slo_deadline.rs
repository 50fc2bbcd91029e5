//! Lets the request of a flow go first whose client wants its first token soonest.
//!
//! # When to use
//! Where interactive and patient requests share a flow and say so.
//!
//! # Rule
//! Ordered by arrival plus the header `x-llm-d-slo-ttft-ms` (or `x-slo-ttft-ms`), in milliseconds. A request without
//! the header goes after all that have it, and so does one whose value is no whole number above zero or is too large to
//! be a time: nobody jumps the queue by writing nonsense.
//!
//! # Reads
//! The header.
//!
//! # Example
//! ```yaml
//! - type: slo-deadline-ordering-policy
//! ```
//!
//! # Limits
//! Clients are believed. Where they are not to be, give each a fairness id of its own and the band
//! `round-robin-fairness-policy`.

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
    kind: "slo-deadline-ordering-policy",
    aliases: &[],
    role: Role::Ordering,
    stability: Stability::Beta,
    reads: &[],
    requires: needs_nothing,
    source: include_str!("slo_deadline.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema, Default)]
struct Parameters {}

struct SloDeadline;

fn build(_: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    Ok(Built::Ordering(Box::new(SloDeadline)))
}

impl OrderingPolicy for SloDeadline {
    fn key(&self, waiter: &Waiter) -> Tick {
        let within = waiter.first_token_within;
        within.map_or(LAST, |within| waiter.arrived + within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_core::time::Span;

    #[test]
    fn the_earliest_deadline_counts_and_none_is_last() {
        let waiter = |arrived, within| Waiter {
            arrived: Tick(arrived),
            enqueued: Tick(100),
            ttl: None,
            first_token_within: within,
        };
        assert_eq!(SloDeadline.key(&waiter(5, Some(Span(10)))), Tick(15));
        assert_eq!(SloDeadline.key(&waiter(5, None)), LAST);
        assert_eq!(SloDeadline.key(&waiter(5, Some(Span(u64::MAX)))), LAST);
    }
}
