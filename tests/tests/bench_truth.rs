//! `pointsman bench` from outside, where a figure could lie or a result could be lost: tokens, partial runs, reports, wrong
//! usage, signals.

#![allow(clippy::unwrap_used)]

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use pointsman_tests::backend::{Backend, Received};
use pointsman_tests::bench::{bench, command, document, fails, number, server, streams, text};
use pointsman_tests::binary::pointsman;
use pointsman_tests::process::{Process, Stream};
use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::Gateway;
use serde_json::{Value, json};

/// Chunks with a role, an end or a usage and comments are no tokens, however the lines end.
#[test]
fn tokens_are_counted_and_not_events() {
    const STREAM: &[&str] = &[
        ": hello",
        "data: {\"choices\": [{\"delta\": {\"role\": \"assistant\", \"content\": \"\"}}]}",
        "data:{\"choices\":[{\"delta\":{\"content\":\"a\"}}]}",
        ": still here",
        "data: {\"choices\":[{\"delta\":{\"content\":\"b\"}}]}",
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}",
        "data: [DONE]",
        "",
    ];
    let backend = Backend::start(|received, reply| {
        if received.method == "GET" {
            reply.json(200, &json!({"data": [{"id": "m"}]}));
        } else if received.json()["stream"] == true {
            reply.whole(200, "text/event-stream", STREAM.join("\r\n\r\n").as_bytes());
        } else {
            reply.json(
                200,
                &json!({"choices": [{"text": "a b c"}], "usage": {"completion_tokens": 3}}),
            );
        }
    });
    for (more, tokens) in [(&["--chat"][..], 2.0), (&["--no-stream"], 3.0)] {
        let flags = [
            &["steady", "--duration", "1s", "--warmup", "0s", "-o", "json"][..],
            &["--target", &backend.url()],
            more,
        ];
        let found = document(&bench(&flags.concat()));
        let run = &found["runs"][0];
        assert_eq!(run["errors"], json!({}), "{run:#}");
        let each = number(&run["tokensPerSecond"]) / number(&run["rps"]);
        assert!((each / tokens - 1.0).abs() < 0.05, "{each} of {tokens}");
    }
}

#[test]
fn an_answer_of_the_lab_has_the_tokens_it_was_asked_for() {
    let gateway = Gateway::up(&["--speed", "20"]);
    let target = format!("http://{}", gateway.address);
    let found = document(&bench(&[
        "steady",
        "--target",
        &target,
        "--chat",
        "--max-tokens",
        "8",
        "--duration",
        "3s",
        "-o",
        "json",
    ]));
    let run = &found["runs"][0];
    // Those of the answers at both ends of the window come on top, or are missing.
    let off = number(&run["tokensPerSecond"]) * number(&run["seconds"]) - 8.0 * answers(run);
    assert!(off.abs() <= 9.0, "{off} tokens too many: {run:#}");
}

fn answers(run: &Value) -> f64 {
    let served = run["perEndpoint"].as_object().unwrap();
    served.values().map(number).sum()
}

#[test]
fn a_target_that_goes_within_a_slow_run_leaves_it_partial() {
    static SERVED: AtomicUsize = AtomicUsize::new(0);
    // From the eighth request on it hangs up.
    let backend = server(|_, reply| {
        if SERVED.fetch_add(1, Ordering::Relaxed) < 8 {
            streams(reply);
        }
    });
    let output = fails(
        &[
            "steady",
            "--target",
            &backend.url(),
            "--rate",
            "5",
            "--duration",
            "4s",
            "--warmup",
            "0s",
            "-o",
            "json",
        ],
        "the target stopped answering",
    );
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let run = &found["runs"][0];
    assert!(run["partial"].is_string(), "{run:#}");
    assert_eq!(answers(run), 8.0, "{run:#}");
}

