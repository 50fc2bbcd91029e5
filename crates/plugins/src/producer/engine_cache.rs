//! Works out how much of the prompt each engine's prefix cache is believed to hold, block by block as the engine does.
//!
//! # When to use
//! With `expected-ttft-scorer`, which needs tokens rather than a share; for any plugin that reads prefix matches where
//! the engines' caches are small beside what they are sent. It asks nothing of the engines but their sizes.
//!
//! # Rule
//! The prompt (or the JSON of the messages), four bytes to a token, is cut into blocks of the engines' own size and
//! hashed in a chain that starts with the model and the cache salt; a tail that fills no block is left out, as
//! engines do. A candidate's match are the blocks from the start of the prompt that it was sent before. After the pick
//! they are entered for the endpoint picked, and for the one that prefills. An endpoint holds as many blocks
//! as its engine publishes, now and not when it was first seen; the least recently sent go first.
//!
//! # Reads
//! The prompt; the engines' `cache_config_info`.
//!
//! # Example
//! ```yaml
//! - type: engine-prefix-cache-producer
//! ```
//!
//! # Limits
//! It believes: the engine also keeps answers, and may have evicted otherwise or restarted unseen.
//! `pointsman.prefixCache.ttl` bounds how long a belief lives. Engines of one pool are taken to have blocks of one
//! size, that of the first candidate. Only hashes are kept.

use pointsman_core::contract::roles::Built;
use pointsman_core::contract::spec::{
    ParamFault, Params, PluginSpec, Role, Stability, needs_nothing, schema_of,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::believed::{BYTES_PER_TOKEN, BelievedPrefix, Cap, Rules, Unit};

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "engine-prefix-cache-producer",
    aliases: &[],
    role: Role::Producer,
    stability: Stability::Beta,
    reads: &[],
    requires: needs_nothing,
    source: include_str!("engine_cache.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    /// Tokens per block where the engines do not say.
    block_size_tokens: i64,
    /// Blocks that every engine holds, whatever it says; 0: as it says, else 31250.
    capacity_blocks: i64,
    /// Most blocks of a prompt that are looked at.
    max_blocks: i64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            block_size_tokens: 16,
            capacity_blocks: 0,
            max_blocks: 8_192,
        }
    }
}

/// Blocks of an engine that does not say.
const CAPACITY: u32 = 31_250;

fn build(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    let given: Parameters = params.read()?;
    let mut faults = Vec::new();
    let mut number = |path: &str, value: i64, least: u32, most: u32| {
        let number = u32::try_from(value)
            .ok()
            .filter(|number| (least..=most).contains(number));
        if number.is_none() {
            faults.push(ParamFault {
                path: path.to_owned(),
                message: format!("{value} is not from {least} to {most}"),
            });
        }
        number.unwrap_or(least)
    };
    let block = number("blockSizeTokens", given.block_size_tokens, 1, 65_536);
    let capacity = number("capacityBlocks", given.capacity_blocks, 0, u32::MAX);
    let max_blocks = number("maxBlocks", given.max_blocks, 1, u32::MAX);
    if !faults.is_empty() {
        return Err(faults);
    }
    let rules = Rules {
        unit: Unit::Bytes,
        auto_tune: true,
        block: block * BYTES_PER_TOKEN,
        least_block: 1,
        cap: Cap::Blocks(max_blocks),
        capacity: CAPACITY,
        fixed_capacity: (capacity > 0).then_some(capacity),
        resize: true,
        contiguous: true,
        learns_prefill: true,
    };
    let producer = BelievedPrefix::new(rules, params.own, 0, params.previous);
    Ok(Built::Producer(Box::new(producer)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use pointsman_core::contract::spec::Generation;

    #[test]
    fn sizes_out_of_range_are_refused() {
        let parameters = r#"{"blockSizeTokens":0,"capacityBlocks":-1,"maxBlocks":0}"#;
        let faults = pointsman_core::fixture::build(&SPEC, parameters, Generation::G2).unwrap_err();
        let paths: Vec<&str> = faults.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(paths, ["blockSizeTokens", "capacityBlocks", "maxBlocks"]);
    }
}
