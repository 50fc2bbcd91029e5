//! The judges, without a network: a good gateway passes, and each thing that is made wrong is named.

#![allow(clippy::unwrap_used)]

use pointsman_wire::receipt::Receipt;
use serde_json::{Value, json};

use super::{all_good, judge};
use crate::verify::check::{Check, EXT_PROC};
use crate::verify::seen::{
    Answer, Bursts, Counters, Direct, Failure, HeaderProbe, Load, Probe, Seen, Views,
};

const NAMES: [&str; 2] = ["ns/p2p-0", "ns/fs-0"];

fn id(name: &str) -> String {
    let kind = &name[3..name.len() - 2];
    format!("cmpl-___prefill_addr_p-{kind}___decode_addr_d-{kind}_0af")
}

fn answered(name: &str) -> Probe {
    let answer = Answer {
        status: 200,
        id: Some(id(name)),
        ..Answer::default()
    };
    Probe {
        request_id: "r".to_owned(),
        answer: Ok(answer),
        receipt: None,
    }
}

fn failed(failure: Failure) -> Probe {
    Probe {
        request_id: "r".to_owned(),
        answer: Err(failure),
        receipt: None,
    }
}

fn receipt(picked: &str, served: &str) -> Option<Box<Receipt>> {
    let candidate = |name: &str| json!({"endpoint": name, "address": "127.0.0.1:1", "readings": {}, "scores": {"active-request-scorer": 1.0}, "total": 1.0});
    let value = json!({
        "schemaVersion": 1, "requestId": "r", "at": "", "door": "gateway", "model": "m", "promptBytes": 1,
        "plan": {"generation": 1, "compat": "g1", "hash": "0", "source": "s"},
        "pool": {"generation": 1, "size": 2},
        "profiles": [{"name": "default", "filtered": [], "candidates": NAMES.map(candidate), "tie": [], "draw": {"seed": 1, "value": null}, "picked": [picked]}],
        "attempts": [{"endpoint": served, "ms": 1.0}], "served": served,
        "outcome": {"kind": "served", "status": 200},
        "timesMs": {"queue": 0.0, "pick": 0.0}, "replayable": true, "truncated": false,
    });
    Some(Box::new(serde_json::from_value(value).unwrap()))
}

/// A request that `name` was picked for and served.
fn picked(name: &str) -> Probe {
    Probe {
        receipt: receipt(name, name),
        ..answered(name)
    }
}

fn views() -> Value {
    let endpoint = |name: &str| json!({"name": name, "address": "127.0.0.1:1", "labels": {"llm-d.ai/kv-backend": if name.contains("fs") { "fs" } else { "nvlink" }}});
    let route = |value: &str, service: &str, endpoint: &str| json!({"path": {"type": "PathPrefix", "value": "/"}, "method": null, "headers": [{"name": "x-kv-backend", "type": "Exact", "value": value}], "backends": [{"kind": "Service", "name": service, "weight": 1, "endpoints": [endpoint]}]});
    json!({
        "pool": {"endpoints": NAMES.map(endpoint)},
        "plan": {"source": "s", "profileHandler": {"type": "single-profile-handler", "name": "h"}, "profiles": [{"name": "default", "filters": [], "scorers": [{"type": "active-request-scorer", "name": "a", "weight": 1.0}], "picker": {"type": "max-score-picker", "name": "p"}}]},
        "routes": {"rules": [
            route("nvlink", "p2p", NAMES[0]), route("fs", "fs", NAMES[1]),
            {"path": {"type": "PathPrefix", "value": "/"}, "method": null, "headers": [], "backends": [{"kind": "InferencePool", "weight": 1}]},
        ]},
    })
}

fn read(value: &Value) -> Views {
    Views {
        pool: serde_json::from_value(value["pool"].clone()).unwrap(),
        plan: serde_json::from_value(value["plan"].clone()).unwrap(),
        routes: serde_json::from_value(value["routes"].clone()).unwrap(),
    }
}

