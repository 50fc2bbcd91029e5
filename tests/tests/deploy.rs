//! What the charts and the plain manifests render, applied to a real API server with the definitions of its kinds.

#![allow(clippy::unwrap_used)]

use pointsman_tests::binary::workspace;
use pointsman_tests::charts::{Objects, render, text};
use pointsman_tests::cluster::{Cluster, Setup};
use pointsman_tests::scratch::Scratch;
use serde_json::{Value, json};

/// Kinds of programs whose definitions are not among `tests/crds`.
const FOREIGN: [&str; 5] = [
    "ServiceMonitor",
    "PodMonitor",
    "PodMonitoring",
    "HealthCheckPolicy",
    "GCPBackendPolicy",
];

/// Renderings by name, with the name of the picker's objects.
fn renderings(cluster: &Cluster) -> Vec<(&'static str, &'static str, Objects)> {
    const LABEL: &str = "router.modelServers.matchLabels.app=m";
    const SEVERAL: &str = "router.epp.replicas=2,router.epp.flags.ha-enable-leader-election=false";
    let all: [(&str, &str, &[&str]); 6] = [
        ("gateway", "pointsman-gateway", &["--set", LABEL]),
        (
            "several",
            "pointsman-gateway",
            &["--set", LABEL, "--set", SEVERAL],
        ),
        ("reference", "pointsman-gateway", &["-f", "reference.yaml"]),
        ("gke", "pointsman-gateway", &["-f", "gke.yaml"]),
        ("standalone", "pointsman-standalone", &["--set", LABEL]),
        (
            "service",
            "pointsman-standalone",
            &["-f", "standalone-service.yaml"],
        ),
    ];
    let folder = workspace().join("deploy/manifests");
    let plain = cluster.kubectl(&["kustomize", &folder.to_string_lossy()]);
    all.into_iter()
        .map(|(name, chart, flags)| (name, "pool-epp", render(chart, flags).unwrap()))
        .chain([("manifests", "my-pool-epp", Objects::read(&plain))])
        .collect()
}

/// The objects whose kinds the cluster knows, in another namespace than `models`.
fn moved(objects: &Objects, namespace: &str) -> Vec<Value> {
    let known = |it: &&Value| !FOREIGN.contains(&text(&it["kind"]));
    let objects = objects.all().iter().filter(known);
    let into = format!("\"{namespace}\"");
    // What has no namespace bears it in its name.
    let named = format!("\"pool-{namespace}-epp\"");
    objects
        .map(|it| it.to_string().replace("\"models\"", &into))
        .map(|it| it.replace("\"pool-models-epp\"", &named))
        .map(|it| serde_json::from_str(&it).unwrap())
        .collect()
}

fn joined(objects: &[Value]) -> String {
    let lines: Vec<String> = objects.iter().map(Value::to_string).collect();
    lines.join("\n---\n")
}

#[test]
fn the_api_server_takes_every_object() {
    let cluster = Cluster::shared(&Setup::plain());
    let scratch = Scratch::new("deploy");
    for (rendering, picker, objects) in renderings(cluster) {
        let namespace = cluster.namespace(rendering);
        let objects = moved(&objects, &namespace);
        let file = scratch.file(&format!("{rendering}.json"), &joined(&objects));
        let dry = [
            "apply",
            "--server-side",
            "--dry-run=server",
            "--validate=strict",
            "-f",
            &file,
        ];
        let said = cluster.try_kubectl(&dry);
        let said = said.unwrap_or_else(|error| panic!("{rendering}: {error}"));
        assert_eq!(said.lines().count(), objects.len(), "{rendering}: {said}");
        // Trying changed nothing.
        let found = cluster.kubectl(&["get", "deployments", "-n", &namespace, "-o", "name"]);
        assert_eq!(found, "", "{rendering}");

        cluster.apply(&joined(&objects));
        let get = ["get", "deployment", picker, "-n", &namespace, "-o", "json"];
        let first: Value = serde_json::from_str(&cluster.kubectl(&get)).unwrap();
        cluster.apply(&joined(&objects));
        let second: Value = serde_json::from_str(&cluster.kubectl(&get)).unwrap();
        let version = |it: &Value| it["metadata"]["resourceVersion"].clone();
        assert_eq!(
            version(&first),
            version(&second),
            "{rendering}: applied twice"
        );
    }
}

