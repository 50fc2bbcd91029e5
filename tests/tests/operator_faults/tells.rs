//! With Roles only, and what is told by Events.

use pointsman_tests::binary::workspace;
use pointsman_tests::cluster::Setup;
use pointsman_tests::operator_world::{World, install, operator};
use pointsman_tests::patience::until;
use serde_json::{Value, json};

use crate::objects::{EPP, patch};

#[test]
fn roles_in_the_namespaces_suffice_and_others_are_left_alone() {
    let setup = Setup {
        audit: true,
        ..Setup::plain()
    };
    let world = World::start(&setup);
    let cluster = &world.cluster;
    for namespace in ["w", "w-m", "x", "x-m", "tools"] {
        world.namespace(namespace);
    }
    let kubeconfig = cluster.kubeconfig_of("tools", "scoped");
    let role = std::fs::read_to_string(workspace().join("deploy/operator/role.yaml")).unwrap();
    for namespace in ["w", "w-m"] {
        let scoped = role.replace("kind: ClusterRole", "kind: Role").replace(
            "  name: pointsman-operator",
            &format!("  name: pointsman-operator\n  namespace: {namespace}"),
        );
        cluster.apply(&scoped);
        cluster.apply(&format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: pointsman-operator, namespace: {namespace}}}\n\
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: pointsman-operator}}\n\
             subjects: [{{kind: ServiceAccount, name: scoped, namespace: tools}}]\n"
        ));
    }
    let _operator = operator(
        "the operator",
        &kubeconfig,
        &["--watch-namespaces", "w,w-m"],
    );
    cluster.apply(&install("x", &json!({})));
    cluster.apply(&install("w", &json!({})));
    until("Ready", || {
        (world.condition("w", "i", "Ready") == "True Reconciled").then_some(())
    });
    // What is done by hand is seen here, too.
    cluster.kubectl(&[
        "delete",
        "-n",
        "w-m",
        "service",
        "gaie-inference-scheduling-proxy",
    ]);
    until("the Service to be there again", || {
        cluster
            .try_kubectl(&[
                "get",
                "-n",
                "w-m",
                "service",
                "gaie-inference-scheduling-proxy",
            ])
            .ok()
    });
    assert_eq!(world.condition("x", "i", "Ready").trim(), "");
    let refused: Vec<String> = cluster
        .audit()
        .iter()
        .filter(|one| {
            one["user"]["username"] == "system:serviceaccount:tools:scoped"
                && one["responseStatus"]["code"] == 403
        })
        .map(|one| format!("{} {}", one["verb"], one["requestURI"]))
        .collect();
    assert_eq!(refused, [] as [String; 0]);
}

#[test]
fn what_is_done_and_why_not_is_told_by_events() {
    let setup = Setup {
        crds: vec!["gateway-api-v1.5.1", "gaie-v1.5.0", "sim.llm-d.io"],
        ..Setup::default()
    };
    let world = World::start(&setup);
    let cluster = &world.cluster;
    let _operator = world.operator("the operator");
    for namespace in ["e", "e-m"] {
        world.namespace(namespace);
    }
    cluster.apply(&install("e", &json!({})));
    let told = |reason: &str, words: &[&str]| {
        until(&format!("an event {reason} {words:?}"), || {
            let text = cluster.kubectl(&["get", "events.events.k8s.io", "-n", "e", "-o", "json"]);
            let list: Value = serde_json::from_str(&text).unwrap();
            let found = list["items"].as_array().unwrap().iter().find(|event| {
                let note = event["note"].as_str().unwrap_or_default();
                event["reason"] == reason && words.iter().all(|word| note.contains(word))
            });
            found.cloned()
        })
    };
    let created = told("Created", &["Deployment e/gaie-inference-scheduling-epp"]);
    assert_eq!(created["type"], "Normal");
    assert_eq!(created["regarding"]["kind"], "SchedulerInstall");
    assert_eq!(created["related"]["kind"], "Deployment");
    let skipped = told("Skipped", &["DestinationRule"]);
    assert_eq!(skipped["type"], "Warning");
    until("what is missing to be named", || {
        (world.condition("e", "i", "Ready") == "False CRDMissing").then_some(())
    });
    let image = r#"{"spec":{"epp":{"image":"r.io/other:1"}}}"#;
    patch(cluster, "e", "schedinst/i", image);
    told("Updated", &["Deployment e/", "spec.template"]);
    let by_hand = r#"{"data":{"epp-config.yaml":"by-hand"}}"#;
    patch(cluster, "e", &format!("configmap/{EPP}-config"), by_hand);
    told(
        "DriftCorrected",
        &["ConfigMap e/", "kubectl-patch", "data.epp-config.yaml"],
    );
    patch(
        cluster,
        "e",
        "schedinst/i",
        r#"{"spec":{"gateway":{"enabled":false}}}"#,
    );
    told("Pruned", &["Gateway e/"]);
    let mut second: Value = serde_json::from_str(&install("e", &json!({}))).unwrap();
    second["metadata"]["name"] = json!("j");
    cluster.apply(&second.to_string());
    let event = told("Invalid", &["belongs to SchedulerInstall e/i"]);
    assert_eq!(event["regarding"]["name"], "j");
    assert_eq!(event["type"], "Warning");
    // The same thing again is counted and not said anew.
    patch(cluster, "e", &format!("configmap/{EPP}-config"), by_hand);
    until("the second correction to be counted", || {
        let text = cluster.kubectl(&["get", "events.events.k8s.io", "-n", "e", "-o", "json"]);
        let list: Value = serde_json::from_str(&text).unwrap();
        let corrections: Vec<&Value> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|event| event["reason"] == "DriftCorrected")
            .collect();
        let counted = corrections.first()?["series"]["count"].as_u64()?;
        (corrections.len() == 1 && counted >= 2).then_some(())
    });
}
