//! A fleet in virtual time: reproducible, complete, and with the same preferences as the server.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use pointsman_core::config::basis::{Basis, Registry};
use pointsman_core::config::presets::preset;
use pointsman_core::config::resolved::resolve;
use pointsman_core::config::written::{Written, WrittenPlugin};
use pointsman_core::contract::spec::Generation;
use pointsman_core::model::slots::{Reading, Slot};
use pointsman_core::schedule::plan::Plan;
use pointsman_core::time::Span;
use pointsman_sim::engine::config::{EngineConfig, Timing};
use pointsman_sim::engine::preset::Preset;
use pointsman_sim::fleet::Fleet;
use pointsman_sim::fleet::capacity::capacity;
use pointsman_sim::fleet::config::FleetConfig;
use pointsman_sim::fleet::report::{EndpointReport, Report};
use pointsman_sim::fleet::workload::{SharedPrefix, Workload};
use proptest::prelude::*;

fn resolved(written: &Written, source: &str) -> Arc<Plan> {
    let registry = Registry::new(pointsman_plugins::ALL);
    let resolved = resolve(written, &Basis::new(&registry, Generation::G1, source));
    Arc::new(resolved.ok().unwrap().plan)
}

fn plan(profile: &str) -> Arc<Plan> {
    resolved(&preset(profile).unwrap(), profile)
}

fn random() -> Arc<Plan> {
    let picker = WrittenPlugin {
        kind: "random-picker".to_owned(),
        ..WrittenPlugin::default()
    };
    let written = Written {
        plugins: vec![picker],
        ..Written::default()
    };
    resolved(&written, "random")
}

fn engine() -> EngineConfig {
    let preset = Preset::by_name("roofline-8b-h100").unwrap();
    let timing = Timing::Roofline(preset.roofline.clone().unwrap());
    EngineConfig {
        jitter: 0.03,
        ..EngineConfig::new(timing, preset.kv_bytes, preset.kv_blocks(16))
    }
}

/// Requests at this share of what `config` can serve when no engine is slow.
fn at_load(config: &FleetConfig, load: f64, requests: u64) -> Workload {
    let one = capacity(&config.members[0].engine, &Workload::new(1, 1.0));
    Workload::new(requests, load * one * config.members.len() as f64)
}

fn run(config: &FleetConfig, workload: &Workload) -> Report {
    Fleet::new(config.clone()).run(workload)
}

fn bytes(report: &Report) -> String {
    serde_json::to_string(report).unwrap()
}

#[test]
fn the_same_seed_gives_the_same_report_and_another_seed_another() {
    let mut config = FleetConfig::uniform(5, &engine(), plan("proxy-performance"), 7);
    let workload = Workload {
        shared: Some(SharedPrefix {
            groups: 3,
            tokens: 256,
        }),
        ..at_load(&config, 0.7, 2_000)
    };
    let first = run(&config, &workload);
    assert_eq!(bytes(&first), bytes(&run(&config, &workload)));
    assert_eq!(first.to_string(), run(&config, &workload).to_string());
    config.seed = 8;
    assert_ne!(bytes(&first), bytes(&run(&config, &workload)));
}

#[test]
fn an_engine_ten_times_slower_gets_little_unless_picks_are_random() {
    let share = |plan| {
        let mut config = FleetConfig::uniform(8, &engine(), plan, 3);
        config.members[2].slow = 10.0;
        let report = run(&config, &at_load(&config, 0.5, 4_000));
        assert_eq!(report.served, 4_000);
        let even = report.requests as f64 / 8.0;
        (report.endpoints[2].picked as f64 / even, report)
    };
    let (by_load, report) = share(plan("proxy-performance"));
    let (blind, worse) = share(random());
    assert!(by_load < 0.25, "{by_load} of an even share\n{report}");
    assert!(blind > 0.85, "{blind} of an even share\n{worse}");
    assert!(
        worse.ttft.p99_ms > 3.0 * report.ttft.p99_ms,
        "{report}\n{worse}"
    );
}

#[test]
fn equal_engines_get_equal_shares() {
    let config = FleetConfig::uniform(4, &engine(), plan("proxy-performance"), 3);
    let report = run(&config, &at_load(&config, 0.7, 4_000));
    for endpoint in &report.endpoints {
        assert!((900..1_100).contains(&endpoint.picked), "{report}");
        assert_eq!(endpoint.picked, endpoint.served);
        assert_eq!(endpoint.output_tokens, 64 * endpoint.served);
    }
    assert!(report.ttft.p50_ms < report.e2e.p50_ms);
}

