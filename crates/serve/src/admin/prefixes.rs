//! What is believed about endpoints' caches: per producer and endpoint how much, how old, and what went; and for
//! one request which endpoints hold which of its blocks. Hashes and counts only, never a prompt.

use pointsman_core::contract::context::Asked;
use pointsman_core::contract::produced::{Hasher, PrefixMatch};
use pointsman_core::contract::roles::{Held, Producer};
use pointsman_core::model::pool::Snapshot;
use pointsman_core::model::prompt::Prompt;
use pointsman_core::model::request::InferenceRequest;
use pointsman_core::model::slots::Slot;
use pointsman_core::schedule::plan::Named;
use pointsman_core::time::Tick;
use pointsman_http::Frames;
use pointsman_wire::receipt::SCHEMA_VERSION;
use pointsman_wire::request::openai::{classify, read};
use serde_json::{Value, json};

use crate::metrics::windows::{Hits, Window};
use crate::router::Router;

/// Endpoints listed per producer, those with the most entries first.
const LISTED: usize = 100;

/// Blocks explained of one request.
const BLOCKS: usize = 4096;

/// What each producer holds.
pub fn holdings(router: &Router) -> String {
    let plan = router.plan.load();
    let producers: Vec<Value> = plan
        .producers
        .iter()
        .map(|producer| {
            let mut held = holding(router, producer);
            held["name"] = json!(producer.name.as_ref());
            held["type"] = json!(producer.kind);
            held
        })
        .collect();
    json!({"schemaVersion": SCHEMA_VERSION, "producers": producers}).to_string()
}

/// What one producer holds.
pub fn holding(router: &Router, producer: &Named<dyn Producer>) -> Value {
    let (snapshot, now) = (router.membership.snapshot(), router.clock.now());
    let mut held = producer.plugin.holdings(now);
    held.endpoints
        .sort_by_key(|one| std::cmp::Reverse(one.entries));
    let expired: serde_json::Map<String, Value> = held
        .expired
        .iter()
        .map(|(reason, count)| ((*reason).to_owned(), json!(count)))
        .collect();
    let listed = held.endpoints.iter().take(LISTED);
    json!({
        "entries": held.entries,
        "bytes": held.bytes,
        "expired": expired,
        "totalEndpoints": held.endpoints.len(),
        "endpoints": listed.map(|one| endpoint(router, one, &snapshot, now)).collect::<Vec<_>>(),
    })
}

fn endpoint(router: &Router, held: &Held, snapshot: &Snapshot, now: Tick) -> Value {
    let hits = router.hits.lock();
    let windows: serde_json::Map<String, Value> = Window::ALL
        .into_iter()
        .map(|(window, name)| (name.to_owned(), rates(hits.within(window, held.slot))))
        .collect();
    let age = |at: Option<Tick>| at.map(|at| now.since(at).as_millis_f64().round());
    json!({
        "endpoint": name_of(snapshot, held.slot),
        "entries": held.entries,
        "capacity": held.capacity,
        "oldestAgeMs": age(held.oldest),
        "newestAgeMs": age(held.newest),
        "hitRate": windows,
    })
}

/// Shares of the prompt tokens; null without any.
fn rates(hits: Hits) -> Value {
    let share = |part: u64| (hits.prompt > 0).then(|| part as f64 / hits.prompt as f64);
    json!({
        "promptTokens": hits.prompt,
        "predicted": share(hits.predicted),
        "actual": share(hits.actual),
    })
}

fn name_of(snapshot: &Snapshot, slot: Slot) -> Option<&str> {
    let row = snapshot.slots().iter().position(|&s| s == slot)?;
    Some(&snapshot.endpoints[row].name)
}

/// For a request as a client would send it to `path`: block by block who holds it.
///
/// # Errors
/// What is wrong with the request.
pub fn explain(router: &Router, path: &str, body: &Frames) -> Result<String, String> {
    let api = classify(path).ok_or_else(|| {
        format!("'{path}' is no generation path; ask with ?path=/v1/completions or another")
    })?;
    let facts = read(api, body.as_slice()).map_err(|error| error.to_string())?;
    let prompt = facts.prompt_view(body.as_slice());
    let request = InferenceRequest {
        model: &facts.model,
        prompt: Some(Prompt(&prompt)),
        cache_salt: facts.cache_salt.as_deref().unwrap_or(""),
        prompt_bytes: facts.prompt_bytes,
        ..InferenceRequest::default()
    };
    let (plan, snapshot) = (router.plan.load(), router.membership.snapshot());
    let asked = Asked {
        now: router.clock.now(),
        request: &request,
        snapshot: &snapshot,
        slots: router.membership.slots(),
    };
    let producers: Vec<Value> = plan
        .producers
        .iter()
        .map(|producer| explained(producer, &asked))
        .collect();
    Ok(
        json!({"schemaVersion": SCHEMA_VERSION, "model": request.model, "producers": producers})
            .to_string(),
    )
}

fn explained(producer: &Named<dyn Producer>, asked: &Asked<'_>) -> Value {
    let (mut hasher, mut found) = (Hasher::default(), PrefixMatch::default());
    found.clear(asked.snapshot.len());
    producer.plugin.produce(asked, &mut hasher, &mut found);
    let hashes = found.hashes.map_or(&[][..], |at| hasher.hashes(at).all());
    let blocks: Vec<Value> = hashes
        .iter()
        .take(BLOCKS)
        .map(|&hash| {
            let holders = producer.plugin.holders(hash, asked.now);
            let names: Vec<_> = holders
                .into_iter()
                .filter_map(|slot| name_of(asked.snapshot, slot))
                .collect();
            json!({"hash": format!("{hash:016x}"), "endpoints": names})
        })
        .collect();
    let matched: serde_json::Map<String, Value> = asked
        .snapshot
        .endpoints
        .iter()
        .zip(&found.matched)
        .map(|(endpoint, blocks)| (endpoint.name.to_string(), json!(blocks)))
        .collect();
    json!({
        "name": producer.name.as_ref(),
        "blockTokens": found.block_tokens,
        "totalBlocks": found.total,
        "matchedBlocks": matched,
        "blocks": blocks,
    })
}

/// What the plan's learning scorers have learned.
pub fn learned(router: &Router) -> String {
    let (plan, snapshot) = (router.plan.load(), router.membership.snapshot());
    let learners: Vec<Value> = plan
        .learners()
        .map(|(profile, scorer, learner)| {
            let profile = &plan.profiles[profile];
            json!({
                "profile": profile.name,
                "scorer": profile.scorers[scorer].scorer.name.as_ref(),
                "learned": learner.report(&snapshot),
            })
        })
        .collect();
    json!({"schemaVersion": SCHEMA_VERSION, "learners": learners}).to_string()
}
