//! Counts the tokens that the requests under way put on each endpoint.
//!
//! # When to use
//! It is added where a plugin needs it (`token-load-scorer`, `prefix-cache-affinity-filter`); write it down to count
//! generated tokens too, or to name the cache that is discounted.
//!
//! # Rule
//! With `t` tokens in the prompt and `m` of `n` blocks of `B` tokens believed to be cached at an endpoint, the request
//! costs `max(0, (n − m) × B) + max(0, t − n × B)` tokens there; of a prompt that nobody hashes, `t`. With
//! `addEstimatedOutputTokens` also `min(round(t × outputRatio), the client's bound, maxEstimatedOutputTokens)`. The
//! endpoint picked, and those picked for prefill and encoding, carry them from the pick to the first byte of the answer;
//! with estimated output the one that answers carries them to the end.
//!
//! # Reads
//! The prompt's tokens, as `token-producer` counts them, and the matches of the prefix producer named.
//!
//! # Example
//! ```yaml
//! - type: inflight-load-producer
//!   parameters:
//!     addEstimatedOutputTokens: true
//!     maxEstimatedOutputTokens: 1024
//! ```
//!
//! # Limits
//! Counts what this process sends. Requests in flight are always counted, with or without this plugin.

use std::sync::Arc;

use pointsman_core::contract::context::Asked;
use pointsman_core::contract::produced::{PrefixMatch, Produced};
use pointsman_core::contract::roles::{Built, Hold, Holds, Preparer, State, Targets};
use pointsman_core::contract::spec::{
    DataKey, ParamFault, Params, PluginSpec, Requirement, Role, Stability, schema_of,
};
use pointsman_core::model::tokens::TokensInFlight;
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "inflight-load-producer",
    aliases: &[],
    role: Role::Producer,
    stability: Stability::Beta,
    reads: &[],
    requires,
    source: include_str!("inflight_load.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    /// Whether generated tokens count too, by estimate.
    add_estimated_output_tokens: bool,
    /// Tokens generated per token of the prompt; 0 or more.
    output_ratio: f64,
    /// Most tokens that are taken to be generated for one request.
    max_estimated_output_tokens: Option<u64>,
    /// Name of the producer whose matches are discounted; when left out `approx-prefix-cache-producer`, or the first
    /// that the plan has.
    prefix_match_info_producer_name: String,
    /// Accepted; replicas do not share their counts.
    sync_cross_replica_state: bool,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            add_estimated_output_tokens: false,
            output_ratio: 1.5,
            max_estimated_output_tokens: None,
            prefix_match_info_producer_name: String::new(),
            sync_cross_replica_state: true,
        }
    }
}

fn requires(params: &Params<'_>) -> Vec<Requirement> {
    let given: Parameters = params.read().unwrap_or_default();
    let named = given.prefix_match_info_producer_name;
    vec![
        Requirement {
            key: DataKey::Tokens,
            producer: None,
            optional: false,
        },
        Requirement {
            key: DataKey::PrefixMatch,
            optional: named.is_empty(),
            producer: Some(named).filter(|name| !name.is_empty()),
        },
    ]
}

fn build(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    let given: Parameters = params.read()?;
    let ratio = given.output_ratio;
    if !ratio.is_finite() || ratio < 0.0 {
        return Err(vec![ParamFault {
            path: "outputRatio".to_owned(),
            message: format!("{ratio} is no ratio; use 0 or more"),
        }]);
    }
    let counts = params
        .previous
        .and_then(|state| Arc::clone(state).downcast::<TokensInFlight>().ok())
        .unwrap_or_default();
    Ok(Built::Preparer(Box::new(InflightLoad {
        name: params.name.into(),
        prefixes: given.prefix_match_info_producer_name,
        output: given.add_estimated_output_tokens.then_some(Output {
            ratio,
            most: given.max_estimated_output_tokens.unwrap_or(u64::MAX),
        }),
        counts,
    })))
}

/// How generated tokens are estimated.
struct Output {
    ratio: f64,
    most: u64,
}

struct InflightLoad {
    name: Arc<str>,
    prefixes: String,
    output: Option<Output>,
    counts: Arc<TokensInFlight>,
}

impl InflightLoad {
    fn discounted<'p>(&self, prefixes: &'p [PrefixMatch]) -> Option<&'p PrefixMatch> {
        let named = |name: &str| prefixes.iter().find(|found| found.producer() == name);
        if self.prefixes.is_empty() {
            named(DataKey::PrefixMatch.default_producer()).or_else(|| prefixes.first())
        } else {
            named(&self.prefixes)
        }
    }

    fn generated(&self, tokens: u64, bound: Option<u32>) -> u64 {
        self.output.as_ref().map_or(0, |output| {
            let estimate = (tokens as f64 * output.ratio).round() as u64;
            estimate
                .min(output.most)
                .min(bound.map_or(u64::MAX, u64::from))
        })
    }
}

/// Tokens of the prompt that an endpoint with `matched` blocks has to compute.
fn uncached(tokens: u64, found: &PrefixMatch, matched: u32) -> u64 {
    let block = u64::from(found.block_tokens);
    let new = u64::from(found.total.saturating_sub(matched)) * block;
    new + tokens.saturating_sub(u64::from(found.total) * block)
}

