//! `pointsman verify`: passes where routing works, and names the right cause where it does not.
#![allow(clippy::unwrap_used)]

use std::process::Output;
use std::time::{Duration, Instant};

use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::{Gateway, Sim, endpoints_file, plain};
use serde_json::Value;

/// The checks, in the order of the manual.
const CHECKS: [&str; 12] = [
    "pairs",
    "route",
    "plan",
    "candidates",
    "metrics",
    "burst",
    "failures",
    "headers",
    "scores",
    "served",
    "counter",
    "load",
];

fn verify(target: &str, admin: &str, flags: &[&str]) -> Output {
    let mut arguments = vec!["verify".to_owned(), "--target".into(), target.to_owned()];
    arguments.extend(["--admin".to_owned(), admin.to_owned()]);
    arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
    plain(&arguments).output().unwrap()
}

/// The report on a gateway as JSON, and the exit code.
fn report(gateway: &Gateway) -> (Value, i32) {
    let (target, admin) = (
        format!("http://{}", gateway.address),
        gateway.admin.to_string(),
    );
    let output = verify(&target, &admin, &["-o", "json"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let value: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}:\n{text}"));
    assert_eq!(value["schemaVersion"], 1);
    let ids: Vec<&str> = value["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, CHECKS);
    (value, output.status.code().unwrap())
}

#[track_caller]
fn passes(gateway: &Gateway) -> Value {
    let (report, code) = report(gateway);
    assert_eq!((code, &report["ok"]), (0, &Value::from(true)), "{report:#}");
    report
}

/// The report has failed; each of `causes` is a check and what its cause must say.
#[track_caller]
fn fails(gateway: &Gateway, causes: &[(&str, &str)]) -> Value {
    let (report, code) = report(gateway);
    assert_eq!(
        (code, &report["ok"]),
        (1, &Value::from(false)),
        "{report:#}"
    );
    for (id, words) in causes {
        let check = of(&report, id);
        let cause = check["cause"].as_str().unwrap_or_default();
        assert!(
            check["ok"] == false && cause.contains(words),
            "{id} should say '{words}':\n{report:#}"
        );
        assert!(
            check["fix"].as_str().is_some_and(|fix| !fix.is_empty()),
            "{check}"
        );
    }
    report
}

fn of<'a>(report: &'a Value, id: &str) -> &'a Value {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|c| c["id"] == id).unwrap()
}

fn detail(report: &Value, id: &str) -> String {
    of(report, id)["detail"].as_str().unwrap().to_owned()
}

#[test]
fn the_lab_passes() {
    let lab = Gateway::up(&["--quiet"]);
    let report = passes(&lab);
    assert!(
        detail(&report, "served").contains("by the pair in the answer's id"),
        "{report:#}"
    );
    assert!(
        detail(&report, "headers").contains("x-kv-backend: fs reaches vllm-prefill-fs"),
        "{report:#}"
    );

    let output = verify(&lab.address.to_string(), &lab.admin.to_string(), &[]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.ends_with("all 12 checks are good\n"), "{text}");
    assert!(output.stderr.is_empty(), "no progress unless on a terminal");
}

#[test]
fn more_pairs_and_another_profile_pass() {
    passes(&Gateway::up(&["--quiet", "--pairs", "p2p=2,fs=2"]));
    passes(&Gateway::up(&["--quiet", "--profile", "default"]));
}

#[test]
fn plain_model_servers_pass_by_their_own_counters() {
    let scratch = Scratch::new("verify-sims");
    let sims = [Sim::start("m", &[]), Sim::start("m", &[])];
    let file = endpoints_file(&[("a", sims[0].address), ("b", sims[1].address)]);
    let file = scratch.file("pool.json", &file);
    let report = passes(&Gateway::before(&file, &["--quiet"]));
    assert!(detail(&report, "served").contains("counters"), "{report:#}");
}

#[test]
fn a_filter_by_backend_passes_and_is_named() {
    let lab = Gateway::up(&["--quiet", "--profile", "proxy-performance-by-backend"]);
    let report = passes(&lab);
    for id in ["candidates", "load"] {
        assert!(
            detail(&report, id).contains("vllm-fs-proxy-0-rank-0 is filtered out by by-kv-backend"),
            "{report:#}"
        );
    }
}

#[test]
fn a_picker_that_ignores_load_is_named() {
    let scratch = Scratch::new("verify-random");
    for scorer in ["", "{pluginRef: active-request-scorer, weight: 1}, "] {
        let config = scratch.file(
            "random.yaml",
            &format!(
                "plugins: [{{type: active-request-scorer}}, {{type: random-picker}}, {{type: single-profile-handler}}]\n\
                 schedulingProfiles: [{{name: default, plugins: [{scorer}{{pluginRef: random-picker}}]}}]\n"
            ),
        );
        let lab = Gateway::up(&["--quiet", "--config-file", &config]);
        let report = fails(&lab, &[("plan", "random-picker")]);
        for id in ["pairs", "route", "metrics", "burst", "served", "counter"] {
            assert_eq!(of(&report, id)["ok"], true, "{report:#}");
        }
    }
}

#[test]
fn a_missing_metrics_page_is_named() {
    let scratch = Scratch::new("verify-404");
    let faults = scratch.file(
        "faults.yaml",
        "faults: [{target: vllm-fs-proxy, kind: metrics-404}]\n",
    );
    let lab = Gateway::up(&["--quiet", "--faults", &faults]);
    fails(
        &lab,
        &[("metrics", "vllm-fs-proxy-0-rank-0/metrics answers 404")],
    );
}

