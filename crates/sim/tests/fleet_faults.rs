//! Fleets of pairs and of roles, and fleets whose engines die: complete, reproducible, and with the times that the
//! way of the KV cache costs.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use pointsman_core::config::basis::{Basis, Registry};
use pointsman_core::config::compat::{Compat, generation_of};
use pointsman_core::config::presets::preset;
use pointsman_core::config::resolved::resolve;
use pointsman_core::config::written::Written;
use pointsman_core::schedule::plan::Plan;
use pointsman_core::time::Span;
use pointsman_sim::engine::config::{EngineConfig, Timing};
use pointsman_sim::engine::preset::Preset;
use pointsman_sim::engine::transfer::TransferModel;
use pointsman_sim::fleet::Fleet;
use pointsman_sim::fleet::config::{FleetConfig, Member};
use pointsman_sim::fleet::fault::{Fault, FaultKind, Part};
use pointsman_sim::fleet::report::Report;
use pointsman_sim::fleet::router::{BuiltIn, Router};
use pointsman_sim::fleet::workload::{SharedPrefix, Workload};
use proptest::prelude::*;

/// One profile for each part of a request.
const ROLES: &str = "
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: disagg-profile-handler
  parameters: {deciders: {prefill: always-disagg-pd-decider}}
- type: always-disagg-pd-decider
- type: prefill-filter
- type: decode-filter
- type: active-request-scorer
- type: max-score-picker
schedulingProfiles:
- name: prefill
  plugins: [{pluginRef: prefill-filter}, {pluginRef: active-request-scorer}, {pluginRef: max-score-picker}]
- name: decode
  plugins: [{pluginRef: decode-filter}, {pluginRef: active-request-scorer}, {pluginRef: max-score-picker}]
";

fn resolved(written: &Written) -> Arc<Plan> {
    let registry = Registry::new(pointsman_plugins::ALL);
    let (compat, _) = generation_of(written, Compat::Auto, None);
    let resolved = resolve(written, &Basis::new(&registry, compat, "test"));
    Arc::new(resolved.unwrap_or_else(|faults| panic!("{faults:?}")).plan)
}

fn plan(profile: &str) -> Arc<Plan> {
    resolved(&preset(profile).unwrap())
}

fn roles() -> Arc<Plan> {
    resolved(&serde_saphyr::from_str(ROLES).unwrap())
}

fn engine() -> EngineConfig {
    let preset = Preset::by_name("roofline-8b-h100").unwrap();
    let timing = Timing::Roofline(preset.roofline.clone().unwrap());
    EngineConfig::new(timing, preset.kv_bytes, preset.kv_blocks(16))
}

/// A pair whose KV cache goes this way.
fn pair(at: usize, transfer: &str) -> Member {
    let mut decode = engine();
    decode.transfer = TransferModel::by_name(transfer).unwrap();
    Member {
        prefill: Some(engine()),
        ..Member::new(&format!("fleet/pair-{at}"), &decode)
    }
}

fn with_role(role: &str, at: usize) -> Member {
    Member {
        labels: [("llm-d.ai/role", role)].into_iter().collect(),
        ..Member::new(&format!("fleet/{role}-{at}"), &engine())
    }
}

fn fleet(members: Vec<Member>, router: impl Into<Router>, seed: u64) -> FleetConfig {
    FleetConfig {
        members,
        ..FleetConfig::uniform(0, &engine(), router, seed)
    }
}

fn seconds(n: f64) -> Span {
    Span::from_secs_f64(n)
}

fn dies(member: usize, at: f64, lasting: Option<f64>, noticed: Option<f64>) -> Fault {
    Fault {
        at: seconds(at),
        lasting: lasting.map(seconds),
        member,
        part: Part::Whole,
        kind: FaultKind::Down,
        noticed: noticed.map(seconds),
    }
}

fn run(config: &FleetConfig, workload: &Workload) -> Report {
    Fleet::new(config.clone()).run(workload)
}

