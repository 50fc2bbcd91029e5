//! Prefers candidates whose KV cache has room.
//!
//! # When to use
//! Where long contexts fill the engines' caches: an engine without free blocks preempts or queues.
//!
//! # Formula
//! `1 − kvUsage`, with the share of KV blocks in use from 0 to 1. An engine that was never read counts as empty
//! (1), as in the reference, unless the settings say what becomes of stale readings.
//!
//! # Reads
//! `kvUsage`.
//!
//! # Example
//! ```yaml
//! - type: kv-cache-utilization-scorer
//! ```
//!
//! # Limits
//! As old as the last reading of the engine's metrics. Cached blocks that nobody uses do not count as used.

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
    kind: "kv-cache-utilization-scorer",
    aliases: &["kv-cache-scorer"],
    role: Role::Scorer,
    stability: Stability::Beta,
    reads: &[Reading::KvUsage],
    requires: needs_nothing,
    source: include_str!("kv_cache_utilization.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema, Default)]
struct Parameters {}

struct KvCacheUtilization;

fn build(_: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    Ok(Built::Scorer(Box::new(KvCacheUtilization)))
}

impl Scorer for KvCacheUtilization {
    fn score(&self, ctx: &Ctx<'_>, rows: &RowSet, out: &mut [f64]) {
        let used = ctx.readings.values(Reading::KvUsage);
        rows.for_each(|row| out[row] = 1.0 - used[row].min(1.0));
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

    #[test]
    fn scores_as_the_reference_does() {
        for generation in [Generation::G1, Generation::G2] {
            let text = "a\nb kvUsage=0.25\nc kvUsage=1\nd kvUsage=1.5\n";
            let scores = run_scorer(&SPEC, "{}", generation, &pool(text));
            assert_eq!(scores, [1.0, 0.75, 0.0, 0.0]);
        }
    }
}