#[test]
fn the_reference_s_kinds_mean_what_was_asked_for() {
    let cluster = Cluster::shared(&Setup::plain());
    let namespace = cluster.namespace("meaning");
    let objects = render("pointsman-gateway", &["-f", "reference.yaml"]).unwrap();
    cluster.apply(&joined(&moved(&objects, &namespace)));
    let get = |kind: &str, name: &str| -> Value {
        let text = cluster.kubectl(&["get", kind, name, "-n", &namespace, "-o", "json"]);
        serde_json::from_str(&text).unwrap()
    };
    let pool = get("inferencepools.inference.networking.k8s.io", "pool");
    assert_eq!(pool["spec"]["endpointPickerRef"]["name"], "pool-epp");
    assert_eq!(pool["spec"]["endpointPickerRef"]["port"]["number"], 9102);
    let service = get("service", "pool-epp");
    assert_eq!(service["spec"]["ports"][0]["port"], 9102);
    let objective = get("inferenceobjectives.llm-d.ai", "high-priority");
    assert_eq!(objective["spec"]["priority"], 100);
}

#[test]
fn restricted_namespaces_take_the_pods() {
    let cluster = Cluster::shared(&Setup::plain());
    for (rendering, _, objects) in renderings(cluster) {
        let namespace = cluster.namespace("restricted");
        let enforce = "pod-security.kubernetes.io/enforce=restricted";
        cluster.kubectl(&["label", "namespace", &namespace, enforce]);
        let mut pods = 0;
        for object in moved(&objects, &namespace) {
            if object["kind"] != "Deployment" {
                continue;
            }
            let mut pod = object["spec"]["template"].clone();
            pod["apiVersion"] = json!("v1");
            pod["kind"] = json!("Pod");
            pod["metadata"]["name"] = object["metadata"]["name"].clone();
            pod["metadata"]["namespace"] = json!(namespace);
            cluster.apply(&pod.to_string());
            pods += 1;

            // The namespace does refuse what is not restricted.
            pod["metadata"]["name"] = json!("lax");
            pod["spec"]["containers"][0]["securityContext"] = json!({});
            let scratch = Scratch::new("deploy");
            let lax = scratch.file("lax.json", &pod.to_string());
            let refused = cluster.try_kubectl(&["apply", "-f", &lax]);
            assert!(
                refused.is_err_and(|why| why.contains("violates PodSecurity")),
                "{rendering}"
            );
        }
        assert!(pods > 0, "{rendering}: no Deployment");
    }
}

#[test]
fn the_picker_may_read_what_it_needs_and_nothing_else() {
    let cluster = Cluster::shared(&Setup::plain());
    for (rendering, picker, objects) in renderings(cluster) {
        if !matches!(rendering, "gateway" | "service" | "manifests") {
            continue;
        }
        let namespace = cluster.namespace("rights");
        cluster.apply(&joined(&moved(&objects, &namespace)));
        let account = format!("--as=system:serviceaccount:{namespace}:{picker}");
        let may = |verb: &str, what: &str, namespace: &str| {
            let arguments = ["auth", "can-i", verb, what, "-n", namespace, &account];
            cluster.try_kubectl(&arguments).is_ok()
        };
        assert!(may("list", "pods", &namespace), "{rendering}");
        assert!(may("watch", "pods", &namespace), "{rendering}");
        let pools = "inferencepools.inference.networking.k8s.io";
        assert_eq!(
            may("watch", pools, &namespace),
            rendering != "service",
            "{rendering}"
        );
        for (verb, what) in [
            ("list", "secrets"),
            ("delete", "pods"),
            ("create", "pods"),
            ("update", pools),
            ("get", "configmaps"),
            ("create", "leases.coordination.k8s.io"),
            ("update", "tokenreviews.authentication.k8s.io"),
        ] {
            assert!(!may(verb, what, &namespace), "{rendering}: {verb} {what}");
        }
        assert!(!may("list", "pods", "kube-system"), "{rendering}");
        // It asks the API server about readers exactly where it is told to.
        let told = objects.all().iter().any(|it| {
            it["kind"] == "Deployment" && it.to_string().contains("--metrics-endpoint-auth=true")
        });
        assert_eq!(told, rendering != "manifests", "{rendering}");
        for what in [
            "tokenreviews.authentication.k8s.io",
            "subjectaccessreviews.authorization.k8s.io",
        ] {
            assert_eq!(may("create", what, &namespace), told, "{rendering}: {what}");
        }
    }
}
