//! How good the picks are: policies against each other in virtual time.
#![allow(clippy::unwrap_used)]

use pointsman_core::config::basis::{Basis, Registry};
use pointsman_core::config::compat::{Compat, generation_of};
use pointsman_core::config::presets::preset;
use pointsman_core::config::resolved::resolve;
use pointsman_sim::fleet::comparison::{Policy, Row, compare, markdown};
use pointsman_sim::fleet::router::{BuiltIn, Router};
use pointsman_sim::fleet::scenario::Scenario;

/// A profile by its name.
fn profile(name: &'static str) -> Policy {
    let written = preset(name).unwrap();
    let (generation, _) = generation_of(&written, Compat::Auto, None);
    Policy::new(name, move || {
        let registry = Registry::new(pointsman_plugins::ALL);
        let resolved = resolve(&written, &Basis::new(&registry, generation, name));
        Router::Plan(std::sync::Arc::new(resolved.ok().unwrap().plan))
    })
}

fn cell(scenario: &str, load: f64, requests: usize, policies: &[Policy]) -> Vec<Row> {
    let rows = compare(
        &Scenario::by_name(scenario).unwrap(),
        load,
        requests,
        &[1],
        policies,
    );
    println!("{}", markdown(&rows));
    rows
}

#[test]
fn on_shared_prompts_knowing_more_is_better() {
    let policies = [
        BuiltIn::Oracle.into(),
        profile("proxy-performance"),
        BuiltIn::LeastInFlight.into(),
        BuiltIn::Random.into(),
    ];
    let rows = cell("shared", 0.8, 4_000, &policies);
    let [oracle, by_load, least, random] = rows.as_slice() else {
        panic!("four policies give four rows");
    };
    for row in &rows {
        assert!((row.finished - 1.0).abs() < f64::EPSILON);
        assert!(row.p50_ms <= row.p95_ms && row.p95_ms <= row.p99_ms);
    }
    assert!(3.0 * oracle.mean_ms < by_load.mean_ms);
    assert!(3.0 * oracle.p95_ms < by_load.p95_ms);
    assert!(1.2 * by_load.mean_ms < random.mean_ms);
    // The profile and the built-in rule are the same policy.
    assert!((0.8..1.25).contains(&(by_load.mean_ms / least.mean_ms)));
    assert!(oracle.hit_rate > 0.85 && random.hit_rate < 0.6);
    assert!(oracle.within_half_second > 0.95 && random.within_half_second < 0.5);
}

#[test]
fn where_nothing_is_shared_the_count_of_own_requests_is_nearly_all_there_is_to_know() {
    let policies = [BuiltIn::Oracle.into(), profile("proxy-performance")];
    let rows = cell("bursty", 0.8, 4_000, &policies);
    assert!(rows[1].p95_ms < 1.15 * rows[0].p95_ms);
    assert!(rows.iter().all(|row| row.hit_rate.abs() < f64::EPSILON));
}

#[test]
fn the_text_of_prompts_reaches_plugins_that_look_for_known_prefixes() {
    let policies = [profile("default"), profile("proxy-performance")];
    let rows = cell("shared", 0.5, 2_000, &policies);
    assert!(rows[0].hit_rate > 0.85 && rows[1].hit_rate < 0.6);
    assert!(2.0 * rows[0].mean_ms < rows[1].mean_ms);
}

#[test]
fn the_oracle_leaves_slow_engines_mostly_alone() {
    let rows = cell(
        "hetero",
        0.5,
        2_000,
        &[BuiltIn::Oracle.into(), BuiltIn::RoundRobin.into()],
    );
    assert!(20.0 * rows[0].p95_ms < rows[1].p95_ms);
}

#[test]
fn equal_arguments_give_equal_tables() {
    let table = || {
        let policies = BuiltIn::ALL.map(Policy::from);
        markdown(&cell("multi-turn", 0.95, 600, &policies))
    };
    assert_eq!(table(), table());
}

/// One cell of the table in the benchmarks: what is promised of our own profile beside an omniscient rule.
#[test]
fn balanced_stays_near_the_oracle() {
    let policies = [
        BuiltIn::Oracle.into(),
        profile("balanced"),
        profile("default"),
    ];
    let scenario = Scenario::by_name("shared").unwrap();
    let rows = compare(&scenario, 0.8, 4_000, &[1, 2, 3, 4, 5], &policies);
    println!("{}", markdown(&rows));
    let [oracle, balanced, default] = rows.as_slice() else {
        panic!("three policies give three rows");
    };
    assert!(balanced.mean_ms <= 1.15 * oracle.mean_ms);
    assert!(balanced.p95_ms <= 1.25 * oracle.p95_ms);
    assert!(3.0 * balanced.p95_ms < default.p95_ms);
}
