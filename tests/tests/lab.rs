//! `pointsman up` as a user meets it: the curl of the README, the spread over both pairs, the profiles, the
//! A/B header, what it prints.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use pointsman_tests::answer::{
    Events, MODEL, PairId, chat, chat_body, chat_stream, pair_of, pair_of_candidate,
};
use pointsman_tests::burst::burst;
use pointsman_tests::http::Request;
use pointsman_tests::patience::until;
use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::Gateway;
use serde_json::{Value, json};

/// The clients of the lab's check: 60 requests, 12 at a time.
const REQUESTS: usize = 60;
const AT_ONCE: usize = 12;

#[test]
fn the_curl_of_the_readme_is_answered_by_a_pair() {
    let lab = Gateway::up(&["--seed", "7"]);
    let response = chat("Hello", 8).answered(lab.address);
    assert_eq!(response.status, 200, "{}", response.text());
    let body = response.json();
    let id = PairId::parse(body["id"].as_str().unwrap());
    assert_eq!(id.kind, "chatcmpl");
    id.pair();
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["model"], MODEL);
    assert_eq!(body["choices"][0]["message"]["role"], "assistant");
    assert_eq!(body["usage"]["completion_tokens"], 8, "{body}");
    let request_id = response
        .header("x-request-id")
        .expect("every answer carries its request id");
    assert_eq!(request_id.len(), 36, "{request_id} is a generated UUID");

    let completion = Request::post(
        "/v1/completions",
        &json!({"model": MODEL, "prompt": "Hello", "max_tokens": 4}),
    )
    .answered(lab.address);
    assert_eq!(completion.status, 200, "{}", completion.text());
    assert_eq!(
        PairId::parse(completion.json()["id"].as_str().unwrap()).kind,
        "cmpl"
    );

    let models = Request::get("/v1/models").answered(lab.address).json();
    let named: Vec<&str> = models["data"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|model| model["id"].as_str())
        .collect();
    assert_eq!(named, [MODEL], "merged over the pool, each model once");
}

#[test]
fn a_stream_ends_in_done() {
    let lab = Gateway::up(&["--seed", "7"]);
    let answering = chat_stream("Hello", 8).open(lab.address).unwrap();
    assert_eq!(answering.head.status, 200);
    assert!(
        answering
            .head
            .header("content-type")
            .unwrap()
            .starts_with("text/event-stream")
    );
    let (events, whole) = Events::of(answering.body).rest();
    assert!(whole, "cut short after {events:?}");
    assert_eq!(
        events.last().map(String::as_str),
        Some("[DONE]"),
        "{events:?}"
    );
    for event in &events[..events.len() - 1] {
        let chunk: Value = serde_json::from_str(event).unwrap();
        pair_of(&chunk);
    }
    assert!(events.len() > 8, "a chunk per token: {events:?}");
}

#[test]
fn sixty_requests_use_both_pairs_and_every_decision_is_what_served() {
    let lab = Gateway::up(&["--seed", "7", "--log", "json"]);
    let served = burst(REQUESTS, AT_ONCE, |number| {
        let response = chat(&format!("count to {number}"), 16)
            .header("x-request-id", &format!("sixty-{number}"))
            .answered(lab.address);
        assert_eq!(response.status, 200, "{}", response.text());
        assert_eq!(
            response.header("x-request-id"),
            Some(format!("sixty-{number}").as_str())
        );
        pair_of(&response.json())
    });
    let split = count(&served);
    assert!(
        split.len() == 2 && split.values().all(|picks| *picks >= 10),
        "each pair gets at least 10 of 60: {split:?}"
    );

    for (number, pair) in served.iter().enumerate() {
        let id = format!("sixty-{number}");
        let line = lab
            .process
            .wait_line(&format!("the decision line of {id}"), |line| {
                decision_line(line, &id)
            });
        let selected = line["selected"].as_array().unwrap();
        assert_eq!(selected.len(), 1, "{line}");
        assert_eq!(
            pair_of_candidate(selected[0].as_str().unwrap()),
            *pair,
            "{line}"
        );
        assert_eq!(
            line["scores"].as_array().unwrap().len(),
            2,
            "both candidates were scored: {line}"
        );
    }
    lab.wait_idle();
}

#[test]
fn a_slow_pair_gets_few_requests() {
    let lab = Gateway::up(&["--seed", "7"]);
    slow_down_fs(&lab);
    let split = count(&sixty(&lab));
    let fs = split.get("fs").copied().unwrap_or_default();
    assert!(
        fs <= 12,
        "fs is ten times slower and still got {fs} of 60: {split:?}"
    );
}

#[test]
fn random_picks_do_not_spare_a_slow_pair() {
    let scratch = Scratch::new("random");
    let config = scratch.file(
        "random.yaml",
        "apiVersion: inference.networking.x-k8s.io/v1alpha1\n\
         kind: EndpointPickerConfig\n\
         plugins:\n\
         - type: random-picker\n\
         - type: single-profile-handler\n\
         schedulingProfiles:\n\
         - name: default\n\
         \x20 plugins:\n\
         \x20 - pluginRef: random-picker\n",
    );
    let lab = Gateway::up(&["--seed", "7", "--config-file", &config]);
    slow_down_fs(&lab);
    let split = count(&sixty(&lab));
    assert!(
        split.get("fs").copied().unwrap_or_default() > 12,
        "random picks cannot know that fs is slow: {split:?}"
    );
}

