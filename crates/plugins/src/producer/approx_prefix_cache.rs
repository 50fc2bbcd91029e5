//! Works out how much of the prompt each candidate is believed to hold, from what was sent where.
//!
//! # When to use
//! Second generation: as the source of `prefix-cache-scorer` and of deciders that ask for cached blocks. It is added
//! when a plugin needs it and none is declared. It asks nothing of the engines.
//!
//! # Rule
//! The request's text, four bytes to a token, is cut into blocks of `B` tokens (the tail counts as a block) and
//! hashed in a chain that starts with the model and the cache salt. A candidate's match is the number of blocks,
//! up to the first that nobody holds, that it was sent before. After the pick the blocks are entered for the
//! endpoint picked, and for the one that prefills. `B` is the block size that the first candidate publishes
//! (with `autoTune`), else `blockSizeTokens`, and never below 64. An endpoint holds as many blocks as its
//! engine publishes (with `autoTune`), else `lruCapacityPerServer`; the least recently sent go first.
//!
//! # Reads
//! The prompt; the engines' `cache_config_info`.
//!
//! # Example
//! ```yaml
//! - type: approx-prefix-cache-producer
//!   parameters:
//!     blockSizeTokens: 64
//! ```
//!
//! # Limits
//! It believes: an engine may have evicted what it was sent, or restarted unseen. `pointsman.prefixCache.ttl` bounds
//! how long a belief lives. Only hashes are kept.

use pointsman_core::contract::roles::Built;
use pointsman_core::contract::spec::{
    ParamFault, Params, PluginSpec, Role, Stability, needs_nothing, schema_of,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::believed::{BelievedPrefix, Cap, Rules, Unit};

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "approx-prefix-cache-producer",
    aliases: &[],
    role: Role::Producer,
    stability: Stability::Beta,
    reads: &[],
    requires: needs_nothing,
    source: include_str!("approx_prefix_cache.rs"),
    schema: schema_of::<Parameters>,
    build,
};

/// Blocks below this size cost more memory than they are worth.
const LEAST_BLOCK: u32 = 64;

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    /// Whether block size and capacity are taken from the engines' metrics where they say.
    auto_tune: bool,
    /// Tokens per block where the engines do not say; at least 64 counts.
    block_size_tokens: i64,
    /// Deprecated name of `blockSizeTokens`; used if that is left at 16.
    block_size: i64,
    /// Most blocks of a prompt that are looked at, 0 for all; counts only if `maxPrefixTokensToMatch` is 0.
    max_prefix_blocks_to_match: i64,
    /// Most tokens of a prompt that are looked at; 0 for no such bound.
    max_prefix_tokens_to_match: i64,
    /// Blocks per endpoint where the engine does not say.
    lru_capacity_per_server: i64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            auto_tune: true,
            block_size_tokens: 16,
            block_size: 0,
            max_prefix_blocks_to_match: 2048,
            max_prefix_tokens_to_match: 131_072,
            lru_capacity_per_server: 31_250,
        }
    }
}

fn build(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    let given: Parameters = params.read()?;
    let block = if given.block_size > 0 && given.block_size_tokens == 16 {
        given.block_size
    } else {
        given.block_size_tokens
    };
    let mut faults = Vec::new();
    let mut fault = |path: &str, message: &str| {
        faults.push(ParamFault {
            path: path.to_owned(),
            message: message.to_owned(),
        });
    };
    if block <= 0 && !given.auto_tune {
        fault("blockSizeTokens", "must be above 0 when autoTune is false");
    }
    if given.max_prefix_tokens_to_match < 0 {
        fault(
            "maxPrefixTokensToMatch",
            "must not be negative; 0 means no bound",
        );
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let whole = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
    let rules = Rules {
        unit: Unit::Tokens,
        auto_tune: given.auto_tune,
        block: whole(block.max(0)),
        least_block: LEAST_BLOCK,
        cap: match (
            given.max_prefix_tokens_to_match,
            given.max_prefix_blocks_to_match,
        ) {
            (0, ..=0) => Cap::Blocks(u32::MAX),
            (0, blocks) => Cap::Blocks(whole(blocks)),
            (tokens, _) => Cap::Tokens(whole(tokens)),
        },
        capacity: whole(given.lru_capacity_per_server.max(1)),
        fixed_capacity: None,
        resize: false,
        contiguous: false,
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
    fn what_cannot_be_hashed_with_is_refused() {
        let parameters = r#"{"autoTune":false,"blockSizeTokens":0,"maxPrefixTokensToMatch":-1}"#;
        let faults = pointsman_core::fixture::build(&SPEC, parameters, Generation::G2).unwrap_err();
        let paths: Vec<&str> = faults.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(paths, ["blockSizeTokens", "maxPrefixTokensToMatch"]);
    }
}
