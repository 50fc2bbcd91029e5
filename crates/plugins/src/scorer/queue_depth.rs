//! Prefers candidates with the fewest requests waiting in the engine's queue, relative to the others.
//!
//! # When to use
//! To compare engines by their queues, whatever the size of the queues.
//!
//! # Formula
//! `(max − n) / (max − min)` over the candidates left, with `n` requests waiting in the engine's queue; all equal give 1.
//!
//! # Reads
//! `waiting`.
//!
//! # Example
//! ```yaml
//! - type: queue-scorer
//! ```
//!
//! # Limits
//! As old as the last reading of the engine's metrics. One request of difference between two otherwise empty engines already gives 1 and 0.

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
    kind: "queue-scorer",
    aliases: &[],
    role: Role::Scorer,
    stability: Stability::Beta,
    reads: &[Reading::Waiting],
    requires: needs_nothing,
    source: include_str!("queue_depth.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema, Default)]
struct Parameters {}

struct QueueDepth;

fn build(_: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    Ok(Built::Scorer(Box::new(QueueDepth)))
}

impl Scorer for QueueDepth {
    fn score(&self, ctx: &Ctx<'_>, rows: &RowSet, out: &mut [f64]) {
        from_least(ctx.readings.values(Reading::Waiting), rows, out);
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
        check("a waiting=7\n", &[1.0]);
        check(
            "a waiting=2\nb waiting=10\nc waiting=4\n",
            &[1.0, 0.0, 0.75],
        );
        // What a filter removed sets no bounds.
        check(
            "a waiting=2\nb waiting=10 out\nc waiting=4\n",
            &[1.0, 0.0, 0.0],
        );
    }
}
