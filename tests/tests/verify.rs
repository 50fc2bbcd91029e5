//! `pointsman verify`: a good gateway passes, each thing that is made wrong is named, and it always ends in time.

#![allow(clippy::unwrap_used)]

use std::process::Command;

use pointsman_tests::answer::MODEL;
use pointsman_tests::binary::pointsman;
use pointsman_tests::patience::until;
use pointsman_tests::port;
use pointsman_tests::process::{Process, Stream};
use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::{Gateway, Sim, endpoints_file};
use serde_json::{Value, json};

/// A run: its exit code and its document.
struct Verdict {
    code: Option<i32>,
    document: Value,
}

fn command(gateway: &Gateway, flags: &[&str]) -> Command {
    let mut command = Command::new(pointsman());
    command
        .args(["verify", "--target", &format!("http://{}", gateway.address)])
        .args(["--admin", &format!("http://{}", gateway.admin)])
        .args(flags);
    command
}

/// Runs it to its end, which also comes when all hangs: after its own 28 s, while a test waits for twice that.
#[track_caller]
fn verify(gateway: &Gateway) -> Verdict {
    let mut process = Process::start("verify", command(gateway, &["-o", "json"]));
    let status = process.wait_end();
    let text = process.lines_of(Stream::Out).join("\n");
    let document: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert_eq!(document["schemaVersion"], 1);
    assert_eq!(document["ok"], status.code() == Some(0), "{document:#}");
    assert_eq!(document["checks"].as_array().unwrap().len(), 13);
    assert_eq!(process.lines_of(Stream::Err), Vec::<String>::new());
    Verdict {
        code: status.code(),
        document,
    }
}

impl Verdict {
    #[track_caller]
    fn check(&self, id: &str) -> &Value {
        let checks = self.document["checks"].as_array().unwrap();
        let found = checks.iter().find(|check| check["id"] == id);
        found.unwrap_or_else(|| panic!("no check {id} in {:#}", self.document))
    }

    #[track_caller]
    fn passes(&self) {
        assert_eq!(self.code, Some(0), "{:#}", self.document);
    }

    /// The check fails, and its cause and fix say these words.
    #[track_caller]
    fn fails(&self, id: &str, cause: &[&str], fix: &str) {
        assert_eq!(self.code, Some(1), "{:#}", self.document);
        let check = self.check(id);
        assert_eq!(check["ok"], false, "{check:#}");
        for word in cause {
            let said = check["cause"].as_str().unwrap_or_default();
            assert!(said.contains(word), "{word} in {check:#}");
        }
        let said = check["fix"].as_str().unwrap_or_default();
        assert!(said.contains(fix), "{fix} in {check:#}");
    }

    #[track_caller]
    fn says(&self, id: &str, words: &[&str]) {
        let detail = self.check(id)["detail"].as_str().unwrap();
        for word in words {
            assert!(detail.contains(word), "{word} in {detail}");
        }
    }
}

fn faulty(kind: &str, target: &str) -> (Gateway, Scratch) {
    let files = Scratch::new("verify");
    let mut fault = json!({"at": "0s", "target": target, "kind": kind});
    if kind == "slow" {
        fault["factor"] = 10.into();
    }
    let file = files.file("faults.yaml", &json!({"faults": [fault]}).to_string());
    let lab = Gateway::up(&["--quiet", "--seed", "7", "--faults", &file]);
    (lab, files)
}

/// A lab with the plan of these plugins, each with its reference in the one profile.
fn planned(plugins: &str, used: &str) -> (Gateway, Scratch) {
    let files = Scratch::new("verify");
    let config = files.file(
        "config.yaml",
        &format!(
            "apiVersion: inference.networking.x-k8s.io/v1alpha1\nkind: EndpointPickerConfig\n\
             plugins:\n{plugins}- type: single-profile-handler\n\
             schedulingProfiles:\n- name: default\n  plugins:\n{used}"
        ),
    );
    let lab = Gateway::up(&["--quiet", "--seed", "7", "--config-file", &config]);
    (lab, files)
}

fn routed(routes: &str) -> (Gateway, Scratch) {
    let files = Scratch::new("verify");
    let file = files.file("routes.yaml", routes);
    let lab = Gateway::up(&["--quiet", "--seed", "7", "--routes", &file]);
    (lab, files)
}

