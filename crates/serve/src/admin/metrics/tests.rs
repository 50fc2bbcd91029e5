//! Whole pages: what a Prometheus would say to them, and whether the numbers are those of the requests.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pointsman_core::config::basis::{Basis, Registry};
use pointsman_core::config::presets::preset;
use pointsman_core::config::resolved::resolve;
use pointsman_core::contract::spec::Generation;
use pointsman_core::exchange::event::Cause;
use pointsman_core::model::endpoint::Labels;
use pointsman_core::model::request::InferenceRequest;
use pointsman_core::model::slots::{Reading, ScrapeState};
use pointsman_core::model::usage::Usage;
use pointsman_core::schedule::plan::Plan;
use pointsman_feeds::clock::Clock;
use pointsman_feeds::membership::{Member, Membership};
use pointsman_http::ClientOptions;

use crate::admin::metrics::render;
use crate::door::route::Routes;
use crate::exchange::Exchange;
use crate::metrics::catalogue::ALL;
use crate::record::log::Log;
use crate::router::{Lane, Router};

fn plan() -> Plan {
    let registry = Registry::new(pointsman_plugins::ALL);
    let written = preset("proxy-performance").unwrap();
    let basis = Basis::new(&registry, Generation::G1, "a \"plan\"\\\n");
    let Ok(resolved) = resolve(&written, &basis) else {
        panic!("the preset resolves")
    };
    resolved.plan
}

fn router(plan: Plan, names: &[&str]) -> (Arc<Router>, [Arc<Lane>; 2]) {
    let membership = Arc::new(Membership::new(16));
    let members = names.iter().zip(1..).map(|(name, n)| Member {
        name: (*name).to_owned(),
        address: ([10, 0, 0, n], 8000).into(),
        labels: Labels::default(),
    });
    membership.replace(&members.collect::<Vec<_>>());
    let log = Log::new(None, None, 0);
    let routes = Routes::all_to_pool();
    let router = Arc::new(Router::new(
        Clock::start(),
        membership,
        plan,
        routes,
        log,
        7,
    ));
    let lanes = [(); 2].map(|()| router.add_lane(2, ClientOptions::default()));
    (router, lanes)
}

/// One request that is answered in two parts.
fn serve(lane: &Arc<Lane>, model: &str) {
    let mut exchange = Exchange::begin(lane, "gateway", "id", "/v1/completions");
    exchange.ready(&InferenceRequest {
        model,
        stream: true,
        prompt_bytes: 100,
        ..InferenceRequest::default()
    });
    exchange.head(200);
    exchange.passed(70);
    exchange.passed(30);
    let usage = Usage {
        prompt_tokens: 20,
        completion_tokens: 2,
        cached_tokens: Some(16),
    };
    exchange.end(Some(usage), None);
}

/// What a checker of pages finds; the samples by name and labels as written.
fn checked(page: &str) -> BTreeMap<String, f64> {
    let (mut families, mut samples) = (BTreeMap::new(), BTreeMap::new());
    let mut current = String::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            current = rest.split(' ').next().unwrap().to_owned();
            assert!(rest.len() > current.len() + 1, "no help: {line}");
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, current, "TYPE after another HELP: {line}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            let before = families.insert(current.clone(), kind.to_owned());
            assert_eq!(before, None, "{name} is there twice");
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let name = series.split('{').next().unwrap();
        let kind = &families[&current];
        let suffixes: &[&str] = match kind.as_str() {
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        assert!(
            suffixes
                .iter()
                .any(|suffix| *name == format!("{current}{suffix}")),
            "{line} stands under {current}"
        );
        if let Some(labels) = series
            .strip_prefix(name)
            .filter(|labels| !labels.is_empty())
        {
            assert!(labels.starts_with('{') && labels.ends_with('}'), "{line}");
            let quotes = labels.replace("\\\\", "").replace("\\\"", "");
            assert_eq!(
                quotes.matches('"').count() % 2,
                0,
                "unescaped quote: {line}"
            );
        }
        let value: f64 = value.parse().unwrap();
        let before = samples.insert(series.to_owned(), value);
        assert_eq!(before, None, "{series} is there twice");
    }
    for (name, kind) in &families {
        if kind == "histogram" {
            check_histogram(name, page, &samples);
        }
    }
    samples
}

