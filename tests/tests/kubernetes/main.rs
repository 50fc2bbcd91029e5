//! Discovery in a real Kubernetes API server: what the picker knows, when it is ready, and that nothing which happens
//! to the API server harms requests.

#![allow(clippy::unwrap_used)]

mod bed;
mod effects;
mod election;
mod outage;
mod readers;

use std::collections::BTreeMap;

use bed::{Bed, endpoints, is_ready, servers, setup, state, wait_discovery};
use pointsman_tests::binary::workspace;
use pointsman_tests::cluster::Cluster;
use pointsman_tests::envoy::{Bodies, Envoy};
use pointsman_tests::http::Request;
use pointsman_tests::patience::until;
use serde_json::{Value, json};

#[test]
fn the_pool_and_its_pods_come_and_go() {
    let bed = Bed::new(Cluster::shared(&setup()), "pool");
    let picker = bed.picker_of_pool(&[]);
    wait_discovery(&picker, "an empty listing", |view| {
        state(view, "the pool") == "following"
    });
    assert!(!is_ready(&picker), "there is no pool");
    bed.pod("a", "x", json!({}));
    bed.status("a", "127.0.0.2", true);
    bed.pod("b", "x", json!({}));
    bed.status("b", "127.0.0.3", false);
    bed.pod("c", "y", json!({"llm-d.ai/active-ports": "8001"}));
    bed.status("c", "fd00::4", true);
    bed.pool("x", &[8000, 8001]);
    let a = ["a-rank-0 127.0.0.2:8000", "a-rank-1 127.0.0.2:8001"];
    let b = ["b-rank-0 127.0.0.3:8000", "b-rank-1 127.0.0.3:8001"];
    bed.wait_endpoints(&picker, &a);
    until("readiness", || is_ready(&picker).then_some(()));
    bed.status("b", "127.0.0.3", true);
    bed.wait_endpoints(&picker, &[a, b].concat());
    bed.status("a", "127.0.0.2", false);
    bed.wait_endpoints(&picker, &b);
    // The pod is still there: it has time to end.
    bed.cluster
        .kubectl(&["delete", "pod", "-n", &bed.namespace, "b", "--wait=false"]);
    bed.wait_endpoints(&picker, &[]);
    bed.cluster
        .kubectl(&["get", "pod", "-n", &bed.namespace, "b"]);
    bed.pool("y", &[8000, 8001]);
    bed.wait_endpoints(&picker, &["c-rank-1 [fd00::4]:8001"]);
    bed.cluster
        .kubectl(&["delete", "inferencepool", "-n", &bed.namespace, "pool"]);
    bed.wait_endpoints(&picker, &[]);
    until("the end of readiness", || {
        (!is_ready(&picker)).then_some(())
    });
}

#[test]
fn objectives_and_rewrites_are_followed_and_kinds_may_come_later() {
    let bed = Bed::new(Cluster::shared(&setup()), "objectives");
    let (_servers, port) = servers(&[5]);
    bed.pool("x", &[port]);
    bed.pod("a", "x", json!({}));
    bed.status("a", "127.0.0.5", true);
    let picker = bed.picker_of_pool(&[]);
    until("readiness", || is_ready(&picker).then_some(()));
    let envoy = Envoy::before(picker.server.address, Bodies::FullDuplex);
    let model_of = |model: &str| -> Value {
        let body = json!({"model": model, "prompt": "x"});
        let answer = Request::post("/v1/completions", &body).answered(envoy.address);
        answer.json()["model"].clone()
    };
    until("an answer", || (model_of("m") == "m").then_some(()));
    let objective = |group: &str, name: &str, priority: i64, pool: &str| {
        bed.apply(json!({
            "apiVersion": format!("{group}/v1alpha2"),
            "kind": "InferenceObjective",
            "metadata": {"name": name},
            "spec": {"priority": priority, "poolRef": {"name": pool}},
        }));
    };
    let old = "inference.networking.x-k8s.io";
    objective(old, "urgent", 5, "pool");
    objective(old, "elsewhere", 7, "other");
    wait_discovery(&picker, "one objective", |view| {
        view["objectives"] == json!({"urgent": 5})
    });
    bed.apply(json!({
        "apiVersion": format!("{old}/v1alpha2"),
        "kind": "InferenceModelRewrite",
        "metadata": {"name": "canary"},
        "spec": {"poolRef": {"name": "pool"}, "rules": [{
            "matches": [{"model": {"type": "Exact", "value": "m"}}],
            "targets": [{"modelRewrite": "m-1", "weight": 3}, {"modelRewrite": "m-2", "weight": 1}],
        }]},
    }));
    // The client reads the name that it asked for; the engine reads the other.
    let asked = || -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for received in _servers[0].received("/v1/completions") {
            let model = received.json()["model"].as_str().unwrap().to_owned();
            *counts.entry(model).or_default() += 1;
        }
        counts
    };
    until("both targets", || {
        assert_eq!(model_of("m"), "m");
        let counts = asked();
        let both = counts.contains_key("m-1") && counts.contains_key("m-2");
        (both && counts["m-1"] + counts["m-2"] >= 60).then_some(())
    });
    // Each is counted under the object's name.
    let page = Request::get("/metrics")
        .answered(picker.server.admin)
        .text();
    let begin =
        "llm_d_epp_model_rewrite_decisions_total{model_rewrite_name=\"canary\",model_name=\"m\"";
    let lines = page.lines().filter(|line| line.starts_with(begin));
    let counted: f64 = lines
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
        .sum();
    let counts = asked();
    assert_eq!(counted, (counts["m-1"] + counts["m-2"]) as f64, "{page}");
    assert!(
        counts["m-1"] > counts["m-2"],
        "3 to 1 was asked for: {counts:?}"
    );
    assert_eq!(model_of("other"), "other");
    assert_eq!(asked()["other"], 1);

    // The present group's definitions are added while the picker runs, and its objects win.
    bed.cluster
        .apply_folder(&workspace().join("tests/crds/llm-d.ai"));
    until("the new kind", || {
        let yaml = ["get", "inferenceobjectives.llm-d.ai", "-n", &bed.namespace];
        bed.cluster.try_kubectl(&yaml).ok()
    });
    objective("llm-d.ai", "urgent", 9, "pool");
    wait_discovery(&picker, "the present group's objective", |view| {
        view["objectives"] == json!({"urgent": 9})
    });
}

