//! Tells the decode endpoint which endpoint prefills, in the header `x-prefiller-host-port`.
//!
//! # When to use
//! With `pd-profile-handler`, where a sidecar beside the decode engine carries the KV cache over.
//!
//! # Rule
//! If a prefill endpoint was picked, the request carries `x-prefiller-host-port: ip:port`. A client's own header of
//! that name is always removed.
//!
//! # Reads
//! Nothing but the picks.
//!
//! # Example
//! ```yaml
//! - type: prefill-header-handler
//!   parameters:
//!     prefillProfile: prefill
//! ```
//!
//! # Limits
//! Only says where; without something at the decode endpoint that reads the header nothing happens. Where the gateway
//! is to carry the cache itself, set `pointsman.gateway.handoff`.

use pointsman_core::contract::roles::Built;
use pointsman_core::contract::spec::{
    ParamFault, Params, PluginSpec, Role, Stability, needs_nothing, schema_of,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "prefill-header-handler",
    aliases: &[],
    role: Role::HeaderWriter,
    stability: Stability::Beta,
    reads: &[],
    requires: needs_nothing,
    source: include_str!("prefill_header.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    /// The profile whose pick is told.
    prefill_profile: String,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            prefill_profile: "prefill".to_owned(),
        }
    }
}

fn build(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    let parameters: Parameters = params.read()?;
    Ok(Built::PickHeaders {
        prefill: parameters.prefill_profile,
        encode: None,
    })
}