/// Buckets rise in bound and count, end in +Inf, and agree with the count.
fn check_histogram(name: &str, page: &str, samples: &BTreeMap<String, f64>) {
    let prefix = format!("{name}_bucket{{");
    let mut last: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with(&prefix)) {
        let (series, count) = line.rsplit_once(' ').unwrap();
        let labels = series
            .strip_prefix(&prefix)
            .unwrap()
            .strip_suffix('}')
            .unwrap();
        let (labels, bound) = labels.rsplit_once("le=\"").unwrap();
        let bound: f64 = bound.trim_end_matches('"').parse().unwrap();
        let count: f64 = count.parse().unwrap();
        let before = last.insert(labels.trim_end_matches(',').to_owned(), (bound, count));
        if let Some((lower, fewer)) = before {
            assert!(lower < bound && fewer <= count, "{line}");
        }
    }
    assert!(!last.is_empty(), "{name} has no buckets");
    for (labels, (bound, count)) in last {
        assert_eq!(bound, f64::INFINITY, "{name}{{{labels}}}");
        let braces = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{labels}}}")
        };
        assert_eq!(samples[&format!("{name}_count{braces}")], count);
        assert!(samples.contains_key(&format!("{name}_sum{braces}")));
    }
}

const MF: &str =
    r#"{model_name="m",target_model_name="m",fairness_id="default-flow",priority="0"}"#;

#[test]
fn the_numbers_are_those_of_the_requests_of_all_workers() {
    let (router, lanes) = router(plan(), &["ns/a"]);
    serve(&lanes[0], "m");
    serve(&lanes[1], "m");
    serve(&lanes[1], "m");
    let samples = checked(&render(&router));
    let of = |name: &str| samples.get(&format!("{name}{MF}")).copied();
    assert_eq!(of("llm_d_epp_request_total"), Some(3.0));
    assert_eq!(of("llm_d_epp_request_running"), Some(0.0));
    for name in [
        "request_duration_seconds",
        "request_size_bytes",
        "request_streaming_itl_seconds",
        "request_streaming_tpot_seconds",
        "request_ntpot_seconds",
    ] {
        assert_eq!(of(&format!("llm_d_epp_{name}_count")), Some(3.0), "{name}");
    }
    assert_eq!(of("llm_d_epp_response_size_bytes_sum"), Some(300.0));
    assert_eq!(of("llm_d_epp_request_input_tokens_sum"), Some(60.0));
    assert_eq!(of("llm_d_epp_request_cached_tokens_sum"), Some(48.0));
    let streamed = MF.replace('}', ",streaming=\"true\"}");
    assert_eq!(
        samples[&format!("llm_d_epp_request_ttft_seconds_count{streamed}")],
        3.0
    );
    let picks =
        r#"{status="success",target_model_name="m",endpoint_name="a",namespace="ns",port="8000"}"#;
    assert_eq!(
        samples[&format!("llm_d_epp_scheduler_attempts_total{picks}")],
        3.0
    );
    assert_eq!(
        samples["llm_d_epp_scheduler_e2e_duration_seconds_count"],
        3.0
    );
    assert_eq!(
        samples["llm_d_epp_request_processing_duration_seconds_count"],
        3.0
    );
    // The first decision of each worker is one whose plugins are timed.
    let scorer = r#"{extension_point="Scorer",plugin_type="active-request-scorer",plugin_name="active-request-scorer"}"#;
    assert_eq!(
        samples[&format!("llm_d_epp_plugin_duration_seconds_count{scorer}")],
        2.0
    );
}