#[test]
fn a_pool_of_the_older_version_may_come_with_its_kind() {
    let bed = Bed::new(Cluster::shared(&setup()), "older");
    let picker = bed.picker_of_pool(&["--pool-group=inference.networking.x-k8s.io"]);
    bed.pod("a", "x", json!({}));
    bed.status("a", "127.0.0.2", true);
    wait_discovery(&picker, "the missing kind to be said", |view| {
        state(view, "the pool") == "degraded"
    });
    assert!(!is_ready(&picker));
    let folder = workspace().join("tests/crds/gaie-v1.4.0-xk8s-inferencepool");
    bed.cluster.apply_folder(&folder);
    let pool = json!({
        "apiVersion": "inference.networking.x-k8s.io/v1alpha2",
        "kind": "InferencePool",
        "metadata": {"name": "pool", "namespace": bed.namespace},
        "spec": {"selector": {"app": "x"}, "targetPortNumber": 8000, "extensionRef": {"name": "epp"}},
    });
    until("the pool to be taken", || {
        let file = std::env::temp_dir().join(format!("{}-pool.json", bed.namespace));
        std::fs::write(&file, pool.to_string()).unwrap();
        bed.cluster
            .try_kubectl(&["apply", "-f", &file.to_string_lossy()])
            .ok()
    });
    bed.wait_endpoints(&picker, &["a-rank-0 127.0.0.2:8000"]);
    until("readiness", || is_ready(&picker).then_some(()));
}

#[test]
fn a_selector_takes_the_place_of_a_pool() {
    let bed = Bed::new(Cluster::shared(&setup()), "selector");
    bed.pod("a", "x", json!({}));
    bed.status("a", "127.0.0.2", true);
    bed.pod("b", "y", json!({}));
    bed.status("b", "127.0.0.3", true);
    bed.pod("c", "z", json!({}));
    bed.status("c", "127.0.0.4", true);
    let flags = [
        "--endpoint-selector=app in (x,y)",
        "--endpoint-target-ports=7000,7000",
    ];
    let picker = bed.picker(&bed.cluster.kubeconfig(), &flags);
    bed.wait_endpoints(
        &picker,
        &["a-rank-0 127.0.0.2:7000", "b-rank-0 127.0.0.3:7000"],
    );
    until("readiness", || is_ready(&picker).then_some(()));
}

#[test]
fn what_it_may_not_read_is_said_and_the_rest_works() {
    let bed = Bed::new(Cluster::shared(&setup()), "limited");
    bed.pool("x", &[8000]);
    bed.pod("a", "x", json!({}));
    bed.status("a", "127.0.0.2", true);
    let role = |rules: Value| {
        bed.apply(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": "epp"},
            "rules": rules,
        }));
    };
    let kubeconfig = bed.cluster.kubeconfig_of(&bed.namespace, "epp");
    let verbs = json!(["list", "watch"]);
    let pools = json!({"apiGroups": ["inference.networking.k8s.io"], "resources": ["inferencepools"], "verbs": verbs});
    let pods = json!({"apiGroups": [""], "resources": ["pods"], "verbs": verbs});
    role(json!([pools]));
    bed.apply(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "epp"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "epp"},
        "subjects": [{"kind": "ServiceAccount", "name": "epp", "namespace": bed.namespace}],
    }));
    let picker = bed.picker(&kubeconfig, &["--pool-name=pool"]);
    let view = wait_discovery(&picker, "the gap to be said", |view| {
        state(view, "pods") == "degraded"
    });
    assert_eq!(state(&view, "the pool"), "following");
    let objectives = "inferenceobjectives.inference.networking.x-k8s.io";
    wait_discovery(&picker, "the other gap", |view| {
        state(view, objectives) == "degraded"
    });
    assert!(!is_ready(&picker), "{view}");
    role(json!([pools, pods]));
    bed.wait_endpoints(&picker, &["a-rank-0 127.0.0.2:8000"]);
    until("readiness", || is_ready(&picker).then_some(()));
    let lines = picker.server.process.lines();
    let said = lines
        .iter()
        .filter(|line| line.contains("pods cannot be followed"));
    assert_eq!(said.count(), 1, "said once: {lines:?}");
    assert_eq!(endpoints(&picker).len(), 1);
}