#[test]
fn the_way_of_the_kv_cache_is_part_of_the_time_to_first_token() {
    let ttft = |transfer| {
        let config = fleet(vec![pair(0, transfer)], plan("proxy-performance"), 1);
        // One after another, so that nothing waits.
        let report = run(&config, &Workload::new(50, 0.2));
        assert_eq!(report.served, 50, "{report}");
        assert_eq!(report.endpoints[0].prefilled, 50);
        assert_eq!(report.endpoints[0].prompt_tokens, 50 * 512);
        report.ttft.p50_ms
    };
    let (p2p, fs) = (ttft("p2p-nvlink"), ttft("fs"));
    // 2 ms + 2 * 512 tokens * 128 KiB / 2 GB/s, against 92 µs.
    let expected = 2.0 + 2.0 * 512.0 * 131_072.0 / 2e9 * 1e3 - 0.092;
    assert!((fs - p2p - expected).abs() < 1.0, "{p2p} ms, {fs} ms");
}

#[test]
fn a_plan_for_roles_has_prompts_computed_by_the_engines_for_it() {
    let members = vec![
        with_role("prefill", 0),
        with_role("decode", 0),
        with_role("prefill", 1),
        with_role("decode", 1),
    ];
    let config = fleet(members.clone(), roles(), 3);
    let report = run(&config, &Workload::new(400, 20.0));
    assert_eq!(report.served, 400, "{report}");
    for (at, endpoint) in report.endpoints.iter().enumerate() {
        let prefills = at % 2 == 0;
        assert_eq!(endpoint.prefilled > 100, prefills, "{report}");
        assert_eq!(endpoint.served > 100, !prefills, "{report}");
        assert_eq!(endpoint.prompt_tokens > 0, prefills, "{report}");
    }
    // A rule without a plan does the same.
    let config = fleet(members, BuiltIn::Random, 3);
    let blind = run(&config, &Workload::new(400, 20.0));
    let prefilled: u64 = blind.endpoints.iter().map(|e| e.prefilled).sum();
    assert_eq!((blind.served, prefilled), (400, 400), "{blind}");
}

#[test]
fn what_a_dead_engine_had_goes_elsewhere_or_breaks_off_and_it_comes_back_cold() {
    let mut config = FleetConfig::uniform(4, &engine(), plan("proxy-performance"), 7);
    let shared = Some(SharedPrefix {
        groups: 1,
        tokens: 256,
    });
    let workload = Workload {
        shared,
        ..Workload::new(3_000, 60.0)
    };
    let calm = run(&config, &workload);
    config.faults = vec![dies(1, 10.0, Some(10.0), Some(1.0))];
    let report = run(&config, &workload);
    assert!(report.broken > 0 && report.failed_attempts > 0, "{report}");
    assert_eq!(report.served + report.broken, 3_000, "{report}");
    // Ten of fifty seconds without it; nothing was sent there once it had left.
    let share = |r: &Report| r.endpoints[1].served as f64 / r.served as f64;
    assert!(
        share(&calm) > 0.23 && share(&report) < 0.22,
        "{calm}{report}"
    );
    assert!(report.endpoints[1].served > 300, "{report}");
    let uncached = |r: &Report| r.endpoints[1].prompt_tokens - r.endpoints[1].cached_tokens;
    assert!(uncached(&report) < uncached(&calm));
}

#[test]
fn a_death_that_nobody_is_told_of_costs_an_attempt_each_time() {
    let mut config = FleetConfig::uniform(4, &engine(), BuiltIn::RoundRobin, 7);
    let attempts = |config: &FleetConfig| {
        let report = run(config, &Workload::new(1_000, 50.0));
        assert_eq!(report.served + report.broken, 1_000, "{report}");
        report.failed_attempts
    };
    config.faults = vec![dies(2, 5.0, None, None)];
    let told_nothing = attempts(&config);
    config.faults = vec![dies(2, 5.0, None, Some(1.0))];
    let told = attempts(&config);
    assert!(told_nothing > 150, "{told_nothing}");
    assert!((5..60).contains(&told), "{told}");
}

#[test]
fn with_everybody_dead_requests_are_rejected_and_none_is_lost() {
    let mut config = FleetConfig::uniform(2, &engine(), plan("proxy-performance"), 7);
    config.faults = vec![dies(0, 1.0, None, Some(0.5)), dies(1, 1.0, None, None)];
    let report = run(&config, &Workload::new(500, 50.0));
    assert!(report.rejected > 300, "{report}");
    assert_eq!(report.rejected + report.served + report.broken, 500);
}

