//! Looking at objects, changing them, and waiting for conditions.

use pointsman_tests::cluster::Cluster;
use pointsman_tests::operator_world::World;
use pointsman_tests::patience::until;
use serde_json::Value;

pub(crate) use pointsman_tests::operator_world::{EPP, patch};

/// The Gateway.
pub(crate) const GATEWAY: &str = "infra-inference-scheduling-inference-gateway";
/// The namespace of the lab's servers.
pub(crate) const VLLM: &str = "llm-d-vllm";

/// The lab's pool.
pub(crate) const POOL: &str = "
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {name: vllm-proxy-performance, namespace: llm-d-vllm}
spec:
  selector: {matchLabels: {role: proxy}}
  targetPorts: [{number: 8080}]
  endpointPickerRef: {group: '', kind: Service, name: gaie-inference-scheduling-epp, port: {number: 9002}}
";

/// An object.
pub(crate) fn get(cluster: &Cluster, namespace: &str, object: &str) -> Value {
    let text = cluster.kubectl(&["get", "-n", namespace, object, "-o", "json"]);
    serde_json::from_str(&text).unwrap()
}

/// Waits for a condition's status and reason.
pub(crate) fn says(world: &World, namespace: &str, name: &str, kind: &str, expected: &str) {
    until(&format!("{kind} to be {expected}"), || {
        (world.condition(namespace, name, kind) == expected).then_some(())
    });
}