#[test]
fn the_lab_passes_in_both_forms() {
    let lab = Gateway::up(&["--quiet", "--seed", "7"]);
    let verdict = verify(&lab);
    verdict.passes();
    verdict.says("pairs", &["vllm-prefill-fs", "vllm-decode-p2p:14579"]);
    verdict.says("chosen-served", &["130 of 130", "answer's id"]);
    verdict.says("counter", &["130 requests, 130 decisions, 0 past"]);
    verdict.says("header-routes", &["x-kv-backend: fs -> vllm-fs-proxy"]);
    verdict.says("load", &["streams held", "of 24"]);
    let output = command(&lab, &[]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("All 13 checks hold."), "{text}");
    lab.wait_idle();
}

#[test]
fn more_pairs_and_the_profile_of_prefixes_pass() {
    let lab = Gateway::up(&["--quiet", "--seed", "7", "--pairs", "p2p=2,fs=2"]);
    verify(&lab).passes();
    drop(lab);
    let lab = Gateway::up(&["--quiet", "--seed", "7", "--profile", "default"]);
    verify(&lab).passes();
}

#[test]
fn plain_servers_behind_the_gateways_own_profile_pass() {
    let sims = [Sim::start(MODEL, &[]), Sim::start(MODEL, &[])];
    let files = Scratch::new("verify");
    let endpoints = endpoints_file(&[("first", sims[0].address), ("second", sims[1].address)]);
    let endpoints = files.file("endpoints.yaml", &endpoints);
    let gateway = Gateway::before(&endpoints, &["--quiet", "--seed", "7"]);
    let verdict = verify(&gateway);
    verdict.passes();
    verdict.says("chosen-served", &["130 of 130", "own counters"]);
    verdict.says("header-routes", &["there are no header routes"]);
}

#[test]
fn a_picker_that_ignores_scores_is_named() {
    let (lab, _files) = planned("- type: random-picker\n", "  - pluginRef: random-picker\n");
    verify(&lab).fails(
        "plan",
        &["random-picker", "ignores scores"],
        "max-score-picker",
    );
    drop(lab);
    let (lab, _files) = planned(
        "- type: active-request-scorer\n- type: random-picker\n",
        "  - {pluginRef: active-request-scorer, weight: 1}\n  - pluginRef: random-picker\n",
    );
    verify(&lab).fails(
        "plan",
        &["random-picker", "ignores scores"],
        "max-score-picker",
    );
}

#[test]
fn a_missing_metrics_page_is_named() {
    let (lab, _files) = faulty("metrics-404", "vllm-fs-proxy");
    verify(&lab).fails(
        "metrics",
        &["vllm-fs-proxy-0-rank-0", "404"],
        "pass /metrics on",
    );
}

