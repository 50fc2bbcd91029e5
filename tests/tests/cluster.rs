//! The test control plane itself: what tests rely on when they use [`pointsman_tests::cluster`].

use pointsman_tests::cluster::{Cluster, Setup};
use pointsman_tests::patience::until;

fn setup() -> Setup {
    Setup {
        controllers: true,
        nodes: 1,
        audit: true,
        ..Setup::plain()
    }
}

#[test]
fn pods_run_and_their_annotations_steer_them() {
    let cluster = Cluster::shared(&setup());
    let namespace = cluster.namespace("pods");
    until("the namespace's ServiceAccount", || {
        cluster
            .try_kubectl(&["get", "serviceaccount", "-n", &namespace, "default"])
            .ok()
    });
    cluster.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: a, namespace: {namespace}, annotations: {{fakelet/pod-ip: 127.0.0.9}}}}\nspec: {{containers: [{{name: c, image: none}}]}}\n"
    ));
    let state = "jsonpath={.status.podIP} {.status.conditions[?(@.type==\"Ready\")].status}";
    let get = ["get", "pod", "-n", &namespace, "a", "-o", state];
    let is = |what: &str| until(what, || (cluster.kubectl(&get) == what).then_some(()));
    is("127.0.0.9 True");
    cluster.kubectl(&[
        "annotate",
        "pod",
        "-n",
        &namespace,
        "a",
        "fakelet/not-ready=true",
    ]);
    is("127.0.0.9 False");
    let audit = cluster.audit();
    let annotated = |entry: &&serde_json::Value| {
        entry["verb"] == "patch" && entry["objectRef"]["namespace"] == namespace.as_str()
    };
    assert!(audit.iter().any(|entry| annotated(&entry)), "{audit:?}");
}

#[test]
fn a_service_account_may_do_nothing_before_it_has_a_role() {
    let cluster = Cluster::shared(&setup());
    let namespace = cluster.namespace("account");
    let path = cluster.kubeconfig_of(&namespace, "nobody");
    let kubeconfig = format!("--kubeconfig={}", path.display());
    let refused = cluster.try_kubectl(&["get", "pods", "-n", &namespace, &kubeconfig]);
    assert!(
        refused.as_ref().is_err_and(|why| why.contains("nobody")),
        "{refused:?}"
    );
}
