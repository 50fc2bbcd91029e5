//! Tests over every plugin there is: names, parameters, examples, ranges, independence of row order, pages.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types
)]

use std::collections::BTreeSet;

use pointsman_core::config::basis::{Basis, Registry};
use pointsman_core::config::fault::Fault;
use pointsman_core::config::resolved::resolve;
use pointsman_core::config::written::Written;
use pointsman_core::contract::pages::page_of;
use pointsman_core::contract::spec::{Generation, PluginSpec, Role};
use pointsman_core::fixture::{pool, run_filter, run_picker, run_scorer};
use pointsman_plugins::ALL;
use proptest::prelude::*;

#[test]
fn names_are_unique_and_kebab_case() {
    let mut seen = BTreeSet::new();
    for name in ALL
        .iter()
        .flat_map(|s| std::iter::once(&s.kind).chain(s.aliases))
    {
        assert!(seen.insert(name), "{name} twice");
        assert!(
            name.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
            "{name}"
        );
    }
}

#[test]
fn every_page_has_its_headings_and_every_parameter_its_text() {
    for spec in ALL {
        let page = page_of(spec.source);
        for heading in ["# When to use", "# Reads", "# Example", "# Limits"] {
            assert!(page.contains(heading), "{} lacks '{heading}'", spec.kind);
        }
        assert!(
            page.contains("# Formula") || page.contains("# Rule"),
            "{}",
            spec.kind
        );
        let schema = (spec.schema)();
        let properties = schema
            .get("properties")
            .and_then(|p| p.as_object())
            .cloned()
            .unwrap_or_default();
        for (name, property) in properties {
            assert!(
                property.get("description").is_some(),
                "{}: parameter {name} has no text",
                spec.kind
            );
        }
    }
}

/// The YAML of the page's example.
fn example(spec: &PluginSpec) -> String {
    let page = page_of(spec.source);
    let (_, rest) = page
        .split_once("```yaml\n")
        .expect("the page has a YAML example");
    rest.split_once("```")
        .expect("the example ends")
        .0
        .to_owned()
}

/// The parameters of the page's example as JSON.
fn example_parameters(spec: &PluginSpec) -> String {
    let plugins: Vec<serde_json::Value> = serde_saphyr::from_str(&example(spec)).unwrap();
    let parameters = plugins[0].get("parameters").cloned();
    parameters
        .unwrap_or_else(|| serde_json::json!({}))
        .to_string()
}

#[test]
fn every_example_is_accepted_by_both_generations() {
    let registry = Registry::new(ALL);
    for spec in ALL {
        let written: Written = serde_saphyr::from_str(&format!(
            "plugins:\n{}{}",
            example(spec),
            profiles_for(spec)
        ))
        .unwrap();
        for generation in [Generation::G1, Generation::G2] {
            let basis = Basis {
                experimental: true,
                ..Basis::new(&registry, generation, "example")
            };
            let resolved = resolve(&written, &basis);
            let resolved = resolved.unwrap_or_else(|f| panic!("{}: {f:?}", spec.kind));
            // An example may show what one of the generations leaves unread.
            let other = |fault: &&Fault| fault.message.contains("generation reads it");
            let told: Vec<&Fault> = resolved.warnings.iter().filter(|f| !other(f)).collect();
            assert!(told.is_empty(), "{}: {told:?}", spec.kind);
        }
    }
}

/// A handler of two profiles needs them by name.
fn profiles_for(spec: &PluginSpec) -> &'static str {
    if ["pd-profile-handler", "disagg-profile-handler"].contains(&spec.kind) {
        "schedulingProfiles: [{name: decode, plugins: []}, {name: prefill, plugins: []}]\n"
    } else {
        ""
    }
}

fn lines() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(
        (
            0u32..9,
            0.0f64..50.0,
            0.0f64..1.0,
            any::<bool>(),
            any::<bool>(),
        ),
        1..12,
    )
    .prop_map(|rows| {
        let line = |(at, (n, waiting, kv, label, out)): (usize, (u32, f64, f64, bool, bool))| {
            let label = if label {
                "llm-d.ai/kv-backend=nvlink"
            } else {
                "tier=x"
            };
            let out = if out { " out" } else { "" };
            format!(
                "e{at} inFlight={n} waiting={waiting} running={waiting} kvUsage={kv} {label}{out}"
            )
        };
        rows.into_iter().enumerate().map(line).collect()
    })
}

/// Scorers whose formula goes by the order of the candidates.
const BY_ORDER: [&str; 1] = ["no-hit-lru-scorer"];

/// A name's score whatever the order of the rows.
fn by_name(lines: &[String], scores: &[f64]) -> Vec<(String, u64)> {
    let name = |line: &String| line.split(' ').next().unwrap().to_owned();
    let mut pairs: Vec<_> = lines
        .iter()
        .map(name)
        .zip(scores.iter().map(|s| s.to_bits()))
        .collect();
    pairs.sort();
    pairs
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn scores_are_in_range_and_do_not_depend_on_row_order(lines in lines()) {
        let mut turned = lines.clone();
        turned.reverse();
        let (straight, reversed) = (pool(&lines.join("\n")), pool(&turned.join("\n")));
        for spec in ALL.iter().filter(|s| s.role == Role::Scorer) {
            for generation in [Generation::G1, Generation::G2] {
                let scores = run_scorer(spec, &example_parameters(spec), generation, &straight);
                prop_assert!(scores.iter().all(|s| (0.0..=1.0).contains(s)), "{}: {scores:?}", spec.kind);
                if BY_ORDER.contains(&spec.kind) {
                    continue;
                }
                let other = run_scorer(spec, &example_parameters(spec), generation, &reversed);
                prop_assert_eq!(by_name(&lines, &scores), by_name(&turned, &other));
            }
        }
        for spec in ALL.iter().filter(|s| s.role == Role::Filter) {
            let kept = run_filter(spec, &example_parameters(spec), &straight);
            prop_assert!(kept.split(' ').filter(|n| !n.is_empty()).count() <= straight.rows.count());
        }
    }

    #[test]
    fn pickers_take_one_of_the_rows_and_the_same_for_the_same_seed(totals in prop::collection::vec(0.0f64..3.0, 1..20), seed in any::<u64>()) {
        for spec in ALL.iter().filter(|s| s.role == Role::Picker) {
            let picked = run_picker(spec, "{}", &totals, seed);
            prop_assert_eq!(picked.len(), 1);
            prop_assert!((picked[0] as usize) < totals.len());
            prop_assert_eq!(picked, run_picker(spec, "{}", &totals, seed));
        }
    }
}