#[test]
fn an_endpoint_that_is_down_is_the_one_cause() {
    let scratch = Scratch::new("verify-down");
    let faults = scratch.file(
        "faults.yaml",
        "faults: [{target: vllm-fs-proxy, kind: down}]\n",
    );
    let lab = Gateway::up(&["--quiet", "--faults", &faults]);
    let down = "vllm-fs-proxy-0-rank-0 refuses connections";
    let report = fails(&lab, &[("pairs", down), ("metrics", down), ("burst", down)]);
    let failed = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|c| c["ok"] == false);
    for check in failed {
        let cause = check["cause"].as_str().unwrap();
        assert!(cause.contains(down), "{check}");
    }
}

#[test]
fn an_endpoint_that_hangs_or_is_slow_ends_in_time() {
    let scratch = Scratch::new("verify-hang");
    for (kind, says) in [
        ("hang", "does not answer"),
        ("slow, factor: 400", "does not answer"),
    ] {
        let faults = scratch.file(
            "faults.yaml",
            &format!("faults: [{{target: vllm-fs-proxy, kind: {kind}}}]\n"),
        );
        let lab = Gateway::up(&["--quiet", "--faults", &faults]);
        let begun = Instant::now();
        let report = report(&lab);
        // A bound that the command promises, not a measure of speed.
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "{kind}: {:?}",
            begun.elapsed()
        );
        if kind == "hang" {
            assert_eq!(report.1, 1);
            let cause = of(&report.0, "pairs")["cause"].as_str().unwrap().to_owned();
            assert!(cause.contains(says), "{cause}");
        }
    }
}

fn routes(scratch: &Scratch, plain: &str, header: &str) -> String {
    scratch.file(
        "routes.yaml",
        &format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r}}\nspec:\n  rules:\n\
             \x20 - matches: [{{path: {{type: PathPrefix, value: /}}, headers: [{{name: x-kv-backend, value: nvlink}}]}}]\n\
             \x20   backendRefs: [{{kind: Service, name: {header}}}]\n\
             \x20 - matches: [{{path: {{type: PathPrefix, value: /}}}}]\n    backendRefs: [{plain}]\n"
        ),
    )
}

#[test]
fn a_route_past_the_picker_is_named_and_the_picker_called_idle() {
    let scratch = Scratch::new("verify-routes");
    let file = routes(
        &scratch,
        "{kind: Service, name: vllm-p2p-proxy}",
        "vllm-p2p-proxy",
    );
    let lab = Gateway::up(&["--quiet", "--routes", &file]);
    fails(
        &lab,
        &[
            ("route", "bypass the picker"),
            ("served", "the picker is idle while traffic flows"),
            ("counter", "the picker is idle while traffic flows"),
        ],
    );
}

#[test]
fn a_header_route_that_leads_nowhere_or_to_the_other_pair_is_named() {
    let scratch = Scratch::new("verify-header");
    let pool = "{kind: InferencePool, name: p}";
    let file = routes(&scratch, pool, "vllm-p2p-prxy");
    let lab = Gateway::up(&["--quiet", "--routes", &file]);
    fails(
        &lab,
        &[("headers", "no endpoint of the pool belongs to it")],
    );
    drop(lab);
    let file = routes(&scratch, pool, "vllm-fs-proxy");
    let lab = Gateway::up(&["--quiet", "--routes", &file]);
    fails(
        &lab,
        &[(
            "headers",
            "whose endpoints have another llm-d.ai/kv-backend",
        )],
    );
}

#[test]
fn a_filter_that_matches_nobody_is_a_label_mismatch() {
    let scratch = Scratch::new("verify-labels");
    let config = scratch.file(
        "labels.yaml",
        "plugins: [{type: by-label-selector, name: by-gpu, parameters: {matchLabels: {gpu: h100}}}, {type: active-request-scorer}, {type: max-score-picker}, {type: single-profile-handler}]\n\
         schedulingProfiles: [{name: default, plugins: [{pluginRef: by-gpu}, {pluginRef: active-request-scorer}, {pluginRef: max-score-picker}]}]\n",
    );
    let lab = Gateway::up(&["--quiet", "--config-file", &config]);
    let report = fails(
        &lab,
        &[
            (
                "candidates",
                "label mismatch: no endpoint has the label that the filter by-gpu",
            ),
            ("failures", "InferencePoolResourceExhausted"),
        ],
    );
    assert!(
        of(&report, "candidates")["cause"]
            .as_str()
            .unwrap()
            .contains("llm-d.ai/kv-backend=fs")
    );
}

#[test]
fn nobody_there_is_one_sentence_and_still_a_document() {
    let output = verify("http://127.0.0.1:1", "http://127.0.0.1:1", &["-o", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ok"], false);
    assert!(
        report["checks"][0]["cause"]
            .as_str()
            .unwrap()
            .contains("admin port"),
        "{report}"
    );
    let lab = Gateway::up(&["--quiet"]);
    let output = verify("http://127.0.0.1:1", &lab.admin.to_string(), &[]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("the gateway http://127.0.0.1:1 cannot be asked"),
        "{text}"
    );
    assert_eq!(verify("nonsense", "x", &[]).status.code(), Some(1));
    assert_eq!(
        verify("http://a:1", "http://a:1", &["--timeout", "soon"])
            .status
            .code(),
        Some(2)
    );
}
