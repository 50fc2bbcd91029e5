//! Prefers candidates that are believed to hold the beginning of the prompt in their KV cache.
//!
//! # When to use
//! Where prompts share beginnings: system prompts, documents, conversations that are resent. Always with a load signal
//! beside it, or one hot prefix takes one endpoint all.
//!
//! # Formula
//! With `m` of `n` blocks matched: `m / n`; 0 without blocks. Second generation, with `w = matchLengthWeight` and `B`
//! tokens per block: `w × min(1, m × B / matchLengthScaleTokens)² + (1 − w) × m / n`.
//!
//! In the first generation the plugin also learns by itself: blocks of `blockSize` bytes (with `autoTune` four times
//! the block size that the first candidate publishes) of the prompt, or of the JSON of the messages, hashed in a chain;
//! a tail that fills no block is left out. In the second generation a producer does that.
//!
//! # Reads
//! `prefixBlocks`: its own in the first generation, that of the producer named in the second.
//!
//! # Example
//! ```yaml
//! - type: prefix-cache-scorer
//! ```
//!
//! # Limits
//! It scores a share of this prompt, not time saved: a short prompt that is held whole counts as much as a long one.
//! The first generation's parameter `hashBlockSize`, found in many files, never had an effect there and has none here.

use pointsman_core::contract::context::Ctx;
use pointsman_core::contract::roles::{Built, Scorer};
use pointsman_core::contract::spec::{
    DataKey, Generation, ParamFault, Params, PluginSpec, Requirement, Role, Stability, schema_of,
};
use pointsman_core::index::row_set::RowSet;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::believed::{BelievedPrefix, Cap, Rules, Unit};

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "prefix-cache-scorer",
    aliases: &[],
    role: Role::Scorer,
    stability: Stability::Beta,
    reads: &[],
    requires,
    source: include_str!("prefix_cache.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    /// First generation: whether block size and capacity are taken from the engines' metrics where they say.
    auto_tune: bool,
    /// First generation: bytes per block where the engines do not say; 0 or below means 64.
    block_size: i64,
    /// First generation: most blocks of a prompt that are looked at; 0 or below means 256.
    max_prefix_blocks_to_match: i64,
    /// First generation: blocks per endpoint where the engine does not say; 0 or below means 31250.
    lru_capacity_per_server: i64,
    /// Second generation: name of the producer whose matches count; empty means `approx-prefix-cache-producer`.
    prefix_match_info_producer_name: String,
    /// Second generation: how much the length of the match counts beside its share, 0 to 1.
    match_length_weight: f64,
    /// Second generation: a match of so many tokens has full length.
    match_length_scale_tokens: f64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            auto_tune: true,
            block_size: 64,
            max_prefix_blocks_to_match: 256,
            lru_capacity_per_server: 31_250,
            prefix_match_info_producer_name: String::new(),
            match_length_weight: 0.0,
            match_length_scale_tokens: 8192.0,
        }
    }
}

impl Parameters {
    fn producer(&self) -> &str {
        DataKey::PrefixMatch.producer_named(&self.prefix_match_info_producer_name)
    }
}

fn requires(params: &Params<'_>) -> Vec<Requirement> {
    if params.generation == Generation::G1 {
        return Vec::new();
    }
    let parameters: Parameters = params.read().unwrap_or_default();
    vec![Requirement {
        key: DataKey::PrefixMatch,
        producer: Some(parameters.producer().to_owned()),
        optional: false,
    }]
}

fn build(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    let given: Parameters = params.read()?;
    match params.generation {
        Generation::G1 => Ok(first(&given, params)),
        Generation::G2 => second(&given),
    }
}

fn first(given: &Parameters, params: &Params<'_>) -> Built {
    let or = |number: i64, default: u32| match u32::try_from(number) {
        Ok(0) | Err(_) => default,
        Ok(number) => number,
    };
    let max_blocks = or(given.max_prefix_blocks_to_match, 256);
    let rules = Rules {
        unit: Unit::Bytes,
        auto_tune: given.auto_tune,
        block: or(given.block_size, 64),
        least_block: 1,
        cap: Cap::Blocks(max_blocks),
        capacity: or(given.lru_capacity_per_server, 31_250),
        fixed_capacity: None,
        resize: false,
        contiguous: false,
        learns_prefill: false,
    };
    // The reference goes on matching blocks that their own insertion evicted; here no more of them than one
    // prompt has.
    let producer = BelievedPrefix::new(rules, params.own, max_blocks, params.previous);
    let scorer = PrefixCache {
        producer: params.name.to_owned(),
        length_weight: 0.0,
        length_scale: 1.0,
    };
    Built::ScorerWithProducer(Box::new(scorer), Box::new(producer))
}

fn second(given: &Parameters) -> Result<Built, Vec<ParamFault>> {
    let mut faults = Vec::new();
    let mut fault = |path: &str, message: String| {
        faults.push(ParamFault {
            path: path.to_owned(),
            message,
        });
    };
    let weight = given.match_length_weight;
    if !(0.0..=1.0).contains(&weight) {
        fault("matchLengthWeight", format!("{weight} is not from 0 to 1"));
    }
    let scale = given.match_length_scale_tokens;
    if weight > 0.0 && (!scale.is_finite() || scale <= 0.0) {
        fault(
            "matchLengthScaleTokens",
            format!("{scale} is not above 0, and matchLengthWeight uses it"),
        );
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(Built::Scorer(Box::new(PrefixCache {
        producer: given.producer().to_owned(),
        length_weight: weight,
        length_scale: scale,
    })))
}

struct PrefixCache {
    producer: String,
    length_weight: f64,
    length_scale: f64,
}

impl Scorer for PrefixCache {
    fn score(&self, ctx: &Ctx<'_>, rows: &RowSet, out: &mut [f64]) {
        let Some(found) = ctx.produced.prefix(&self.producer).filter(|f| f.total > 0) else {
            return;
        };
        let total = f64::from(found.total);
        if self.length_weight == 0.0 {
            rows.for_each(|row| out[row] = f64::from(found.matched[row]) / total);
            return;
        }
        let (weight, block) = (self.length_weight, f64::from(found.block_tokens));
        rows.for_each(|row| {
            let matched = f64::from(found.matched[row]);
            let length = (matched * block / self.length_scale).min(1.0);
            out[row] = weight * length * length + (1.0 - weight) * matched / total;
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn weights_out_of_range_are_refused() {
        let parameters = r#"{"matchLengthWeight":1.5,"matchLengthScaleTokens":0}"#;
        let faults = pointsman_core::fixture::build(&SPEC, parameters, Generation::G2).unwrap_err();
        let paths: Vec<&str> = faults.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(paths, ["matchLengthWeight", "matchLengthScaleTokens"]);
    }
}
