//! What has been learned, as a page of JSON.

use pointsman_core::model::pool::Snapshot;
use serde_json::{Value, json};

use crate::expected_ttft::endpoint::Endpoint;
use crate::expected_ttft::memory::Memory;
use crate::expected_ttft::model::{Model, Prefill};

/// The page: models, endpoints of `snapshot`, errors of predictions.
pub fn page(memory: &Memory, snapshot: &Snapshot) -> Value {
    let (_, errors) = memory.any_model().distributions();
    let endpoints: Vec<Value> = snapshot
        .endpoints
        .iter()
        .filter_map(|endpoint| Some(there(&endpoint.name, memory.endpoint(endpoint.slot)?)))
        .collect();
    json!({
        "errorMs": {
            "p50": errors.quantile(0.5),
            "p90": errors.quantile(0.9),
            "p99": errors.quantile(0.99),
            "samples": errors.samples(),
        },
        "models": memory.models().map(model).collect::<Vec<_>>(),
        "endpoints": endpoints,
    })
}

fn model(model: &Model) -> Value {
    let Prefill([a, b, c, d, e]) = model.prefill();
    let (lengths, _) = model.distributions();
    let name = match model.name() {
        "" => "(all)",
        name => name,
    };
    json!({
        "model": name,
        "prefill": {
            "ms": a,
            "msPerUncachedToken": b,
            "msPerTokenAhead": c,
            "msPerRequest": d,
            "msPerUncachedTokenAndRequest": e,
            "samples": model.prefill_samples(),
        },
        "msPerOutputToken": model.token_millis(0.0),
        "bytesPerToken": model.bytes_per_token(),
        "outputTokens": {
            "p50": lengths.quantile(0.5),
            "p90": lengths.quantile(0.9),
            "samples": lengths.samples(),
        },
    })
}

fn there(name: &str, endpoint: &Endpoint) -> Value {
    let inner = endpoint.inner();
    let known = |number: f64| (number > 0.0).then_some(number);
    json!({
        "name": name,
        "seats": known(inner.seats.known()),
        "seatsAtLeast": inner.seats.at_least(),
        "prefillFactor": inner.speed.prefill(),
        "tokenFactor": inner.speed.pace(),
        "samples": inner.speed.samples(),
        "relativeError": inner.speed.error(),
        "fallsBackToFleet": inner.speed.drifted(),
        "underWay": inner.queue.entries().len(),
        "sentByOthers": endpoint.foreign.get(),
    })
}
