//! Custom resources that want the same object, an operator that begins anew, and one that sees nothing.

use std::process::Command;

use pointsman_tests::binary::{pointsman, workspace};
use pointsman_tests::cluster::{Cluster, Setup};
use pointsman_tests::http::Request;
use pointsman_tests::operator_cases::documents;
use pointsman_tests::operator_world::{World, install, operator};
use pointsman_tests::patience::until;
use serde_json::{Value, json};

use crate::objects::{EPP, patch};

const FRONT: &str = "gaie-inference-scheduling-proxy";

fn get(cluster: &Cluster, namespace: &str, object: &str) -> Value {
    let text = cluster.kubectl(&["get", "-n", namespace, object, "-o", "json"]);
    serde_json::from_str(&text).unwrap()
}

/// Status and reason of a condition of any custom resource.
fn says(object: &Value, kind: &str) -> String {
    let all = object["status"]["conditions"].as_array();
    let found = all.into_iter().flatten().find(|one| one["type"] == kind);
    found.map_or_else(String::new, |one| {
        let word = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
        format!("{} {}", word("status"), word("reason"))
    })
}

#[test]
fn the_samples_of_both_kinds_share_what_is_in_front_and_it_is_taken_over() {
    let world = World::start(&Setup::plain());
    let cluster = &world.cluster;
    let _operator = operator("the operator", &world.kubeconfig, &[]);
    let mut objects = Vec::new();
    for case in ["sim-sample-istio", "sched-sample-default"] {
        let file = workspace().join(format!("tests/golden/operator/{case}/input.yaml"));
        objects.extend(documents(&file));
    }
    let place = |object: &Value| {
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        let kind = word(&object["kind"]).to_lowercase();
        let name = word(&object["metadata"]["name"]);
        (
            word(&object["metadata"]["namespace"]),
            format!("{kind}/{name}"),
        )
    };
    for object in &objects {
        world.namespace(&place(object).0);
    }
    world.namespace("llm-d-sim");
    for object in &objects {
        let (namespace, name) = place(object);
        cluster.apply(&object.to_string());
        until(&format!("{name} to have all"), || {
            let now = get(cluster, &namespace, &name);
            (says(&now, "Applied") == "True AllApplied").then_some(())
        });
    }
    let owner = || {
        let labels = get(cluster, "llm-d-sim", &format!("service/{FRONT}"));
        let labels = labels["metadata"]["labels"].clone();
        let is = |label: &str| labels[label].is_string();
        (
            is("sim.llm-d.io/simulatorDeployment"),
            is("sim.llm-d.io/schedulerInstall"),
        )
    };
    assert_eq!(owner(), (true, false));
    let (namespace, name) = place(&objects[0]);
    cluster.kubectl(&["delete", "-n", &namespace, &name]);
    until("the Service to be taken over", || {
        let there = cluster.try_kubectl(&["get", "service", "-n", "llm-d-sim", FRONT]);
        (there.is_ok() && owner() == (false, true)).then_some(())
    });
    // Two of one kind are still in conflict.
    let mut second = objects[1].clone();
    second["metadata"]["name"] = json!("second");
    cluster.apply(&second.to_string());
    let namespace = place(&second).0;
    until("the conflict to be told", || {
        let now = get(cluster, &namespace, "schedulerinstall/second");
        (says(&now, "Ready") == "False Conflict").then_some(())
    });
}

#[test]
fn what_asks_for_one_object_twice_is_refused_and_simulators_leave_theirs_when_asked() {
    let world = World::start(&Setup::plain());
    let cluster = &world.cluster;
    let _operator = operator("the operator", &world.kubeconfig, &[]);
    world.namespace("a");
    let twice = json!({"simulatorNamespace": "a", "proxyService": {"name": EPP}});
    cluster.apply(&install("a", &twice));
    until("the two fields to be named", || {
        let now = get(cluster, "a", "schedinst/i");
        let told = now
            .to_string()
            .contains("spec.epp.name and spec.proxyService.name");
        (told && says(&now, "Accepted") == "False InvalidValue").then_some(())
    });
    let left = cluster.kubectl(&["get", "services,deployments", "-n", "a", "-o", "name"]);
    assert_eq!(left.trim(), "");

    let simulator = json!({
        "apiVersion": "sim.llm-d.io/v1alpha1", "kind": "SimulatorDeployment",
        "metadata": {"name": "s", "namespace": "a", "annotations": {"sim.llm-d.io/orphan": "true"}},
        "spec": {},
    });
    cluster.apply(&simulator.to_string());
    until("the simulator's objects", || {
        let now = get(cluster, "a", "simdep/s");
        (says(&now, "Applied") == "True AllApplied").then_some(())
    });
    cluster.kubectl(&["delete", "simdep", "-n", "a", "s"]);
    let meta = get(cluster, "a", "deployment/ms-sim-s-decode")["metadata"].clone();
    assert!(meta["ownerReferences"].is_null(), "{meta}");
    assert!(meta["deletionTimestamp"].is_null(), "{meta}");
}