/// What is seen of a gateway without a fault.
fn good() -> Seen {
    let direct = |name: &str| Direct {
        endpoint: name.to_owned(),
        probe: answered(name),
        took_ms: 40,
        metrics: Ok(200),
    };
    let header = |at: usize| HeaderProbe {
        rule: at,
        probe: answered(NAMES[at]),
        grew: Vec::new(),
    };
    let probes: Vec<Probe> = (0..20).map(|n| picked(NAMES[n % 2])).collect();
    let counters = |decisions| Counters {
        decisions,
        ..Counters::default()
    };
    Seen {
        target: "t:1".to_owned(),
        admin: "a:1".to_owned(),
        views: Some(Ok(read(&views()))),
        reached: Some(Ok(())),
        direct: Some(NAMES.map(direct).to_vec()),
        obstacle: None,
        not_asked: 0,
        headers: Some(vec![header(0), header(1)]),
        bursts: Some(Bursts {
            run: vec![(20, 5, probes)],
            counters: Some((counters(5.0), counters(25.0))),
            done: true,
            ..Bursts::default()
        }),
        load: Some(Load {
            candidates: 2,
            victims: vec![NAMES[0].to_owned()],
            streams: 6,
            in_flight: 6,
            still_open: 6,
            probes: (0..24).map(|_| picked(NAMES[1])).collect(),
            ..Load::default()
        }),
    }
}

fn with_views(change: impl FnOnce(&mut Value)) -> Seen {
    let mut value = views();
    change(&mut value);
    Seen {
        views: Some(Ok(read(&value))),
        ..good()
    }
}

fn probes(seen: &mut Seen) -> &mut Vec<Probe> {
    &mut seen.bursts.as_mut().unwrap().run[0].2
}

/// Exactly these checks fail; the first one's cause says each of `words`.
#[track_caller]
fn fails(seen: &Seen, ids: &[&str], words: &[&str]) -> Vec<Check> {
    let checks = judge(seen);
    let failed: Vec<&Check> = checks.iter().filter(|c| !c.ok).collect();
    let found: Vec<&str> = failed.iter().map(|c| c.id).collect();
    assert_eq!(found, ids, "{failed:#?}");
    let cause = failed[0].cause.clone().unwrap_or_default();
    for word in words {
        assert!(cause.contains(word), "{word} in {cause}");
    }
    assert!(!all_good(&checks));
    checks
}

#[test]
fn a_good_gateway_passes() {
    let checks = judge(&good());
    assert!(all_good(&checks), "{checks:#?}");
    assert_eq!(checks.len(), 13);
}

#[test]
fn what_was_not_reached_says_so() {
    let checks = judge(&Seen::default());
    assert!(
        checks
            .iter()
            .all(|c| !c.ok && c.detail == "not run: the time was over")
    );
    let seen = Seen {
        views: Some(Err("refused".to_owned())),
        ..Seen::default()
    };
    let checks = judge(&seen);
    assert!(checks[0].cause.as_deref().unwrap().contains("refused"));
    assert!(
        checks[1..]
            .iter()
            .all(|c| c.cause.as_deref().unwrap().contains("'reached'"))
    );
}

#[test]
fn plans_that_do_not_look_at_load_are_named() {
    let random =
        with_views(|v| v["plan"]["profiles"][0]["picker"]["type"] = "random-picker".into());
    fails(&random, &["plan"], &["random-picker", "ignores scores"]);
    let weightless = with_views(|v| v["plan"]["profiles"][0]["scorers"][0]["weight"] = 0.into());
    fails(&weightless, &["plan"], &["no scorer", "live load"]);
}

#[test]
fn a_route_past_the_picker_and_an_idle_picker_are_named() {
    let backend = json!({"kind": "Service", "name": "p2p", "weight": 1, "endpoints": [NAMES[0]]});
    let mut seen = with_views(|v| v["routes"]["rules"][2]["backends"][0] = backend);
    for probe in probes(&mut seen) {
        probe.receipt = None;
    }
    let bursts = seen.bursts.as_mut().unwrap();
    bursts.counters = Some((
        Counters::default(),
        Counters {
            bypassed: 20.0,
            ..Counters::default()
        },
    ));
    seen.load.as_mut().unwrap().not_tried = Some(crate::verify::seen::NotTried::NoReceipts);
    let ids = ["route", "receipts", "chosen-served", "counter", "load"];
    let checks = fails(&seen, &ids, &["bypasses the picker", "p2p"]);
    let served = checks.iter().find(|c| c.id == "chosen-served").unwrap();
    assert!(
        served
            .cause
            .as_deref()
            .unwrap()
            .contains("picker idle while traffic flows")
    );
}