#[test]
fn series_carry_who_asked_for_what_and_how_urgently() {
    let (router, lanes) = router(plan(), &["ns/a", "ns/b"]);
    router.name_pool("pool");
    let ask = |lane: &Arc<Lane>, flow, priority| {
        let mut exchange = Exchange::begin(lane, "ext_proc", "id", "/v1/completions");
        exchange.ready(&InferenceRequest {
            model: "real",
            asked_model: "alias",
            flow,
            priority,
            ..InferenceRequest::default()
        });
        exchange
    };
    let mut ended = ask(&lanes[0], "tenant", -1);
    let _under_way = [ask(&lanes[0], "tenant", -1), ask(&lanes[1], "tenant", -1)];
    let _another = ask(&lanes[1], "other-tenant", 2);
    ended.head(200);
    ended.end(None, None);
    let samples = checked(&render(&router));
    let labels = |flow: &str, priority: &str| {
        format!(
            "{{model_name=\"alias\",target_model_name=\"real\",fairness_id=\"{flow}\",priority=\"{priority}\"}}"
        )
    };
    let of = |name: &str, flow: &str, priority: &str| {
        samples[&format!("llm_d_epp_{name}{}", labels(flow, priority))]
    };
    assert_eq!(of("request_total", "tenant", "-1"), 3.0);
    assert_eq!(of("request_running", "tenant", "-1"), 2.0);
    assert_eq!(of("request_running", "other-tenant", "2"), 1.0);
    assert_eq!(of("request_duration_seconds_count", "tenant", "-1"), 1.0);
    // Names that tell less apart add up.
    let old = r#"inference_objective_running_requests{model_name="alias"}"#;
    assert_eq!(samples[old], 3.0);
    let old = r#"inference_objective_request_total{model_name="alias",target_model_name="real",priority="-1"}"#;
    assert_eq!(samples[old], 3.0);
    let in_flight = |flow: &str| -> f64 {
        let named = format!("fairness_id=\"{flow}\"");
        let rows = samples.iter();
        rows.filter(|(name, _)| {
            name.starts_with("llm_d_epp_inflight_requests{") && name.contains(&named)
        })
        .map(|(_, value)| value)
        .sum()
    };
    assert_eq!((in_flight("tenant"), in_flight("other-tenant")), (2.0, 1.0));
    assert!(samples.contains_key(r#"llm_d_epp_ready_endpoints{name="pool"}"#));
    assert!(samples["process_resident_memory_bytes"] > 0.0);
}

#[test]
fn the_plan_is_told_with_each_label_once() {
    let (router, _) = router(plan(), &[]);
    let page = render(&router);
    let line = page
        .lines()
        .find(|line| line.starts_with("pointsman_plan_info{"))
        .unwrap();
    for label in [
        "source",
        "generation",
        "compat",
        "reason",
        "hash",
        "staleness",
    ] {
        let named = format!("{label}=\"");
        let at = line.matches(&format!("{{{named}")).count()
            + line.matches(&format!(",{named}")).count();
        assert_eq!(at, 1, "{line}");
    }
}

#[test]
fn earlier_names_carry_the_same_numbers_and_can_be_left_out() {
    let (router, lanes) = router(plan(), &["ns/a"]);
    serve(&lanes[0], "m");
    let samples = checked(&render(&router));
    let old = r#"{model_name="m",target_model_name="m"}"#;
    assert_eq!(
        samples[&format!("inference_objective_request_sizes_count{old}")],
        1.0
    );
    assert_eq!(
        samples[r#"inference_objective_running_requests{model_name="m"}"#],
        0.0
    );
    assert_eq!(samples[r#"inference_pool_ready_pods{name="default"}"#], 0.0);
    let mut own = plan();
    own.own.metrics.legacy_names = false;
    router.plan.store(Arc::new(own));
    let page = render(&router);
    checked(&page);
    let known: BTreeSet<&str> = ALL.iter().map(|family| family.name).collect();
    for line in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        assert!(known.contains(line.split(' ').next().unwrap()), "{line}");
    }
}

#[test]
fn errors_have_a_code_and_leave_nothing_running() {
    let (router, lanes) = router(plan(), &["ns/a"]);
    let request = InferenceRequest {
        model: "m",
        ..InferenceRequest::default()
    };
    // The client leaves; the answer breaks; the engine says no; the body was no JSON.
    let mut gone = Exchange::begin(&lanes[0], "gateway", "1", "/");
    gone.ready(&request);
    drop(gone);
    let mut broken = Exchange::begin(&lanes[0], "gateway", "2", "/");
    broken.ready(&request);
    broken.head(200);
    broken.broken(Cause::Reset);
    let mut refused = Exchange::begin(&lanes[0], "gateway", "3", "/");
    refused.ready(&request);
    refused.head(503);
    refused.end(None, None);
    let mut malformed = Exchange::begin(&lanes[0], "gateway", "4", "/");
    let reject = pointsman_core::model::reject::Reject::Malformed("x".to_owned());
    malformed.refuse(reject.clone());
    malformed.rejected(&reject, 400);
    let samples = checked(&render(&router));
    let of = |model: &str, code: &str| {
        let labels = MF.replace("\"m\"", &format!("\"{model}\""));
        let labels = labels.replace('}', &format!(",error_code=\"{code}\"}}"));
        samples
            .get(&format!("llm_d_epp_request_error_total{labels}"))
            .copied()
    };
    assert_eq!(of("m", "Unknown"), None, "leaving is no fault");
    assert_eq!(of("m", "ModelServerError"), Some(2.0));
    assert_eq!(of("", "BadRequest"), Some(1.0));
    // Three were decided and one was refused before; two had an answer.
    assert_eq!(
        samples["llm_d_epp_request_processing_duration_seconds_count"],
        4.0
    );
    assert_eq!(
        samples["llm_d_epp_response_processing_duration_seconds_count"],
        2.0
    );
    assert_eq!(samples[&format!("llm_d_epp_request_running{MF}")], 0.0);
    let unnamed = MF.replace("\"m\"", "\"\"");
    assert_eq!(
        samples.get(&format!("llm_d_epp_request_running{unnamed}")),
        None
    );
}

#[test]
fn ten_thousand_models_make_a_thousand_series_and_one() {
    let mut short = plan();
    short.own.metrics.legacy_names = false;
    let (router, lanes) = router(short, &["ns/a"]);
    for n in 0..10_000 {
        serve(&lanes[n % 2], &format!("m{n}"));
    }
    let samples = checked(&render(&router));
    let total = samples
        .iter()
        .filter(|(name, _)| name.starts_with("llm_d_epp_request_total{"));
    let (count, sum) = total.fold((0, 0.0), |(count, sum), (_, value)| {
        (count + 1, sum + value)
    });
    assert_eq!((count, sum), (1001, 10_000.0));
    let other = MF.replace("\"m\"", "\"other\"");
    assert_eq!(samples[&format!("llm_d_epp_request_total{other}")], 9000.0);
}

#[test]
fn names_that_need_escapes_stay_one_label() {
    let (router, lanes) = router(plan(), &["ns/a\"b\\c"]);
    serve(&lanes[0], "line\nbreak \"quoted\" }");
    let page = render(&router);
    checked(&page);
    assert!(page.contains(r#"model_name="line\nbreak \"quoted\" }""#));
    assert!(page.contains(r#"endpoint="ns/a\"b\\c""#));
}

#[test]
fn the_pool_is_averaged_over_fresh_endpoints_and_stale_ones_are_counted_by_reason() {
    let (router, _) = router(plan(), &["ns/a", "ns/b", "ns/c", "other/a"]);
    let (snapshot, slots) = (router.membership.snapshot(), router.membership.slots());
    let now = router.clock.now();
    for (at, waiting) in [(0, 1.0), (1, 4.0)] {
        let slot = snapshot.endpoints[at].slot;
        slots.write(slot, Reading::Waiting, waiting, now);
        slots.set_scrape_state(slot, ScrapeState::Fresh);
    }
    slots.set_scrape_state(snapshot.endpoints[2].slot, ScrapeState::NotFound);
    let samples = checked(&render(&router));
    let pool = r#"{name="default"}"#;
    assert_eq!(samples[&format!("llm_d_epp_average_queue_size{pool}")], 2.5);
    assert_eq!(
        samples[&format!("llm_d_epp_std_dev_queue_size{pool}")],
        2.12
    );
    assert_eq!(samples[&format!("llm_d_epp_ready_endpoints{pool}")], 2.0);
    assert_eq!(samples["pointsman_stale_endpoints"], 2.0);
    for (reason, count) in [("never", 1.0), ("not-found", 1.0), ("old", 0.0)] {
        let series = format!("pointsman_stale_endpoints_by_reason{{reason=\"{reason}\"}}");
        assert_eq!(samples[&series], count, "{reason}");
    }
    let queue = r#"{name="default",model_server_endpoint="b"}"#;
    assert_eq!(
        samples[&format!("llm_d_epp_per_endpoint_queue_size{queue}")],
        4.0
    );
}
