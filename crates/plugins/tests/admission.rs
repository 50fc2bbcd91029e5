//! Admission as configurations say it, and the life of a request that asks to be let in.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use pointsman_core::admission::permits::Permits;
use pointsman_core::admission::reclaim::Eviction;
use pointsman_core::config::basis::{Basis, Registry};
use pointsman_core::config::fault::Severity;
use pointsman_core::config::resolved::resolve;
use pointsman_core::config::written::Written;
use pointsman_core::contract::admission::PoolLoad;
use pointsman_core::contract::spec::Generation;
use pointsman_core::contract::table::{ProfileRun, Table};
use pointsman_core::exchange::event::{Cause, Deciding, Effect, End, Entering, Event};
use pointsman_core::exchange::life::Life;
use pointsman_core::fixture::{NOW, Pool, pool};
use pointsman_core::model::reject::Reject;
use pointsman_core::model::request::InferenceRequest;
use pointsman_core::schedule::plan::Plan;
use pointsman_core::time::{Span, Tick};
use pointsman_plugins::ALL;

/// The plan and its warnings, or the errors; each as `path: message`.
fn resolved(text: &str, generation: Generation) -> Result<(Plan, Vec<String>), Vec<String>> {
    let written: Written = serde_saphyr::from_str(text).unwrap();
    let registry = Registry::new(ALL);
    match resolve(&written, &Basis::new(&registry, generation, "test")) {
        Ok(resolved) => {
            let told = resolved.warnings.iter().map(ToString::to_string);
            let told = told.collect();
            Ok((resolved.plan, told))
        }
        Err(faults) => {
            let errors = faults.iter().filter(|f| f.severity == Severity::Error);
            Err(errors.map(ToString::to_string).collect())
        }
    }
}

#[track_caller]
fn plan(text: &str) -> Plan {
    let (plan, told) = resolved(text, Generation::G2).unwrap();
    assert_eq!(told, Vec::<String>::new());
    plan
}

#[test]
fn the_gate_alone_gives_the_defaults_of_the_reference() {
    let plan = plan("featureGates: [flowControl]\nplugins: [{type: queue-scorer}]\n");
    let flow = plan.admission.flow.as_ref().unwrap();
    assert_eq!((flow.max_bytes, flow.max_requests), (None, None));
    let minute = Some(Span::from_millis(60_000));
    assert_eq!((flow.ttl, flow.no_endpoint_ttl), (minute, minute));
    for priority in [-1, 0, 7] {
        let band = flow.band(priority);
        assert_eq!((band.max_bytes, band.max_requests), (1_000_000_000, 5000));
        assert_eq!(&*band.fairness.name, "global-strict-fairness-policy");
        assert_eq!(&*band.ordering.name, "fcfs-ordering-policy");
    }
    assert_eq!(flow.limit.plugin.ceiling(0.0, 0, 0, 1), 1.0);
    assert_eq!(plan.admission.detector.kind, "utilization-detector");
    for added in ["utilization-detector", "fcfs-ordering-policy"] {
        assert!(
            plan.added.iter().any(|name| name == added),
            "{:?}",
            plan.added
        );
    }
}

