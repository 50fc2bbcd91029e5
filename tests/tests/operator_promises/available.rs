//! Available is true when all is ready, and says which part is not.

use pointsman_tests::binary::workspace;
use pointsman_tests::cluster::Setup;
use pointsman_tests::operator_cases::documents;
use pointsman_tests::operator_world::World;
use pointsman_tests::patience::until;
use serde_json::json;

use crate::objects::{EPP, GATEWAY, POOL, VLLM, patch, says};

/// The namespace of picker and gateway.
const SCHEDULER: &str = "llm-d-inference-scheduler";

/// Pods that run and are ready at once.
fn proxy_pod(name: &str, labels: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {VLLM}, labels: {{{labels}}}}}\n\
         spec: {{containers: [{{name: proxy, image: none}}]}}\n"
    )
}

#[test]
fn available_is_true_when_all_is_ready_and_says_which_part_is_not() {
    let setup = Setup {
        controllers: true,
        nodes: 1,
        ..Setup::plain()
    };
    let world = World::start(&setup);
    let cluster = &world.cluster;
    let _operator = world.operator("the operator");
    for namespace in [SCHEDULER, VLLM, "llm-d-sim"] {
        world.namespace(namespace);
        until("the namespace's ServiceAccount", || {
            cluster
                .try_kubectl(&["get", "serviceaccount", "-n", namespace, "default"])
                .ok()
        });
    }
    // Both samples, as they were recorded with the original.
    for case in ["sched-sample-proxy-performance", "sim-sample-minimal"] {
        let folder = workspace().join("tests/golden/operator");
        for object in documents(&folder.join(case).join("input.yaml")) {
            cluster.apply(&object.to_string());
        }
    }
    let name = "llm-sched-install";
    says(&world, SCHEDULER, name, "Ready", "True Reconciled");
    until("the simulators to be ready", || {
        let path = r#"jsonpath={.items[0].status.conditions[?(@.type=="Ready")].reason} {.items[0].status.readyReplicas}"#;
        let said = cluster.kubectl(&["get", "simdep", "-n", "llm-d-sim", "-o", path]);
        (said == "DeploymentReady 2").then_some(())
    });

    // One part after the other comes, and the first that is missing is named.
    says(&world, SCHEDULER, name, "EPPAvailable", "True Available");
    says(&world, SCHEDULER, name, "Available", "False PoolNotFound");
    cluster.apply(POOL);
    says(&world, SCHEDULER, name, "Available", "False NoneReady");
    cluster.apply(&proxy_pod("one", "role: proxy"));
    says(&world, SCHEDULER, name, "Available", "False Pending");
    let programmed = json!({"status": {"conditions": [{
        "type": "Programmed", "status": "True", "reason": "Programmed", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]}});
    cluster.patch_status(
        SCHEDULER,
        &format!("gateway/{GATEWAY}"),
        &programmed.to_string(),
    );
    says(
        &world,
        SCHEDULER,
        name,
        "GatewayProgrammed",
        "True Programmed",
    );
    let accepted = json!({"status": {"parents": [{
        "parentRef": {"name": GATEWAY}, "controllerName": "test.example/controller",
        "conditions": [{
            "type": "Accepted", "status": "True", "reason": "Accepted", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
    }]}});
    let route = "httproute/llm-d-inference-scheduling";
    cluster.patch_status(SCHEDULER, route, &accepted.to_string());
    cluster.kubectl(&[
        "wait",
        "--for=condition=Available",
        "-n",
        SCHEDULER,
        &format!("schedinst/{name}"),
        "--timeout=60s",
    ]);

    // A route is judged by its own Gateway, by where it leads, and not by what was said of an earlier one.
    let told = |kind: &str, status: &str, reason: &str, generation: i64| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": "", "observedGeneration": generation,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    };
    let parent = |name: &str, conditions: &[serde_json::Value]| {
        json!({
            "parentRef": {"name": name}, "controllerName": "test.example/controller",
            "conditions": conditions,
        })
    };
    let good = told("Accepted", "True", "Accepted", 9);
    let other = parent("other", &[told("Accepted", "False", "NoMatchingParent", 9)]);
    for (own, expected) in [
        (vec![good.clone()], "True Accepted"),
        (
            vec![
                good.clone(),
                told("ResolvedRefs", "False", "RefNotPermitted", 9),
            ],
            "False RefNotPermitted",
        ),
        (
            vec![told("Accepted", "True", "Accepted", 0)],
            "Unknown Pending",
        ),
        (vec![good.clone()], "True Accepted"),
    ] {
        let status = json!({"status": {"parents": [other, parent(GATEWAY, &own)]}});
        cluster.patch_status(SCHEDULER, route, &status.to_string());
        says(&world, SCHEDULER, name, "RouteAccepted", expected);
    }
    says(&world, SCHEDULER, name, "Available", "True Available");

    // The pool's selector matches nothing.
    let selector = |value: &str| json!({"spec": {"selector": {"matchLabels": {"role": value}}}});
    patch(
        cluster,
        VLLM,
        "infpool/vllm-proxy-performance",
        &selector("nobody"),
    );
    says(&world, SCHEDULER, name, "Available", "False NoneReady");
    patch(
        cluster,
        VLLM,
        "infpool/vllm-proxy-performance",
        &selector("proxy"),
    );
    says(&world, SCHEDULER, name, "Available", "True Available");

    // The profile filters on a label that no candidate has.
    let profile = |name: &str| json!({"spec": {"epp": {"configProfile": name}}});
    let custom = format!("schedinst/{name}");
    patch(
        cluster,
        SCHEDULER,
        &custom,
        &profile("proxy-performance-by-backend"),
    );
    says(&world, SCHEDULER, name, "Available", "False LabelMismatch");
    cluster.kubectl(&[
        "label",
        "pod",
        "-n",
        VLLM,
        "one",
        "llm-d.ai/kv-backend=nvlink",
    ]);
    says(&world, SCHEDULER, name, "Available", "True Available");

    // Another picker, another port.
    let reference = |name: &str, port: u16| json!({"spec": {"endpointPickerRef": {"name": name, "port": {"number": port}}}});
    patch(
        cluster,
        VLLM,
        "infpool/vllm-proxy-performance",
        &reference("other", 9002),
    );
    says(&world, SCHEDULER, name, "Available", "False OtherPicker");
    patch(
        cluster,
        VLLM,
        "infpool/vllm-proxy-performance",
        &reference(EPP, 9999),
    );
    says(&world, SCHEDULER, name, "Available", "False OtherPort");
    patch(
        cluster,
        VLLM,
        "infpool/vllm-proxy-performance",
        &reference(EPP, 9002),
    );
    says(&world, SCHEDULER, name, "Available", "True Available");
}
