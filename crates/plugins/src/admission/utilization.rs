//! Tells how full the pool is from what the engines report; as a filter, crosses out the full ones.
//!
//! # When to use
//! Where engines' metrics are scraped often. It stands where the configuration names no other detector.
//!
//! # Formula
//! Saturation is the mean over the endpoints of `max(waiting / queueDepthThreshold, kvUsage / kvCacheUtilThreshold)`.
//! An endpoint whose readings are missing or older than `metricsStalenessThreshold` counts 1, and so does a pool
//! without endpoints. From 1 on the pool is full.
//!
//! As a filter it keeps the endpoints with fresh readings, `waiting` below `queueDepthThreshold x (1 + headroom)` and
//! `kvUsage` below `kvCacheUtilThreshold x (1 + headroom)`; if that leaves none, it keeps all.
//!
//! # Reads
//! Requests waiting and the share of the KV cache in use, both as scraped.
//!
//! # Example
//! ```yaml
//! - type: utilization-detector
//!   parameters:
//!     queueDepthThreshold: 5
//!     kvCacheUtilThreshold: 0.8
//! ```
//!
//! # Limits
//! Readings are as old as the last scrape. While requests wait in the router's queue, those let in since then are
//! counted too: as waiting where the engine had a queue, else in proportion to what was running, so an engine without a
//! queue may double what it holds from one scrape to the next. An engine that is not scraped counts as full, and with
//! only such engines nobody is let in; use `concurrency-detector` there.

use pointsman_core::admission::saturation::Utilization;
use pointsman_core::config::duration::parse_duration;
use pointsman_core::contract::context::Ctx;
use pointsman_core::contract::roles::{Built, Filter};
use pointsman_core::contract::spec::{
    ParamFault, Params, PluginSpec, Role, Stability, needs_nothing, schema_of,
};
use pointsman_core::index::row_set::RowSet;
use pointsman_core::model::slots::Reading;
use pointsman_core::time::Span;
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "utilization-detector",
    aliases: &[],
    role: Role::Detector,
    stability: Stability::Beta,
    reads: &[Reading::Waiting, Reading::KvUsage],
    requires: needs_nothing,
    source: include_str!("utilization.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    /// Requests waiting at which an endpoint is full, above 0; 5 when left out.
    queue_depth_threshold: i64,
    /// Share of the KV cache in use at which it is full, above 0 and up to 1; 0.8 when left out.
    kv_cache_util_threshold: f64,
    /// Older readings count as full; 200ms when left out.
    metrics_staleness_threshold: String,
    /// As a filter: by which share an endpoint may be above its thresholds, 0 or more; 0 when left out.
    headroom: f64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            queue_depth_threshold: 5,
            kv_cache_util_threshold: 0.8,
            metrics_staleness_threshold: "200ms".to_owned(),
            headroom: 0.0,
        }
    }
}

fn build(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    let parameters: Parameters = params.read()?;
    let mut faults = Vec::new();
    let mut fault = |path: &str, message: String| {
        faults.push(ParamFault {
            path: path.to_owned(),
            message,
        });
    };
    let depth = parameters.queue_depth_threshold;
    if depth <= 0 {
        let message = format!("{depth} is no queue; use a number of requests above 0");
        fault("queueDepthThreshold", message);
    }
    let share = parameters.kv_cache_util_threshold;
    if !(share > 0.0 && share <= 1.0) {
        let message = format!("{share} is no share; use a number above 0 and up to 1");
        fault("kvCacheUtilThreshold", message);
    }
    let headroom = parameters.headroom;
    if !(headroom >= 0.0 && headroom.is_finite()) {
        fault(
            "headroom",
            format!("{headroom} is below zero; use 0 or more"),
        );
    }
    let max_age = match parse_duration(&parameters.metrics_staleness_threshold) {
        Ok(Span(0)) => Err("needs a time above zero".to_owned()),
        other => other,
    };
    let max_age = max_age.unwrap_or_else(|why| {
        fault("metricsStalenessThreshold", why);
        Span(0)
    });
    if !faults.is_empty() {
        return Err(faults);
    }
    let thresholds = Utilization {
        queue_depth: depth as f64,
        kv_share: share,
        max_age,
    };
    let filter = NotFull {
        thresholds,
        above: 1.0 + headroom,
    };
    Ok(Built::Detector(Box::new(thresholds), Box::new(filter)))
}

/// Keeps the endpoints below their thresholds.
struct NotFull {
    thresholds: Utilization,
    above: f64,
}

impl Filter for NotFull {
    fn filter(&self, ctx: &Ctx<'_>, rows: &mut RowSet) {
        let (waiting, kv) = (
            ctx.readings.column(Reading::Waiting),
            ctx.readings.column(Reading::KvUsage),
        );
        let fits = |row: usize| {
            let taken = waiting.taken[row].max(kv.taken[row]);
            self.thresholds.is_fresh(taken, ctx.now)
                && waiting.values[row] < self.thresholds.queue_depth * self.above
                && kv.values[row] < self.thresholds.kv_share * self.above
        };
        if rows.iter().any(fits) {
            rows.retain(fits);
        }
    }

    fn is_repeatable(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use pointsman_core::contract::spec::Generation;
    use pointsman_core::fixture;

    fn built(parameters: &str) -> Result<Built, Vec<ParamFault>> {
        fixture::build(&SPEC, parameters, Generation::G2)
    }

    #[track_caller]
    fn check(parameters: &str, pool: &str, expected: &str) {
        let Built::Detector(_, filter) = built(parameters).unwrap() else {
            panic!("it is a detector")
        };
        let (pool, mut kept) = (fixture::pool(pool), Vec::new());
        let (request, readings) = (Default::default(), pool.readings());
        let mut rows = pool.rows.clone();
        let ctx = Ctx {
            now: fixture::NOW,
            request: &request,
            snapshot: &pool.snapshot,
            readings: &readings,
            slots: &pool.slots,
            produced: &Default::default(),
            seed: 1,
        };
        filter.filter(&ctx, &mut rows);
        kept.extend(
            rows.iter()
                .map(|row| pool.snapshot.endpoints[row].name.to_string()),
        );
        assert_eq!(kept.join(" "), expected);
    }

    #[test]
    fn the_full_are_crossed_out_unless_all_are() {
        let pool = "a waiting=4 kvUsage=0.7\nb waiting=5 kvUsage=0\nc waiting=0 kvUsage=0.8\nd\n";
        check("{}", pool, "a");
        check(r#"{"headroom": 0.5}"#, pool, "a b c");
        check("{}", "a waiting=9 kvUsage=0\nb\n", "a b");
    }

    #[test]
    fn nonsense_is_refused_with_its_place() {
        let faults = built(
            r#"{"queueDepthThreshold": 0, "kvCacheUtilThreshold": 1.5, "metricsStalenessThreshold": "0s", "headroom": -1}"#,
        )
        .unwrap_err();
        let paths: Vec<&str> = faults.iter().map(|fault| fault.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "queueDepthThreshold",
                "kvCacheUtilThreshold",
                "headroom",
                "metricsStalenessThreshold"
            ]
        );
    }
}
