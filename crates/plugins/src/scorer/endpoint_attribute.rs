//! Rates candidates by a number that their engines report, by a name that the configuration gives it.
//!
//! # When to use
//! With `customMetrics` of `core-metrics-extractor`, for a signal that no other scorer knows: a GPU's use, the length of
//! an own queue.
//!
//! # Formula
//! With value `v`: `fixedRange` → `x = clamp((v − min) / (max − min), 0, 1)`; `adaptiveRange` → the same with the least
//! and the largest value of the candidates, and a score of 1 for all where those are equal. `linear_higher_is_better`
//! scores `x`, `linear_lower_is_better` `1 − x`. A candidate without the value gets 0 and does not count in the range.
//!
//! # Reads
//! The value named by `attributeKey`.
//!
//! # Example
//! ```yaml
//! - type: endpoint-attribute-scorer
//!   parameters:
//!     attributeKey: gpu_utilization
//!     algorithm:
//!       type: linear_lower_is_better
//!       normalization:
//!         fixedRange: {min: 0, max: 1}
//! ```
//!
//! # Limits
//! As old as the last reading of the engine's metrics. A name that no `customMetrics` gives is missing everywhere.

use pointsman_core::contract::context::Ctx;
use pointsman_core::contract::roles::{Built, Scorer};
use pointsman_core::contract::spec::{
    DataKey, ParamFault, Params, PluginSpec, Requirement, Role, Stability, schema_of,
};
use pointsman_core::index::row_set::RowSet;
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "endpoint-attribute-scorer",
    aliases: &[],
    role: Role::Scorer,
    stability: Stability::Alpha,
    reads: &[],
    requires,
    source: include_str!("endpoint_attribute.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    /// The name of the value; required.
    attribute_key: String,
    /// The extractor that gives it; `core-metrics-extractor` when left out or empty.
    producer: String,
    /// How a value becomes a score; required.
    algorithm: Algorithm,
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(default)]
struct Algorithm {
    /// `linear_lower_is_better` or `linear_higher_is_better`.
    #[serde(rename = "type")]
    kind: String,
    /// The range that values stand in; that of the candidates when left out.
    normalization: Normalization,
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", default)]
struct Normalization {
    /// A range that does not change.
    fixed_range: Option<Fixed>,
    /// The range of the candidates' values.
    adaptive_range: Option<Adaptive>,
}

#[derive(Deserialize, JsonSchema, Default, Clone, Copy)]
#[serde(default)]
struct Fixed {
    /// The value that scores 0, or 1 where lower is better.
    min: f64,
    /// The value that scores 1, or 0 where lower is better.
    max: f64,
}

#[derive(Deserialize, JsonSchema, Default)]
struct Adaptive {}

fn requires(params: &Params<'_>) -> Vec<Requirement> {
    let given: Parameters = params.read().unwrap_or_default();
    vec![Requirement {
        key: DataKey::Attribute,
        producer: Some(
            DataKey::Attribute
                .producer_named(&given.producer)
                .to_owned(),
        ),
        optional: false,
    }]
}

struct EndpointAttribute {
    name: String,
    lower_is_better: bool,
    fixed: Option<Fixed>,
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
    if given.attribute_key.is_empty() {
        fault("attributeKey", "is missing; name the value".to_owned());
    }
    let kind = given.algorithm.kind.as_str();
    if !matches!(kind, "linear_lower_is_better" | "linear_higher_is_better") {
        fault(
            "algorithm.type",
            format!("'{kind}' is not known; use linear_lower_is_better or linear_higher_is_better"),
        );
    }
    let Normalization {
        fixed_range,
        adaptive_range,
    } = given.algorithm.normalization;
    if fixed_range.is_some() && adaptive_range.is_some() {
        let message = "fixedRange and adaptiveRange are both given; leave one out";
        fault("algorithm.normalization", message.to_owned());
    }
    if let Some(Fixed { min, max }) = fixed_range
        && !(min.is_finite() && max.is_finite() && min < max)
    {
        let message = format!("min {min} is not below max {max}");
        fault("algorithm.normalization.fixedRange", message);
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(Built::Scorer(Box::new(EndpointAttribute {
        lower_is_better: kind == "linear_lower_is_better",
        name: given.attribute_key,
        fixed: fixed_range,
    })))
}

impl EndpointAttribute {
    fn value(&self, ctx: &Ctx<'_>, row: usize) -> Option<f64> {
        let slot = ctx.snapshot.slots()[row];
        ctx.slots
            .reported(slot, |reported| reported.attribute(&self.name))
    }

    fn adaptive(&self, ctx: &Ctx<'_>, rows: &RowSet) -> Fixed {
        let mut range = Fixed {
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        };
        rows.for_each(|row| {
            if let Some(value) = self.value(ctx, row) {
                range.min = range.min.min(value);
                range.max = range.max.max(value);
            }
        });
        range
    }
}

impl Scorer for EndpointAttribute {
    fn score(&self, ctx: &Ctx<'_>, rows: &RowSet, out: &mut [f64]) {
        let Fixed { min, max } = self.fixed.unwrap_or_else(|| self.adaptive(ctx, rows));
        rows.for_each(|row| {
            out[row] = match self.value(ctx, row) {
                None => 0.0,
                Some(_) if min == max => 1.0,
                Some(value) => {
                    let share = ((value - min) / (max - min)).clamp(0.0, 1.0);
                    if self.lower_is_better {
                        1.0 - share
                    } else {
                        share
                    }
                }
            };
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use pointsman_core::contract::spec::Generation;
    use pointsman_core::fixture::build as built;

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (parameters, path) in [
            (
                r#"{"algorithm":{"type":"linear_lower_is_better"}}"#,
                "attributeKey",
            ),
            (r#"{"attributeKey":"a"}"#, "algorithm.type"),
            (
                r#"{"attributeKey":"a","algorithm":{"type":"linear_lower_is_better","normalization":{"fixedRange":{"min":1,"max":1}}}}"#,
                "algorithm.normalization.fixedRange",
            ),
            (
                r#"{"attributeKey":"a","algorithm":{"type":"linear_lower_is_better","normalization":{"fixedRange":{"max":1},"adaptiveRange":{}}}}"#,
                "algorithm.normalization",
            ),
        ] {
            let faults = built(&SPEC, parameters, Generation::G2).unwrap_err();
            assert_eq!(faults[0].path, path, "{parameters}");
        }
    }
}
