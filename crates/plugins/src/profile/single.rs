//! Runs the one scheduling profile there is and takes its pick.
//!
//! # When to use
//! Wherever prefill and decode are not picked separately. It is added where one profile names no handler.
//!
//! # Rule
//! One run; its pick is the primary pick.
//!
//! # Reads
//! Nothing.
//!
//! # Example
//! ```yaml
//! - type: single-profile-handler
//! ```
//!
//! # Limits
//! Refuses a configuration with several profiles.

use pointsman_core::contract::context::Ctx;
use pointsman_core::contract::roles::{Binding, Built, Next, ProfileHandler};
use pointsman_core::contract::spec::{
    ParamFault, Params, PluginSpec, Role, Stability, needs_nothing, schema_of,
};
use pointsman_core::contract::table::ProfileRun;
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "single-profile-handler",
    aliases: &[],
    role: Role::ProfileHandler,
    stability: Stability::Stable,
    reads: &[],
    requires: needs_nothing,
    source: include_str!("single.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema, Default)]
struct Parameters {}

struct Single;

fn build(_: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    Ok(Built::Handler(Box::new(Single)))
}

impl ProfileHandler for Single {
    fn next(&self, _: &Ctx<'_>, runs: &[ProfileRun]) -> Next {
        if runs.is_empty() {
            return Next::Run(0);
        }
        Next::Done {
            primary: 0,
            prefill: None,
            encode: None,
            pd: None,
        }
    }

    fn bind(&mut self, binding: &Binding<'_>) -> Result<(), String> {
        match binding.profiles.len() {
            1 => Ok(()),
            found => Err(format!(
                "SingleProfileHandler cannot support multiple scheduling profiles; there are {found}, so declare a handler for several, such as pd-profile-handler"
            )),
        }
    }

    fn is_repeatable(&self) -> bool {
        true
    }
}