#[test]
fn a_proxy_that_is_down_is_told_once() {
    let (lab, _files) = faulty("down", "vllm-fs-proxy");
    let verdict = verify(&lab);
    let cause = ["vllm-fs-proxy-0-rank-0", "refuses the connection"];
    verdict.fails("pairs", &cause, "start vllm-fs-proxy-0-rank-0");
    for id in ["metrics", "bursts", "header-routes", "load"] {
        verdict.fails(id, &["follows from 'pairs'"], "");
        assert!(verdict.check(id)["fix"].is_null());
    }
    let output = command(&lab, &[]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    for word in ["FAILED", "cause", "refuses the connection", "fix"] {
        assert!(text.contains(word), "{word} in {text}");
    }
}

#[test]
fn a_proxy_that_hangs_does_not_hang_the_check() {
    let (lab, _files) = faulty("hang", "vllm-fs-proxy");
    let verdict = verify(&lab);
    let cause = ["vllm-fs-proxy-0-rank-0", "no answer within 4 s"];
    verdict.fails("pairs", &cause, "vllm-fs-proxy-0-rank-0");
    verdict.fails("bursts", &["follows from 'pairs'"], "");
}

#[test]
fn a_slow_pair_is_waited_for() {
    let (lab, _files) = faulty("slow", "vllm-decode-fs");
    let verdict = verify(&lab);
    verdict.says("pairs", &["2 of 2 serve", "vllm-fs-proxy-0-rank-0", "ms"]);
    assert_eq!(verdict.check("pairs")["ok"], true);
}

#[test]
fn a_route_past_the_picker_is_named() {
    let (lab, _files) = routed(
        "kind: HTTPRoute\nspec:\n  rules:\n  - backendRefs: [{kind: Service, name: vllm-p2p-proxy}]\n",
    );
    let verdict = verify(&lab);
    verdict.fails(
        "route",
        &["bypasses the picker", "vllm-p2p-proxy"],
        "InferencePool",
    );
    let idle = ["picker idle while traffic flows"];
    verdict.fails("chosen-served", &idle, "route");
    verdict.fails("counter", &idle, "route");
}

#[test]
fn header_routes_to_nobody_or_to_the_other_pair_are_named() {
    let rule = |value: &str, service: &str| {
        format!(
            "  - matches: [{{headers: [{{name: x-kv-backend, value: {value}}}]}}]\n    backendRefs: [{{kind: Service, name: {service}}}]\n"
        )
    };
    let routes = |fs: &str, nvlink: &str| {
        format!(
            "kind: HTTPRoute\nspec:\n  rules:\n{}{}  - backendRefs: [{{kind: InferencePool, name: pool}}]\n",
            rule("fs", fs),
            rule("nvlink", nvlink)
        )
    };
    let (lab, _files) = routed(&routes("vllm-fs-proxi", "vllm-p2p-proxy"));
    let cause = ["x-kv-backend: fs", "vllm-fs-proxi", "503"];
    verify(&lab).fails("header-routes", &cause, "name of the Service");
    drop(lab);
    let (lab, _files) = routed(&routes("vllm-p2p-proxy", "vllm-fs-proxy"));
    let cause = ["x-kv-backend: fs", "kv-backend=nvlink and not fs"];
    verify(&lab).fails("header-routes", &cause, "kv-backend=fs");
}

#[test]
fn a_filter_that_leaves_one_passes_and_one_that_leaves_none_does_not() {
    let lab = Gateway::up(&["--quiet", "--profile", "proxy-performance-by-backend"]);
    let verdict = verify(&lab);
    verdict.passes();
    let filtered = ["vllm-fs-proxy-0-rank-0 is filtered by by-kv-backend"];
    verdict.says("load", &filtered);
    verdict.says("candidates", &filtered);
    drop(lab);
    let (lab, _files) = planned(
        "- name: only-rdma\n  type: by-label-selector\n  parameters: {matchLabels: {llm-d.ai/kv-backend: rdma}}\n\
         - type: active-request-scorer\n- type: max-score-picker\n",
        "  - pluginRef: only-rdma\n  - {pluginRef: active-request-scorer, weight: 1}\n  - pluginRef: max-score-picker\n",
    );
    let cause = [
        "label mismatch",
        "only-rdma",
        "llm-d.ai/kv-backend=rdma",
        "llm-d.ai/kv-backend=fs (1)",
    ];
    verify(&lab).fails("candidates", &cause, "only-rdma");
}

#[test]
fn nobody_there_wrong_usage_and_an_interrupt_have_their_codes() {
    let nowhere = format!("http://{}", port::free());
    let run = |flags: &[&str]| {
        let mut command = Command::new(pointsman());
        command.arg("verify").args(flags).output().unwrap()
    };
    let output = run(&["--target", &nowhere, "--admin", &nowhere, "-o", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["ok"], false);
    let cause = document["checks"][0]["cause"].as_str().unwrap();
    assert!(
        cause.contains(&nowhere) && cause.contains("refused"),
        "{cause}"
    );
    assert_eq!(run(&["--target", "https://x"]).status.code(), Some(2));
    assert_eq!(run(&["--timeout", "0s"]).status.code(), Some(2));

    let (lab, _files) = faulty("hang", "vllm-fs-proxy");
    let unreached = command(&lab, &["--timeout", "1s", "-o", "json"])
        .output()
        .unwrap();
    assert_eq!(unreached.status.code(), Some(1));
    let text = String::from_utf8(unreached.stdout).unwrap();
    assert!(text.contains("not run: the time was over"), "{text}");

    let mut process = Process::start("verify", command(&lab, &[]));
    // It waits for the one that hangs by now, and for seconds more.
    until("a request under way", || {
        (process.ended().is_some() || waits(&lab)).then_some(())
    });
    process.interrupt();
    assert_eq!(process.wait_end().code(), Some(130));
}

/// Whether the gateway's requests have reached the one that hangs.
fn waits(lab: &Gateway) -> bool {
    let busy = |endpoint: &Value| endpoint["inFlight"].as_u64() > Some(0);
    lab.endpoints().iter().any(busy)
}
