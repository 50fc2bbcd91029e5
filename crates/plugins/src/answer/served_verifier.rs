//! Tells on each answer which endpoint served it, for conformance tests of gateways.
//!
//! # When to use
//! In conformance tests alone: they check by it that a gateway sends requests where the picker says.
//!
//! # Rule
//! Answers carry `x-conformance-test-served-endpoint` with what the gateway reports in its metadata `envoy.lb` as
//! `x-gateway-destination-endpoint-served`. Where it reports nothing the header says so and begins with `fail:`.
//!
//! # Reads
//! The gateway's metadata.
//!
//! # Example
//! ```yaml
//! - type: destination-endpoint-served-verifier
//! ```
//!
//! # Limits
//! Tells clients addresses of endpoints. The embedded gateway does not write the header: it is the gateway itself.

use pointsman_core::contract::roles::Built;
use pointsman_core::contract::spec::{
    ParamFault, Params, PluginSpec, Role, Stability, needs_nothing, schema_of,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "destination-endpoint-served-verifier",
    aliases: &[],
    role: Role::HeaderWriter,
    stability: Stability::Beta,
    reads: &[],
    requires: needs_nothing,
    source: include_str!("served_verifier.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema, Default)]
struct Parameters {}

fn build(_: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    Ok(Built::ServedHeader)
}
