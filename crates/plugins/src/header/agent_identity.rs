//! Takes the session that a coding agent names in a header for the request's fairness id.
//!
//! # When to use
//! Where agents share a pool with flow control on, and do not set a fairness id of their own: each session then has
//! a queue to itself, and counts by itself in metrics.
//!
//! # Rule
//! A request without a fairness id has the value of the first of these headers that it carries and that is not empty:
//! those in `additionalSessionHeaders`, then `x-claude-code-session-id`, `x-session-affinity`, `session-id`,
//! `session_id`.
//!
//! # Reads
//! The request's headers.
//!
//! # Example
//! ```yaml
//! - type: agent-identity
//!   parameters:
//!     additionalSessionHeaders: [x-tenant]
//! ```
//!
//! # Limits
//! A client can write what it likes there. Values of more than 256 bytes count as none. The embedded gateway refuses
//! header names with an underscore, so `session_id` is seen behind other gateways only.

use pointsman_core::contract::roles::Built;
use pointsman_core::contract::spec::{
    ParamFault, Params, PluginSpec, Role, Stability, needs_nothing, schema_of,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "agent-identity",
    aliases: &[],
    role: Role::HeaderReader,
    stability: Stability::Alpha,
    reads: &[],
    requires: needs_nothing,
    source: include_str!("agent_identity.rs"),
    schema: schema_of::<Parameters>,
    build,
};

/// Headers of agents that are known to name their session.
const KNOWN: [&str; 4] = [
    "x-claude-code-session-id",
    "x-session-affinity",
    "session-id",
    "session_id",
];

#[derive(Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    /// Further headers, looked at before the known ones.
    additional_session_headers: Vec<String>,
}

fn build(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    let Parameters {
        additional_session_headers: more,
    } = params.read()?;
    let names = more.iter().map(String::as_str).chain(KNOWN);
    let names = names.map(|name| name.trim().to_ascii_lowercase());
    Ok(Built::FlowHeaders(
        names.filter(|name| !name.is_empty()).collect(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_core::contract::spec::Generation;
    use pointsman_core::fixture::build as built;

    #[test]
    fn further_headers_come_first_and_in_lower_case() {
        let parameters = r#"{"additionalSessionHeaders":["X-Tenant"," "]}"#;
        let Ok(Built::FlowHeaders(names)) = built(&SPEC, parameters, Generation::G2) else {
            panic!("refused")
        };
        assert_eq!(names[0], "x-tenant");
        assert_eq!(names[1..], KNOWN);
    }
}
