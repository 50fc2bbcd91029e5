//! What the router knows, as JSON: decisions, endpoints with the age of every reading.

use pointsman_core::model::slots::Reading;
use pointsman_feeds::scrape::engines::engine_of;
use pointsman_wire::receipt::writing::receipt;
use pointsman_wire::receipt::{Receipt, SCHEMA_VERSION};
use serde::Serialize;
use serde_json::{Value, json};

use crate::admin::live::Key;
use crate::record::ring::Recorded;
use crate::router::Router;

/// Receipts given when the query names no limit.
const DEFAULT_LIMIT: usize = 100;

/// Receipts given at most.
const MAX_LIMIT: usize = 10_000;

/// The last decisions, newest first; `limit=N` in the query.
pub fn decisions(router: &Router, query: &str) -> String {
    let limit = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("limit="))
        .and_then(|n| n.parse().ok())
        .unwrap_or(DEFAULT_LIMIT)
        .min(MAX_LIMIT);
    let list = Decisions {
        schema_version: SCHEMA_VERSION,
        decisions: router.latest(limit).iter().map(written).collect(),
    };
    serde_json::to_string(&list).unwrap_or_default()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Decisions {
    schema_version: u32,
    decisions: Vec<Receipt>,
}

/// One decision by request id or by the id of its answer: the latest of equal ids, or with `key=K` in the query the
/// one that `/debug/live` listed under that key.
pub fn decision(router: &Router, id: &str, query: &str) -> Option<String> {
    let key = query.split('&').find_map(|pair| pair.strip_prefix("key="));
    serde_json::to_string(&written(&recorded(router, id, key)?)).ok()
}

/// The record of this request id, or the one of it under this key.
pub fn recorded(router: &Router, id: &str, key: Option<&str>) -> Option<Recorded> {
    match key {
        None => router.find(id),
        Some(key) => by_key(router, key).filter(|found| found.meta.request_id == id),
    }
}

fn by_key(router: &Router, key: &str) -> Option<Recorded> {
    let key = Key::parse(key)?;
    let lanes = router.lanes();
    lanes.get(key.lane)?.ring.lock().numbered(key.number)
}

/// The receipt of a record.
pub fn written(recorded: &Recorded) -> Receipt {
    receipt(
        &recorded.decision,
        &recorded.meta,
        recorded.outcome.as_ref(),
    )
}

/// The pool with every reading and its age.
pub fn endpoints(router: &Router) -> String {
    let plan = router.plan.load();
    let (snapshot, slots, now) = (
        router.membership.snapshot(),
        router.membership.slots(),
        router.clock.now(),
    );
    let rows: Vec<Value> = snapshot
        .endpoints
        .iter()
        .map(|endpoint| {
            let state = slots.scrape_state(endpoint.slot);
            let cache = slots.cache_config(endpoint.slot);
            let metrics = plan.metrics.as_ref();
            let engine = metrics.map(|(_, engines)| engine_of(engines, &endpoint.labels));
            let readings: serde_json::Map<String, Value> = Reading::ALL
                .into_iter()
                .filter(|r| *r != Reading::InFlight)
                .map(|reading| {
                    let age = slots.age(endpoint.slot, reading, now);
                    let value = age.map(|_| slots.read(endpoint.slot, reading).0);
                    let age = age.map(|a| a.as_millis_f64().round() as u64);
                    (
                        reading.name().to_owned(),
                        json!({"value": value, "ageMs": age, "state": state.word()}),
                    )
                })
                .collect();
            let labels: serde_json::Map<String, Value> = endpoint
                .labels
                .iter()
                .map(|(k, v)| (k.to_owned(), Value::from(v)))
                .collect();
            json!({
                "name": endpoint.name.as_ref(),
                "address": endpoint.address.to_string(),
                "labels": labels,
                "inFlight": slots.in_flight(endpoint.slot),
                "scrape": state.word(),
                "engine": engine,
                "cacheConfig": {"blockSize": cache.block_size, "blocks": cache.blocks},
                "epoch": slots.epoch(endpoint.slot),
                "readings": readings,
            })
        })
        .collect();
    json!({"schemaVersion": SCHEMA_VERSION, "generation": snapshot.generation, "endpoints": rows})
        .to_string()
}
