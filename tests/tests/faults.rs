//! `up --faults FILE`: each kind of fault, what the client sees of it, and that it passes.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use pointsman_tests::answer::{Events, chat, chat_stream, pair_of, pair_of_candidate};
use pointsman_tests::burst::burst;
use pointsman_tests::patience::until;
use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::Gateway;
use serde_json::json;

/// A lab whose timeline is these faults.
#[track_caller]
fn lab(faults: &serde_json::Value) -> (Gateway, Scratch) {
    let scratch = Scratch::new("faults");
    let file = scratch.file("faults.yaml", &json!({"faults": faults}).to_string());
    (Gateway::up(&["--faults", &file, "--seed", "7"]), scratch)
}

/// So many chats; `(status, pair)` of each that was answered within its patience.
fn chats(
    lab: &Gateway,
    count: usize,
    at_once: usize,
    patience: u64,
) -> Vec<(u16, Option<&'static str>)> {
    let answers = burst(count, at_once, |number| {
        let request = chat(&format!("number {number}"), 8).patience(Duration::from_secs(patience));
        let response = request.send(lab.address).ok()?;
        Some((
            response.status,
            (response.status == 200).then(|| pair_of(&response.json())),
        ))
    });
    answers.into_iter().flatten().collect()
}

#[test]
fn down_is_routed_around_and_passes() {
    let (lab, _file) =
        lab(&json!([{"at": "0s", "for": "5s", "target": "vllm-fs-proxy", "kind": "down"}]));
    let answers = chats(&lab, 30, 6, 30);
    assert_eq!(answers.len(), 30);
    assert!(
        answers.iter().all(|(status, _)| *status == 200),
        "a refused connection is tried elsewhere: {answers:?}"
    );
    assert!(
        answers.iter().any(|(_, pair)| *pair == Some("p2p")),
        "{answers:?}"
    );
    until("fs to serve again", || {
        chats(&lab, 6, 6, 30)
            .contains(&(200, Some("fs")))
            .then_some(())
    });
    lab.wait_idle();
}

#[test]
fn down_of_a_decode_server_is_never_a_hang() {
    let (lab, _file) =
        lab(&json!([{"at": "0s", "for": "600s", "target": "vllm-decode-fs", "kind": "down"}]));
    until("the fault", || {
        let response = chat("Hello", 4)
            .header("x-kv-backend", "fs")
            .answered(lab.address);
        matches!(response.status, 502..=504).then_some(())
    });
    let response = chat("Hello", 4)
        .header("x-kv-backend", "nvlink")
        .answered(lab.address);
    assert_eq!(response.status, 200, "{}", response.text());
    lab.wait_idle();
}

#[test]
fn slow_gets_few() {
    let (lab, _file) = lab(&json!([
        {"at": "0s", "for": "600s", "target": "vllm-prefill-fs", "kind": "slow", "factor": 10},
        {"at": "0s", "for": "600s", "target": "vllm-decode-fs", "kind": "slow", "factor": 10},
    ]));
    let answers = chats(&lab, 60, 12, 60);
    let fs = answers
        .iter()
        .filter(|answer| **answer == (200, Some("fs")))
        .count();
    assert_eq!(
        answers.iter().filter(|(status, _)| *status == 200).count(),
        60,
        "{answers:?}"
    );
    assert!(fs <= 15, "fs is ten times slower and still got {fs} of 60");
}

#[test]
fn hang_holds_only_those_who_were_sent_there() {
    let (lab, _file) =
        lab(&json!([{"at": "0s", "for": "600s", "target": "vllm-fs-proxy", "kind": "hang"}]));
    let answers = chats(&lab, 16, 8, 8);
    assert!(
        answers.contains(&(200, Some("p2p"))),
        "p2p goes on: {answers:?}"
    );
    assert!(
        answers
            .iter()
            .all(|(status, pair)| matches!(status, 200 | 504) && *pair != Some("fs")),
        "{answers:?}"
    );
    // The others have left; nothing of theirs may stay behind.
    lab.wait_idle();
}

#[test]
fn missing_metrics_leave_a_candidate_routable_and_marked() {
    let (lab, _file) = lab(
        &json!([{"at": "0s", "for": "600s", "target": "vllm-fs-proxy", "kind": "metrics-404"}]),
    );
    until("fs to be marked and p2p not", || {
        let endpoints = lab.endpoints();
        let state = |pair: &str| {
            let of_pair = endpoints
                .iter()
                .find(|endpoint| pair_of_candidate(endpoint["name"].as_str().unwrap()) == pair)?;
            Some(of_pair["readings"]["waiting"]["state"].clone())
        };
        let (fs, p2p) = (state("fs")?, state("p2p")?);
        (fs != p2p && !fs.is_null()).then_some(())
    });
    let answers = chats(&lab, 24, 6, 30);
    assert!(
        answers.iter().all(|(status, _)| *status == 200),
        "{answers:?}"
    );
    assert!(
        answers.contains(&(200, Some("fs"))),
        "fs is still routable: {answers:?}"
    );
}

#[test]
fn death_in_mid_stream_ends_in_an_error_event() {
    let (lab, _file) = lab(
        &json!([{"at": "0s", "for": "600s", "target": "vllm-decode-fs", "kind": "die-mid-stream"}]),
    );
    until("a stream that was cut", || {
        let answering = chat_stream("Hello", 32)
            .header("x-kv-backend", "fs")
            .open(lab.address)
            .unwrap();
        // A death before the first byte is a status, one after it an event.
        if answering.head.status != 200 {
            assert!(
                matches!(answering.head.status, 502 | 504),
                "{:?}",
                answering.head
            );
            return None;
        }
        let (events, whole) = Events::of(answering.body).rest();
        assert!(whole, "the answer itself ends properly: {events:?}");
        let last = events.last().cloned().unwrap_or_default();
        if last == "[DONE]" {
            return None; // the fault had not begun
        }
        assert!(last.starts_with("{\"error\""), "{events:?}");
        Some(())
    });
    let (events, whole) = Events::of(
        chat_stream("Hello", 8)
            .header("x-kv-backend", "nvlink")
            .open(lab.address)
            .unwrap()
            .body,
    )
    .rest();
    assert!(
        whole && events.last().is_some_and(|last| last == "[DONE]"),
        "{events:?}"
    );
    lab.wait_idle();
}

#[test]
fn a_fault_of_an_unknown_target_is_refused() {
    let scratch = Scratch::new("faults");
    let file = scratch.file(
        "faults.yaml",
        &json!({"faults": [{"at": "0s", "for": "1s", "target": "vllm-decode-x", "kind": "down"}]})
            .to_string(),
    );
    let output = std::process::Command::new(pointsman_tests::binary::pointsman())
        .args([
            "up",
            "--faults",
            &file,
            "--listen",
            &pointsman_tests::port::free().to_string(),
        ])
        .args(["--admin", &pointsman_tests::port::free().to_string()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        text.contains("vllm-decode-x") && text.contains("vllm-decode-fs"),
        "names what was found and what is allowed: {text}"
    );
}
