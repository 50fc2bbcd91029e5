//! Time to first token of routing policies on four fleets at three loads, beside an omniscient oracle.
//!
//! Prints a table in Markdown; the same arguments give the same bytes. A policy is the name of a profile
//! (`proxy-performance`), of a built-in rule (`oracle`, `random`, `round-robin`, `least-in-flight`) or the
//! path of a configuration file. Whose rules apply is in the file, or `g1:` or `g2:` before the name says so.
//!
//! ```text
//! cargo bench -p pointsman-sim --bench quality -- [--policies a,b] [--scenarios a,b] [--loads 50,80,95]
//!     [--seeds 5] [--requests 5000] [--slots 6]
//! ```
#![allow(missing_docs)]

use std::sync::Arc;

use pointsman_core::config::basis::{Basis, Registry};
use pointsman_core::config::compat::{Compat, generation_of};
use pointsman_core::config::presets::preset;
use pointsman_core::config::resolved::resolve;
use pointsman_core::config::written::Written;
use pointsman_core::contract::spec::Generation;
use pointsman_core::schedule::plan::Plan;
use pointsman_sim::fleet::comparison::{Policy, compare, markdown};
use pointsman_sim::fleet::router::{BuiltIn, Router};
use pointsman_sim::fleet::scenario::Scenario;

fn main() {
    let mut policies = "oracle,balanced,default,proxy-performance,random".to_owned();
    let mut scenarios = Scenario::NAMES.join(",");
    let mut loads = "50,80,95".to_owned();
    let (mut seeds, mut requests, mut slots) = (5, 5_000, 6);
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        // Cargo adds this one.
        if flag == "--bench" {
            continue;
        }
        let value = arguments.next().unwrap_or_default();
        match flag.as_str() {
            "--policies" => policies = value,
            "--scenarios" => scenarios = value,
            "--loads" => loads = value,
            "--seeds" => seeds = number(&flag, &value),
            "--slots" => slots = number(&flag, &value) as u32,
            "--requests" => requests = number(&flag, &value),
            _ => panic!("{flag} is no flag of this bench; its head lists them"),
        }
    }
    let policies: Vec<Policy> = policies.split(',').map(policy).collect();
    let seeds: Vec<u64> = (1..=seeds as u64).collect();
    let mut rows = Vec::new();
    for name in scenarios.split(',') {
        let scenario = Scenario::by_name(name)
            .unwrap_or_else(|| panic!("{name} is no scenario; there are {:?}", Scenario::NAMES))
            .with_slots(slots);
        println!("{name}: 100 % is {:.2} requests/s", scenario.capacity());
        for load in loads.split(',') {
            let load = number("--loads", load) as f64 / 100.0;
            rows.extend(compare(&scenario, load, requests, &seeds, &policies));
        }
    }
    println!("\n{}", markdown(&rows));
}

fn number(flag: &str, value: &str) -> usize {
    value
        .parse()
        .unwrap_or_else(|_| panic!("{flag} takes a number, not '{value}'"))
}

fn policy(name: &str) -> Policy {
    if let Some(rule) = BuiltIn::ALL.into_iter().find(|rule| rule.name() == name) {
        return rule.into();
    }
    let (compat, source) = match name.split_once(':') {
        Some(("g1", source)) => (Compat::G1, source.to_owned()),
        Some(("g2", source)) => (Compat::G2, source.to_owned()),
        _ => (Compat::Auto, name.to_owned()),
    };
    let written = preset(&source).unwrap_or_else(|| read(&source));
    let (generation, _) = generation_of(&written, compat, None);
    Policy::new(name, move || {
        Router::Plan(plan(&written, generation, &source))
    })
}

/// A fresh plan: its plugins have learned nothing.
fn plan(written: &Written, generation: Generation, source: &str) -> Arc<Plan> {
    let registry = Registry::new(pointsman_plugins::ALL);
    let resolved = resolve(written, &Basis::new(&registry, generation, source));
    Arc::new(resolved.unwrap_or_else(|faults| panic!("{faults:?}")).plan)
}

fn read(path: &str) -> Written {
    let text = std::fs::read_to_string(path)
        .unwrap_or_else(|fault| panic!("{path} is no profile, no rule and no file: {fault}"));
    serde_saphyr::from_str(&text).unwrap_or_else(|fault| panic!("{path}: {fault}"))
}
