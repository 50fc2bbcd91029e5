//! Prefers candidates whose engine has the LoRA adapter of the request loaded, or room to load it.
//!
//! # When to use
//! Where requests name adapters as their model and an engine holds only some of them at a time: loading one costs, and
//! evicts another.
//!
//! # Formula
//! The first that applies, for the model that the request names: it is among the engine's running adapters → 1; fewer
//! adapters run and wait than may run at once → 0.8; it is among the waiting ones → 0.6; else 0.
//!
//! # Reads
//! What the engine reports of its adapters (vLLM: `vllm:lora_requests_info`).
//!
//! # Example
//! ```yaml
//! - type: lora-affinity-scorer
//! ```
//!
//! # Limits
//! An engine that reports no adapters scores 0, as one does that has no room. As old as the last reading of the
//! engine's metrics.

use pointsman_core::contract::context::Ctx;
use pointsman_core::contract::roles::{Built, Scorer};
use pointsman_core::contract::spec::{
    ParamFault, Params, PluginSpec, Role, Stability, needs_nothing, schema_of,
};
use pointsman_core::index::row_set::RowSet;
use pointsman_core::model::reported::LoraAdapters;
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "lora-affinity-scorer",
    aliases: &[],
    role: Role::Scorer,
    stability: Stability::Beta,
    reads: &[],
    requires: needs_nothing,
    source: include_str!("lora_affinity.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema, Default)]
struct Parameters {}

struct LoraAffinity;

fn build(_: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    Ok(Built::Scorer(Box::new(LoraAffinity)))
}

fn score_of(adapters: &LoraAdapters, model: &str) -> f64 {
    let among = |list: &[String]| list.iter().any(|name| name == model);
    if among(&adapters.running) {
        1.0
    } else if adapters.running.len() + adapters.waiting.len() < adapters.most as usize {
        0.8
    } else if among(&adapters.waiting) {
        0.6
    } else {
        0.0
    }
}

impl Scorer for LoraAffinity {
    fn score(&self, ctx: &Ctx<'_>, rows: &RowSet, out: &mut [f64]) {
        let slots = ctx.snapshot.slots();
        rows.for_each(|row| {
            out[row] = ctx.slots.reported(slots[row], |reported| {
                let adapters = reported.lora.as_ref();
                adapters.map_or(0.0, |adapters| score_of(adapters, ctx.request.model))
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_core::contract::spec::Generation;
    use pointsman_core::fixture::{Scene, pool, scorer};

    #[test]
    fn loaded_beats_room_beats_waiting_beats_none() {
        let pool = pool(
            "running loraRunning=sql,law loraMost=2\n\
             room loraRunning=law loraMost=2\n\
             both loraRunning=law loraWaiting=sql loraMost=3\n\
             waiting loraRunning=law loraWaiting=sql loraMost=2\n\
             full loraRunning=law,tax loraMost=2\n\
             part loraRunning=sq loraMost=1\n\
             silent\n",
        );
        let mut scene = Scene::new(&pool);
        scene.request.model = "sql";
        let scorer = scorer(&SPEC, "{}", Generation::G2);
        assert_eq!(scene.scores(&*scorer), [1.0, 0.8, 0.8, 0.6, 0.0, 0.0, 0.0]);
    }
}
