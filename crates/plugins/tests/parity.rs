//! Scores equal the reference's: tables worked out from its formulas, apart from the code that is tested.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::path::Path;
use std::sync::Arc;

use pointsman_core::contract::produced::Produced;
use pointsman_core::contract::roles::{Built, Chance};
use pointsman_core::contract::spec::Generation;
use pointsman_core::fixture::{Scene, build, pool, scorer};
use pointsman_core::model::headers::Headers;
use pointsman_core::rng::Rng;
use pointsman_plugins::ALL;
use serde_json::Value;

/// Fills in what the producers of a case found.
fn produce(case: &Value, produced: &mut Produced, rows: usize) {
    let numbers = |value: &Value| -> Vec<u64> {
        let list = value.as_array().unwrap();
        list.iter().map(|n| n.as_u64().unwrap()).collect()
    };
    let name = |value: &Value| value["producer"].as_str().unwrap().into();
    produced.tokens = case["tokens"].as_u64().map(|tokens| tokens as u32);
    if let Some(prefix) = case.get("prefix") {
        let (found, _) = produced.next(&name(prefix), rows);
        found.total = prefix["total"].as_u64().unwrap() as u32;
        found.block_tokens = prefix["blockTokens"].as_u64().unwrap() as u32;
        found.matched = numbers(&prefix["matched"])
            .iter()
            .map(|n| *n as u32)
            .collect();
    }
    if let Some(load) = case.get("load") {
        let (found, _) = produced.next_load(&name(load), rows);
        found.in_flight = numbers(&load["inFlight"]);
        found.uncached = numbers(&load["uncached"]);
    }
}

#[test]
fn scores_equal_the_reference_to_a_billionth() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity/scores/scorers.json");
    let cases: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert!(cases.len() > 20, "{} cases", cases.len());
    for case in &cases {
        let plugin = case["plugin"].as_str().unwrap();
        let spec = ALL.iter().find(|spec| spec.kind == plugin).unwrap();
        let generation = match case["generation"].as_str().unwrap() {
            "g1" => Generation::G1,
            "g2" => Generation::G2,
            other => panic!("{other} is no generation"),
        };
        let lines: Vec<&str> = case["pool"]
            .as_array()
            .unwrap()
            .iter()
            .map(|l| l.as_str().unwrap())
            .collect();
        let pool = pool(&lines.join("\n"));
        let headers: Vec<(&str, &str)> = case["headers"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
            .collect();
        let headers = headers.as_slice();
        let mut scene = Scene::new(&pool);
        scene.request.headers = Headers::of(&headers);
        scene.request.model = case["model"].as_str().unwrap_or("");
        let scorer = scorer(spec, &case["parameters"].to_string(), generation);
        for row in case["picked"].as_array().into_iter().flatten() {
            let observer = Arc::clone(&scorer).observer().unwrap();
            scene.pick(&*observer, row.as_u64().unwrap() as usize);
        }
        produce(case, &mut scene.produced, pool.snapshot.len());
        let scores = scene.scores(&*scorer);
        let expected = case["scores"].as_array().unwrap();
        assert_eq!(scores.len(), expected.len(), "{case}");
        for (score, expected) in scores.iter().zip(expected) {
            assert!(
                (score - expected.as_f64().unwrap()).abs() < 1e-9,
                "{case}: {scores:?}"
            );
        }
    }
}

/// Draws per case; the share of refusals is within 0.02 of its probability then, in all but one of 10^14 runs.
const DRAWS: usize = 40_000;

#[test]
fn refusals_are_as_likely_as_the_reference_s() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/parity/admission/probabilistic.json");
    let cases: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert!(cases.len() > 5, "{} cases", cases.len());
    let spec = &pointsman_plugins::admission::probabilistic::SPEC;
    for case in &cases {
        let lines: Vec<&str> = case["pool"]
            .as_array()
            .unwrap()
            .iter()
            .map(|line| line.as_str().unwrap())
            .collect();
        let pool = pool(&lines.join("\n"));
        let mut scene = Scene::new(&pool);
        scene.request.priority = -1;
        let parameters = case["parameters"].to_string();
        let Ok(Built::Admitter(admitter)) = build(spec, &parameters, Generation::G2) else {
            panic!("{case} is refused")
        };
        let mut rng = Rng::from_seed(11);
        let mut chance = Chance::new(&mut rng);
        let told: Vec<String> = (0..DRAWS)
            .filter_map(|_| admitter.refuses(&scene.ctx(), &mut chance))
            .collect();
        let number = |name: &str| case[name].as_f64().unwrap();
        let (saturation, probability) = (number("saturation"), number("probability"));
        let share = told.len() as f64 / DRAWS as f64;
        assert!((share - probability).abs() < 0.02, "{case}: {share}");
        if let Some(why) = told.first() {
            let expected = format!("saturation={saturation:.3} prob={probability:.2}");
            assert!(why.ends_with(&expected), "{case}: {why}");
        }
    }
}
