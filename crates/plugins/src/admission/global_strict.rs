//! Lets the earliest request of a band go first, whichever flow it belongs to.
//!
//! # When to use
//! Where all clients are one's own. It stands where a band names no other policy.
//!
//! # Rule
//! Of the heads of all flows the one that the band's ordering policy puts first.
//!
//! # Reads
//! Nothing.
//!
//! # Example
//! ```yaml
//! - type: global-strict-fairness-policy
//! ```
//!
//! # Limits
//! A client that sends much gets much; `round-robin-fairness-policy` shares.

use pointsman_core::contract::admission::{FairnessPolicy, Flows};
use pointsman_core::contract::roles::Built;
use pointsman_core::contract::spec::{
    ParamFault, Params, PluginSpec, Role, Stability, needs_nothing, schema_of,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "global-strict-fairness-policy",
    aliases: &[],
    role: Role::Fairness,
    stability: Stability::Beta,
    reads: &[],
    requires: needs_nothing,
    source: include_str!("global_strict.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema, Default)]
struct Parameters {}

struct GlobalStrict;

fn build(_: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    Ok(Built::Fairness(Box::new(GlobalStrict)))
}

impl FairnessPolicy for GlobalStrict {
    fn next<'f>(&self, flows: &'f dyn Flows, _: Option<&str>) -> Option<&'f str> {
        flows.earliest()
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
    fn the_earliest_head_goes() {
        assert_eq!(GlobalStrict.next(&Abc, Some("b")), Some("b"));
    }
}