#[test]
fn nothing_is_lost_near_capacity_and_far_above_it() {
    let mut config = FleetConfig::uniform(4, &engine(), plan("proxy-performance"), 1);
    for load in [0.95, 5.0] {
        let report = run(&config, &at_load(&config, load, 5_000));
        assert_eq!((report.served, report.refused), (5_000, 0), "{report}");
    }
    for member in &mut config.members {
        member.engine.max_waiting = 20;
    }
    let report = run(&config, &at_load(&config, 5.0, 5_000));
    assert_eq!(report.served + report.refused, 5_000);
    assert!(report.refused > 500, "{report}");
}

#[test]
fn jumps_and_single_steps_give_the_same_report() {
    let mut config = FleetConfig::uniform(3, &engine(), plan("proxy-performance"), 5);
    for member in &mut config.members {
        member.engine.jitter = 0.0;
        // Few blocks, so that requests wait, lose their blocks and prefixes are evicted.
        member.engine.kv_blocks = 400;
    }
    config.members[1].slow = 2.0;
    let workload = Workload {
        shared: Some(SharedPrefix {
            groups: 4,
            tokens: 128,
        }),
        ..Workload::new(1_000, 60.0)
    };
    let jumped = run(&config, &workload);
    let total = |of: fn(&EndpointReport) -> u64| jumped.endpoints.iter().map(of).sum::<u64>();
    assert!(total(|e| e.preemptions) > 20, "{jumped:?}");
    assert!(total(|e| e.cached_tokens) > 10_000, "{jumped:?}");
    for member in &mut config.members {
        member.engine.stepwise = true;
    }
    assert_eq!(bytes(&jumped), bytes(&run(&config, &workload)));
}

#[test]
fn a_request_that_no_engine_may_have_is_rejected() {
    let config = FleetConfig::uniform(2, &engine(), plan("proxy-performance-by-backend"), 1);
    let report = run(&config, &Workload::new(100, 50.0));
    assert_eq!((report.rejected, report.served), (100, 0));
    let nobody = FleetConfig::uniform(0, &engine(), plan("proxy-performance"), 1);
    assert_eq!(run(&nobody, &Workload::new(100, 50.0)).rejected, 100);
}

#[test]
fn only_engines_with_the_label_are_picked() {
    let mut config = FleetConfig::uniform(4, &engine(), plan("proxy-performance-by-backend"), 1);
    for (row, member) in config.members.iter_mut().enumerate() {
        let backend = if row < 2 { "nvlink" } else { "fs" };
        member.labels = [("llm-d.ai/kv-backend", backend)].into_iter().collect();
    }
    let report = run(&config, &at_load(&config, 0.3, 500));
    let picked: Vec<_> = report.endpoints.iter().map(|e| e.picked > 0).collect();
    assert_eq!(picked, [true, true, false, false], "{report}");
}

#[test]
fn gauges_are_read_as_often_as_asked() {
    let mut config = FleetConfig::uniform(4, &engine(), plan("proxy-performance"), 1);
    config.scrape = Some(Span::from_millis(200));
    let mut fleet = Fleet::new(config.clone());
    let report = fleet.run(&at_load(&config, 0.6, 500));
    let now = Span::from_secs_f64(report.virtual_seconds);
    for row in 0..4 {
        let (_, taken) = fleet.slots().read(Slot(row), Reading::Running);
        let age = now.0 - taken.unwrap().0;
        assert!(age <= Span::from_millis(201).0, "row {row}: {age} ns");
    }
    // A long pause does not read the same idle gauges a million times.
    let rare = fleet.run(&Workload::new(20, 1e-6));
    assert_eq!(rare.served, 20);
    config.scrape = None;
    let mut blind = Fleet::new(config.clone());
    blind.run(&at_load(&config, 0.6, 100));
    assert_eq!(blind.slots().read(Slot(0), Reading::Running).1, None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_request_has_one_end_whatever_the_fleet(
        seed in any::<u64>(), engines in 1usize..6, slow in 0.2f64..20.0, rate in 1.0f64..400.0,
        kv_blocks in 20u32..300, max_running in 1u32..40, max_waiting in 0u32..60, prompt_tokens in 0u32..700,
        output_tokens in 0u32..90, blind in any::<bool>(), scrape_ms in prop::option::of(1u64..300),
    ) {
        let plan = if blind { random() } else { plan("proxy-performance") };
        let engine = EngineConfig { kv_blocks, max_running, max_waiting, ..engine() };
        let mut config = FleetConfig::uniform(engines, &engine, plan, seed);
        config.members[0].slow = slow;
        config.scrape = scrape_ms.map(Span::from_millis);
        let workload = Workload { prompt_tokens, output_tokens, ..Workload::new(150, rate) };
        // The fleet itself panics when a request is lost or something stays in flight.
        let report = run(&config, &workload);
        prop_assert_eq!(report.served + report.refused, 150);
    }
}
