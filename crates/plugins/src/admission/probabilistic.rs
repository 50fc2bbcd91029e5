//! Turns requests of low priority away, the more of them the fuller the pool is.
//!
//! # When to use
//! Where batch work and users share engines, and batch work is to give way gradually, before anything waits. The
//! saturation detector would refuse it all at once from its own threshold on; set that one high, so that it does not.
//!
//! # Formula
//! Only requests of a priority below 0 are looked at. With the candidates' mean
//! `s = mean(max(waiting / queueDepthThreshold, kvUsage / kvCacheUtilThreshold))`, one is refused with probability
//! `min(s^power × k, 1)`.
//!
//! # Reads
//! `waiting`, `kvUsage`.
//!
//! # Example
//! ```yaml
//! - type: probabilistic-admitter
//!   parameters:
//!     power: 5
//!     k: 300
//! ```
//!
//! # Limits
//! A candidate that was never scraped counts as idle. Without objectives no request has a priority below 0, and nothing
//! is refused. Behind another gateway the answer is 500, as in the reference; the embedded gateway answers 429.

use pointsman_core::contract::context::Ctx;
use pointsman_core::contract::roles::{Admitter, Built, Chance};
use pointsman_core::contract::spec::{
    ParamFault, Params, PluginSpec, Role, Stability, needs_nothing, schema_of,
};
use pointsman_core::model::slots::Reading;
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "probabilistic-admitter",
    aliases: &[],
    role: Role::Admitter,
    stability: Stability::Beta,
    reads: &[Reading::Waiting, Reading::KvUsage],
    requires: needs_nothing,
    source: include_str!("probabilistic.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    /// Requests waiting at which an endpoint counts as full, above 0; 5 when left out.
    queue_depth_threshold: i64,
    /// Share of the KV cache in use at which it counts as full, above 0; 0.8 when left out.
    kv_cache_util_threshold: f64,
    /// How steeply refusals rise, above 0; 5 when left out.
    power: f64,
    /// How early they begin, above 0: all are refused from `(1/k)^(1/power)` on; 300 when left out.
    k: f64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            queue_depth_threshold: 5,
            kv_cache_util_threshold: 0.8,
            power: 5.0,
            k: 300.0,
        }
    }
}

fn build(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    let parameters: Parameters = params.read()?;
    let depth = parameters.queue_depth_threshold as f64;
    let numbers = [
        ("queueDepthThreshold", depth),
        ("kvCacheUtilThreshold", parameters.kv_cache_util_threshold),
        ("power", parameters.power),
        ("k", parameters.k),
    ];
    let faults: Vec<ParamFault> = numbers
        .into_iter()
        .filter(|(_, number)| !(*number > 0.0 && number.is_finite()))
        .map(|(path, number)| ParamFault {
            path: path.to_owned(),
            message: format!("{number} is out of range; use a number above 0"),
        })
        .collect();
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(Built::Admitter(Box::new(Probabilistic {
        depth,
        share: parameters.kv_cache_util_threshold,
        power: parameters.power,
        k: parameters.k,
    })))
}

struct Probabilistic {
    depth: f64,
    share: f64,
    power: f64,
    k: f64,
}

impl Probabilistic {
    fn saturation(&self, ctx: &Ctx<'_>) -> f64 {
        let waiting = ctx.readings.values(Reading::Waiting);
        let kv = ctx.readings.values(Reading::KvUsage);
        let full = waiting.iter().zip(kv);
        let sum: f64 = full
            .map(|(waiting, kv)| (waiting / self.depth).max(kv / self.share))
            .sum();
        sum / waiting.len().max(1) as f64
    }

    fn probability(&self, saturation: f64) -> f64 {
        (saturation.powf(self.power) * self.k).min(1.0)
    }
}

impl Admitter for Probabilistic {
    fn refuses(&self, ctx: &Ctx<'_>, chance: &mut Chance<'_>) -> Option<String> {
        if ctx.request.priority >= 0 {
            return None;
        }
        let saturation = self.saturation(ctx);
        let probability = self.probability(saturation);
        (chance.unit() < probability).then(|| {
            format!(
                "probabilistic-admitter: rejected, saturation={saturation:.3} prob={probability:.2}"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use pointsman_core::contract::spec::Generation;
    use pointsman_core::fixture::{Scene, build as built, pool};
    use pointsman_core::rng::Rng;

    fn refused(parameters: &str, text: &str, priority: i64) -> usize {
        let Ok(Built::Admitter(admitter)) = built(&SPEC, parameters, Generation::G2) else {
            panic!("{parameters} is refused")
        };
        let pool = pool(text);
        let mut scene = Scene::new(&pool);
        scene.request.priority = priority;
        let mut rng = Rng::from_seed(7);
        let mut chance = Chance::new(&mut rng);
        (0..10_000)
            .filter(|_| admitter.refuses(&scene.ctx(), &mut chance).is_some())
            .count()
    }

    #[track_caller]
    fn check(text: &str, expected: f64) {
        let share = refused("{}", text, -1) as f64 / 10_000.0;
        assert!((share - expected).abs() < 0.02, "{text}: {share}");
        assert_eq!(refused("{}", text, 0), 0);
    }

    #[test]
    fn refusals_follow_the_curve_and_spare_who_has_priority() {
        check("a\nb\n", 0.0);
        check("a waiting=1\n", 0.2_f64.powi(5) * 300.0);
        check("a kvUsage=0.24\n", 0.3_f64.powi(5) * 300.0);
        check("a waiting=2\nb\n", 0.2_f64.powi(5) * 300.0);
        check("a waiting=2\nb waiting=2\n", 1.0);
        check("a waiting=1 kvUsage=0.8\n", 1.0);
        assert_eq!(
            refused(r#"{"k": 1e-9, "power": 1}"#, "a waiting=5\n", -1),
            0
        );
    }

    #[test]
    fn the_reason_names_saturation_and_probability() {
        let Ok(Built::Admitter(admitter)) = built(&SPEC, "{}", Generation::G2) else {
            panic!("refused")
        };
        let pool = pool("a waiting=5\nb\n");
        let mut scene = Scene::new(&pool);
        scene.request.priority = -3;
        let mut rng = Rng::from_seed(1);
        let why = admitter.refuses(&scene.ctx(), &mut Chance::new(&mut rng));
        assert_eq!(
            why.unwrap(),
            "probabilistic-admitter: rejected, saturation=0.500 prob=1.00"
        );
    }

    #[test]
    fn nonsense_is_refused_with_its_place() {
        let faults = built(
            &SPEC,
            r#"{"queueDepthThreshold":0,"kvCacheUtilThreshold":-1,"power":0,"k":0}"#,
            Generation::G2,
        )
        .unwrap_err();
        let paths: Vec<&str> = faults.iter().map(|fault| fault.path.as_str()).collect();
        assert_eq!(
            paths,
            ["queueDepthThreshold", "kvCacheUtilThreshold", "power", "k"]
        );
    }
}
