//! Tells how full the pool is from what this router has under way; as a filter, crosses out the full ones.
//!
//! # When to use
//! Where engines are to hold a fixed number of requests or tokens, or are not scraped. It is exact where this router is
//! the only way to them.
//!
//! # Formula
//! Saturation is the sum of what is under way over the sum of the limits of all endpoints; in mode `hybrid` the mean
//! over the endpoints of the larger of both shares. A pool without endpoints is full. From 1 on the pool is full.
//!
//! As a filter it keeps the endpoints that hold less than `limit x (1 + headroom)`. Checking this and taking the place
//! are one step: no endpoint ever holds a request more, however many decisions are made at once. The same holds
//! without the filter while this detector guards the queue.
//!
//! # Reads
//! Requests in flight; for tokens, those that `inflight-load-producer` counts.
//!
//! # Example
//! ```yaml
//! - type: concurrency-detector
//!   parameters:
//!     maxConcurrency: 64
//! ```
//!
//! # Limits
//! What other routers send is not seen. As a filter it keeps nobody if all are full, and the request is answered 429:
//! with the gate `flowControl` it waits instead.

use pointsman_core::admission::saturation::{Concurrency, Counted};
use pointsman_core::contract::admission::SaturationDetector;
use pointsman_core::contract::context::Ctx;
use pointsman_core::contract::roles::{Built, Filter};
use pointsman_core::contract::spec::{
    DataKey, ParamFault, Params, PluginSpec, Requirement, Role, Stability, schema_of,
};
use pointsman_core::index::row_set::RowSet;
use pointsman_core::model::slots::Reading;
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "concurrency-detector",
    aliases: &[],
    role: Role::Detector,
    stability: Stability::Beta,
    reads: &[Reading::InFlight],
    requires,
    source: include_str!("concurrency.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    /// Requests that an endpoint may hold, above 0; 100 when left out.
    max_concurrency: i64,
    /// Tokens that an endpoint may hold, above 0; 1000000 when left out.
    max_token_concurrency: i64,
    /// What counts: `requests`, `tokens`, or `hybrid` for the fuller of both; `requests` when left out.
    concurrency_mode: String,
    /// As a filter: by which share an endpoint may be above its limit, 0 or more; 0 when left out.
    headroom: f64,
    /// The plugin that counts tokens; inflight-load-producer when left out.
    in_flight_load_producer_name: String,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            max_concurrency: 100,
            max_token_concurrency: 1_000_000,
            concurrency_mode: "requests".to_owned(),
            headroom: 0.0,
            in_flight_load_producer_name: String::new(),
        }
    }
}

/// The modes by their names.
const MODES: [(&str, Counted); 3] = [
    ("requests", Counted::Requests),
    ("tokens", Counted::Tokens),
    ("hybrid", Counted::Hybrid),
];

fn requires(params: &Params<'_>) -> Vec<Requirement> {
    let parameters: Parameters = params.read().unwrap_or_default();
    if parameters.concurrency_mode == MODES[0].0 {
        return Vec::new();
    }
    let producer = DataKey::Load.producer_named(&parameters.in_flight_load_producer_name);
    vec![Requirement {
        key: DataKey::Load,
        producer: Some(producer.to_owned()),
        optional: false,
    }]
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
    for (path, limit) in [
        ("maxConcurrency", parameters.max_concurrency),
        ("maxTokenConcurrency", parameters.max_token_concurrency),
    ] {
        if limit <= 0 {
            fault(
                path,
                format!("{limit} would let nothing through; use a number above 0"),
            );
        }
    }
    let mode = parameters.concurrency_mode.as_str();
    let counted = MODES.iter().find(|(name, _)| *name == mode);
    if counted.is_none() {
        let message = format!("'{mode}' is not known; use requests, tokens or hybrid");
        fault("concurrencyMode", message);
    }
    let headroom = parameters.headroom;
    if !(headroom >= 0.0 && headroom.is_finite()) {
        fault(
            "headroom",
            format!("{headroom} is below zero; use 0 or more"),
        );
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let producer = DataKey::Load.producer_named(&parameters.in_flight_load_producer_name);
    let limits = Concurrency {
        requests: parameters.max_concurrency.try_into().unwrap_or(u32::MAX),
        tokens: parameters.max_token_concurrency.unsigned_abs(),
        counted: counted.map_or(Counted::Requests, |(_, counted)| *counted),
        headroom,
        producer: producer.to_owned(),
    };
    let filter = NotFull(limits.clone());
    Ok(Built::Detector(Box::new(limits), Box::new(filter)))
}

/// Keeps the endpoints below their limit.
struct NotFull(Concurrency);

impl Filter for NotFull {
    fn filter(&self, ctx: &Ctx<'_>, rows: &mut RowSet) {
        let requests = ctx.readings.values(Reading::InFlight);
        let load = ctx.produced.load(&self.0.producer);
        rows.retain(|row| {
            let tokens = load.map_or(0, |load| load.in_flight[row]);
            self.0.share(requests[row], tokens as f64) < 1.0 + self.0.headroom
        });
    }

    fn most_in_flight(&self) -> Option<u32> {
        SaturationDetector::most_in_flight(&self.0)
    }

    fn is_repeatable(&self) -> bool {
        self.0.counted == Counted::Requests
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
    fn check(parameters: &str, pool: &str, expected: &str, most: Option<u32>) {
        let Built::Detector(_, filter) = built(parameters).unwrap() else {
            panic!("it is a detector")
        };
        let (pool, request) = (fixture::pool(pool), Default::default());
        let readings = pool.readings();
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
        let kept = rows
            .iter()
            .map(|row| pool.snapshot.endpoints[row].name.to_string());
        assert_eq!(kept.collect::<Vec<_>>().join(" "), expected);
        assert_eq!(filter.most_in_flight(), most);
    }

    #[test]
    fn who_holds_its_limit_is_crossed_out_even_if_all_do() {
        let pool = "a inFlight=3\nb inFlight=4\nc inFlight=5\n";
        check(r#"{"maxConcurrency": 4}"#, pool, "a", Some(4));
        check(
            r#"{"maxConcurrency": 4, "headroom": 0.25}"#,
            pool,
            "a b",
            Some(5),
        );
        check(r#"{"maxConcurrency": 3}"#, pool, "", Some(3));
        check(r#"{"concurrencyMode": "tokens"}"#, pool, "a b c", None);
    }

    #[test]
    fn nonsense_is_refused_and_tokens_need_a_producer() {
        let faults = built(
            r#"{"maxConcurrency": 0, "maxTokenConcurrency": -1, "concurrencyMode": "both", "headroom": -0.5}"#,
        )
        .unwrap_err();
        let paths: Vec<&str> = faults.iter().map(|fault| fault.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "maxConcurrency",
                "maxTokenConcurrency",
                "concurrencyMode",
                "headroom"
            ]
        );
    }
}
