//! Keeps the candidates that a request header names by address. For tests only.
//!
//! # When to use
//! In conformance tests of a gateway, which must be able to say where a request goes. Never in production: whoever can
//! send the header chooses the endpoint.
//!
//! # Rule
//! The header `test-epp-endpoint-selection` is a comma list of `ip` or `ip:port`; candidates with such an address stay.
//! Without the header, or with an empty one, nobody stays.
//!
//! # Reads
//! The request's headers and addresses.
//!
//! # Example
//! ```yaml
//! - type: header-based-testing-filter
//! ```
//!
//! # Limits
//! The order of the list does not matter; the picker chooses among those that stay.

use std::net::{IpAddr, SocketAddr};

use pointsman_core::contract::context::Ctx;
use pointsman_core::contract::roles::{Built, Filter};
use pointsman_core::contract::spec::{
    ParamFault, Params, PluginSpec, Role, Stability, needs_nothing, schema_of,
};
use pointsman_core::index::row_set::RowSet;
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "header-based-testing-filter",
    aliases: &[],
    role: Role::Filter,
    stability: Stability::Beta,
    reads: &[],
    requires: needs_nothing,
    source: include_str!("header_testing.rs"),
    schema: schema_of::<Parameters>,
    build,
};

const HEADER: &str = "test-epp-endpoint-selection";

#[derive(Deserialize, JsonSchema, Default)]
struct Parameters {}

struct HeaderTesting;

fn build(_: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    Ok(Built::Filter(Box::new(HeaderTesting)))
}

fn names(text: &str, address: SocketAddr) -> bool {
    text.parse::<IpAddr>().map_or_else(
        |_| text.parse::<SocketAddr>() == Ok(address),
        |ip| ip == address.ip(),
    )
}

impl Filter for HeaderTesting {
    fn filter(&self, ctx: &Ctx<'_>, rows: &mut RowSet) {
        let wanted = ctx.request.headers.get(HEADER).unwrap_or_default();
        rows.retain(|row| {
            let address = ctx.snapshot.endpoints[row].address;
            wanted.split(',').any(|text| names(text.trim(), address))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_core::contract::spec::Generation;
    use pointsman_core::fixture::{Scene, filter, pool};
    use pointsman_core::model::headers::Headers;

    #[track_caller]
    fn check(value: &str, expected: &str) {
        // Fixture endpoints stand at 127.0.0.1:1, 127.0.0.1:2 and so on.
        let pool = pool("a\nb\nc\n");
        let mut scene = Scene::new(&pool);
        let headers: &[(&str, &str)] = &[(HEADER, value)];
        scene.request.headers = Headers::of(&headers);
        let filter = filter(&SPEC, "{}", Generation::G1);
        assert_eq!(scene.kept(&*filter), expected, "{value}");
    }

    #[test]
    fn keeps_those_named_and_nobody_without_a_name() {
        check("127.0.0.1:2", "b");
        check("127.0.0.1:3, 127.0.0.1:1", "a c");
        check("127.0.0.1", "a b c");
        check("127.0.0.2", "");
        check("127.0.0.1:9,b", "");
        check("", "");
        let pool = pool("a\n");
        let filter = filter(&SPEC, "{}", Generation::G2);
        assert_eq!(Scene::new(&pool).kept(&*filter), "");
    }
}
