//! Keeps the candidates that carry one label with one of the listed values.
//!
//! # When to use
//! For files of the reference that use it; `label-selector-filter` says the same and more.
//!
//! # Rule
//! A candidate stays if its label's value is in `validValues`, or if it lacks the label and `allowsNoLabel` is set.
//!
//! # Reads
//! Labels only.
//!
//! # Example
//! ```yaml
//! - type: by-label
//!   parameters:
//!     label: llm-d.ai/kv-backend
//!     validValues: [nvlink, fs]
//! ```
//!
//! # Limits
//! One label only. If no candidate is left, the request is answered 429 and the log names this filter.

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
    kind: "by-label",
    aliases: &[],
    role: Role::Filter,
    stability: Stability::Beta,
    reads: &[],
    requires: needs_nothing,
    source: include_str!("by_label.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    /// The label; required.
    label: String,
    /// The values that stay; at least one, unless `allowsNoLabel` is set.
    valid_values: Vec<String>,
    /// Whether candidates without the label stay.
    allows_no_label: bool,
}

fn build(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    let parameters: Parameters = params.read()?;
    let mut faults = Vec::new();
    let mut fault = |path: &str, message: &str| {
        faults.push(ParamFault {
            path: path.to_owned(),
            message: message.to_owned(),
        });
    };
    if parameters.label.is_empty() {
        fault("label", "the name of a label is required");
    }
    if parameters.valid_values.is_empty() && !parameters.allows_no_label {
        fault(
            "validValues",
            "with no valid value and allowsNoLabel unset nothing would ever be left; list a value",
        );
    }
    if faults.is_empty() {
        Ok(Built::Filter(Box::new(parameters)))
    } else {
        Err(faults)
    }
}

impl Filter for Parameters {
    fn filter(&self, ctx: &Ctx<'_>, rows: &mut RowSet) {
        rows.retain(|row| {
            let value = ctx.snapshot.endpoints[row].labels.get(&self.label);
            value.map_or(self.allows_no_label, |value| {
                self.valid_values.iter().any(|valid| valid == value)
            })
        });
    }

    fn is_repeatable(&self) -> bool {
        true
    }

    fn wants(&self) -> String {
        let without = if self.allows_no_label {
            " or no such label"
        } else {
            ""
        };
        format!(
            "{} in ({}){without}",
            self.label,
            self.valid_values.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use pointsman_core::contract::spec::Generation;
    use pointsman_core::fixture::{pool, run_filter};

    #[track_caller]
    fn check(parameters: &str, expected: &str) {
        let text = "a tier=gold\nb tier=silver\nc\n";
        assert_eq!(run_filter(&SPEC, parameters, &pool(text)), expected);
    }

    #[test]
    fn keeps_listed_values_and_those_without_when_allowed() {
        check(r#"{"label":"tier","validValues":["gold"]}"#, "a");
        check(
            r#"{"label":"tier","validValues":["silver"],"allowsNoLabel":true}"#,
            "b c",
        );
        check(r#"{"label":"tier","allowsNoLabel":true}"#, "c");
    }

    #[test]
    fn what_could_never_match_is_refused() {
        let faults = pointsman_core::fixture::build(&SPEC, "{}", Generation::G1).unwrap_err();
        let paths: Vec<&str> = faults.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(paths, ["label", "validValues"]);
    }
}
