//! Prefers candidates with the fewest requests running in the engine, relative to the others.
//!
//! # When to use
//! To compare engines by how many requests they work on at once.
//!
//! # Formula
//! `(max − n) / (max − min)` over the candidates left, with `n` requests running in the engine; all equal give 1.
//!
//! # Reads
//! `running`.
//!
//! # Example
//! ```yaml
//! - type: running-requests-size-scorer
//! ```
//!
//! # Limits
//! As old as the last reading of the engine's metrics. Engines at their limit of running requests all look the same; add `queue-scorer` for what waits.

use pointsman_core::contract::context::Ctx;
use pointsman_core::contract::roles::{Built, Scorer};
use pointsman_core::contract::spec::{
    ParamFault, Params, PluginSpec, Role, Stability, needs_nothing, schema_of,
};
use pointsman_core::index::row_set::RowSet;
use pointsman_core::model::slots::Reading;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::spread::from_least;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "running-requests-size-scorer",
    aliases: &[],
    role: Role::Scorer,
    stability: Stability::Beta,
    reads: &[Reading::Running],
    requires: needs_nothing,
    source: include_str!("running_requests.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema, Default)]
struct Parameters {}

struct RunningRequests;

fn build(_: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    Ok(Built::Scorer(Box::new(RunningRequests)))
}

impl Scorer for RunningRequests {
    fn score(&self, ctx: &Ctx<'_>, rows: &RowSet, out: &mut [f64]) {
        from_least(ctx.readings.values(Reading::Running), rows, out);
    }

    fn is_repeatable(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_core::contract::spec::Generation;
    use pointsman_core::fixture::{pool, run_scorer};

    #[track_caller]
    fn check(text: &str, expected: &[f64]) {
        for generation in [Generation::G1, Generation::G2] {
            assert_eq!(
                run_scorer(&SPEC, "{}", generation, &pool(text)),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn scores_as_the_reference_does() {
        check("a\nb\n", &[1.0, 1.0]);
        check("a running=7\n", &[1.0]);
        check(
            "a running=2\nb running=10\nc running=4\n",
            &[1.0, 0.0, 0.75],
        );
        // What a filter removed sets no bounds.
        check(
            "a running=2\nb running=10 out\nc running=4\n",
            &[1.0, 0.0, 0.0],
        );
    }
}
