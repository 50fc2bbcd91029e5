//! Prefers candidates with few tokens in flight.
//!
//! # When to use
//! Where prompts differ much in length: one request of 32,000 tokens weighs more than ten of 300, which a count of
//! requests does not show.
//!
//! # Formula
//! With `t` the tokens in flight on a candidate and those of this request that it would have to compute, and
//! `T = queueThresholdTokens`: `t = 0 → 1`, else `1 − min(t, T) / T`.
//!
//! # Reads
//! Tokens in flight and new tokens, as `inflight-load-producer` counts them; it is added where it is not declared.
//!
//! # Example
//! ```yaml
//! - type: token-load-scorer
//!   parameters:
//!     queueThresholdTokens: 262144
//! ```
//!
//! # Limits
//! Tokens are estimated at four bytes each. A threshold far above what the pool ever carries makes all candidates
//! score about 1.

use pointsman_core::contract::context::Ctx;
use pointsman_core::contract::roles::{Built, Scorer};
use pointsman_core::contract::spec::{
    DataKey, ParamFault, Params, PluginSpec, Requirement, Role, Stability, schema_of,
};
use pointsman_core::index::row_set::RowSet;
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "token-load-scorer",
    aliases: &[],
    role: Role::Scorer,
    stability: Stability::Beta,
    reads: &[],
    requires,
    source: include_str!("token_load.rs"),
    schema: schema_of::<Parameters>,
    build,
};

const THRESHOLD: i64 = 4_194_304;

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    /// So many tokens count as full; 0 or below means 4194304.
    queue_threshold_tokens: i64,
    /// Name of the producer that counts; empty means `inflight-load-producer`.
    in_flight_load_producer_name: String,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            queue_threshold_tokens: THRESHOLD,
            in_flight_load_producer_name: String::new(),
        }
    }
}

impl Parameters {
    fn producer(&self) -> &str {
        DataKey::Load.producer_named(&self.in_flight_load_producer_name)
    }
}

fn requires(params: &Params<'_>) -> Vec<Requirement> {
    let parameters: Parameters = params.read().unwrap_or_default();
    vec![Requirement {
        key: DataKey::Load,
        producer: Some(parameters.producer().to_owned()),
        optional: false,
    }]
}

struct TokenLoad {
    producer: String,
    threshold: f64,
}

fn build(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    let given: Parameters = params.read()?;
    let threshold = match given.queue_threshold_tokens {
        ..=0 => THRESHOLD,
        given => given,
    };
    Ok(Built::Scorer(Box::new(TokenLoad {
        producer: given.producer().to_owned(),
        threshold: threshold as f64,
    })))
}

impl Scorer for TokenLoad {
    fn score(&self, ctx: &Ctx<'_>, rows: &RowSet, out: &mut [f64]) {
        let Some(load) = ctx.produced.load(&self.producer) else {
            return;
        };
        rows.for_each(|row| {
            let tokens = (load.in_flight[row] + load.uncached[row]) as f64;
            out[row] = 1.0 - tokens.min(self.threshold) / self.threshold;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_core::contract::spec::Generation;
    use pointsman_core::fixture::{Scene, pool, scorer};

    #[test]
    fn tokens_under_way_and_new_ones_count_up_to_the_threshold() {
        let pool = pool("a\nb\nc\nd\n");
        let mut scene = Scene::new(&pool);
        let (load, _) = scene.produced.next_load(&"mine".into(), 4);
        load.in_flight = vec![0, 0, 600, 5_000];
        load.uncached = vec![0, 250, 150, 0];
        let parameters = r#"{"queueThresholdTokens":1000,"inFlightLoadProducerName":"mine"}"#;
        let mine = scorer(&SPEC, parameters, Generation::G2);
        assert_eq!(scene.scores(&*mine), [1.0, 0.75, 0.25, 0.0]);
        let other = scorer(&SPEC, "{}", Generation::G2);
        assert_eq!(scene.scores(&*other), [0.0; 4]);
    }
}
