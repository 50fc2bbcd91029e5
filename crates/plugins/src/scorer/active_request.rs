//! Prefers the candidate with the fewest requests in flight.
//!
//! # When to use
//! As the load signal of any profile. The count is the router's own and exact at the moment of the pick, so
//! it needs no metrics and does not lag behind a burst.
//!
//! # Formula
//! With `n` requests in flight on a candidate and `M` the largest such count:
//! first generation: `n = 0 → 1`, else `(M − n) / M`, with `M` over the whole pool, also over what filters removed;
//! second generation: `n ≤ idleThreshold → 1`, else `(M − n) / M × maxBusyScore`, with `M` over the candidates left.
//! The busiest gets 0; when all are equally busy all get 0 and the picker decides by chance.
//!
//! # Reads
//! `inFlight`.
//!
//! # Example
//! ```yaml
//! - type: active-request-scorer
//!   parameters:
//!     requestTimeout: 2m
//! ```
//!
//! # Limits
//! Counts requests, not their size. `requestTimeout` is accepted and checked, but a request counts until it
//! ends: the reference let long answers drop out of the count, which made a busy endpoint look idle.

use pointsman_core::config::duration::parse_duration;
use pointsman_core::contract::context::Ctx;
use pointsman_core::contract::roles::{Built, Scorer};
use pointsman_core::contract::spec::{
    DataKey, Generation, ParamFault, Params, PluginSpec, Requirement, Role, Stability, schema_of,
};
use pointsman_core::index::row_set::RowSet;
use pointsman_core::model::slots::Reading;
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "active-request-scorer",
    aliases: &[],
    role: Role::Scorer,
    stability: Stability::Beta,
    reads: &[Reading::InFlight],
    requires,
    source: include_str!("active_request.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    /// Accepted for files of the reference; a Go duration above zero. A request counts until it ends.
    request_timeout: String,
    /// Second generation: up to this many requests an endpoint counts as idle.
    idle_threshold: f64,
    /// Second generation: the score of a busy endpoint is scaled to at most this, 0 to 1.
    max_busy_score: f64,
    /// Second generation: a producer that must be declared; requests in flight are counted without it too.
    in_flight_load_producer_name: String,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            request_timeout: "2m".to_owned(),
            idle_threshold: 0.0,
            max_busy_score: 1.0,
            in_flight_load_producer_name: String::new(),
        }
    }
}

fn requires(params: &Params<'_>) -> Vec<Requirement> {
    let given: Parameters = params.read().unwrap_or_default();
    let name = given.in_flight_load_producer_name;
    if name.is_empty() || params.generation == Generation::G1 {
        return Vec::new();
    }
    vec![Requirement {
        key: DataKey::Load,
        producer: Some(name),
        optional: false,
    }]
}

struct ActiveRequest {
    whole_pool: bool,
    idle_threshold: f64,
    max_busy_score: f64,
}

fn build(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    let parameters: Parameters = params.read()?;
    if let Err(message) = parse_duration(&parameters.request_timeout) {
        return Err(vec![ParamFault {
            path: "requestTimeout".to_owned(),
            message,
        }]);
    }
    let first = params.generation == Generation::G1;
    // As in the reference, a bound outside [0, 1] means the default.
    let in_range = (0.0..=1.0).contains(&parameters.max_busy_score);
    Ok(Built::Scorer(Box::new(ActiveRequest {
        whole_pool: first,
        idle_threshold: if first {
            0.0
        } else {
            parameters.idle_threshold
        },
        max_busy_score: if first || !in_range {
            1.0
        } else {
            parameters.max_busy_score
        },
    })))
}

impl Scorer for ActiveRequest {
    fn score(&self, ctx: &Ctx<'_>, rows: &RowSet, out: &mut [f64]) {
        let in_flight = ctx.readings.values(Reading::InFlight);
        let most = if self.whole_pool {
            in_flight.iter().copied().fold(0.0, f64::max)
        } else {
            let mut most: f64 = 0.0;
            rows.for_each(|row| most = most.max(in_flight[row]));
            most
        };
        rows.for_each(|row| {
            let n = in_flight[row];
            out[row] = if n <= self.idle_threshold {
                1.0
            } else {
                (most - n) / most * self.max_busy_score
            };
        });
    }

    fn is_repeatable(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_core::fixture::{pool, run_scorer};

    #[track_caller]
    fn check(text: &str, generation: Generation, parameters: &str, expected: &[f64]) {
        assert_eq!(
            run_scorer(&SPEC, parameters, generation, &pool(text)),
            expected,
            "{text}"
        );
    }

    #[test]
    fn scores_as_the_reference_does() {
        use Generation::{G1, G2};
        check("a\nb\n", G1, "{}", &[1.0, 1.0]);
        check("a inFlight=3\nb\n", G1, "{}", &[0.0, 1.0]);
        check("a inFlight=3\nb inFlight=3\n", G1, "{}", &[0.0, 0.0]);
        check(
            "a inFlight=4\nb inFlight=1\nc inFlight=2\n",
            G1,
            "{}",
            &[0.0, 0.75, 0.5],
        );
        check(
            "a inFlight=4\nb inFlight=1\nc\n",
            G2,
            r#"{"maxBusyScore":0.5}"#,
            &[0.0, 0.375, 1.0],
        );
        check(
            "a inFlight=4\nb inFlight=1\n",
            G2,
            r#"{"idleThreshold":1}"#,
            &[0.0, 1.0],
        );
        check(
            "a inFlight=4\nb inFlight=2\n",
            G2,
            r#"{"maxBusyScore":7}"#,
            &[0.0, 0.5],
        );
    }

    #[test]
    fn the_largest_count_is_over_the_pool_in_g1_and_over_the_rest_in_g2() {
        let text = "a inFlight=8 out\nb inFlight=2\nc inFlight=4\n";
        check(text, Generation::G1, "{}", &[0.0, 0.75, 0.5]);
        check(text, Generation::G2, "{}", &[0.0, 0.5, 0.0]);
    }
}
