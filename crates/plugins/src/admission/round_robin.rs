//! Lets the flows of a band take turns, one request each.
//!
//! # When to use
//! Where several clients share a pool and none is to crowd the others out.
//!
//! # Rule
//! The flows that have somebody waiting, in the order of their names, beginning after the one served last; from each
//! the request that the band's ordering policy puts first.
//!
//! # Reads
//! The fairness id of each request: the header `x-llm-d-inference-fairness-id` (or `x-gateway-inference-fairness-id`),
//! `default-flow` where it is missing.
//!
//! # Example
//! ```yaml
//! - type: round-robin-fairness-policy
//! ```
//!
//! # Limits
//! Turns are counted in requests, not in tokens. Clients choose their fairness ids, so whoever sets many gets many
//! turns: let a gateway in front set the header.

use pointsman_core::contract::admission::{FairnessPolicy, Flows};
use pointsman_core::contract::roles::Built;
use pointsman_core::contract::spec::{
    ParamFault, Params, PluginSpec, Role, Stability, needs_nothing, schema_of,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "round-robin-fairness-policy",
    aliases: &[],
    role: Role::Fairness,
    stability: Stability::Beta,
    reads: &[],
    requires: needs_nothing,
    source: include_str!("round_robin.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema, Default)]
struct Parameters {}

struct RoundRobin;

fn build(_: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    Ok(Built::Fairness(Box::new(RoundRobin)))
}

impl FairnessPolicy for RoundRobin {
    fn next<'f>(&self, flows: &'f dyn Flows, served: Option<&str>) -> Option<&'f str> {
        match served {
            Some(served) => flows.after(served),
            None => flows.first(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Flows in the order of names, the second of which has the earliest head.
    struct Abc;

    impl Flows for Abc {
        fn earliest(&self) -> Option<&str> {
            Some("b")
        }
        fn after(&self, flow: &str) -> Option<&str> {
            let names = ["a", "b", "c"];
            names.into_iter().find(|name| *name > flow).or(Some("a"))
        }
        fn first(&self) -> Option<&str> {
            Some("a")
        }
    }

    #[test]
    fn turns_go_round_from_the_flow_served_last() {
        let next = |served| RoundRobin.next(&Abc, served);
        assert_eq!(next(None), Some("a"));
        assert_eq!((next(Some("a")), next(Some("c"))), (Some("b"), Some("a")));
        assert_eq!(
            next(Some("bb")),
            Some("c"),
            "the one served last may be gone"
        );
    }
}