#[test]
fn every_setting_of_the_section_arrives() {
    let plan = plan(
        "featureGates: [flowControl=true]
plugins:
- {type: queue-scorer}
- {type: round-robin-fairness-policy, name: turns}
- {type: edf-ordering-policy}
- {type: slo-deadline-ordering-policy}
- {type: static-usage-limit-policy, name: most, parameters: {threshold: 0.5}}
- {type: concurrency-detector, name: count, parameters: {maxConcurrency: 4, headroom: 0.5}}
schedulingProfiles:
- {name: default, plugins: [{pluginRef: queue-scorer}]}
flowControl:
  maxBytes: 1Gi
  maxRequests: 100
  defaultRequestTTL: 0s
  noEndpointRequestTTL: 5s
  defaultPriorityBand: {fairnessPolicyRef: turns, maxRequests: 7}
  priorityBands:
  - {priority: 10, maxBytes: 0, maxRequests: 0, orderingPolicyRef: edf-ordering-policy}
  - {priority: -5, orderingPolicyRef: slo-deadline-ordering-policy}
  usageLimitPolicyPluginRef: most
  saturationDetector: {pluginRef: count}
",
    );
    let flow = plan.admission.flow.as_ref().unwrap();
    assert_eq!(
        (flow.max_bytes, flow.max_requests),
        (Some(1 << 30), Some(100))
    );
    assert_eq!(
        (flow.ttl, flow.no_endpoint_ttl),
        (None, Some(Span::from_millis(5000)))
    );
    let named = |priority: i64| {
        let band = flow.band(priority);
        (
            band.max_requests,
            band.fairness.name.to_string(),
            band.ordering.kind,
        )
    };
    let strict = "global-strict-fairness-policy".to_owned();
    assert_eq!(named(10), (5000, strict.clone(), "edf-ordering-policy"));
    assert_eq!(named(-5), (5000, strict, "slo-deadline-ordering-policy"));
    // A negative band without a template of its own follows the usual one.
    assert_eq!(named(3), (7, "turns".to_owned(), "fcfs-ordering-policy"));
    assert_eq!(named(-1), named(3));
    assert_eq!(flow.limit.plugin.ceiling(0.9, 0, 0, 1), 0.5);
    assert_eq!(&*plan.admission.detector.name, "count");
    assert_eq!(plan.admission.most_in_flight, [Some(6)]);
}

#[test]
fn without_the_gate_only_the_detector_counts() {
    let text = "plugins:
- {type: queue-scorer}
- {type: concurrency-detector, parameters: {maxConcurrency: 1}}
schedulingProfiles:
- {name: default, plugins: [{pluginRef: queue-scorer}]}
flowControl: {maxRequests: 5, saturationDetector: {pluginRef: concurrency-detector}}
";
    let (plan, told) = resolved(text, Generation::G2).unwrap();
    assert!(
        told[0].starts_with("flowControl: has no effect without featureGates"),
        "{told:?}"
    );
    assert!(plan.admission.flow.is_none());
    assert_eq!(plan.admission.detector.kind, "concurrency-detector");
    // Nobody waits for a place, so the limit does not hold where no profile names it.
    assert_eq!(plan.admission.most_in_flight, [None]);
    let (plan, told) = resolved("plugins: [{type: queue-scorer}]\n", Generation::G2).unwrap();
    assert_eq!(told, Vec::<String>::new());
    assert_eq!(
        plan.added
            .iter()
            .filter(|name| name.contains("policy"))
            .count(),
        0
    );
}

#[test]
fn the_first_generations_thresholds_ask_for_one_good_endpoint() {
    let text = "plugins: [{type: queue-scorer}]\nsaturationDetector: {queueDepthThreshold: 2, kvCacheUtilThreshold: 0.5, metricsStalenessThreshold: 1s}\n";
    let saturation = |generation, endpoints: &str| {
        let (plan, told) = resolved(text, generation).unwrap();
        assert_eq!(told, Vec::<String>::new());
        let pool = pool(endpoints);
        let load = PoolLoad::new(&pool.slots, pool.snapshot.slots(), NOW);
        plan.admission.detector.plugin.saturation(&load)
    };
    let one_good = "a waiting=2 kvUsage=0.5\nb waiting=90 kvUsage=1\n";
    assert_eq!(saturation(Generation::G1, one_good), 0.0);
    assert_eq!(saturation(Generation::G1, "a waiting=3 kvUsage=0\n"), 1.0);
    assert_eq!(saturation(Generation::G2, one_good), (1.0 + 45.0) / 2.0);
}

