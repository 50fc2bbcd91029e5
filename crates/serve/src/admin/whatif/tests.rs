//! What is answered to "what if": the same plan gives the same pick, other weights another, and the text that is
//! given out makes the plan that decided.

#![allow(clippy::unwrap_used)]

use pointsman_core::config::basis::Registry;
use pointsman_core::model::request::InferenceRequest;
use pointsman_core::model::slots::Reading;
use pointsman_feeds::clock::Clock;
use pointsman_feeds::membership::{Member, Membership};
use pointsman_feeds::plan::{Terms, from_text};
use pointsman_http::ClientOptions;
use serde_json::{Value, json};

use super::*;
use crate::door::route::Routes;
use crate::exchange::Exchange;
use crate::record::log::Log;
use crate::router::Lane;
use crate::what_ifs::Planner;

/// No profile is written down, so there is one of all plugins.
const PLAIN: &str = "\
apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
plugins:
- {name: 'kv: use', type: kv-cache-utilization-scorer}
- {name: queue, type: queue-scorer}
- type: single-profile-handler
";

fn plan(text: &str, source: &str) -> Result<Plan, Vec<String>> {
    let registry = Registry::new(&[pointsman_plugins::ALL, pointsman_feeds::SPECS].concat());
    let resolved = from_text(text, source, &Terms::new(&registry));
    resolved
        .map(|resolved| resolved.plan)
        .map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

/// A router over so many endpoints: the further down, the fuller their KV cache and the shorter their queue.
fn router(endpoints: u32) -> (Arc<Router>, Arc<Lane>) {
    let membership = Arc::new(Membership::new(1024));
    let members: Vec<Member> = (0..endpoints)
        .map(|n| Member {
            name: format!("ns/{n:03}"),
            address: ([10, 0, (n / 250) as u8, (n % 250) as u8], 8000).into(),
            labels: [("tier", "gold")].into_iter().collect(),
        })
        .collect();
    membership.replace(&members);
    let clock = Clock::start();
    let snapshot = membership.snapshot();
    for (row, &slot) in snapshot.slots().iter().enumerate() {
        let slots = membership.slots();
        let share = row as f64 / f64::from(endpoints);
        slots.write(slot, Reading::KvUsage, share, clock.now());
        let waiting = (endpoints - row as u32).pow(2);
        slots.write(slot, Reading::Waiting, waiting.into(), clock.now());
    }
    let (routes, log) = (Routes::all_to_pool(), Log::new(None, None, 0));
    let started = plan(PLAIN, "plain.yaml").ok().unwrap();
    let router = Arc::new(Router::new(clock, membership, started, routes, log, 7));
    let planner: Planner = Box::new(plan);
    router.what_ifs.plan_with(planner);
    let lane = router.add_lane(1, ClientOptions::default());
    (router, lane)
}

fn decide(lane: &Arc<Lane>, id: &str) {
    let mut exchange = Exchange::begin(lane, "gateway", id, "/v1/completions");
    exchange.ready(&InferenceRequest::default());
    exchange.head(200);
    exchange.end(None, None);
}

fn ask(router: &Router, question: &Value) -> Value {
    let answer = decided_again(router, question.to_string().as_bytes());
    serde_json::from_str(&answer.unwrap()).unwrap()
}

#[track_caller]
fn check_refused(router: &Router, question: &Value, status: u16, words: &str) {
    let refused = decided_again(router, question.to_string().as_bytes()).unwrap_err();
    assert_eq!(refused.status.as_u16(), status, "{}", refused.why);
    assert!(refused.why.contains(words), "{}", refused.why);
}

#[test]
fn nothing_changed_changes_nothing() {
    let (router, lane) = router(5);
    decide(&lane, "one");
    let answer = ask(&router, &json!({"id": "one"}));
    let receipt = debug::written(&router.find("one").unwrap());
    assert_eq!(answer["changed"], false);
    assert_eq!(answer["pick"], json!(receipt.picked()));
    assert_eq!(answer["profiles"], json!(receipt.profiles));
    assert_eq!(answer["source"], "plain.yaml");
    assert_eq!(answer["pool"], 5);
    assert!(answer.get("among").is_none());
}

#[test]
fn a_weight_moves_the_pick_and_the_text_given_out_says_so() {
    let (router, lane) = router(5);
    decide(&lane, "one");
    let pick = |kv: f64, queue: f64| {
        let weights = json!({"default": {"kv: use": kv, "queue": queue}});
        ask(&router, &json!({"id": "one", "weights": weights}))
    };
    let (by_kv, by_queue) = (pick(5.0, 0.0), pick(0.0, 5.0));
    assert_eq!(by_kv["pick"], "ns/000");
    assert_eq!(by_queue["pick"], "ns/004");
    for answer in [&by_kv, &by_queue] {
        assert_eq!(answer["changed"], answer["was"] != answer["pick"]);
    }
    let again = plan(by_queue["config"].as_str().unwrap(), "again")
        .ok()
        .unwrap();
    let weights: Vec<(String, f64)> = again.profiles[0]
        .scorers
        .iter()
        .map(|one| (one.scorer.name.to_string(), one.weight))
        .collect();
    assert_eq!(
        weights,
        [("kv: use".to_owned(), 0.0), ("queue".to_owned(), 5.0)]
    );
    // Asked with that text, it is the same.
    let given = ask(&router, &json!({"id": "one", "config": by_queue["config"]}));
    assert_eq!(given["profiles"], by_queue["profiles"]);
}

#[test]
fn another_profile_decides_by_its_own_rules() {
    let (router, lane) = router(5);
    decide(&lane, "one");
    let name = "proxy-performance-by-backend";
    let none = ask(&router, &json!({"id": "one", "profile": name}));
    assert_eq!(
        (&none["pick"], &none["changed"]),
        (&Value::Null, &json!(true))
    );
    assert!(
        none["refused"].as_str().unwrap().contains("by-kv-backend"),
        "{none}"
    );
    assert_eq!(none["profiles"][0]["filtered"].as_array().unwrap().len(), 5);
    let weights = json!({"default": {"active-request-scorer": 0.5}});
    let other = ask(
        &router,
        &json!({"id": "one", "profile": "proxy-performance", "weights": weights}),
    );
    assert_eq!(other["weights"][0]["scorers"][0]["weight"], 0.5);
    assert_eq!(other["profiles"][0]["tie"].as_array().unwrap().len(), 5);
}

#[test]
fn of_a_large_pool_those_that_were_kept_are_decided_among() {
    let (router, lane) = router(1000);
    decide(&lane, "one");
    let same = ask(&router, &json!({"id": "one"}));
    let receipt = debug::written(&router.find("one").unwrap());
    assert!(receipt.truncated);
    assert_eq!((&same["among"], &same["pool"]), (&json!(32), &json!(1000)));
    // The record has the best first, a decision goes by rows.
    let mut kept = receipt.profiles[0].candidates.clone();
    kept.sort_by_key(|one| one.row);
    assert_eq!(same["profiles"][0]["candidates"], json!(kept));
    assert_eq!(same["changed"], false);
    let best = |scorer: &str| {
        let kept = receipt.profiles[0].candidates.iter();
        let best = kept.max_by(|a, b| a.scores[scorer].total_cmp(&b.scores[scorer]));
        best.unwrap().endpoint.clone()
    };
    for (scorer, other) in [("kv: use", "queue"), ("queue", "kv: use")] {
        let weights = json!({"default": {scorer: 1.0, other: 0.0}});
        let answer = ask(&router, &json!({"id": "one", "weights": weights}));
        assert_eq!(answer["pick"], json!(best(scorer)));
    }
}

#[test]
fn of_a_large_pool_of_equals_the_pick_stays() {
    let (router, lane) = router(1000);
    let (slots, now) = (router.membership.slots(), router.clock.now());
    for &slot in router.membership.snapshot().slots() {
        slots.write(slot, Reading::KvUsage, 0.5, now);
        slots.write(slot, Reading::Waiting, 3.0, now);
    }
    for id in ["a", "b", "c", "d"] {
        decide(&lane, id);
        for weights in [json!({}), json!({"default": {"queue": 5.0}})] {
            let answer = ask(&router, &json!({"id": id, "weights": weights}));
            assert_eq!(answer["changed"], false, "{id}: {answer}");
            assert_eq!(answer["profiles"][0]["picked"][0], answer["was"]);
        }
    }
}

#[test]
fn what_cannot_be_answered_is_said() {
    let (router, lane) = router(2);
    decide(&lane, "one");
    let weights =
        |profile: &str, scorer: &str| json!({"id": "one", "weights": {profile: {scorer: 1.0}}});
    for (question, status, words) in [
        (json!({}), 400, "missing field `id`"),
        (
            json!({"id": "one", "weight": 1}),
            400,
            "unknown field `weight`",
        ),
        (json!({"id": "none"}), 404, "no decision 'none'"),
        (json!({"id": "one", "key": "9.9"}), 404, "no decision 'one'"),
        (
            json!({"id": "one", "profile": "defualt"}),
            400,
            "did you mean",
        ),
        (
            json!({"id": "one", "profile": "default", "config": ""}),
            400,
            "not both",
        ),
        (json!({"id": "one", "config": "plugins: 5"}), 400, "plugins"),
        (weights("other", "queue"), 400, "there are: default"),
        (weights("default", "queues"), 400, "kv: use, queue"),
    ] {
        check_refused(&router, &question, status, words);
    }
}

#[tokio::test]
async fn questions_take_turns() {
    let (router, lane) = router(2);
    decide(&lane, "one");
    let question = || json!({"id": "one"}).to_string().into_bytes();
    let all: Vec<_> = (0..8)
        .map(|_| tokio::spawn(answer(Arc::clone(&router), question())))
        .collect();
    for one in all {
        assert!(one.await.unwrap().is_ok());
    }
    assert_eq!(router.what_ifs.turn.available_permits(), 1);
}