#[test]
fn a_candidate_that_is_down_is_told_once() {
    let mut seen = good();
    let fs = &mut seen.direct.as_mut().unwrap()[1];
    fs.probe = failed(Failure::Refused);
    fs.metrics = Err(Failure::Refused);
    seen.headers.as_mut().unwrap()[1].probe = failed(Failure::Silent(4));
    *probes(&mut seen) = (0..20).map(|_| picked(NAMES[0])).collect();
    let ids = ["pairs", "metrics", "bursts", "header-routes"];
    let checks = fails(&seen, &ids, &["fs-0", "refuses the connection"]);
    for check in checks.iter().filter(|c| !c.ok).skip(1) {
        assert!(
            check
                .cause
                .as_deref()
                .unwrap()
                .starts_with("follows from 'pairs'"),
            "{check:?}"
        );
        assert!(check.fix.is_none());
    }
}

#[test]
fn a_missing_metrics_page_and_a_pinned_pool_are_named() {
    let mut seen = good();
    seen.direct.as_mut().unwrap()[1].metrics = Ok(404);
    fails(&seen, &["metrics"], &["fs-0", "404", "pass-through"]);
    let mut seen = good();
    *probes(&mut seen) = (0..20).map(|_| picked(NAMES[0])).collect();
    fails(&seen, &["bursts"], &["got no request", "fs-0"]);
}

#[test]
fn who_served_is_held_against_who_was_picked() {
    let mut seen = good();
    probes(&mut seen)[3].receipt = receipt(NAMES[0], NAMES[0]); // the id names fs
    fails(
        &seen,
        &["chosen-served"],
        &["the receipt says p2p-0", "names fs-0"],
    );
    let mut seen = good();
    probes(&mut seen)[3].receipt = receipt(NAMES[0], NAMES[1]);
    fails(&seen, &["chosen-served"], &["picked p2p-0, served by fs-0"]);
}

#[test]
fn without_pairs_in_ids_the_engines_counters_decide() {
    let mut seen = good();
    let plain = |probe: &mut Probe| probe.answer.as_mut().unwrap().id = Some("cmpl-1".to_owned());
    probes(&mut seen).iter_mut().for_each(plain);
    seen.direct
        .as_mut()
        .unwrap()
        .iter_mut()
        .for_each(|d| plain(&mut d.probe));
    seen.headers = Some(Vec::new());
    let growth = |p2p, fs| vec![(NAMES[0].to_owned(), p2p), (NAMES[1].to_owned(), fs)];
    let said = |seen: &Seen| {
        judge(seen)
            .into_iter()
            .find(|c| c.id == "chosen-served")
            .unwrap()
    };
    seen.bursts.as_mut().unwrap().growth = growth(Some(10.0), Some(12.0));
    assert!(said(&seen).ok && said(&seen).detail.contains("own counters"));
    seen.bursts.as_mut().unwrap().growth = growth(Some(10.0), None);
    assert!(said(&seen).ok && said(&seen).detail.contains("word alone"));
    seen.bursts.as_mut().unwrap().growth = growth(Some(20.0), Some(0.0));
    fails(&seen, &["chosen-served"], &["fs-0 served 10", "grew by 0"]);
}

#[test]
fn header_routes_that_lead_nowhere_or_elsewhere_are_named() {
    let mut seen = with_views(|v| v["routes"]["rules"][1]["backends"][0]["endpoints"] = json!([]));
    let refused = Answer {
        status: 503,
        ..Answer::default()
    };
    seen.headers.as_mut().unwrap()[1].probe.answer = Ok(refused);
    fails(
        &seen,
        &["header-routes"],
        &["x-kv-backend: fs", "no endpoint of the pool", "503"],
    );
    let mut seen = good();
    seen.headers.as_mut().unwrap()[1].probe = answered(NAMES[0]);
    fails(&seen, &["header-routes"], &["served by p2p-0"]);
    let mut seen = with_views(|v| {
        v["routes"]["rules"][0]["backends"][0]["endpoints"] = json!([NAMES[1]]);
        v["routes"]["rules"][1]["backends"][0]["endpoints"] = json!([NAMES[0]]);
    });
    seen.headers.as_mut().unwrap()[0].probe = answered(NAMES[1]);
    seen.headers.as_mut().unwrap()[1].probe = answered(NAMES[0]);
    fails(
        &seen,
        &["header-routes"],
        &["carry llm-d.ai/kv-backend=fs and not nvlink"],
    );
}

