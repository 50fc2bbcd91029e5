//! Picks a candidate at random, whatever its score.
//!
//! # When to use
//! As the yardstick that any policy must beat, and to spread traffic blindly.
//!
//! # Rule
//! Uniform over the candidates that the filters left; with `maxNumOfEndpoints` above 1 without repetition.
//!
//! # Reads
//! Nothing.
//!
//! # Example
//! ```yaml
//! - type: random-picker
//! ```
//!
//! # Limits
//! Scores have no effect; a slow endpoint gets as much as a fast one.

use pointsman_core::contract::roles::{Built, Chance, PickInput, Picker};
use pointsman_core::contract::spec::{
    ParamFault, Params, PluginSpec, Role, Stability, needs_nothing, schema_of,
};
use pointsman_core::contract::table::Picks;
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "random-picker",
    aliases: &[],
    role: Role::Picker,
    stability: Stability::Beta,
    reads: &[],
    requires: needs_nothing,
    source: include_str!("random.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    /// How many endpoints to return; below 1 means 1.
    max_num_of_endpoints: i64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            max_num_of_endpoints: 1,
        }
    }
}

struct Random {
    wanted: usize,
}

fn build(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    let parameters: Parameters = params.read()?;
    Ok(Built::Picker(Box::new(Random {
        wanted: parameters.max_num_of_endpoints.max(1) as usize,
    })))
}

impl Picker for Random {
    fn pick(&self, input: &PickInput<'_>, chance: &mut Chance<'_>, picks: &mut Picks) {
        let candidates = input.rows.count();
        while picks.len() < self.wanted.min(candidates) {
            let drawn = chance.below(candidates - picks.len());
            let row = input
                .rows
                .iter()
                .map(|row| row as u32)
                .filter(|row| !picks.contains(row))
                .nth(drawn);
            let Some(row) = row else { return };
            picks.push(row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_core::fixture::run_picker;

    #[test]
    fn every_candidate_gets_its_share_whatever_its_score() {
        let mut seen = [0u32; 3];
        for seed in 0..6_000 {
            seen[run_picker(&SPEC, "{}", &[0.0, 1.0, 0.5], seed)[0] as usize] += 1;
        }
        assert!(seen.iter().all(|n| (1_850..2_150).contains(n)), "{seen:?}");
    }

    #[test]
    fn several_never_repeat() {
        for seed in 0..50 {
            let mut picked = run_picker(&SPEC, r#"{"maxNumOfEndpoints":3}"#, &[0.0; 5], seed);
            picked.sort_unstable();
            picked.dedup();
            assert_eq!(picked.len(), 3);
        }
    }
}
