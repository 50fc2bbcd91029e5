//! The dashboard and the alert rules under `deploy/monitoring`: generated from the metric registry, true to it, and
//! good in the eyes of Grafana's own schema and of Prometheus' own parser.

#![allow(clippy::unwrap_used)]

mod alerts;
mod board;
mod content;
mod query;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output};

use pointsman_serve::metrics::catalogue::ALL;
use pointsman_serve::metrics::family::Kind;
use pointsman_tests::binary::{dashes, workspace};
use pointsman_tests::scratch::Scratch;
use serde_json::Value;

fn place(file: &str) -> PathBuf {
    workspace().join("deploy/monitoring").join(file)
}

fn read(file: &str) -> String {
    std::fs::read_to_string(place(file)).unwrap_or_default()
}

/// Rewritten when `POINTSMAN_GENERATE` is set, and compared otherwise.
#[test]
fn generated_dashboard_and_rules_are_what_the_code_says() {
    let board = format!("{:#}\n", content::router());
    for (file, text) in [
        ("pointsman-router.json", board),
        ("rules.yaml", alerts::rules()),
        ("prometheusrule.yaml", alerts::object()),
    ] {
        if std::env::var_os("POINTSMAN_GENERATE").is_some() {
            std::fs::create_dir_all(place("")).unwrap();
            std::fs::write(place(file), &text).unwrap();
        }
        assert_eq!(
            read(file),
            text,
            "deploy/monitoring/{file} is stale; run `cargo xtask generate`"
        );
    }
}

#[test]
fn every_metric_that_they_name_exists() {
    let mut known = BTreeSet::new();
    for family in ALL {
        known.insert(family.name.to_owned());
        if family.kind == Kind::Histogram {
            known.extend(
                ["_bucket", "_sum", "_count"].map(|suffix| format!("{}{suffix}", family.name)),
            );
        }
    }
    let mut named = BTreeSet::new();
    for file in ["pointsman-router.json", "rules.yaml", "prometheusrule.yaml"] {
        named.extend(query::names(&read(file)));
    }
    let unknown: Vec<_> = named.difference(&known).collect();
    assert_eq!(unknown, Vec::<&String>::new());
    assert!(named.len() > 50, "{}", named.len());
}

#[test]
fn every_panel_has_a_place_of_its_own_and_queries() {
    let board: Value = serde_json::from_str(&read("pointsman-router.json")).unwrap();
    let panels = board["panels"].as_array().unwrap();
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel:#}");
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{panel:#}");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "two panels at {x}, {y}: {panel:#}");
            }
        }
        if panel["type"] != "row" {
            assert!(
                !panel["targets"].as_array().unwrap().is_empty(),
                "{panel:#}"
            );
        }
    }
    let rows: Vec<&str> = panels
        .iter()
        .filter(|p| p["type"] == "row")
        .map(|p| p["title"].as_str().unwrap())
        .collect();
    for row in [
        "Inference Pool",
        "Inference Objective",
        "Decisions",
        "Prefill and decode",
        "Flow control",
        "Router cost",
    ] {
        assert!(rows.contains(&row), "{rows:?}");
    }
}

fn check(board: &std::path::Path, rules: &std::path::Path) -> Output {
    Command::new(dashes())
        .args([board, rules])
        .output()
        .unwrap()
}

#[test]
fn grafana_and_prometheus_read_them() {
    let output = check(&place("pointsman-router.json"), &place("rules.yaml"));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let said = String::from_utf8(output.stdout).unwrap();
    let board = read("pointsman-router.json");
    let queries = board.matches("\"expr\"").count();
    let rules = read("rules.yaml").matches("- alert:").count();
    assert_eq!(said.trim(), format!("{queries} queries, {rules} rules"));
}

/// The same check refuses what is wrong, or it would be worth nothing.
#[test]
fn what_is_wrong_is_refused() {
    let scratch = Scratch::new("dashboards");
    let (board, rules) = (read("pointsman-router.json"), read("rules.yaml"));
    let wrong = [
        (
            board.replace("\"graphTooltip\": 1", "\"graphTooltip\": \"yes\""),
            rules.clone(),
            "graphTooltip",
        ),
        (
            board.replace("\"schemaVersion\"", "\"schemaVersoin\""),
            rules.clone(),
            "schemaVersoin",
        ),
        (
            board.replacen(
                "histogram_quantile(0.95, sum",
                "histogram_quantile(0.95 sum",
                1,
            ),
            rules.clone(),
            "histogram_quantile",
        ),
        (
            board.clone(),
            rules.replacen("for: 2m", "for: soon", 1),
            "soon",
        ),
        (
            board.clone(),
            rules.replacen(" == 0", " ==== 0", 1),
            "parse",
        ),
    ];
    for (number, (board, rules, words)) in wrong.into_iter().enumerate() {
        let board = scratch.file(&format!("{number}.json"), &board);
        let rules = scratch.file(&format!("{number}.yaml"), &rules);
        let output = check(board.as_ref(), rules.as_ref());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{number}: {said}");
        assert!(said.contains(words), "{number}: {said}");
    }
}
