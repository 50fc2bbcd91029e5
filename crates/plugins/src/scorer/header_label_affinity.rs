//! Prefers candidates that carry a label with the value of a request header.
//!
//! # When to use
//! Where the client knows what it wants and may be served by others too: a tenant's own engines, a region, a hardware
//! class. To insist on it use a route with a header match, or a filter.
//!
//! # Formula
//! 1 if the header is there and the candidate's label `labelKey` has exactly its value, else 0.
//!
//! # Reads
//! The request's headers and labels.
//!
//! # Example
//! ```yaml
//! - type: header-label-affinity-scorer
//!   parameters:
//!     headerName: x-tenant
//!     labelKey: example.com/tenant
//! ```
//!
//! # Limits
//! Values are compared as they are, in their case. Of a header that is sent several times the first counts.

use pointsman_core::contract::context::Ctx;
use pointsman_core::contract::roles::{Built, Scorer};
use pointsman_core::contract::spec::{
    ParamFault, Params, PluginSpec, Role, Stability, needs_nothing, schema_of,
};
use pointsman_core::index::row_set::RowSet;
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "header-label-affinity-scorer",
    aliases: &[],
    role: Role::Scorer,
    stability: Stability::Alpha,
    reads: &[],
    requires: needs_nothing,
    source: include_str!("header_label_affinity.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    /// The request header; required.
    header_name: String,
    /// The label; required.
    label_key: String,
}

struct HeaderLabelAffinity {
    header: String,
    label: String,
}

fn build(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    let given: Parameters = params.read()?;
    let needed = [
        ("headerName", &given.header_name),
        ("labelKey", &given.label_key),
    ];
    let faults: Vec<ParamFault> = needed
        .into_iter()
        .filter(|(_, text)| text.is_empty())
        .map(|(path, _)| ParamFault {
            path: path.to_owned(),
            message: "is missing; both headerName and labelKey are needed".to_owned(),
        })
        .collect();
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(Built::Scorer(Box::new(HeaderLabelAffinity {
        header: given.header_name.to_ascii_lowercase(),
        label: given.label_key,
    })))
}

impl Scorer for HeaderLabelAffinity {
    fn score(&self, ctx: &Ctx<'_>, rows: &RowSet, out: &mut [f64]) {
        let Some(wanted) = ctx.request.headers.get(&self.header) else {
            return;
        };
        rows.for_each(|row| {
            let label = ctx.snapshot.endpoints[row].labels.get(&self.label);
            out[row] = if label == Some(wanted) { 1.0 } else { 0.0 };
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use pointsman_core::contract::spec::Generation;
    use pointsman_core::fixture::{Scene, pool, scorer};
    use pointsman_core::model::headers::Headers;

    #[test]
    fn the_label_must_have_the_headers_value() {
        let pool = pool("a tenant=red\nb tenant=Red\nc tenant=blue\nd\n");
        let mut scene = Scene::new(&pool);
        let parameters = r#"{"headerName":"X-Tenant","labelKey":"tenant"}"#;
        let scorer = scorer(&SPEC, parameters, Generation::G2);
        assert_eq!(scene.scores(&*scorer), [0.0; 4]);
        let headers: &[(&str, &str)] = &[("x-tenant", "red"), ("x-tenant", "blue")];
        scene.request.headers = Headers::of(&headers);
        assert_eq!(scene.scores(&*scorer), [1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn both_parameters_are_needed() {
        let faults = pointsman_core::fixture::build(&SPEC, r#"{"labelKey":"a"}"#, Generation::G2)
            .unwrap_err();
        assert_eq!((faults.len(), faults[0].path.as_str()), (1, "headerName"));
    }
}
