//! Names of the lab, as `pointsman stack` renders them, and the one object of the lab that it does not render.

/// Where gateway and picker are.
pub(crate) const SCHEDULER: &str = "llm-d-inference-scheduler";
/// Where pool, proxies and model servers are.
pub(crate) const MODELS: &str = "llm-d-vllm";
/// The custom resource.
pub(crate) const INSTALL: &str = "llm-sched-install";
/// The picker's objects.
pub(crate) const EPP: &str = "gaie-inference-scheduling-epp";
/// The pool.
pub(crate) const POOL: &str = "vllm-proxy-performance";
/// The gateway.
pub(crate) const GATEWAY: &str = "infra-inference-scheduling-inference-gateway";
/// The filter of the lab's own `SchedulerInstall`.
pub(crate) const FILTER: &str = "epp-ext-proc";

/// The pairs: short name, and the backend as labels and the route by header say it.
pub(crate) const PAIRS: [(&str, &str); 2] = [("p2p", "nvlink"), ("fs", "fs")];

/// The name for the picker's Service that the lab puts beside the pool by hand.
pub(crate) fn external_name() -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: {EPP}, namespace: {MODELS}}}
spec:
  type: ExternalName
  externalName: {EPP}.{SCHEDULER}.svc.cluster.local
  ports: [{{name: grpc, port: 9002, targetPort: 9002}}]
"
    )
}
