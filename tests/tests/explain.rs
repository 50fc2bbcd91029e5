//! `pointsman explain` and `pointsman replay`: the same table wherever a decision is read from, and the same pick
//! whenever it is made again.
#![allow(clippy::unwrap_used)]

use std::process::Output;

use pointsman_tests::burst::burst;
use pointsman_tests::http::Request;
use pointsman_tests::patience::until;
use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::{Gateway, plain};
use serde_json::{Value, json};

const MODEL: &str = "Qwen/Qwen3-Coder-30B-A3B-Instruct";

fn ask(gateway: &Gateway, id: &str, prompt: &str) -> Value {
    let body = json!({"model": MODEL, "prompt": prompt, "max_tokens": 2});
    let answer = Request::post("/v1/completions", &body)
        .header("x-request-id", id)
        .answered(gateway.address);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn run(arguments: &[&str]) -> Output {
    let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
    plain(&arguments).output().unwrap()
}

#[track_caller]
fn good(arguments: &[&str]) -> String {
    let output = run(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn refused(arguments: &[&str], with: &str) {
    let output = run(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {errors}");
    assert!(errors.contains(with), "{arguments:?}: {errors}");
}

#[test]
fn a_decision_reads_the_same_from_the_ring_from_receipts_and_from_the_log() {
    let scratch = Scratch::new("explain");
    let log = scratch.file("decisions.log", "");
    let gateway = Gateway::up(&["--profile", "default", "--log-file", &log]);
    let admin = format!("http://{}", gateway.admin);
    ask(&gateway, "first", "an earlier one");
    let answer = ask(&gateway, "asked-for", "why there?");
    gateway.wait_idle();
    until("the receipt in the log", || {
        let text = std::fs::read_to_string(&log).unwrap();
        text.lines()
            .any(|line| line.contains("Request receipt") && line.contains("asked-for"))
            .then_some(())
    });

    let by_id = good(&["explain", "asked-for", "--admin", &admin]);
    let latest = good(&["explain", "--admin", &admin]);
    let answer_id = answer["id"].as_str().unwrap();
    let by_answer = good(&["explain", answer_id, "--admin", &admin]);
    let receipts = scratch.file(
        "receipts.json",
        &gateway.admin_json("/debug/decisions").to_string(),
    );
    let from_receipts = good(&["explain", "asked-for", "--from", &receipts]);
    let answer_from_receipts = good(&["explain", answer_id, "--from", &receipts]);
    let from_log = good(&["explain", "asked-for", "--from", &log]);
    for other in [
        &latest,
        &by_answer,
        &from_receipts,
        &answer_from_receipts,
        &from_log,
    ] {
        assert_eq!(other, &by_id);
    }
    let receipt = &gateway.decisions(1)[0];
    for part in [
        "request   asked-for",
        "prefix-cache-scorer ×2",
        "load-aware-scorer ×1",
        "kvUsage",
        "vllm-p2p-proxy-0-rank-0",
        "vllm-fs-proxy-0-rank-0",
        "filter decode-filter: removed 0",
        "outcome   served by ",
        "status 200",
        receipt["profiles"][0]["picked"][0].as_str().unwrap(),
    ] {
        assert!(by_id.contains(part), "no '{part}' in\n{by_id}");
    }
    let json: Value = serde_json::from_str(&good(&[
        "explain",
        "asked-for",
        "--from",
        &log,
        "-o",
        "json",
    ]))
    .unwrap();
    assert_eq!(&json, receipt);
}

#[test]
fn a_log_of_scoring_lines_alone_gives_the_scores_and_the_pick() {
    let scratch = Scratch::new("explain-lines");
    let log = scratch.file("decisions.log", "");
    let gateway = Gateway::up(&["--log-file", &log]);
    ask(&gateway, "one", "hello");
    gateway.wait_idle();
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: String = text
        .lines()
        .filter(|line| line.contains("Scoring "))
        .map(|line| format!("[pod/picker] {line}\n"))
        .collect();
    let lines = scratch.file("lines.log", &lines);
    let told = good(&["explain", "one", "--from", &lines]);
    let picked = gateway.decisions(1)[0]["profiles"][0]["picked"][0].clone();
    for part in [
        "active-request-scorer",
        "1.000",
        "picked",
        "not in this record",
        picked.as_str().unwrap(),
    ] {
        assert!(told.contains(part), "no '{part}' in\n{told}");
    }
}

#[test]
fn who_asks_wrongly_is_told_so() {
    let scratch = Scratch::new("explain-wrong");
    let gateway = Gateway::up(&["--quiet"]);
    let admin = format!("http://{}", gateway.admin);
    refused(
        &["explain", "--admin", &admin],
        "no decision has been made yet",
    );
    refused(
        &["explain", "nobody", "--admin", &admin],
        "no decision 'nobody' in the ring",
    );
    refused(
        &["explain", "--admin", "http://127.0.0.1:1"],
        "is a pointsman running there?",
    );
    let output = run(&["explain", "--admin", "9090"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("use http://HOST:PORT"));
    let empty = scratch.file("empty.log", "nothing here\n");
    refused(
        &["explain", "--from", &empty],
        "holds no receipt and no decision log line",
    );
    refused(
        &["explain", "--from", "/nowhere/missing.log"],
        "cannot read",
    );
    refused(
        &["replay", &empty, "--profile", "default"],
        "holds no receipt",
    );
    let output = run(&["replay", &empty]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn replaying_under_the_same_plan_changes_nothing_and_under_another_one_says_who_gains() {
    let scratch = Scratch::new("replay");
    let gateway = Gateway::up(&["--quiet"]);
    burst(40, 8, |n| {
        ask(&gateway, &format!("r-{n}"), &format!("prompt {n}"))
    });
    gateway.wait_idle();
    let document = gateway.admin_json("/debug/decisions?limit=100");
    let receipts = scratch.file("receipts.json", &document.to_string());

    let same = good(&[
        "replay",
        &receipts,
        "--profile",
        "proxy-performance",
        "-o",
        "json",
    ]);
    let same: Value = serde_json::from_str(&same).unwrap();
    assert_eq!(same["replayed"], 40, "{same}");
    assert_eq!(same["changed"], json!([]), "{same}");

    let one_backend = good(&[
        "replay",
        &receipts,
        "--profile",
        "proxy-performance-by-backend",
        "-o",
        "json",
    ]);
    let one_backend: Value = serde_json::from_str(&one_backend).unwrap();
    let then_fs = document["decisions"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|r| {
            r["profiles"][0]["picked"][0]
                .as_str()
                .unwrap()
                .contains("fs")
        })
        .count();
    assert!(then_fs > 0);
    assert_eq!(one_backend["changed"].as_array().unwrap().len(), then_fs);
    let p2p = one_backend["endpoints"]
        .as_array()
        .unwrap()
        .iter()
        .find(|e| e["endpoint"].as_str().unwrap().contains("p2p"))
        .unwrap();
    assert_eq!((&p2p["now"], &p2p["gain"]), (&json!(40), &json!(then_fs)));

    let table = good(&["replay", &receipts, "--profile", "default"]);
    assert!(table.contains("40 decisions made again"), "{table}");
    assert!(
        table.contains("prefix-cache-scorer: without effect"),
        "{table}"
    );
    let broken = scratch.file(
        "new.yaml",
        "kind: EndpointPickerConfig\nplugins: [{type: no-such-plugin}]\n",
    );
    refused(
        &["replay", &receipts, "--config-file", &broken],
        "is refused",
    );
}
