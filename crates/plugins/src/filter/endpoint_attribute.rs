//! Keeps the candidates whose engines report a number on the right side of a threshold.
//!
//! # When to use
//! With `customMetrics` of `core-metrics-extractor`, for a limit that no other filter knows.
//!
//! # Rule
//! A candidate stays if `value operator threshold` holds. One without the value stays with `onMissing: Pass` and goes
//! with `Fail`. If none is left and `fallbackOnEmpty` is set, all stay.
//!
//! # Reads
//! The value named by `attribute`.
//!
//! # Example
//! ```yaml
//! - type: endpoint-attribute-filter
//!   parameters:
//!     attribute: gpu_utilization
//!     fallbackOnEmpty: true
//!     algorithm:
//!       type: threshold
//!       threshold: {operator: LessThan, value: 0.9}
//! ```
//!
//! # Limits
//! As old as the last reading of the engine's metrics. A name that no `customMetrics` gives is missing everywhere.

use pointsman_core::contract::context::Ctx;
use pointsman_core::contract::roles::{Built, Filter};
use pointsman_core::contract::spec::{
    DataKey, ParamFault, Params, PluginSpec, Requirement, Role, Stability, schema_of,
};
use pointsman_core::index::row_set::RowSet;
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "endpoint-attribute-filter",
    aliases: &[],
    role: Role::Filter,
    stability: Stability::Alpha,
    reads: &[],
    requires,
    source: include_str!("endpoint_attribute.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    /// The name of the value; required.
    attribute: String,
    /// The extractor that gives it; `core-metrics-extractor` when left out. A name with a `/` needs it written.
    producer: Option<String>,
    /// What becomes of candidates without the value: `Pass` or `Fail`.
    on_missing: String,
    /// Whether all stay when none would.
    fallback_on_empty: bool,
    /// The test; required.
    algorithm: Algorithm,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            attribute: String::new(),
            producer: None,
            on_missing: "Pass".to_owned(),
            fallback_on_empty: false,
            algorithm: Algorithm::default(),
        }
    }
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(default)]
struct Algorithm {
    /// `threshold`.
    #[serde(rename = "type")]
    kind: String,
    /// The comparison.
    threshold: Option<Threshold>,
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(default)]
struct Threshold {
    /// LessThan, LessThanOrEqual, GreaterThan, GreaterThanOrEqual, Equal or NotEqual.
    operator: String,
    /// What the candidate's value is compared with.
    value: f64,
}

fn requires(params: &Params<'_>) -> Vec<Requirement> {
    let given: Parameters = params.read().unwrap_or_default();
    let producer = given.producer.unwrap_or_default();
    vec![Requirement {
        key: DataKey::Attribute,
        producer: Some(DataKey::Attribute.producer_named(&producer).to_owned()),
        optional: false,
    }]
}

type Test = fn(&f64, &f64) -> bool;

const TESTS: [(&str, Test); 6] = [
    ("LessThan", f64::lt),
    ("LessThanOrEqual", f64::le),
    ("GreaterThan", f64::gt),
    ("GreaterThanOrEqual", f64::ge),
    ("Equal", f64::eq),
    ("NotEqual", f64::ne),
];

struct EndpointAttribute {
    name: String,
    missing_stays: bool,
    fallback: bool,
    test: Test,
    threshold: f64,
}

fn build(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    let given: Parameters = params.read()?;
    let mut faults = Vec::new();
    let mut fault = |path: &str, message: String| {
        faults.push(ParamFault {
            path: path.to_owned(),
            message,
        });
    };
    if given.attribute.is_empty() {
        fault("attribute", "is missing; name the value".to_owned());
    }
    if given.attribute.contains('/') && given.producer.is_none() {
        let message = "a name with '/' needs its producer written too".to_owned();
        fault("attribute", message);
    }
    let missing = given.on_missing.as_str();
    if !matches!(missing, "Pass" | "Fail" | "") {
        fault(
            "onMissing",
            format!("'{missing}' is not known; use Pass or Fail"),
        );
    }
    if given.algorithm.kind != "threshold" {
        let kind = &given.algorithm.kind;
        fault(
            "algorithm.type",
            format!("'{kind}' is not known; use threshold"),
        );
    }
    let threshold = given.algorithm.threshold.unwrap_or_default();
    let test = TESTS.iter().find(|(name, _)| *name == threshold.operator);
    if test.is_none() {
        let names = TESTS.map(|(name, _)| name).join(", ");
        let message = format!("'{}' is not known; use one of {names}", threshold.operator);
        fault("algorithm.threshold.operator", message);
    }
    let (Some((_, test)), true) = (test, faults.is_empty()) else {
        return Err(faults);
    };
    Ok(Built::Filter(Box::new(EndpointAttribute {
        missing_stays: missing != "Fail",
        name: given.attribute,
        fallback: given.fallback_on_empty,
        test: *test,
        threshold: threshold.value,
    })))
}

impl EndpointAttribute {
    fn stays(&self, ctx: &Ctx<'_>, row: usize) -> bool {
        let slot = ctx.snapshot.slots()[row];
        let value = ctx
            .slots
            .reported(slot, |reported| reported.attribute(&self.name));
        value.map_or(self.missing_stays, |value| {
            (self.test)(&value, &self.threshold)
        })
    }
}

impl Filter for EndpointAttribute {
    fn filter(&self, ctx: &Ctx<'_>, rows: &mut RowSet) {
        if self.fallback && !rows.iter().any(|row| self.stays(ctx, row)) {
            return;
        }
        rows.retain(|row| self.stays(ctx, row));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use pointsman_core::contract::spec::Generation;
    use pointsman_core::fixture::{build as built, pool, run_filter_as};

    #[track_caller]
    fn check(operator: &str, value: f64, rest: &str, expected: &str) {
        let pool = pool("a attr.gpu=0.5\nb attr.gpu=0.9\nc attr.cpu=0.1\n");
        let parameters = format!(
            r#"{{"attribute":"gpu","algorithm":{{"type":"threshold","threshold":{{"operator":"{operator}","value":{value}}}}}{rest}}}"#
        );
        let kept = run_filter_as(&SPEC, &parameters, Generation::G2, &pool);
        assert_eq!(kept, expected, "{parameters}");
    }

    #[test]
    fn each_operator_compares_the_value_with_the_threshold() {
        check("LessThan", 0.9, "", "a c");
        check("LessThanOrEqual", 0.9, "", "a b c");
        check("GreaterThan", 0.5, "", "b c");
        check("GreaterThanOrEqual", 0.5, "", "a b c");
        check("Equal", 0.5, "", "a c");
        check("NotEqual", 0.5, "", "b c");
        let fail = r#","onMissing":"Fail""#;
        check("LessThan", 0.9, fail, "a");
        check("LessThan", 0.1, fail, "");
        let fallback = r#","onMissing":"Fail","fallbackOnEmpty":true"#;
        check("LessThan", 0.1, fallback, "a b c");
        check("LessThan", 0.9, fallback, "a");
    }

    #[test]
    fn every_fault_names_its_place() {
        let faults = built(
            &SPEC,
            r#"{"attribute":"a/b","onMissing":"pass"}"#,
            Generation::G2,
        )
        .unwrap_err();
        let paths: Vec<&str> = faults.iter().map(|f| f.path.as_str()).collect();
        let expected = [
            "attribute",
            "onMissing",
            "algorithm.type",
            "algorithm.threshold.operator",
        ];
        assert_eq!(paths, expected);
    }
}
