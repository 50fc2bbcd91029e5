//! What `pointsman up` keeps about its decisions: log lines, receipts, the candidates' readings.

#![allow(clippy::unwrap_used)]

use pointsman_tests::answer::{MODEL, chat, pair_of, pair_of_candidate};
use pointsman_tests::http::Request;
use pointsman_tests::patience::until;
use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::Gateway;
use serde_json::Value;

#[test]
fn json_lines_have_the_fields_that_greps_rely_on() {
    let scratch = Scratch::new("json");
    let log = scratch.path().join("decisions.log");
    let lab = Gateway::up(&["--log", "json", "--log-file", log.to_str().unwrap()]);
    let prompt = "the zebra in this prompt must stay unlogged";
    assert_eq!(
        chat(prompt, 4)
            .header("x-request-id", "greps")
            .answered(lab.address)
            .status,
        200
    );

    let text = until("both lines in the log file", || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let both = ["Scoring decision", "Scoring breakdown"]
            .iter()
            .all(|msg| text.contains(msg));
        both.then_some(text)
    });
    let mut seen = Vec::new();
    for line in text.lines().filter(|line| line.contains("Scoring ")) {
        let mut rest = line;
        for key in [
            "\"level\":",
            "\"ts\":",
            "\"logger\":",
            "\"caller\":",
            "\"msg\":",
        ] {
            let at = rest
                .find(key)
                .unwrap_or_else(|| panic!("{key} is missing or out of order in {line}"));
            rest = &rest[at + key.len()..];
        }
        let value: Value = serde_json::from_str(line).unwrap();
        assert_eq!(value["request_id"], "greps");
        assert_eq!(value["model"], MODEL);
        assert!(
            value["prompt_len"].as_u64().is_some_and(|bytes| bytes > 0),
            "{line}"
        );
        match value["msg"].as_str().unwrap() {
            "Scoring breakdown" => {
                let scorers = value["scorers"].as_array().unwrap();
                assert!(
                    scorers[0]
                        .as_str()
                        .unwrap()
                        .starts_with("active-request-scorer/"),
                    "{line}"
                );
                assert_eq!(value["weighted"].as_array().unwrap().len(), 2, "{line}");
                seen.push("breakdown");
            }
            "Scoring decision" => {
                assert!(
                    value["picker"]
                        .as_str()
                        .unwrap()
                        .contains("max-score-picker"),
                    "{line}"
                );
                assert!(
                    line.contains("\"selected\":[\"llm-d-vllm/vllm-"),
                    "the lab's grep finds the pick: {line}"
                );
                assert!(
                    value["scores"][0].as_str().unwrap().contains("-rank-0="),
                    "{line}"
                );
                seen.push("decision");
            }
            _ => {}
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, ["breakdown", "decision"], "{text}");
    let everything = text + &lab.process.lines().join("\n");
    assert!(!everything.contains("zebra"), "prompts are never logged");
}

#[test]
fn a_receipt_tells_the_decision_by_either_id() {
    let lab = Gateway::up(&["--seed", "11"]);
    let response = chat("Hello", 8)
        .header("x-request-id", "told-once")
        .answered(lab.address);
    let body = response.json();
    // A receipt is complete when its answer has ended; the client may see the end a moment earlier.
    let receipt = until("the receipt with its outcome", || {
        let found = Request::get("/debug/decisions/told-once").answered(lab.admin);
        (found.status == 200 && !found.json()["outcome"]["status"].is_null()).then(|| found.json())
    });
    assert_eq!(receipt["schemaVersion"], 1);
    assert_eq!(receipt["requestId"], "told-once");
    assert_eq!(receipt["model"], MODEL);
    assert_eq!(receipt["outcome"]["status"], 200, "{receipt}");
    let profile = &receipt["profiles"][0];
    let candidates = profile["candidates"].as_array().unwrap();
    assert_eq!(candidates.len(), 2, "{receipt}");
    for candidate in candidates {
        let scores = candidate["scores"].as_object().unwrap();
        assert!(
            scores
                .keys()
                .any(|name| name.contains("active-request-scorer")),
            "{candidate}"
        );
        assert!(candidate["total"].is_number(), "{candidate}");
    }
    let picked = profile["picked"][0].as_str().unwrap();
    assert_eq!(pair_of_candidate(picked), pair_of(&body), "{receipt}");
    assert_eq!(receipt["served"].as_str(), Some(picked), "{receipt}");
    for key in [
        "at",
        "door",
        "plan",
        "pool",
        "attempts",
        "timesMs",
        "replayable",
        "truncated",
    ] {
        assert!(!receipt[key].is_null(), "{key} is missing: {receipt}");
    }

    let by_response = lab.admin_json(&format!(
        "/debug/decisions/{}",
        body["id"].as_str().unwrap()
    ));
    assert_eq!(by_response["requestId"], "told-once");
    assert_eq!(lab.decisions(1)[0]["requestId"], "told-once");
    for number in 0..5 {
        assert_eq!(
            chat("again", 4)
                .header("x-request-id", &format!("later-{number}"))
                .answered(lab.address)
                .status,
            200
        );
    }
    let newest: Vec<Value> = lab
        .decisions(3)
        .iter()
        .map(|receipt| receipt["requestId"].clone())
        .collect();
    assert_eq!(
        newest,
        ["later-4", "later-3", "later-2"],
        "newest first, as many as asked for"
    );
    assert_eq!(
        Request::get("/debug/decisions/never-seen")
            .answered(lab.admin)
            .status,
        404
    );
}

#[test]
fn candidates_are_scraped_and_show_an_age() {
    let lab = Gateway::up(&[]);
    until("a reading of each candidate with an age", || {
        let endpoints = lab.endpoints();
        assert_eq!(endpoints.len(), 2, "{endpoints:?}");
        let fresh = endpoints.iter().all(|endpoint| {
            let waiting = &endpoint["readings"]["waiting"];
            waiting["value"].is_number() && waiting["ageMs"].is_number()
        });
        fresh.then_some(())
    });
    for endpoint in lab.endpoints() {
        let pair = pair_of_candidate(endpoint["name"].as_str().unwrap());
        let backend = if pair == "p2p" { "nvlink" } else { "fs" };
        assert_eq!(
            endpoint["labels"]["llm-d.ai/kv-backend"], backend,
            "{endpoint}"
        );
    }
}
