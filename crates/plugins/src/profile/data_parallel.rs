//! Picks one rank of data-parallel engines, and sends the request to the port that stands for all of them.
//!
//! # When to use
//! Where the ranks of an engine are endpoints of one address with a port each, and requests must go to the first port:
//! a gateway in between knows only that one, and a sidecar behind it passes the request on to the rank.
//!
//! # Rule
//! One run; its pick is the primary pick. The request is sent to `primaryPort` of the picked endpoint's address, with
//! its own `ip:port` in the header `x-data-parallel-host-port`; 0 sends it to the endpoint itself.
//!
//! # Reads
//! Nothing.
//!
//! # Example
//! ```yaml
//! - type: data-parallel-profile-handler
//!   parameters:
//!     primaryPort: 8000
//! ```
//!
//! # Limits
//! Refuses a configuration with several profiles. Where each rank can be reached at its own port, leave it out.

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
    kind: "data-parallel-profile-handler",
    aliases: &[],
    role: Role::ProfileHandler,
    stability: Stability::Beta,
    reads: &[],
    requires: needs_nothing,
    source: include_str!("data_parallel.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    /// The port that requests are sent to; 0: the endpoint's own.
    primary_port: i64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { primary_port: 8000 }
    }
}

struct DataParallel {
    port: Option<u16>,
}

fn build(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    let Parameters { primary_port } = params.read()?;
    match u16::try_from(primary_port) {
        Ok(port) => Ok(Built::Handler(Box::new(DataParallel {
            port: (port > 0).then_some(port),
        }))),
        Err(_) => Err(vec![ParamFault {
            path: "primaryPort".to_owned(),
            message: format!("{primary_port} is no port; use 0 to 65535"),
        }]),
    }
}

impl ProfileHandler for DataParallel {
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
                "data-parallel-profile-handler works with one profile, found {found}"
            )),
        }
    }

    fn is_repeatable(&self) -> bool {
        true
    }

    fn primary_port(&self) -> Option<u16> {
        self.port
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_core::contract::spec::Generation;
    use pointsman_core::fixture::build as built;

    #[track_caller]
    fn port(parameters: &str) -> Option<Option<u16>> {
        match built(&SPEC, parameters, Generation::G1) {
            Ok(Built::Handler(handler)) => Some(handler.primary_port()),
            _ => None,
        }
    }

    #[test]
    fn the_port_is_8000_unless_another_is_named() {
        assert_eq!(port("{}"), Some(Some(8000)));
        assert_eq!(port(r#"{"primaryPort":9000}"#), Some(Some(9000)));
        assert_eq!(port(r#"{"primaryPort":0}"#), Some(None));
        assert_eq!(port(r#"{"primaryPort":65536}"#), None);
        assert_eq!(port(r#"{"primaryPort":-1}"#), None);
    }
}
