//! Keeps the candidates that hold most of the prompt, unless they are too busy.
//!
//! # When to use
//! Before scorers by load, where sending a prompt to an endpoint that has it cached matters more than an even load, up
//! to a point.
//!
//! # Rule
//! With `m / n` the share of the prompt's blocks that a candidate is believed to hold: those at or above
//! `affinityThreshold` are sticky. One candidate, or a threshold of 0 or below → all stay. With `explorationProbability`
//! → all stay. No sticky one → all stay. If there are others, and the least expected wait of the sticky ones exceeds the
//! least of the others by more than `maxTTFTPenaltyMs` (0 switches this off) → all stay. Else the sticky ones stay. The
//! expected wait is `tokens in flight / peakPrefillThroughput`.
//!
//! # Reads
//! `prefixBlocks` of the producer named, and tokens in flight as `inflight-load-producer` counts them (added where it is
//! not declared).
//!
//! # Example
//! ```yaml
//! - type: prefix-cache-affinity-filter
//!   parameters:
//!     affinityThreshold: 0.8
//!     peakPrefillThroughput: 15928
//! ```
//!
//! # Limits
//! `ttftSource: latencyPredictor` is not supported; `expected-ttft-scorer` weighs caches and waits against each other by
//! what it has learned.

use pointsman_core::contract::context::Ctx;
use pointsman_core::contract::produced::PrefixMatch;
use pointsman_core::contract::roles::{Built, Filter};
use pointsman_core::contract::spec::{
    DataKey, ParamFault, Params, PluginSpec, Requirement, Role, Stability, schema_of,
};
use pointsman_core::index::row_set::RowSet;
use pointsman_core::rng::Rng;
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "prefix-cache-affinity-filter",
    aliases: &[],
    role: Role::Filter,
    stability: Stability::Beta,
    reads: &[],
    requires,
    source: include_str!("prefix_affinity.rs"),
    schema: schema_of::<Parameters>,
    build,
};

/// Keeps the draw apart from the picker's, which begins with the same seed.
const SALT: u64 = 0x5f3a_91c4_07be_d26d;

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    /// Share of the prompt from which on a candidate is sticky, up to 1; 0 or below keeps all.
    affinity_threshold: f64,
    /// How often all are kept whatever they hold, 0 to 1.
    exploration_probability: f64,
    /// By how much longer the wait at a sticky candidate may be, in milliseconds; 0: however long.
    #[serde(rename = "maxTTFTPenaltyMs")]
    max_ttft_penalty_ms: f64,
    /// `prefillThroughput`; `latencyPredictor` is not supported.
    ttft_source: String,
    /// Tokens that an engine prefills in a second.
    peak_prefill_throughput: f64,
    /// Name of the producer whose matches count; empty means `approx-prefix-cache-producer`.
    prefix_match_info_producer_name: String,
    /// Accepted and not used.
    latency_prediction_info_producer_name: String,
    /// Name of the producer that counts tokens in flight; empty means `inflight-load-producer`.
    in_flight_load_producer_name: String,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            affinity_threshold: 0.8,
            exploration_probability: 0.0,
            max_ttft_penalty_ms: 18_000.0,
            ttft_source: "prefillThroughput".to_owned(),
            peak_prefill_throughput: 15_928.0,
            prefix_match_info_producer_name: String::new(),
            latency_prediction_info_producer_name: String::new(),
            in_flight_load_producer_name: String::new(),
        }
    }
}

impl Parameters {
    fn prefixes(&self) -> &str {
        DataKey::PrefixMatch.producer_named(&self.prefix_match_info_producer_name)
    }

    fn load(&self) -> &str {
        DataKey::Load.producer_named(&self.in_flight_load_producer_name)
    }
}

fn requires(params: &Params<'_>) -> Vec<Requirement> {
    let given: Parameters = params.read().unwrap_or_default();
    let need = |key, name: &str| Requirement {
        key,
        producer: Some(name.to_owned()),
        optional: false,
    };
    let mut all = vec![need(DataKey::PrefixMatch, given.prefixes())];
    if given.max_ttft_penalty_ms > 0.0 {
        all.push(need(DataKey::Load, given.load()));
    }
    all
}

struct PrefixAffinity {
    prefixes: String,
    load: String,
    threshold: f64,
    exploration: f64,
    penalty_ms: f64,
    tokens_per_ms: f64,
}

fn build(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    let given: Parameters = params.read()?;
    let mut faults = Vec::new();
    let mut check = |holds: bool, path: &str, message: String| {
        if !holds {
            let path = path.to_owned();
            faults.push(ParamFault { path, message });
        }
    };
    let threshold = given.affinity_threshold;
    let message = format!("{threshold} is no share of a prompt; use at most 1");
    check(threshold <= 1.0, "affinityThreshold", message);
    let exploration = given.exploration_probability;
    let message = format!("{exploration} is not from 0 to 1");
    check(
        (0.0..=1.0).contains(&exploration),
        "explorationProbability",
        message,
    );
    let penalty = given.max_ttft_penalty_ms;
    let message = format!("{penalty} is no number of milliseconds; use 0 or more");
    check(penalty >= 0.0, "maxTTFTPenaltyMs", message);
    let message = match given.ttft_source.as_str() {
        "latencyPredictor" => {
            "latencyPredictor is not supported; use prefillThroughput, or expected-ttft-scorer"
                .to_owned()
        }
        other => format!("'{other}' is not known; use prefillThroughput"),
    };
    check(
        given.ttft_source == "prefillThroughput",
        "ttftSource",
        message,
    );
    let throughput = given.peak_prefill_throughput;
    let message = format!("{throughput} is no number of tokens per second; use a number above 0");
    let fits = throughput.is_finite() && throughput > 0.0;
    check(fits || penalty == 0.0, "peakPrefillThroughput", message);
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(Built::Filter(Box::new(PrefixAffinity {
        prefixes: given.prefixes().to_owned(),
        load: given.load().to_owned(),
        threshold,
        exploration,
        penalty_ms: penalty,
        tokens_per_ms: throughput / 1000.0,
    })))
}