#[test]
fn a_filter_that_leaves_nothing_is_a_label_mismatch() {
    let mut seen = with_views(|v| {
        v["plan"]["profiles"][0]["filters"] = json!([{"type": "by-label-selector", "name": "only", "wants": "llm-d.ai/kv-backend=rdma"}]);
    });
    let refused = Answer {
        status: 429,
        dropped: Some("rejected-saturated".to_owned()),
        message: Some(
            "filter 'only' of profile 'default' left no endpoint for this request".to_owned(),
        ),
        ..Answer::default()
    };
    for probe in probes(&mut seen) {
        (probe.answer, probe.receipt) = (Ok(refused.clone()), None);
    }
    seen.bursts.as_mut().unwrap().counters = Some((Counters::default(), Counters::default()));
    seen.load = None;
    let ids = [
        "candidates",
        "bursts",
        "scheduling",
        "receipts",
        "chosen-served",
        "counter",
        "load",
    ];
    let words = [
        "label mismatch",
        "filter 'only'",
        "kv-backend=rdma",
        "kv-backend=fs (1)",
    ];
    fails(&seen, &ids, &words);
}

#[test]
fn too_many_requests_to_the_loaded_one_or_streams_that_ended_fail() {
    let mut seen = good();
    let load = seen.load.as_mut().unwrap();
    for probe in &mut load.probes[..6] {
        *probe = picked(NAMES[0]);
    }
    fails(&seen, &["load"], &["does not spare"]);
    seen.load.as_mut().unwrap().probes[0] = picked(NAMES[1]);
    assert!(all_good(&judge(&seen)), "five of 24 are allowed");
    seen.load.as_mut().unwrap().still_open = 5;
    fails(&seen, &["load"], &["still open"]);
}

#[test]
fn a_plan_that_predicts_may_use_the_loaded_one_where_it_expects_no_delay() {
    let with = |busy: f64| {
        let mut seen = good();
        let load = seen.load.as_mut().unwrap();
        for probe in &mut load.probes {
            *probe = picked(NAMES[0]);
            let receipt = probe.receipt.as_mut().unwrap();
            for candidate in &mut receipt.profiles[0].candidates {
                let time = if load.victims.contains(&candidate.endpoint) {
                    busy
                } else {
                    40.0
                };
                candidate.terms.insert("ttftMs".to_owned(), time);
            }
        }
        seen
    };
    assert!(all_good(&judge(&with(45.0))));
    fails(&with(80.0), &["load"], &["does not spare"]);
}

#[test]
fn a_gateway_that_keeps_heads_from_the_picker_is_told_from_one_that_asks_it_nothing() {
    let mut seen = good();
    for probe in probes(&mut seen) {
        probe.receipt = None;
    }
    seen.load.as_mut().unwrap().not_tried = Some(crate::verify::seen::NotTried::NoReceipts);
    let ids = ["receipts", "chosen-served", "load"];
    let words = ["20 decisions", "keeps their headers"];
    let checks = fails(&seen, &ids, &words);
    let served = checks.iter().find(|c| c.id == "chosen-served").unwrap();
    assert!(served.fix.is_some());
    // What the cluster's objects say explains it.
    seen.obstacle = Some((EXT_PROC, "EnvoyFilter s/f".to_owned()));
    let checks = fails(&seen, &ids, &words);
    let served = checks.iter().find(|c| c.id == "chosen-served").unwrap();
    let cause = served.cause.as_deref().unwrap();
    assert_eq!(cause, "follows from 'ext-proc': EnvoyFilter s/f");
}

#[test]
fn who_served_counts_under_load_and_not_who_was_picked() {
    let mut seen = good();
    for probe in &mut seen.load.as_mut().unwrap().probes[..12] {
        // By turns: the receipt says the idle one, the answer's id the busy one.
        probe.answer = answered(NAMES[0]).answer;
    }
    fails(&seen, &["load"], &["does not spare"]);
}

#[test]
fn what_cannot_be_reached_follows_from_what_the_cluster_says() {
    let mut seen = good();
    seen.views = Some(Err("no picker is ready".to_owned()));
    seen.obstacle = Some((EXT_PROC, "cause".to_owned()));
    let checks = judge(&seen);
    assert_eq!(
        checks[0].cause.as_deref(),
        Some("follows from 'ext-proc': cause")
    );
    assert!(checks[0].detail.contains("no picker is ready"));
}