#[test]
fn without_its_prefill_engine_a_pair_goes_on() {
    let mut config = fleet(vec![pair(0, "p2p-nvlink")], plan("proxy-performance"), 1);
    let prefill = Fault {
        part: Part::Prefill,
        ..dies(0, 10.0, None, Some(1.0))
    };
    config.faults = vec![prefill];
    let report = run(&config, &Workload::new(400, 20.0));
    assert_eq!(report.served, 400, "{report}");
    let prefilled = report.endpoints[0].prefilled;
    assert!((100..300).contains(&prefilled), "{report:?}");
    assert_eq!(report.endpoints[0].prompt_tokens, 400 * 512);
}

#[test]
fn an_engine_that_is_slow_for_a_time_is_avoided_for_that_time() {
    let mut config = FleetConfig::uniform(4, &engine(), plan("proxy-performance"), 7);
    config.faults = vec![Fault {
        kind: FaultKind::Slow(10.0),
        ..dies(3, 0.0, Some(10.0), None)
    }];
    let report = run(&config, &Workload::new(1_200, 60.0));
    let picked = report.endpoints[3].picked as f64 / 300.0;
    assert!((0.3..0.85).contains(&picked), "{report}");
}

fn any_fault() -> impl Strategy<Value = Fault> {
    (
        0.0f64..4.0,
        prop::option::of(0.0f64..3.0),
        0usize..6,
        prop::sample::select(vec![Part::Whole, Part::Prefill, Part::Decode]),
        prop::option::of(0.2f64..9.0),
        prop::option::of(0.0f64..2.0),
    )
        .prop_map(|(at, lasting, member, part, slow, noticed)| Fault {
            part,
            kind: slow.map_or(FaultKind::Down, FaultKind::Slow),
            ..dies(member, at, lasting, noticed)
        })
}

fn router(which: usize) -> Router {
    match which {
        0 => plan("proxy-performance").into(),
        1 => plan("default").into(),
        2 => plan("balanced").into(),
        3 => roles().into(),
        other => Router::BuiltIn(BuiltIn::ALL[other - 4]),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    /// The fleet itself panics when an invariant does not hold.
    #[test]
    fn whatever_breaks_every_request_has_one_end_and_the_seed_says_which(
        seed in any::<u64>(), kinds in prop::collection::vec(0usize..5, 1..6), which in 0usize..8,
        faults in prop::collection::vec(any_fault(), 0..8), rate in 20.0f64..200.0, kv_blocks in 60u32..300,
        max_running in 1u32..20, max_waiting in 0u32..40, reference in any::<bool>(),
    ) {
        let member = |(at, kind): (usize, &usize)| match kind {
            0 => Member::new(&format!("fleet/engine-{at}"), &engine()),
            1 => pair(at, "p2p-nvlink"),
            2 => pair(at, "fs"),
            3 => with_role("prefill", at),
            _ => with_role("decode", at),
        };
        let mut config = fleet(kinds.iter().enumerate().map(member).collect(), router(which), seed);
        let timing = Preset::by_name("reference-8b-h100").unwrap().reference.unwrap();
        for member in &mut config.members {
            for engine in member.prefill.iter_mut().chain([&mut member.engine]) {
                (engine.kv_blocks, engine.max_running) = (kv_blocks, max_running);
                engine.max_waiting = max_waiting;
                if reference {
                    engine.timing = Timing::Reference(timing.clone());
                }
            }
        }
        config.faults = faults;
        let workload = Workload {
            shared: Some(SharedPrefix { groups: 3, tokens: 256 }),
            ..Workload::new(200, rate)
        };
        let report = run(&config, &workload);
        let ended = report.served + report.refused + report.rejected + report.broken;
        prop_assert_eq!(ended, 200);
        // What plugins learned must not carry over.
        config.router = router(which);
        let again = run(&config, &workload);
        prop_assert_eq!(serde_json::to_string(&report).unwrap(), serde_json::to_string(&again).unwrap());
    }
}