impl PrefixAffinity {
    fn is_sticky(&self, found: &PrefixMatch, row: usize) -> bool {
        f64::from(found.matched[row]) / f64::from(found.total) >= self.threshold
    }

    /// Whether the sticky candidates would keep the request waiting too long.
    fn too_busy(&self, ctx: &Ctx<'_>, found: &PrefixMatch, rows: &RowSet) -> bool {
        if self.penalty_ms == 0.0 {
            return false;
        }
        let Some(load) = ctx.produced.load(&self.load) else {
            return false;
        };
        let (mut sticky, mut others) = (u64::MAX, None);
        rows.for_each(|row| {
            let tokens = load.in_flight[row];
            if self.is_sticky(found, row) {
                sticky = sticky.min(tokens);
            } else {
                others = Some(others.unwrap_or(u64::MAX).min(tokens));
            }
        });
        let wait = |tokens: u64| tokens as f64 / self.tokens_per_ms;
        others.is_some_and(|others| wait(sticky) - wait(others) > self.penalty_ms)
    }
}

impl Filter for PrefixAffinity {
    fn filter(&self, ctx: &Ctx<'_>, rows: &mut RowSet) {
        if rows.count() <= 1 || self.threshold <= 0.0 {
            return;
        }
        if self.exploration > 0.0 && Rng::from_seed(ctx.seed ^ SALT).unit() < self.exploration {
            return;
        }
        let Some(found) = ctx.produced.prefix(&self.prefixes).filter(|f| f.total > 0) else {
            return;
        };
        let any = rows.iter().any(|row| self.is_sticky(found, row));
        if any && !self.too_busy(ctx, found, rows) {
            rows.retain(|row| self.is_sticky(found, row));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use pointsman_core::contract::spec::Generation;
    use pointsman_core::fixture::{Scene, build as built, filter, pool};

    #[track_caller]
    fn check(parameters: &str, matched: [u32; 3], tokens: [u64; 3], expected: &str) {
        let pool = pool("a\nb\nc\n");
        let mut scene = Scene::new(&pool);
        let (found, _) = scene
            .produced
            .next(&"approx-prefix-cache-producer".into(), 3);
        found.total = 10;
        found.matched = matched.to_vec();
        let (load, _) = scene
            .produced
            .next_load(&"inflight-load-producer".into(), 3);
        load.in_flight = tokens.to_vec();
        let filter = filter(&SPEC, parameters, Generation::G2);
        assert_eq!(
            scene.kept(&*filter),
            expected,
            "{parameters} {matched:?} {tokens:?}"
        );
    }

    #[test]
    fn keeps_the_sticky_ones_unless_they_are_too_busy() {
        check("{}", [8, 10, 7], [0; 3], "a b");
        check("{}", [7, 0, 7], [0; 3], "a b c");
        check(r#"{"affinityThreshold":0}"#, [8, 10, 7], [0; 3], "a b c");
        check(
            r#"{"explorationProbability":1}"#,
            [8, 10, 7],
            [0; 3],
            "a b c",
        );
        // A thousand tokens a second: 5,000 tokens are five seconds.
        let slow = r#"{"peakPrefillThroughput":1000,"maxTTFTPenaltyMs":5000}"#;
        check(slow, [10, 10, 0], [9_000, 6_000, 1_000], "a b");
        check(slow, [10, 10, 0], [9_000, 6_001, 1_000], "a b c");
        check(slow, [10, 10, 10], [9_000, 6_001, 1_000], "a b c");
        let patient = r#"{"peakPrefillThroughput":1000,"maxTTFTPenaltyMs":0}"#;
        check(patient, [10, 0, 0], [90_000, 0, 0], "a");
    }

    #[test]
    fn exploration_follows_the_seed() {
        let pool = pool("a\nb\n");
        let mut scene = Scene::new(&pool);
        let (found, _) = scene
            .produced
            .next(&"approx-prefix-cache-producer".into(), 2);
        found.total = 1;
        found.matched = vec![1, 0];
        let half = filter(&SPEC, r#"{"explorationProbability":0.5}"#, Generation::G2);
        let mut explored = 0;
        for seed in 0..400 {
            scene.seed = seed;
            let kept = scene.kept(&*half);
            assert_eq!(kept, scene.kept(&*half), "the same seed decides the same");
            explored += u32::from(kept == "a b");
        }
        assert!((140..260).contains(&explored), "{explored} of 400");
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        let parameters = r#"{"affinityThreshold":1.1,"explorationProbability":-1,"maxTTFTPenaltyMs":-2,
            "ttftSource":"latencyPredictor","peakPrefillThroughput":0}"#;
        let faults = built(&SPEC, parameters, Generation::G2).unwrap_err();
        let paths: Vec<&str> = faults.iter().map(|f| f.path.as_str()).collect();
        let expected = [
            "affinityThreshold",
            "explorationProbability",
            "maxTTFTPenaltyMs",
            "ttftSource",
            "peakPrefillThroughput",
        ];
        assert_eq!(paths, expected);
    }
}
