//! Picks at random, in proportion to the totals.
//!
//! # When to use
//! To spread traffic over several good candidates instead of sending all to the best one, when readings are old
//! or several pickers decide without knowing of each other.
//!
//! # Rule
//! With all totals 0 or below: uniform. Else each candidate gets the key `u^(1/total)` with `u` uniform in (0, 1)
//! (0 for a total of 0 or below) and the highest keys win: sampling without replacement in proportion to the
//! totals. Source: Efraimidis and Spirakis, "Weighted random sampling with a reservoir" (2006).
//!
//! # Reads
//! Nothing but the totals.
//!
//! # Example
//! ```yaml
//! - type: weighted-random-picker
//! ```
//!
//! # Limits
//! A candidate with a total of 0 is picked only when nothing better is left.

use pointsman_core::contract::roles::{Built, Chance, PickInput, Picker};
use pointsman_core::contract::spec::{
    ParamFault, Params, PluginSpec, Role, Stability, needs_nothing, schema_of,
};
use pointsman_core::contract::table::Picks;
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "weighted-random-picker",
    aliases: &[],
    role: Role::Picker,
    stability: Stability::Beta,
    reads: &[],
    requires: needs_nothing,
    source: include_str!("weighted_random.rs"),
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

struct WeightedRandom {
    wanted: usize,
}

fn build(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    let parameters: Parameters = params.read()?;
    Ok(Built::Picker(Box::new(WeightedRandom {
        wanted: parameters.max_num_of_endpoints.max(1) as usize,
    })))
}

impl Picker for WeightedRandom {
    /// One pass per pick wanted: the totals of those not picked yet are a line of segments, and the draw is a
    /// point on it. This has the same distribution as the keys of the page and needs no memory.
    fn pick(&self, input: &PickInput<'_>, chance: &mut Chance<'_>, picks: &mut Picks) {
        let wanted = self.wanted.min(input.rows.count());
        while picks.len() < wanted {
            let weight = |row: usize, picks: &Picks| {
                if picks.contains(&(row as u32)) {
                    0.0
                } else {
                    input.totals[row].max(0.0)
                }
            };
            let mut sum = 0.0;
            input.rows.for_each(|row| sum += weight(row, picks));
            let left = || {
                input
                    .rows
                    .iter()
                    .filter(|row| !picks.contains(&(*row as u32)))
            };
            let picked = if sum > 0.0 && sum.is_finite() {
                let mut point = chance.unit() * sum;
                let mut last = None;
                for row in left().filter(|&row| input.totals[row] > 0.0) {
                    last = Some(row);
                    point -= weight(row, picks);
                    if point < 0.0 {
                        break;
                    }
                }
                last
            } else {
                let drawn = chance.below(left().count());
                left().nth(drawn)
            };
            match picked {
                Some(row) => picks.push(row as u32),
                None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_core::fixture::run_picker;

    #[track_caller]
    fn shares(totals: &[f64]) -> Vec<f64> {
        let mut seen = vec![0.0; totals.len()];
        for seed in 0..20_000 {
            seen[run_picker(&SPEC, "{}", totals, seed)[0] as usize] += 1.0 / 20_000.0;
        }
        seen
    }

    #[track_caller]
    fn check(totals: &[f64], expected: &[f64]) {
        for (found, expected) in shares(totals).iter().zip(expected) {
            assert!((found - expected).abs() < 0.015, "{found} {expected}");
        }
    }

    #[test]
    fn shares_follow_the_totals() {
        check(&[1.0, 3.0, 0.0], &[0.25, 0.75, 0.0]);
        check(&[0.0, 0.0], &[0.5, 0.5]);
        check(&[-1.0, 2.0], &[0.0, 1.0]);
        check(&[f64::NAN, 1.0], &[0.0, 1.0]);
    }

    #[test]
    fn several_never_repeat_and_those_without_weight_come_last() {
        for seed in 0..200 {
            let picked = run_picker(
                &SPEC,
                r#"{"maxNumOfEndpoints":4}"#,
                &[0.0, 2.0, 0.0, 1.0],
                seed,
            );
            let mut sorted = picked.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3]);
            assert!([1, 3].contains(&picked[0]) && [1, 3].contains(&picked[1]));
        }
    }
}
