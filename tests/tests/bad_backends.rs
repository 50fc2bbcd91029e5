//! What backends do wrong: none there, none allowed, down, hanging, dying before and during their answer.

#![allow(clippy::unwrap_used)]

use pointsman_tests::answer::{Events, MODEL, chat, chat_stream};
use pointsman_tests::backend::{Backend, Reply};
use pointsman_tests::burst::burst;
use pointsman_tests::patience::LONG;
use pointsman_tests::port;
use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::{Gateway, Sim, endpoints_file};

#[test]
fn no_endpoints_is_503_with_the_reason() {
    let files = Scratch::new("empty");
    let endpoints = files.file("endpoints.yaml", "endpoints: []\n");
    let gateway = Gateway::before_nothing(&endpoints, &["--profile", "proxy-performance"]);
    let response = chat("Hello", 2).answered(gateway.address);
    assert_eq!(response.status, 503, "{}", response.text());
    assert_eq!(
        response.header("x-llm-d-request-dropped-reason"),
        Some("rejected-no-endpoints")
    );
    assert!(
        response.json()["error"]["message"].is_string(),
        "{}",
        response.text()
    );
}

#[test]
fn all_filtered_out_is_429_with_the_reason_and_the_labs_words() {
    let sim = Sim::start(MODEL, &[]);
    let files = Scratch::new("filtered");
    let endpoints = files.file("endpoints.yaml", &endpoints_file(&[("only", sim.address)]));
    let gateway =
        Gateway::before_nothing(&endpoints, &["--profile", "proxy-performance-by-backend"]);
    let response = chat("Hello", 2).answered(gateway.address);
    assert_eq!(response.status, 429, "{}", response.text());
    assert_eq!(
        response.header("x-llm-d-request-dropped-reason"),
        Some("rejected-saturated")
    );
    assert!(
        response.header("retry-after").is_some(),
        "{:?}",
        response.headers
    );
    gateway
        .process
        .wait_line("the line that names the filter", |line| {
            let named =
                line.contains("failed to run scheduler profile") && line.contains("by-kv-backend");
            (named && line.contains("InferencePoolResourceExhausted")).then_some(())
        });
}

#[test]
fn all_down_is_502() {
    let files = Scratch::new("down");
    let endpoints = files.file(
        "endpoints.yaml",
        &endpoints_file(&[("first", port::free()), ("second", port::free())]),
    );
    let gateway = Gateway::before_nothing(&endpoints, &["--profile", "proxy-performance"]);
    for _ in 0..3 {
        let response = chat("Hello", 2).answered(gateway.address);
        assert!(
            matches!(response.status, 502 | 504),
            "{} {}",
            response.status,
            response.text()
        );
        assert!(
            response.json()["error"]["message"].is_string(),
            "{}",
            response.text()
        );
    }
    let receipt = &gateway.decisions(1)[0];
    assert_eq!(
        receipt["attempts"].as_array().unwrap().len(),
        2,
        "both were tried: {receipt}"
    );
    gateway.wait_idle();
}

#[test]
fn one_down_is_not_seen_by_clients() {
    let sim = Sim::start(MODEL, &["--max-num-seqs", "64"]);
    let files = Scratch::new("one-down");
    let endpoints = files.file(
        "endpoints.yaml",
        &endpoints_file(&[("up", sim.address), ("down", port::free())]),
    );
    let gateway = Gateway::before(&endpoints, &["--profile", "proxy-performance"]);
    let statuses = burst(20, 4, |_| chat("Hello", 2).answered(gateway.address).status);
    assert!(
        statuses.iter().all(|status| *status == 200),
        "the next best, before the first byte: {statuses:?}"
    );
    gateway.wait_idle();
}

#[test]
fn one_hanging_ends_by_the_routes_timeout() {
    let hanging = Backend::start(|request, reply| {
        if request.method == "POST" {
            reply.peer_leaves(LONG);
        } else {
            reply.whole(404, "text/plain", b"");
        }
    });
    let sim = Sim::start(MODEL, &["--max-num-seqs", "64"]);
    let files = Scratch::new("hanging");
    let endpoints = files.file(
        "endpoints.yaml",
        &endpoints_file(&[("good", sim.address), ("hanging", hanging.address())]),
    );
    let routes = files.file(
        "routes.yaml",
        "apiVersion: gateway.networking.k8s.io/v1\n\
         kind: HTTPRoute\n\
         metadata: {name: bounded}\n\
         spec:\n\
         \x20 rules:\n\
         \x20 - matches: [{path: {type: PathPrefix, value: /}}]\n\
         \x20   timeouts: {request: 2s}\n\
         \x20   backendRefs: [{group: inference.networking.k8s.io, kind: InferencePool, name: pool}]\n",
    );
    let gateway = Gateway::before(
        &endpoints,
        &["--profile", "proxy-performance", "--routes", &routes],
    );
    let statuses = burst(16, 8, |_| chat("Hello", 2).answered(gateway.address).status);
    assert!(
        statuses.contains(&200),
        "the other one goes on: {statuses:?}"
    );
    assert!(
        statuses.iter().all(|status| matches!(status, 200 | 504)),
        "{statuses:?}"
    );
    assert!(
        !hanging.received("/v1/chat").is_empty(),
        "the hanging one was tried"
    );
    gateway.wait_idle();
}

#[test]
fn a_backend_dying_mid_stream_ends_in_an_error_event() {
    let dying = Backend::start(|request, reply| {
        if request.method == "POST" {
            reply.begin_events();
            reply.event("{\"id\":\"chatcmpl-x\",\"choices\":[]}");
        } else {
            reply.whole(404, "text/plain", b"");
        }
    });
    let files = Scratch::new("dying");
    let endpoints = files.file(
        "endpoints.yaml",
        &endpoints_file(&[("dying", dying.address())]),
    );
    let gateway = Gateway::before(&endpoints, &["--profile", "proxy-performance"]);
    let answering = chat_stream("Hello", 8).open(gateway.address).unwrap();
    assert_eq!(answering.head.status, 200);
    let (events, whole) = Events::of(answering.body).rest();
    assert!(whole, "the answer itself ends properly: {events:?}");
    assert_eq!(events.len(), 2, "{events:?}");
    assert!(events[1].starts_with("{\"error\""), "{events:?}");
    gateway.wait_idle();
}

#[test]
fn a_backend_dying_before_its_answer_is_502_or_served_by_the_other() {
    let dying = Backend::start(|request, reply: &mut Reply| {
        if request.method != "POST" {
            reply.whole(404, "text/plain", b"");
        }
    });
    let files = Scratch::new("dying-early");
    let endpoints = files.file(
        "endpoints.yaml",
        &endpoints_file(&[("dying", dying.address())]),
    );
    let gateway = Gateway::before(&endpoints, &["--profile", "proxy-performance"]);
    let response = chat("Hello", 2).answered(gateway.address);
    assert_eq!(response.status, 502, "{}", response.text());
    gateway.wait_idle();
}