#[test]
fn what_cannot_be_is_refused_with_its_place() {
    let text = "featureGates: [flowControl]
plugins: [{type: queue-scorer}, {type: fcfs-ordering-policy, name: mine}]
flowControl:
  maxBytes: -1
  defaultRequestTTL: soon
  defaultPriorityBand: {fairnessPolicyRef: mine}
  priorityBands: [{priority: 1, orderingPolicyRef: nobody}, {priority: 1}]
  usageLimitPolicyPluginRef: global-strict-fairness-policy
  saturationDetector: {pluginRef: queue-scorer}
";
    let errors = resolved(text, Generation::G2).map(|_| ()).unwrap_err();
    for expected in [
        "flowControl.maxBytes: '-1' is below zero",
        "flowControl.defaultRequestTTL: 'soon' is no duration",
        "flowControl.defaultPriorityBand.fairnessPolicyRef: 'mine' is no fairness policy",
        "flowControl.priorityBands[0].orderingPolicyRef: ordering policy references undefined plugin 'nobody'",
        "flowControl.priorityBands[1].priority: duplicate priority 1",
        "flowControl.usageLimitPolicyPluginRef: 'global-strict-fairness-policy' is no usage limit policy",
        "flowControl.saturationDetector.pluginRef: 'queue-scorer' does not tell how full",
    ] {
        assert!(
            errors.iter().any(|error| error.starts_with(expected)),
            "{expected}: {errors:#?}"
        );
    }
    let evicting = "featureGates: [flowControl]\nplugins: [{type: queue-scorer}]\nflowControl: {enableEviction: true}\n";
    let grace = |text: &str| {
        let (plan, told) = resolved(text, Generation::G2).unwrap();
        assert!(
            !told.iter().any(|told| told.contains("Eviction")),
            "{told:?}"
        );
        plan.admission.flow.as_ref().unwrap().eviction
    };
    assert_eq!(grace(&evicting.replace("true", "false")), None);
    let after = |ms| {
        Some(Eviction {
            grace: Span::from_millis(ms),
        })
    };
    assert_eq!(grace(evicting), after(650), "two readings, and the engine");
    let counted = "featureGates: [flowControl]\nplugins: [{type: queue-scorer}, {type: concurrency-detector}]\nflowControl: {enableEviction: true, saturationDetector: {pluginRef: concurrency-detector}}\n";
    assert_eq!(grace(counted), after(10));
}

const LIMITED: &str = "featureGates: [flowControl]
plugins:
- {type: active-request-scorer}
- {type: concurrency-detector, parameters: {maxConcurrency: 2}}
schedulingProfiles:
- {name: default, plugins: [{pluginRef: active-request-scorer}]}
flowControl: {saturationDetector: {pluginRef: concurrency-detector}}
pointsman: {objectives: [{name: batch, priority: -1}]}
";

struct World {
    plan: Arc<Plan>,
    permits: Arc<Permits>,
    pool: Pool,
    table: Table,
}

impl World {
    fn new(text: &str, endpoints: &str) -> Self {
        Self {
            plan: Arc::new(plan(text)),
            permits: Arc::new(Permits::new(|| {})),
            pool: pool(endpoints),
            table: Table::default(),
        }
    }

    fn arrive(&self, life: &mut Life, priority: i64) -> Effect {
        let entering = Entering {
            admission: &self.plan.admission,
            permits: &self.permits,
            snapshot: &self.pool.snapshot,
            slots: &self.pool.slots,
            priority,
        };
        life.on(Event::Arrived(entering), NOW)
    }

    fn ready(&mut self, life: &mut Life) -> Effect {
        let deciding = Deciding {
            plan: &self.plan,
            snapshot: &self.pool.snapshot,
            slots: &self.pool.slots,
            request: &InferenceRequest::default(),
            table: &mut self.table,
            seed: 1,
        };
        life.on(Event::Ready(deciding), NOW)
    }
}

