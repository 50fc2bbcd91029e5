//! The seeds' prefix test: cold, every candidate has 1.500; warm, the one that served the prompt has 3.500.

#![allow(clippy::unwrap_used)]

use std::thread::sleep;
use std::time::Duration;

use pointsman_tests::answer::MODEL;
use pointsman_tests::http::Request;
use pointsman_tests::server::Gateway;
use serde_json::{Value, json};

/// The totals of a receipt by endpoint.
fn totals(receipt: &Value) -> Vec<(String, f64)> {
    let candidates = receipt["profiles"][0]["candidates"].as_array().unwrap();
    candidates
        .iter()
        .map(|candidate| {
            let name = candidate["endpoint"].as_str().unwrap().to_owned();
            (name, candidate["total"].as_f64().unwrap())
        })
        .collect()
}

fn completion(prompt: &str, max_tokens: u32) -> Request {
    let body = json!({"model": MODEL, "prompt": prompt, "max_tokens": max_tokens});
    Request::post("/v1/completions", &body)
}

fn prompt(seed: &str) -> String {
    format!("{seed} The quick brown fox jumps over the lazy dog. ").repeat(100)[..4096].to_owned()
}

#[test]
fn a_prompt_served_before_scores_a_whole_prefix_where_it_was_served() {
    let lab = Gateway::up(&["--profile", "default", "--log", "json", "--speed", "10"]);
    let text = prompt("first");
    for (round, warm) in [(0, false), (1, true), (2, true)] {
        let response = completion(&text, 2).answered(lab.address);
        assert_eq!(response.status, 200, "{}", response.text());
        let receipt = lab.decisions(1)[0].clone();
        let totals = totals(&receipt);
        assert_eq!(totals.len(), 2, "{receipt}");
        let picked = receipt["profiles"][0]["picked"][0].as_str().unwrap();
        for (name, total) in &totals {
            let expected = if warm && name == picked { 3.5 } else { 1.5 };
            assert!((total - expected).abs() < 1e-9, "round {round}: {totals:?}");
        }
        let logged = lab.process.wait_line("the decision", |line| {
            let line: Value = serde_json::from_str(line).ok()?;
            let ours =
                line["msg"] == "Scoring decision" && line["request_id"] == receipt["requestId"];
            ours.then(|| line["scores"].to_string())
        });
        let best = if warm { "=3.500" } else { "=1.500" };
        assert!(
            logged.contains(best) && logged.contains("=1.500"),
            "{logged}"
        );
        // The engines are idle again, and their gauges have been read since.
        sleep(Duration::from_millis(400));
    }
    let held = Request::get("/debug/prefixes").answered(lab.admin).json();
    let producer = &held["producers"][0];
    assert_eq!(producer["entries"], 64, "{held}");
    assert_eq!(producer["endpoints"][0]["entries"], 64, "{held}");
    let other = completion(&prompt("other"), 2).answered(lab.address);
    assert_eq!(other.status, 200);
    assert!(
        totals(&lab.decisions(1)[0])
            .iter()
            .all(|(_, total)| (total - 1.5).abs() < 1e-9)
    );
}

#[test]
fn the_admin_port_explains_block_by_block_who_holds_a_prompt() {
    let lab = Gateway::up(&["--profile", "default", "--speed", "10"]);
    let text = prompt("held");
    assert_eq!(completion(&text, 2).answered(lab.address).status, 200);
    let served = lab.decisions(1)[0]["profiles"][0]["picked"][0].clone();
    let body = json!({
        "model": MODEL,
        "prompt": format!("{}{}", &text[..1024], "x".repeat(256)),
    });
    let explained = Request::post("/debug/prefixes/explain", &body).answered(lab.admin);
    assert_eq!(explained.status, 200, "{}", explained.text());
    let explained = explained.json();
    let producer = &explained["producers"][0];
    assert_eq!(producer["totalBlocks"], 20, "{explained}");
    let blocks = producer["blocks"].as_array().unwrap();
    assert!(
        blocks[..16]
            .iter()
            .all(|block| block["endpoints"][0] == served)
    );
    assert!(
        blocks[16..]
            .iter()
            .all(|block| block["endpoints"].as_array().unwrap().is_empty())
    );
    let wrong = Request::new("POST", "/debug/prefixes/explain", "{").answered(lab.admin);
    assert_eq!(wrong.status, 400);
}