#[test]
fn by_backend_sends_everything_to_p2p() {
    let lab = Gateway::up(&["--profile", "proxy-performance-by-backend", "--log", "json"]);
    let served = burst(20, 5, |number| {
        let response = chat(&format!("number {number}"), 4)
            .header("x-request-id", &format!("backend-{number}"))
            .answered(lab.address);
        assert_eq!(response.status, 200, "{}", response.text());
        pair_of(&response.json())
    });
    assert_eq!(count(&served), BTreeMap::from([("p2p", 20)]));
    let receipt = lab.admin_json("/debug/decisions/backend-0");
    let filtered = receipt["profiles"][0]["filtered"].as_array().unwrap();
    assert!(
        filtered.iter().any(|row| row["endpoint"]
            .as_str()
            .is_some_and(|name| name.contains("vllm-fs-proxy"))),
        "{receipt}"
    );
}

#[test]
fn the_header_chooses_the_pair() {
    let lab = Gateway::up(&[]);
    for (value, pair) in [("fs", "fs"), ("nvlink", "p2p")] {
        let served = burst(8, 4, |_| {
            let response = chat("Hello", 4)
                .header("x-kv-backend", value)
                .answered(lab.address);
            assert_eq!(response.status, 200, "{}", response.text());
            pair_of(&response.json())
        });
        assert_eq!(
            count(&served),
            BTreeMap::from([(pair, 8)]),
            "x-kv-backend: {value}"
        );
    }
    lab.wait_idle();
}

#[test]
fn the_start_shows_what_runs_where_and_a_curl() {
    let lab = Gateway::up(&[]);
    for name in [
        "vllm-p2p-proxy",
        "vllm-fs-proxy",
        "vllm-prefill-p2p",
        "vllm-decode-p2p",
        "vllm-prefill-fs",
        "vllm-decode-fs",
    ] {
        lab.part(name);
    }
    for address in [lab.address, lab.admin] {
        lab.process
            .wait_line(&format!("a row with {address}"), |line| {
                line.contains(&address.to_string()).then_some(())
            });
    }
    lab.process
        .wait_line("the curl", |line| line.contains("curl").then_some(()));
    let before = lab.process.lines().len();
    for _ in 0..3 {
        assert_eq!(chat("Hello", 4).answered(lab.address).status, 200);
    }
    let lines = until("one line per request", || {
        let lines = lab.process.lines().split_off(before);
        (lines.len() >= 3).then_some(lines)
    });
    assert_eq!(lines.len(), 3, "one calm line per request: {lines:#?}");
}

#[test]
fn quiet_prints_no_line_per_request() {
    let lab = Gateway::up(&["--quiet", "--seed", "7"]);
    assert_eq!(chat("Hello", 4).answered(lab.address).status, 200);
    lab.wait_idle();
    let lines = lab.process.lines();
    assert!(
        !lines
            .iter()
            .any(|line| line.contains("chatcmpl-") || line.contains(" 200 ")),
        "{lines:#?}"
    );
}

#[test]
fn two_more_pairs_get_names_of_their_own() {
    let lab = Gateway::up(&["--pairs", "p2p=2,fs=1", "--quiet"]);
    let names: Vec<String> = lab
        .endpoints()
        .iter()
        .map(|endpoint| endpoint["name"].as_str().unwrap().to_owned())
        .collect();
    for name in [
        "llm-d-vllm/vllm-p2p-proxy-0-rank-0",
        "llm-d-vllm/vllm-p2p-proxy-1-rank-0",
        "llm-d-vllm/vllm-fs-proxy-0-rank-0",
    ] {
        assert!(
            names.iter().any(|known| known == name),
            "{name} is missing in {names:?}"
        );
    }
    let decodes = burst(24, 6, |_| {
        PairId::parse(
            chat("Hello", 8).answered(lab.address).json()["id"]
                .as_str()
                .unwrap(),
        )
        .decode
    });
    assert!(
        decodes.iter().any(|name| name == "vllm-decode-p2p-1:14579"),
        "the second p2p pair serves too: {decodes:?}"
    );
}

/// Makes both engines of the fs pair ten times slower, as a user would.
fn slow_down_fs(lab: &Gateway) {
    for name in ["vllm-prefill-fs", "vllm-decode-fs"] {
        let response =
            Request::post("/admin/config", &json!({"slow-factor": 10})).answered(lab.part(name));
        assert_eq!(response.status, 200, "{}", response.text());
    }
}

/// The pairs that served the lab's burst.
fn sixty(lab: &Gateway) -> Vec<&'static str> {
    burst(REQUESTS, AT_ONCE, |number| {
        let mut body = chat_body(&format!("count to {number}"), 24);
        body["ignore_eos"] = json!(true);
        let response = Request::post("/v1/chat/completions", &body).answered(lab.address);
        assert_eq!(response.status, 200, "{}", response.text());
        pair_of(&response.json())
    })
}

fn count(pairs: &[&'static str]) -> BTreeMap<&'static str, usize> {
    let mut split = BTreeMap::new();
    for pair in pairs {
        *split.entry(*pair).or_default() += 1;
    }
    split
}

/// The line as JSON when it is the decision line of this request.
fn decision_line(line: &str, request_id: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(line).ok()?;
    (value["msg"] == "Scoring decision" && value["request_id"] == request_id).then_some(value)
}