#[test]
fn an_older_report_outlives_a_run_that_does_not_begin() {
    let scratch = Scratch::new("bench-report");
    let html = scratch.file("report.html", "old");
    let target = ["steady", "--target", "http://127.0.0.1:1", "--html", &html];
    fails(&target, "cannot be reached");
    assert_eq!(std::fs::read_to_string(&html).unwrap(), "old");
    let backend = server(|_, reply| streams(reply));
    let flags = ["steady", "--target", &backend.url(), "--duration", "400ms"];
    let output = bench(&[&flags[..], &["--html", &html]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let written = std::fs::read_to_string(&html).unwrap();
    assert!(written.contains("</html>"));
    let files = std::fs::read_dir(scratch.path()).unwrap().count();
    assert_eq!(files, 1, "nothing stays beside it");
}

#[test]
fn what_makes_no_sense_is_wrong_usage() {
    for (flags, sentence) in [
        (&["steady", "--concurrency", "4"][..], "--concurrency"),
        (
            &["sweep", "--trace", "t", "--rate", "3"],
            "leave --rate out",
        ),
        (&["steady", "--trace", "t", "--turns", "3"], "--turns"),
        (
            &["steady", "--duration", "1s", "--warmup", "2s"],
            "leaves nothing",
        ),
        (&["steady", "--process", "=1"], "write NAME=PID"),
        (&["compare", "a.json"], "compare"),
    ] {
        let output = bench(flags);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {said}");
        assert!(said.contains(sentence), "{flags:?}: {said}");
    }
    for flags in [["--pairs", "p2p=0,fs=0"], ["--speed", "0"]] {
        let output = Command::new(pointsman()).arg("up").args(flags).output();
        assert_eq!(output.unwrap().status.code(), Some(2), "{flags:?}");
    }
}

#[test]
fn chats_of_a_file_keep_their_messages_and_every_file_is_told() {
    let backend = server(|_, reply| streams(reply));
    let scratch = Scratch::new("bench-chats");
    let messages = json!([
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
    ]);
    scratch.file("a.jsonl", &json!({"messages": messages}).to_string());
    scratch.file("b.jsonl", "{\"prompt\": \"b\"}\n");
    let file = scratch.file(
        "scenarios.yaml",
        "scenarios:\n- {kind: steady, duration: 400ms, chat: true, prompts: a.jsonl}\n- {kind: steady, duration: 400ms, prompts: b.jsonl}\n",
    );
    let found = document(&bench(&[
        "run",
        &file,
        "--target",
        &backend.url(),
        "-o",
        "json",
    ]));
    let chats = backend.received("/v1/chat/completions");
    let sent = chats.iter().map(Received::json);
    let sent: Vec<Value> = sent.filter(|body| body["stream"] == true).collect();
    assert!(!sent.is_empty() && sent.iter().all(|body| body["messages"] == messages));
    let names: Vec<&Value> = found["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| &run["scenario"])
        .collect();
    assert_eq!(names, ["steady", "steady 2"]);
    assert_eq!(found["inputs"].as_array().unwrap().len(), 2);
    assert_eq!(found["inputs"][0], found["input"]);
}

/// What a run leaves that was ended by a signal.
#[track_caller]
fn ended_by(signal: fn(&Process), code: i32, word: &str) {
    let served = std::sync::Arc::new(AtomicUsize::new(0));
    let count = served.clone();
    let backend = server(move |_, reply| {
        count.fetch_add(1, Ordering::Relaxed);
        streams(reply);
    });
    let flags = [
        "steady",
        "--target",
        &backend.url(),
        "--duration",
        "300s",
        "--warmup",
        "0s",
        "-o",
        "json",
    ];
    let mut process = Process::start("bench", command(&flags));
    pointsman_tests::patience::until("requests", || {
        (served.load(Ordering::Relaxed) > 10).then_some(())
    });
    signal(&process);
    let status = process.wait_end();
    assert_eq!(status.code(), Some(code), "{:?}", process.lines());
    let found: Value = serde_json::from_str(&process.lines_of(Stream::Out).join("\n")).unwrap();
    assert_eq!(found["runs"][0]["partial"], word);
    assert!(found["runs"][0]["ttftMs"]["count"].as_u64().unwrap() > 5);
}

#[test]
fn ctrl_c_keeps_what_was_measured() {
    ended_by(Process::interrupt, 130, "interrupted");
}

#[test]
fn so_does_a_request_to_end() {
    ended_by(Process::terminate, 143, "terminated");
}
