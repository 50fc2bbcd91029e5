//! Tells the endpoint that gets the request which endpoints prefill and encode, in headers.
//!
//! # When to use
//! With `pd-profile-handler`, where a sidecar beside the decode engine carries the KV cache over. `disagg-profile-handler`
//! does this by itself.
//!
//! # Rule
//! If a prefill endpoint was picked, the request carries `x-prefiller-host-port: ip:port`; if endpoints that encode
//! were, `x-encoder-hosts-ports` with all of them, separated by commas. A client's own headers of these names are always
//! removed.
//!
//! # Reads
//! Nothing but the picks.
//!
//! # Example
//! ```yaml
//! - type: disagg-headers-handler
//!   parameters:
//!     prefillProfile: prefill
//!     encodeProfile: encode
//! ```
//!
//! # Limits
//! Only says where; without something at the endpoint that reads the headers nothing happens.

use pointsman_core::contract::roles::Built;
use pointsman_core::contract::spec::{
    ParamFault, Params, PluginSpec, Role, Stability, needs_nothing, schema_of,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "disagg-headers-handler",
    aliases: &[],
    role: Role::HeaderWriter,
    stability: Stability::Beta,
    reads: &[],
    requires: needs_nothing,
    source: include_str!("disagg_headers.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    /// The profile whose pick is told as the one that prefills.
    prefill_profile: String,
    /// The profile whose picks are told as those that encode.
    encode_profile: String,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            prefill_profile: "prefill".to_owned(),
            encode_profile: "encode".to_owned(),
        }
    }
}

fn build(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    let parameters: Parameters = params.read()?;
    Ok(Built::PickHeaders {
        prefill: parameters.prefill_profile,
        encode: Some(parameters.encode_profile),
    })
}
