//! The gateway's own profile: what it expected and what came stand in every receipt, and what it learned can be seen.

#![allow(clippy::unwrap_used)]

use pointsman_tests::answer::{Events, MODEL, chat_stream};
use pointsman_tests::backend::{Backend, Received, Reply};
use pointsman_tests::http::Request;
use pointsman_tests::patience::until;
use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::{Gateway, Sim, endpoints_file};
use serde_json::json;

#[test]
fn receipts_show_what_was_expected_and_what_came() {
    let sims = [Sim::start(MODEL, &[]), Sim::start(MODEL, &[])];
    let files = Scratch::new("balanced");
    let endpoints = endpoints_file(&[("first", sims[0].address), ("second", sims[1].address)]);
    let endpoints = files.file("endpoints.yaml", &endpoints);
    // Named by nobody: it is the default.
    let gateway = Gateway::before(&endpoints, &[]);
    let text = "The quick brown fox jumps over the lazy dog. ".repeat(40);
    for _ in 0..6 {
        let answer = chat_stream(&text, 4).open(gateway.address).unwrap();
        assert_eq!(answer.head.status, 200);
        let (_, done) = Events::of(answer.body).rest();
        assert!(done);
    }
    gateway.wait_idle();
    let receipt = until("a receipt with its outcome", || {
        let receipt = gateway.decisions(1)[0].clone();
        (!receipt["prediction"]["actual"]["ttftMs"].is_null()).then_some(receipt)
    });
    let prediction = &receipt["prediction"];
    let predicted = |term: &str| prediction["predicted"][term].as_f64().unwrap();
    assert!(predicted("ttftMs") > 0.0, "{prediction}");
    // 1,800 bytes, four to a token until an answer says otherwise.
    let tokens = predicted("cachedTokens") + predicted("uncachedTokens");
    assert!((300.0..600.0).contains(&tokens), "{prediction}");
    assert!(predicted("waitMs") == 0.0, "{prediction}");
    assert!(
        prediction["actual"]["ttftMs"].as_f64().unwrap() > 0.0,
        "{prediction}"
    );
    let candidates = receipt["profiles"][0]["candidates"].as_array().unwrap();
    assert!(
        candidates
            .iter()
            .all(|candidate| candidate["terms"]["prefillMs"].is_number())
    );
    assert_eq!(candidates.len(), 2);
    let learned = Request::get("/debug/learned")
        .answered(gateway.admin)
        .json();
    assert_eq!(
        learned["learners"][0]["scorer"], "expected-ttft-scorer",
        "{learned}"
    );
}

#[test]
fn g9_an_address_that_another_endpoint_takes_over_starts_afresh() {
    let serve = |request: &Received, reply: &mut Reply| {
        if request.path == "/metrics" {
            return reply.whole(404, "text/plain", b"");
        }
        reply.json(200, &json!({"id": "x", "choices": [], "usage": {"prompt_tokens": 900, "completion_tokens": 1}}));
    };
    let (kept, moved) = (Backend::start(serve), Backend::start(serve));
    let files = Scratch::new("taken-over");
    let path = files.file(
        "endpoints.yaml",
        &endpoints_file(&[("old", moved.address())]),
    );
    let gateway = Gateway::before(&path, &["--profile", "default"]);
    let body = json!({"model": MODEL, "prompt": "prefix ".repeat(600), "max_tokens": 1});
    let ask = Request::post("/v1/completions", &body);
    let held = |candidate: usize| {
        let receipt = gateway.decisions(1)[0].clone();
        receipt["profiles"][0]["candidates"][candidate]["readings"]["prefixBlocks"]["value"]
            .as_f64()
            .unwrap()
    };
    for _ in 0..2 {
        assert_eq!(ask.answered(gateway.address).status, 200);
    }
    assert!(held(0) > 60.0, "the old one is believed to hold the prompt");

    // The address goes to another endpoint; a third one joins, the old one is gone.
    files.file(
        "endpoints.yaml",
        &endpoints_file(&[("new", moved.address()), ("third", kept.address())]),
    );
    until("the new membership", || {
        (gateway.endpoints().len() == 2).then_some(())
    });
    assert_eq!(ask.answered(gateway.address).status, 200);
    assert_eq!(
        (held(0), held(1)),
        (0.0, 0.0),
        "nothing is believed of who has just come"
    );
    let receipt = gateway.decisions(1)[0].clone();
    assert!(!receipt.to_string().contains("/old"), "{receipt}");
}
