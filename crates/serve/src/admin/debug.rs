//! What the router knows, as JSON: decisions, endpoints with the age of every reading, the plan in force.

use pointsman_core::model::slots::Reading;
use pointsman_wire::receipt::{Receipt, SCHEMA_VERSION, receipt};
use serde::Serialize;
use serde_json::{Value, json};

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

/// One decision by request id or by the id of its answer.
pub fn decision(router: &Router, id: &str) -> Option<String> {
    let recorded = router.find(id)?;
    serde_json::to_string(&written(&recorded)).ok()
}

fn written(recorded: &Recorded) -> Receipt {
    receipt(
        &recorded.decision,
        &recorded.meta,
        recorded.outcome.as_ref(),
    )
}

/// The pool with every reading and its age.
pub fn endpoints(router: &Router) -> String {
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
                "readings": readings,
            })
        })
        .collect();
    json!({"schemaVersion": SCHEMA_VERSION, "generation": snapshot.generation, "endpoints": rows})
        .to_string()
}

/// The plan in force.
pub fn plan(router: &Router) -> String {
    let plan = router.plan.load();
    let profiles: Vec<Value> = plan
        .profiles
        .iter()
        .map(|profile| {
            let named = |kind: &str, name: &str| json!({"type": kind, "name": name});
            json!({
                "name": profile.name,
                "filters": profile.filters.iter().map(|f| named(f.kind, &f.name)).collect::<Vec<_>>(),
                "scorers": profile.scorers.iter().map(|s| {
                    json!({"type": s.scorer.kind, "name": s.scorer.name.as_ref(), "weight": s.weight})
                }).collect::<Vec<_>>(),
                "picker": named(profile.picker.kind, &profile.picker.name),
            })
        })
        .collect();
    json!({
        "schemaVersion": SCHEMA_VERSION,
        "source": plan.source,
        "generation": plan.generation,
        "compat": plan.compat.word(),
        "hash": format!("{:016x}", plan.hash),
        "profileHandler": {"type": plan.handler.kind, "name": plan.handler.name.as_ref()},
        "profiles": profiles,
        "usesPicker": router.routes.uses_picker(),
    })
    .to_string()
}
