//! Keeps the candidates that are below limits of load.
//!
//! # When to use
//! To take endpoints that are full out of the choice before affinity is looked at.
//!
//! # Rule
//! A candidate stays if each condition's metric is at most its `maxValue`. If none is left and `fallbackOnEmpty` is set,
//! all stay.
//!
//! | metric | is |
//! |---|---|
//! | `active-requests` | `inFlight`, this router's own count |
//! | `running-requests` | `running`, as scraped |
//! | `waiting-queue` | `waiting`, as scraped |
//! | `kv-cache-utilization` | `kvUsage`, as scraped, 0 to 1 |
//!
//! # Reads
//! The metrics named. What was never scraped counts 0, unless `pointsman.staleness` says otherwise.
//!
//! # Example
//! ```yaml
//! - type: utilization-filter
//!   parameters:
//!     fallbackOnEmpty: true
//!     conditions:
//!     - {metric: waiting-queue, maxValue: 8}
//!     - {metric: kv-cache-utilization, maxValue: 0.95}
//! ```
//!
//! # Limits
//! Without `fallbackOnEmpty` a pool that is full answers 429.

use pointsman_core::contract::context::Ctx;
use pointsman_core::contract::roles::{Built, Filter};
use pointsman_core::contract::spec::{
    DataKey, ParamFault, Params, PluginSpec, Requirement, Role, Stability, schema_of,
};
use pointsman_core::index::row_set::RowSet;
use pointsman_core::model::slots::Reading;
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "utilization-filter",
    aliases: &[],
    role: Role::Filter,
    stability: Stability::Alpha,
    reads: &[
        Reading::InFlight,
        Reading::Running,
        Reading::Waiting,
        Reading::KvUsage,
    ],
    requires,
    source: include_str!("utilization.rs"),
    schema: schema_of::<Parameters>,
    build,
};

const METRICS: [(&str, Reading); 4] = [
    ("active-requests", Reading::InFlight),
    ("running-requests", Reading::Running),
    ("waiting-queue", Reading::Waiting),
    ("kv-cache-utilization", Reading::KvUsage),
];

#[derive(Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    /// The limits, at least one.
    conditions: Vec<Condition>,
    /// Whether all stay when none would.
    fallback_on_empty: bool,
    /// Accepted for files of the reference: a producer that must be declared. Requests in flight are always counted.
    in_flight_load_producer_name: String,
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    /// `active-requests`, `running-requests`, `waiting-queue` or `kv-cache-utilization`.
    metric: String,
    /// The most that is let through; 0 or more, of kv-cache-utilization up to 1.
    max_value: f64,
}

fn requires(params: &Params<'_>) -> Vec<Requirement> {
    let given: Parameters = params.read().unwrap_or_default();
    let name = given.in_flight_load_producer_name;
    if name.is_empty() {
        return Vec::new();
    }
    vec![Requirement {
        key: DataKey::Load,
        producer: Some(name),
        optional: false,
    }]
}

struct Utilization {
    limits: Vec<(Reading, f64)>,
    fallback: bool,
}

fn build(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    let given: Parameters = params.read()?;
    let (mut limits, mut faults) = (Vec::new(), Vec::new());
    let mut fault = |path: String, message: String| faults.push(ParamFault { path, message });
    if given.conditions.is_empty() {
        let message = "is empty; give at least one limit".to_owned();
        fault("conditions".to_owned(), message);
    }
    for (at, Condition { metric, max_value }) in given.conditions.iter().enumerate() {
        let path = format!("conditions[{at}]");
        let Some((_, reading)) = METRICS.iter().find(|(name, _)| name == metric) else {
            let names = METRICS.map(|(name, _)| name).join(", ");
            let message = format!("'{metric}' is not known; use one of {names}");
            fault(format!("{path}.metric"), message);
            continue;
        };
        let most = if *reading == Reading::KvUsage {
            1.0
        } else {
            f64::MAX
        };
        if !(0.0..=most).contains(max_value) {
            let bound = if most == 1.0 { "0 to 1" } else { "0 or more" };
            fault(
                format!("{path}.maxValue"),
                format!("{max_value} is no limit of {metric}; use {bound}"),
            );
        }
        limits.push((*reading, *max_value));
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(Built::Filter(Box::new(Utilization {
        limits,
        fallback: given.fallback_on_empty,
    })))
}

impl Utilization {
    fn stays(&self, ctx: &Ctx<'_>, row: usize) -> bool {
        self.limits
            .iter()
            .all(|(reading, most)| ctx.readings.values(*reading)[row] <= *most)
    }
}

impl Filter for Utilization {
    fn filter(&self, ctx: &Ctx<'_>, rows: &mut RowSet) {
        if self.fallback && !rows.iter().any(|row| self.stays(ctx, row)) {
            return;
        }
        rows.retain(|row| self.stays(ctx, row));
    }

    fn is_repeatable(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use pointsman_core::contract::spec::Generation;
    use pointsman_core::fixture::{build as built, pool, run_filter_as};

    #[track_caller]
    fn check(conditions: &str, fallback: bool, expected: &str) {
        let pool = pool(
            "a inFlight=3 waiting=0 kvUsage=0.2\nb inFlight=1 waiting=9 kvUsage=0.96\nc running=5\n",
        );
        let parameters = format!(r#"{{"conditions":[{conditions}],"fallbackOnEmpty":{fallback}}}"#);
        let kept = run_filter_as(&SPEC, &parameters, Generation::G2, &pool);
        assert_eq!(kept, expected, "{parameters}");
    }

    #[test]
    fn every_limit_must_hold() {
        check(r#"{"metric":"active-requests","maxValue":1}"#, false, "b c");
        check(
            r#"{"metric":"running-requests","maxValue":4}"#,
            false,
            "a b",
        );
        check(r#"{"metric":"waiting-queue"}"#, false, "a c");
        let both = r#"{"metric":"active-requests","maxValue":1},{"metric":"kv-cache-utilization","maxValue":0.95}"#;
        check(both, false, "c");
        let none = r#"{"metric":"running-requests","maxValue":4},{"metric":"waiting-queue","maxValue":1},{"metric":"active-requests","maxValue":2}"#;
        check(none, false, "");
        check(none, true, "a b c");
    }

    #[test]
    fn limits_out_of_range_and_unknown_metrics_are_refused() {
        let parameters = r#"{"conditions":[{"metric":"waiting","maxValue":1},
            {"metric":"kv-cache-utilization","maxValue":1.5},{"metric":"waiting-queue","maxValue":-1}]}"#;
        let faults = built(&SPEC, parameters, Generation::G2).unwrap_err();
        let paths: Vec<&str> = faults.iter().map(|f| f.path.as_str()).collect();
        let expected = [
            "conditions[0].metric",
            "conditions[1].maxValue",
            "conditions[2].maxValue",
        ];
        assert_eq!(paths, expected);
        assert_eq!(built(&SPEC, "{}", Generation::G2).unwrap_err().len(), 1);
    }
}