#[test]
fn a_request_passes_while_there_are_permits_and_asks_when_there_are_none() {
    let mut world = World::new(LIMITED, "a\n");
    world.permits.set_limit(1);
    let (mut first, mut second) = (Life::begin(NOW), Life::begin(NOW));
    assert_eq!(world.arrive(&mut first, 0), Effect::Nothing);
    assert!(matches!(
        world.ready(&mut first),
        Effect::Forward { row: 0, .. }
    ));
    assert_eq!((world.permits.held(), world.permits.entered()), (1, 1));
    assert_eq!(world.arrive(&mut second, 0), Effect::AskAdmission);
    // The client leaves while it waits: one outcome, and nothing is held.
    let Effect::Note(outcome) = second.on(Event::ClientGone, NOW) else {
        panic!("leaving is an outcome")
    };
    assert_eq!(outcome.end, End::ClientGone);
    first.on(Event::Head { status: 200 }, NOW);
    assert!(matches!(
        first.on(Event::End { usage: None }, NOW),
        Effect::Note(_)
    ));
    assert_eq!((world.permits.held(), world.permits.entered()), (0, 0));
    assert_eq!(world.pool.slots.total_in_flight(), 0);
}

#[test]
fn a_permit_is_kept_from_one_endpoint_to_the_next_and_given_back_with_a_refusal() {
    let mut world = World::new(LIMITED, "a\nb\n");
    world.permits.set_limit(9);
    let mut life = Life::begin(NOW);
    assert_eq!(world.arrive(&mut life, 0), Effect::Nothing);
    world.ready(&mut life);
    for left in [1, 0] {
        let retry = Some(Deciding {
            plan: &world.plan,
            snapshot: &world.pool.snapshot,
            slots: &world.pool.slots,
            request: &InferenceRequest::default(),
            table: &mut world.table,
            seed: 1,
        });
        let cause = Cause::Connect;
        let effect = life.on(Event::AttemptFailed { cause, retry }, Tick(NOW.0 + 1));
        assert_eq!(
            matches!(effect, Effect::Forward { .. }),
            left == 1,
            "{effect:?}"
        );
        assert_eq!(
            (world.permits.held(), world.permits.entered()),
            (left, left)
        );
    }
    drop(life);
    assert_eq!(world.pool.slots.total_in_flight(), 0);
}

#[test]
fn who_is_let_in_and_finds_every_place_taken_asks_again() {
    let mut world = World::new(LIMITED, "a inFlight=2\nb inFlight=1\n");
    world.permits.set_limit(9);
    let mut lives = [Life::begin(NOW), Life::begin(NOW)];
    for life in &mut lives {
        assert_eq!(world.arrive(life, 0), Effect::Nothing);
    }
    assert!(matches!(
        world.ready(&mut lives[0]),
        Effect::Forward { row: 1, .. }
    ));
    assert_eq!(world.ready(&mut lives[1]), Effect::AskAdmission);
    assert_eq!(world.permits.held(), 1);
    let permit = world.permits.take();
    assert_eq!(lives[1].on(Event::Admitted(permit), NOW), Effect::Nothing);
    lives[0].on(Event::ClientGone, NOW);
    assert!(matches!(
        world.ready(&mut lives[1]),
        Effect::Forward { row: 1, .. }
    ));
    // The bound on waiting ends that, not the number of times.
    let mut last = Life::begin(NOW);
    let mut effect = world.arrive(&mut last, 0);
    for _ in 0..20 {
        effect = match effect {
            Effect::Nothing => world.ready(&mut last),
            Effect::AskAdmission => last.on(Event::Admitted(world.permits.take()), NOW),
            end => end,
        };
    }
    assert!(last.turned_back() > 8, "{effect:?}");
    if effect == Effect::AskAdmission {
        last.on(Event::Admitted(world.permits.take()), NOW);
    }
    let late = Reject::TtlExpired;
    assert_eq!(
        last.on(Event::Refused(late.clone()), NOW),
        Effect::Reply(late)
    );
    drop((lives, last));
    assert_eq!((world.permits.held(), world.permits.entered()), (0, 0));
    assert_eq!(world.pool.slots.total_in_flight(), world.pool.held() as u64);
}

