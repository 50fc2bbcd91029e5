//! Sends every request's prefill to another endpoint.
//!
//! # When to use
//! Where prefill engines are plenty and decode engines are to do nothing else.
//!
//! # Rule
//! Always yes.
//!
//! # Reads
//! Nothing.
//!
//! # Example
//! ```yaml
//! - type: always-disagg-pd-decider
//! ```
//!
//! # Limits
//! A short prompt pays for the transfer of its KV cache too; `prefix-based-pd-decider` spares it that.

use pointsman_core::contract::context::Ctx;
use pointsman_core::contract::roles::{Built, Decider};
use pointsman_core::contract::spec::{
    ParamFault, Params, PluginSpec, Role, Stability, needs_nothing, schema_of,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "always-disagg-pd-decider",
    aliases: &[],
    role: Role::Decider,
    stability: Stability::Beta,
    reads: &[],
    requires: needs_nothing,
    source: include_str!("always.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema, Default)]
struct Parameters {}

struct Always;

fn build(_: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    Ok(Built::Decider(Box::new(Always)))
}

impl Decider for Always {
    fn decide(&self, _: &Ctx<'_>, _: usize) -> (bool, &'static str) {
        (true, "always")
    }
}