#[test]
fn a_restart_at_rest_writes_nothing_and_what_is_pruned_is_listed() {
    let setup = Setup {
        audit: true,
        ..Setup::plain()
    };
    let world = World::start(&setup);
    let cluster = &world.cluster;
    let first = operator("the first operator", &world.kubeconfig, &[]);
    for namespace in ["a", "a-m"] {
        world.namespace(namespace);
    }
    let parts = json!({
        "epp": {"enabled": true, "poolName": "pool"},
        "inferencePool": {"enabled": true},
        "routing": {"enabled": true, "backendType": "InferencePool"},
        "envoyFilter": {"enabled": true, "mode": "Auto"},
    });
    cluster.apply(&install("a", &parts));
    cluster.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: picker, namespace: a, labels: {{app: {EPP}}}}}\n\
         spec: {{serviceAccountName: {EPP}, automountServiceAccountToken: false, containers: [{{name: c, image: none}}]}}\n"
    ));
    let status = json!({"status": {
        "phase": "Running", "podIP": "10.9.8.7", "podIPs": [{"ip": "10.9.8.7"}],
        "conditions": [{"type": "Ready", "status": "True"}],
    }});
    cluster.patch_status("a", "pod/picker", &status.to_string());
    let slice = || {
        let slice = get(cluster, "a-m", &format!("endpointslice/{EPP}-ipv4"));
        slice["endpoints"].to_string()
    };
    until("the picker's address", || {
        (world.condition("a", "i", "Ready") == "True Reconciled" && slice().contains("10.9.8.7"))
            .then_some(())
    });
    let image = |image: &str| json!({"spec": {"epp": {"image": image}}});
    let arrives = |wanted: &str| {
        patch(cluster, "a", "schedinst/i", &image(wanted));
        until("the image and the status", || {
            let now = get(cluster, "a", "schedinst/i");
            let there = get(cluster, "a", &format!("deployment/{EPP}")).to_string();
            let told = now["status"]["observedGeneration"] == now["metadata"]["generation"];
            (told && there.contains(wanted)).then_some(())
        });
    };
    arrives("r.io/first:1");
    drop(first);
    let before = world.writes().len();
    let _second = operator("the second operator", &world.kubeconfig, &[]);
    // What the second one does at its start is done when it has followed a change: two writes, and no others.
    arrives("r.io/second:1");
    let writes = world.writes()[before..].to_vec();
    assert_eq!(writes.len(), 2, "{writes:#?}");

    patch(
        cluster,
        "a",
        "schedinst/i",
        &json!({"spec": {"gateway": {"enabled": false}}}),
    );
    until("the Gateway to be listed as pruned", || {
        let now = get(cluster, "a", "schedinst/i");
        let children = now["status"]["children"].as_array()?;
        let gateway = children.iter().find(|child| child["kind"] == "Gateway")?;
        (gateway["state"] == "Pruned").then_some(())
    });
}

#[test]
fn an_operator_without_rights_says_so_and_is_not_ready() {
    let world = World::start(&Setup::plain());
    world.namespace("tools");
    let nobody = world.cluster.kubeconfig_of("tools", "nobody");
    let flags = ["--metrics-bind-address=127.0.0.1:0"];
    let process = operator("the operator", &nobody, &flags);
    let at = process.wait_line("its metrics port", |line| {
        let at = line.find("metrics http://")? + "metrics http://".len();
        let rest = &line[at..];
        let end = rest.find(|c: char| !(c.is_ascii_digit() || ".:".contains(c)));
        rest[..end.unwrap_or(rest.len())].parse().ok()
    });
    process.wait_line("what it may not list", |line| {
        let named = line.contains("cannot list and watch schedulerinstalls.sim.llm-d.io");
        (named && line.contains("\"level\":\"error\"")).then_some(())
    });
    assert_eq!(Request::get("/readyz").answered(at).status, 503);
}

#[test]
fn flags_that_mean_nothing_are_wrong_usage() {
    for flag in [
        "--zap-encoder=foo",
        "--zap-log-level=loud",
        "--metrics-bind-address=BAD:1",
        "--health-probe-bind-address=1.2.3",
        "--watch-namespaces=a,Bad_Name",
    ] {
        let output = Command::new(pointsman())
            .args(["operator", "--kubeconfig=/nowhere", flag])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{flag}: {output:?}");
    }
}
