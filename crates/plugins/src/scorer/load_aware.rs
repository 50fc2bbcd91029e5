//! Prefers candidates whose engines have few requests waiting, up to a threshold.
//!
//! # When to use
//! As a mild load signal beside stronger ones: an idle endpoint gets no more than 0.5, so that it never
//! outweighs a whole cached prefix.
//!
//! # Formula
//! With `w` requests waiting in the engine: `w = 0 → 0.5`, else `0.5 × (1 − min(w, threshold) / threshold)`.
//! Scores range from 0 to 0.5.
//!
//! # Reads
//! `waiting`.
//!
//! # Example
//! ```yaml
//! - type: load-aware-scorer
//!   parameters:
//!     threshold: 128
//! ```
//!
//! # Limits
//! As old as the last reading of the engine's metrics; within that age a burst is not seen. For exact counts use
//! `active-request-scorer`.

use pointsman_core::contract::context::Ctx;
use pointsman_core::contract::roles::{Built, Scorer};
use pointsman_core::contract::spec::{
    ParamFault, Params, PluginSpec, Role, Stability, needs_nothing, schema_of,
};
use pointsman_core::index::row_set::RowSet;
use pointsman_core::model::slots::Reading;
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "load-aware-scorer",
    aliases: &[],
    role: Role::Scorer,
    stability: Stability::Beta,
    reads: &[Reading::Waiting],
    requires: needs_nothing,
    source: include_str!("load_aware.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    /// So many requests waiting count as full; 0 or below means 128.
    threshold: i64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { threshold: 128 }
    }
}

struct LoadAware {
    threshold: f64,
}

fn build(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    let Parameters { threshold } = params.read()?;
    let threshold = if threshold > 0 { threshold } else { 128 };
    Ok(Built::Scorer(Box::new(LoadAware {
        threshold: threshold as f64,
    })))
}

impl Scorer for LoadAware {
    fn score(&self, ctx: &Ctx<'_>, rows: &RowSet, out: &mut [f64]) {
        let waiting = ctx.readings.values(Reading::Waiting);
        rows.for_each(|row| {
            out[row] = 0.5 * (1.0 - waiting[row].min(self.threshold) / self.threshold)
        });
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
    fn check(text: &str, parameters: &str, expected: &[f64]) {
        for generation in [Generation::G1, Generation::G2] {
            let scores = run_scorer(&SPEC, parameters, generation, &pool(text));
            assert_eq!(scores, expected, "{text}");
        }
    }

    #[test]
    fn scores_as_the_reference_does() {
        check("a\nb waiting=0\n", "{}", &[0.5, 0.5]);
        check(
            "a waiting=64\nb waiting=128\nc waiting=500\n",
            "{}",
            &[0.25, 0.0, 0.0],
        );
        check(
            "a waiting=1\nb waiting=2\n",
            r#"{"threshold":4}"#,
            &[0.375, 0.25],
        );
        check("a waiting=32\n", r#"{"threshold":-3}"#, &[0.375]);
    }
}