#[test]
fn all_who_are_full_are_found_out_at_once_and_the_receipt_says_so() {
    let text = LIMITED.replace("active-request-scorer", "random-picker");
    let full = "a inFlight=2\nb inFlight=2\nc inFlight=3\nd inFlight=2\ne\n";
    let mut seen = Vec::new();
    for seed in 0..20 {
        let mut world = World::new(&text, full);
        world.permits.set_limit(99);
        let mut life = Life::begin(NOW);
        world.arrive(&mut life, 0);
        let deciding = Deciding {
            plan: &world.plan,
            snapshot: &world.pool.snapshot,
            slots: &world.pool.slots,
            request: &InferenceRequest::default(),
            table: &mut world.table,
            seed,
        };
        let effect = life.on(Event::Ready(deciding), NOW);
        assert!(
            matches!(effect, Effect::Forward { row: 4, .. }),
            "{effect:?}"
        );
        let struck = &world.table.runs()[0].struck_by;
        let full = struck.iter().filter(|&&by| by == ProfileRun::FULL).count();
        assert_eq!(full, struck.iter().filter(|&&by| by != 0).count());
        seen.push(full);
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(
        seen,
        [0, 4],
        "either it was picked at once, or the second time"
    );
}

#[test]
fn without_queues_a_full_pool_refuses_those_who_give_way_and_an_empty_one_nobody() {
    let text = "plugins:
- {type: active-request-scorer}
- {type: concurrency-detector, name: d, parameters: {maxConcurrency: 1}}
schedulingProfiles:
- {name: default, plugins: [{pluginRef: active-request-scorer}]}
saturationDetector: {pluginRef: d}
";
    let check = |endpoints: &str, priority: i64, expected: Effect| {
        let (plan, _) = resolved(text, Generation::G2).unwrap();
        let world = World {
            plan: Arc::new(plan),
            permits: Arc::new(Permits::new(|| {})),
            pool: pool(endpoints),
            table: Table::default(),
        };
        let mut life = Life::begin(NOW);
        assert_eq!(world.arrive(&mut life, priority), expected);
        assert_eq!(world.permits.held(), 0);
    };
    check("a inFlight=1\n", -1, Effect::Reply(Reject::Saturated));
    check("a inFlight=1\n", 0, Effect::Nothing);
    check("a inFlight=1\nb\n", -1, Effect::Nothing);
    check("", -1, Effect::Nothing);
}

#[test]
fn rules_have_the_same_print_as_long_as_nothing_changes_for_who_waits() {
    const BASE: &str = "featureGates: [flowControl]
plugins:
- {type: queue-scorer}
- {type: slo-deadline-ordering-policy, name: soonest}
- {type: concurrency-detector, parameters: {maxConcurrency: 4}}
flowControl:
  maxRequests: \"10\"
  saturationDetector: {pluginRef: concurrency-detector}
  priorityBands: [{priority: 1, orderingPolicyRef: soonest}]
";
    let print = |text: &str| {
        let (plan, _) = resolved(text, Generation::G2).unwrap();
        plan.admission.flow.as_ref().unwrap().print
    };
    let same = [
        BASE.replace("maxConcurrency: 4", "maxConcurrency: 5"),
        BASE.replace("queue-scorer", "load-aware-scorer"),
        BASE.replace("  maxRequests", "  enableEviction: true\n  maxRequests"),
    ];
    for text in same {
        assert_ne!(text, BASE);
        assert_eq!(print(&text), print(BASE), "{text}");
    }
    let others = [
        BASE.replace("\"10\"", "\"11\""),
        BASE.replace("slo-deadline-ordering", "edf-ordering"),
        BASE.replace("priority: 1", "priority: 2"),
        BASE.replace("  maxRequests", "  defaultRequestTTL: 1s\n  maxRequests"),
    ];
    for text in others {
        assert_ne!(text, BASE);
        assert_ne!(print(&text), print(BASE), "{text}");
    }
}
