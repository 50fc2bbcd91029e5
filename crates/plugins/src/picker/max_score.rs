//! Picks the candidate with the highest total; equals are drawn by lot.
//!
//! # When to use
//! The normal end of a profile: take the best. It is added where a profile names no picker.
//!
//! # Rule
//! The rows with the highest total, ties broken uniformly at random (the same distribution as shuffling and
//! then sorting stably by total). With `maxNumOfEndpoints` above 1 the next best follow in order; the gateway
//! tries them in that order when one cannot be reached.
//!
//! # Reads
//! The total.
//!
//! # Example
//! ```yaml
//! - type: max-score-picker
//! ```
//!
//! # Limits
//! With equal totals everywhere it is a random pick.

use pointsman_core::contract::roles::{Built, Chance, PickInput, Picker};
use pointsman_core::contract::spec::{
    ParamFault, Params, PluginSpec, Role, Stability, needs_nothing, schema_of,
};
use pointsman_core::contract::table::Picks;
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "max-score-picker",
    aliases: &[],
    role: Role::Picker,
    stability: Stability::Beta,
    reads: &[],
    requires: needs_nothing,
    source: include_str!("max_score.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    /// How many endpoints to return, best first; below 1 means 1.
    max_num_of_endpoints: i64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            max_num_of_endpoints: 1,
        }
    }
}

struct MaxScore {
    wanted: usize,
}

fn build(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    let parameters: Parameters = params.read()?;
    Ok(Built::Picker(Box::new(MaxScore {
        wanted: parameters.max_num_of_endpoints.max(1) as usize,
    })))
}

impl Picker for MaxScore {
    fn pick(&self, input: &PickInput<'_>, chance: &mut Chance<'_>, picks: &mut Picks) {
        let wanted = self.wanted.min(input.rows.count());
        while picks.len() < wanted {
            let mut best = f64::NEG_INFINITY;
            let mut equals = 0;
            input.rows.for_each(|row| {
                let total = input.totals[row];
                if total < best || picks.contains(&(row as u32)) {
                    return;
                }
                if total > best {
                    (best, equals) = (total, 0);
                }
                equals += usize::from(total == best);
            });
            let drawn = chance.below(equals);
            let row = input
                .rows
                .iter()
                .filter(|row| !picks.contains(&(*row as u32)) && input.totals[*row] == best)
                .nth(drawn);
            match row {
                Some(row) => picks.push(row as u32),
                // Totals that are no numbers compare to nothing: take any row that is left.
                None => picks.extend(
                    input
                        .rows
                        .iter()
                        .map(|row| row as u32)
                        .find(|row| !picks.contains(row)),
                ),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_core::fixture::run_picker;

    #[test]
    fn takes_the_best_and_draws_among_equals() {
        let mut seen = [0u32; 4];
        for seed in 0..4_000 {
            let picked = run_picker(&SPEC, "{}", &[0.2, 0.9, 0.9, 0.1], seed);
            assert_eq!(picked.len(), 1);
            seen[picked[0] as usize] += 1;
        }
        assert_eq!((seen[0], seen[3]), (0, 0));
        assert!((1_800..2_200).contains(&seen[1]), "{seen:?}");
    }

    #[test]
    fn several_come_best_first_and_never_twice() {
        for seed in 0..50 {
            let picked = run_picker(
                &SPEC,
                r#"{"maxNumOfEndpoints":9}"#,
                &[0.2, 0.9, 0.5, 0.5],
                seed,
            );
            assert_eq!(picked.len(), 4);
            assert_eq!((picked[0], picked[3]), (1, 0));
        }
        assert_eq!(
            run_picker(&SPEC, r#"{"maxNumOfEndpoints":-2}"#, &[0.2, 0.9], 1),
            [1]
        );
        assert_eq!(
            run_picker(
                &SPEC,
                r#"{"maxNumOfEndpoints":2}"#,
                &[f64::NAN, f64::NAN],
                1
            )
            .len(),
            2
        );
    }
}
