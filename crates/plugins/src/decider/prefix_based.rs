//! Sends a request's prefill to another endpoint when enough of its prompt is not cached where it decodes.
//!
//! # When to use
//! With `pd-profile-handler`: short prompts and long cached ones are prefilled where they decode, which saves the
//! transfer; long new ones go to a prefill engine, which spares the decode engine.
//!
//! # Rule
//! With `N = nonCachedTokens` and `t` tokens in the prompt (four bytes each): `N = 0 → no`; `t < promptTokens → no`;
//! `t < N → no`; else yes if `t − cached ≥ N`, with `cached` the tokens of the blocks that the decode endpoint is
//! believed to hold.
//!
//! # Reads
//! The prompt's length, and `prefixBlocks` of the producer named.
//!
//! # Example
//! ```yaml
//! - type: prefix-based-pd-decider
//!   parameters:
//!     nonCachedTokens: 512
//! ```
//!
//! # Limits
//! As good as the belief about the cache. `nonCachedTokens` is 0 when left out, which means never.

use pointsman_core::contract::context::Ctx;
use pointsman_core::contract::roles::{Built, Decider};
use pointsman_core::contract::spec::{
    DataKey, ParamFault, Params, PluginSpec, Requirement, Role, Stability, schema_of,
};
use pointsman_core::model::prompt::Form;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::believed::BYTES_PER_TOKEN;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "prefix-based-pd-decider",
    aliases: &[],
    role: Role::Decider,
    stability: Stability::Beta,
    reads: &[],
    requires,
    source: include_str!("prefix_based.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    /// So many tokens must be new for prefill to run elsewhere; 0 means never.
    non_cached_tokens: i64,
    /// Prompts with fewer tokens are prefilled where they decode; 0 for no such bound.
    prompt_tokens: i64,
    /// Name of the producer whose matches count; empty means `approx-prefix-cache-producer`.
    prefix_match_info_producer_name: String,
}

impl Parameters {
    fn producer(&self) -> &str {
        DataKey::PrefixMatch.producer_named(&self.prefix_match_info_producer_name)
    }
}

fn requires(params: &Params<'_>) -> Vec<Requirement> {
    let parameters: Parameters = params.read().unwrap_or_default();
    vec![Requirement {
        key: DataKey::PrefixMatch,
        producer: Some(parameters.producer().to_owned()),
        optional: false,
    }]
}

fn build(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    let given: Parameters = params.read()?;
    let negative = [
        ("nonCachedTokens", given.non_cached_tokens),
        ("promptTokens", given.prompt_tokens),
    ];
    let faults: Vec<ParamFault> = negative
        .into_iter()
        .filter(|(_, number)| *number < 0)
        .map(|(path, number)| ParamFault {
            path: path.to_owned(),
            message: format!("{number} is negative; use 0 or more"),
        })
        .collect();
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(Built::Decider(Box::new(PrefixBased {
        producer: given.producer().to_owned(),
        non_cached: given.non_cached_tokens as u64,
        prompt: given.prompt_tokens as u64,
    })))
}

struct PrefixBased {
    producer: String,
    non_cached: u64,
    prompt: u64,
}

impl Decider for PrefixBased {
    fn decide(&self, ctx: &Ctx<'_>, decode: usize) -> (bool, &'static str) {
        if self.non_cached == 0 {
            return (false, "switched off");
        }
        let bytes = ctx
            .request
            .prompt
            .map_or(0, |prompt| prompt.bytes(Form::Text));
        let tokens = bytes.div_ceil(BYTES_PER_TOKEN as usize) as u64;
        if tokens < self.prompt {
            return (false, "short prompt");
        }
        if tokens < self.non_cached {
            return (false, "few tokens");
        }
        let Some(found) = ctx.produced.prefix(&self.producer) else {
            return (false, "nothing known of caches");
        };
        let cached = u64::from(found.matched[decode]) * u64::from(found.block_tokens);
        if tokens.saturating_sub(cached) >= self.non_cached {
            (true, "new tokens")
        } else {
            (false, "mostly cached")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_core::contract::produced::Produced;
    use pointsman_core::contract::spec::Generation;
    use pointsman_core::fixture::{NOW, build, pool};
    use pointsman_core::model::prompt::Prompt;
    use pointsman_core::model::request::InferenceRequest;

    #[track_caller]
    fn check(parameters: &str, tokens: usize, cached_blocks: u32, expected: (bool, &str)) {
        let Ok(Built::Decider(decider)) = build(&SPEC, parameters, Generation::G2) else {
            panic!("{parameters} is refused")
        };
        let text = vec![b'x'; tokens * 4];
        let view = text.as_slice();
        let request = InferenceRequest {
            prompt: Some(Prompt(&view)),
            ..InferenceRequest::default()
        };
        let pool = pool("a\nb\n");
        let mut produced = Produced::default();
        let (found, _) = produced.next(&"approx-prefix-cache-producer".into(), 2);
        found.matched[1] = cached_blocks;
        found.block_tokens = 64;
        let ctx = Ctx {
            now: NOW,
            request: &request,
            snapshot: &pool.snapshot,
            readings: &pool.readings(),
            slots: &pool.slots,
            produced: &produced,
            seed: 1,
        };
        assert_eq!(decider.decide(&ctx, 1), expected, "{parameters} {tokens}");
    }

    #[test]
    fn decides_by_what_is_new_at_the_decode_endpoint() {
        check("{}", 10_000, 0, (false, "switched off"));
        check(r#"{"nonCachedTokens":100}"#, 99, 0, (false, "few tokens"));
        check(r#"{"nonCachedTokens":100}"#, 100, 0, (true, "new tokens"));
        check(
            r#"{"nonCachedTokens":100}"#,
            200,
            2,
            (false, "mostly cached"),
        );
        check(r#"{"nonCachedTokens":72}"#, 200, 2, (true, "new tokens"));
        check(
            r#"{"nonCachedTokens":10,"promptTokens":300}"#,
            299,
            0,
            (false, "short prompt"),
        );
    }
}
