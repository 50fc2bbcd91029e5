//! Scores equal the reference's: tables worked out from its formulas, apart from the code that is tested.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::path::Path;

use pointsman_core::contract::spec::Generation;
use pointsman_core::fixture::{pool, run_scorer};
use pointsman_plugins::ALL;
use serde_json::Value;

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
        let parameters = case["parameters"].to_string();
        let scores = run_scorer(spec, &parameters, generation, &pool(&lines.join("\n")));
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