impl Preparer for InflightLoad {
    fn prepare(&self, asked: &Asked<'_>, produced: &mut Produced) {
        let tokens = u64::from(produced.tokens.unwrap_or(0));
        let (load, prefixes) = produced.next_load(&self.name, asked.snapshot.len());
        // Only now it is known for how many endpoints.
        self.counts.size_to(asked.slots.capacity());
        for (&slot, count) in asked.snapshot.slots().iter().zip(&mut load.in_flight) {
            *count = self.counts.on(slot);
        }
        match self.discounted(prefixes).filter(|found| found.total > 0) {
            None => load.uncached.fill(tokens),
            Some(found) => {
                for (out, &matched) in load.uncached.iter_mut().zip(&found.matched) {
                    *out = uncached(tokens, found, matched);
                }
            }
        }
    }

    fn hold(&self, asked: &Asked<'_>, produced: &Produced, targets: Targets, holds: &mut Holds) {
        let Some(load) = produced.load(&self.name) else {
            return;
        };
        let tokens = u64::from(produced.tokens.unwrap_or(0));
        let generated = self.generated(tokens, asked.request.max_output_tokens);
        let others = [targets.prefill, targets.encode];
        for (row, answers) in std::iter::once((targets.primary, true))
            .chain(others.into_iter().flatten().map(|row| (row, false)))
        {
            let slot = asked.snapshot.slots()[row];
            holds.push(Hold {
                tokens: self.counts.hold(slot, load.uncached[row] + generated),
                until_head: !answers || self.output.is_none(),
            });
        }
    }

    fn tokens_in_flight(&self) -> Option<Arc<TokensInFlight>> {
        Some(Arc::clone(&self.counts))
    }

    fn state(&self) -> Option<State> {
        Some(Arc::clone(&self.counts) as State)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use pointsman_core::contract::spec::Generation;
    use pointsman_core::fixture::{Scene, build as built, pool};

    fn producer(parameters: &str) -> Box<dyn Preparer> {
        match built(&SPEC, parameters, Generation::G2) {
            Ok(Built::Preparer(producer)) => producer,
            _ => panic!("{parameters} is refused"),
        }
    }

    /// Two rows, of which the first holds three of ten blocks; 650 tokens, so that ten are in no block.
    fn fill(produced: &mut Produced) {
        produced.begin();
        produced.tokens = Some(650);
        let (found, _) = produced.next(&"approx-prefix-cache-producer".into(), 2);
        (found.total, found.block_tokens) = (10, 64);
        found.matched = vec![3, 0];
    }

    fn load(produced: &Produced) -> (&[u64], &[u64]) {
        let load = produced.load("inflight-load-producer").unwrap();
        (&load.in_flight, &load.uncached)
    }

    const BOTH: Targets = Targets {
        primary: 0,
        prefill: Some(1),
        encode: None,
    };

    #[test]
    fn what_is_not_cached_is_carried_up_to_the_first_byte() {
        let pool = pool("a\nb\n");
        let scene = Scene::new(&pool);
        let (producer, mut produced) = (producer("{}"), Produced::default());
        fill(&mut produced);
        producer.prepare(&scene.asked(), &mut produced);
        assert_eq!(load(&produced), (&[0, 0][..], &[7 * 64 + 10, 650][..]));
        let mut holds = Holds::new();
        producer.hold(&scene.asked(), &produced, BOTH, &mut holds);
        assert!(holds.iter().all(|hold| hold.until_head));
        fill(&mut produced);
        producer.prepare(&scene.asked(), &mut produced);
        assert_eq!(load(&produced).0, [458, 650]);
        drop(holds);
        fill(&mut produced);
        producer.prepare(&scene.asked(), &mut produced);
        assert_eq!(load(&produced).0, [0, 0]);
    }

    #[test]
    fn estimated_output_is_bounded_and_carried_to_the_end_by_who_answers() {
        let pool = pool("a\nb\n");
        let mut scene = Scene::new(&pool);
        let parameters =
            r#"{"addEstimatedOutputTokens":true,"outputRatio":0.5,"maxEstimatedOutputTokens":300}"#;
        for (bound, generated) in [(None, 300), (Some(40), 40), (Some(9_000), 300)] {
            let (producer, mut produced) = (producer(parameters), Produced::default());
            scene.request.max_output_tokens = bound;
            fill(&mut produced);
            producer.prepare(&scene.asked(), &mut produced);
            let mut holds = Holds::new();
            producer.hold(&scene.asked(), &produced, BOTH, &mut holds);
            assert_eq!(
                holds.iter().map(|h| h.until_head).collect::<Vec<_>>(),
                [false, true]
            );
            fill(&mut produced);
            producer.prepare(&scene.asked(), &mut produced);
            assert_eq!(
                load(&produced).0,
                [458 + generated, 650 + generated],
                "{bound:?}"
            );
        }
    }

    #[test]
    fn without_matches_the_whole_prompt_counts() {
        let pool = pool("a\nb\n");
        let scene = Scene::new(&pool);
        let (producer, mut produced) = (producer("{}"), Produced::default());
        producer.prepare(&scene.asked(), &mut produced);
        assert_eq!(load(&produced).1, [0, 0]);
        produced.begin();
        produced.tokens = Some(5);
        producer.prepare(&scene.asked(), &mut produced);
        assert_eq!(load(&produced).1, [5, 5]);
    }
}
