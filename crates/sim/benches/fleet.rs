//! Simulated requests per second of a whole fleet: 16 and 1,000 engines behind the router, on one core.
//!
//! Prompts of 512 tokens given as ids of 32 blocks, 64 output tokens, Poisson arrivals at 70 % of the
//! capacity, profile `proxy-performance`. Five runs of a warm fleet; the best one counts, as whatever else the
//! machine does can only slow a run down. `cargo bench -p pointsman-sim --bench fleet [-- ENGINES…]`
#![allow(missing_docs)]

use std::sync::Arc;
use std::time::Instant;

use pointsman_core::config::basis::{Basis, Registry};
use pointsman_core::config::presets::preset;
use pointsman_core::config::resolved::resolve;
use pointsman_core::contract::spec::Generation;
use pointsman_sim::engine::config::{EngineConfig, Timing};
use pointsman_sim::engine::preset::Preset;
use pointsman_sim::fleet::Fleet;
use pointsman_sim::fleet::capacity::capacity;
use pointsman_sim::fleet::config::FleetConfig;
use pointsman_sim::fleet::workload::Workload;

/// Fleets when none is named.
const FLEETS: [usize; 2] = [16, 1_000];
const REQUESTS: u64 = 200_000;
const RUNS: usize = 5;
const LOAD: f64 = 0.7;
const PROFILE: &str = "proxy-performance";

fn main() {
    let named: Vec<usize> = std::env::args()
        .filter_map(|word| word.parse().ok())
        .collect();
    let fleets = if named.is_empty() {
        FLEETS.to_vec()
    } else {
        named
    };
    for engines in fleets {
        measure(engines);
    }
}

fn measure(engines: usize) {
    let written = preset(PROFILE).expect("the profile exists");
    let registry = Registry::new(pointsman_plugins::ALL);
    let plan = resolve(&written, &Basis::new(&registry, Generation::G1, PROFILE))
        .unwrap_or_else(|faults| panic!("{faults:?}"))
        .plan;
    let hardware = Preset::by_name("roofline-8b-h100").expect("the preset exists");
    let roofline = hardware.roofline.clone().expect("a roofline preset");
    let engine = EngineConfig {
        jitter: 0.03,
        ..EngineConfig::new(
            Timing::Roofline(roofline),
            hardware.kv_bytes,
            hardware.kv_blocks(16),
        )
    };
    let per_engine = capacity(&engine, &Workload::new(1, 1.0));
    let workload = Workload::new(REQUESTS, LOAD * per_engine * engines as f64);
    let mut fleet = Fleet::new(FleetConfig::uniform(engines, &engine, Arc::new(plan), 1));
    fleet.run(&workload);
    let mut rates = [0.0; RUNS];
    let mut report = None;
    for rate in &mut rates {
        let began = Instant::now();
        report = Some(fleet.run(&workload));
        *rate = REQUESTS as f64 / began.elapsed().as_secs_f64();
    }
    rates.sort_by(f64::total_cmp);
    let virtual_seconds = report.map_or(0.0, |report| report.virtual_seconds);
    println!(
        "fleet: {:.0} simulated requests/s (best of {RUNS} runs of {REQUESTS}, median {:.0}); {engines} engines of \
         {per_engine:.1} requests/s at {:.0} % load, {PROFILE}, {virtual_seconds:.0} virtual seconds per run",
        rates[RUNS - 1],
        rates[RUNS / 2],
        LOAD * 100.0,
    );
}
