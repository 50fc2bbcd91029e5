//! `pointsman scan --kube` against a real API server: nodes are found, labels arrive and stay ours alone.

#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

use pointsman_tests::binary::{pointsman, workspace};
use pointsman_tests::cluster::{Cluster, Setup};
use serde_json::Value;

fn scan(kubeconfig: &std::path::Path, flags: &[&str]) -> Output {
    let mut command = Command::new(pointsman());
    command.args(["scan", "--kube", "-o", "json"]).args(flags);
    command.env("KUBECONFIG", kubeconfig).output().unwrap()
}

/// The lab's two nodes, as they are in the fixture.
fn create(cluster: &Cluster) {
    let list = workspace().join("crates/topo/fixtures/lab/nodes.json");
    let list: Value = serde_json::from_slice(&std::fs::read(list).unwrap()).unwrap();
    for node in list["items"].as_array().unwrap() {
        let name = node["metadata"]["name"].as_str().unwrap().to_lowercase();
        let mut node = node.clone();
        node["metadata"]["name"] = name.clone().into();
        cluster.apply(&node.to_string());
        let status = format!(
            r#"{{"status":{{"allocatable":{0},"capacity":{0}}}}}"#,
            node["status"]["allocatable"]
        );
        cluster.kubectl(&[
            "patch",
            "node",
            &name,
            "--subresource=status",
            "--type=merge",
            "-p",
            &status,
        ]);
    }
}

#[test]
fn nodes_of_a_real_api_server_are_scanned_and_labelled() {
    let cluster = Cluster::shared(&Setup::default());
    create(cluster);
    let output = scan(&cluster.kubeconfig(), &["--apply-labels"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["platform"]["value"], "openshift");
    assert!(said.contains("labelled 2 of 2 nodes"), "{said}");
    let label = |node: &str, key: &str| {
        let path = format!("jsonpath={{.metadata.labels.llm-d\\.ai/{key}}}");
        cluster.kubectl(&["get", "node", node, "-o", &path])
    };
    assert_eq!(label("worker-a", "kv-backend"), "nvlink");
    assert_eq!(label("worker-a", "kv-link-gb-per-s"), "600");
    assert_eq!(label("worker-b", "kv-backend"), "fs");
    assert_eq!(label("worker-b", "kv-link-gb-per-s"), "");

    // What is no longer so loses its label; labels of others stay.
    cluster.kubectl(&[
        "label",
        "node",
        "worker-a",
        "nvidia.com/gpu.product=NVIDIA-H100",
        "--overwrite",
    ]);
    let output = scan(&cluster.kubeconfig(), &["--apply-labels"]);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(label("worker-a", "kv-backend"), "fs");
    assert_eq!(label("worker-a", "kv-link-gb-per-s"), "");
    let product = cluster.kubectl(&[
        "get",
        "node",
        "worker-a",
        "-o",
        "jsonpath={.metadata.labels.nvidia\\.com/gpu\\.product}",
    ]);
    assert_eq!(product, "NVIDIA-H100");

    // A node without GPUs keeps none of ours.
    cluster.kubectl(&[
        "patch",
        "node",
        "worker-b",
        "--subresource=status",
        "--type=merge",
        "-p",
        r#"{"status":{"allocatable":{"nvidia.com/gpu":null},"capacity":{"nvidia.com/gpu":null}}}"#,
    ]);
    let gone = [
        "nvidia.com/gpu.count-",
        "nvidia.com/gpu.product-",
        "nvidia.com/gpu.present-",
    ];
    cluster.kubectl(&[&["label", "node", "worker-b"], &gone[..]].concat());
    cluster.kubectl(&["label", "node", "worker-b", "llm-d.ai/own=stays"]);
    let output = scan(&cluster.kubeconfig(), &["--apply-labels"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("labelled 1 of 2 nodes, took the labels back from 1"),
        "{said}"
    );
    assert_eq!(label("worker-b", "kv-backend"), "");
    assert_eq!(label("worker-b", "kv-domain"), "");
    assert_eq!(label("worker-b", "own"), "stays");

    // Who may not list nodes is told so.
    let namespace = cluster.namespace("scan");
    let nobody = cluster.kubeconfig_of(&namespace, "nobody");
    let output = scan(&nobody, &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("nodes cannot be listed")
            && said.contains("the verb list on nodes")
            && !said.contains("Status {"),
        "{said}"
    );
}
