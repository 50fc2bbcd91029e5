//! The lab's objects that nobody installs: model servers, P/D proxies, pool, A/B route, and the `SchedulerInstall`, with the names and
//! values of the lab.

use std::fmt::Write as _;

use pointsman_tests::answer::MODEL;

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
/// The image whose containers are started.
pub(crate) const IMAGE: &str = "pointsman:lab";

/// The pairs: short name, backend's label, names of the servers in request ids.
pub(crate) const PAIRS: [(&str, &str); 2] = [("p2p", "nvlink"), ("fs", "fs")];

/// The four model servers, with the arguments of the lab's vLLM, and a Service each.
pub(crate) fn servers() -> String {
    let mut all = String::new();
    for (pair, _) in PAIRS {
        for (role, kv_role, rank) in [("prefill", "kv_producer", 0), ("decode", "kv_consumer", 1)] {
            let name = format!("vllm-{role}-{pair}");
            let transfer = match pair {
                "p2p" => format!(
                    r#"{{"kv_connector":"P2pNcclConnector","kv_role":"{kv_role}","kv_rank":{rank},"kv_parallel_size":2,"kv_ip":"0.0.0.0","kv_port":14579,"engine_id":"p2p-nccl-same-node"}}"#
                ),
                _ => format!(
                    r#"{{"kv_connector":"ExampleConnector","kv_role":"{kv_role}","kv_connector_extra_config":{{"shared_storage_path":"/kv_cache"}}}}"#
                ),
            };
            // A simulator has no fabric: it asks the other one what was computed.
            let peer = match role {
                "decode" => format!(", '--kv-peer=http://vllm-prefill-{pair}:8000'"),
                _ => String::new(),
            };
            let _ = write!(
                all,
                "apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {MODELS}, labels: {{app: vllm-{pair}-test, role: {role}, case: {pair}-same}}}}
spec:
  containers:
  - name: vllm
    image: {IMAGE}
    args: [--model, {MODEL}, '--port=8000', '--tensor-parallel-size=1', --enable-auto-tool-choice, '--tool-call-parser=qwen3_coder',
      '--gpu-memory-utilization=0.90', '--max-model-len=2048', --no-enable-prefix-caching, --no-enable-chunked-prefill,
      '--kv-transfer-config={transfer}'{peer}]
    ports: [{{name: http, containerPort: 8000}}]
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {MODELS}}}
spec:
  selector: {{app: vllm-{pair}-test, role: {role}}}
  ports: [{{name: http, port: 8000, targetPort: 8000}}]
---
"
            );
        }
    }
    all
}

/// The P/D proxies and their Services.
pub(crate) fn proxies() -> String {
    let mut all = String::new();
    for (pair, backend) in PAIRS {
        let (kind, zmq) = match pair {
            "p2p" => (
                "p2p",
                "\n        - {name: PREFILL_ZMQ, value: 'vllm-prefill-p2p:14579'}\n        - {name: DECODE_ZMQ, value: 'vllm-decode-p2p:14579'}",
            ),
            _ => ("fs", ""),
        };
        let _ = write!(
            all,
            "apiVersion: apps/v1
kind: Deployment
metadata: {{name: vllm-{pair}-proxy, namespace: {MODELS}}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: vllm-{pair}-test, role: proxy}}}}
  template:
    metadata: {{labels: {{app: vllm-{pair}-test, role: proxy, llm-d.ai/kv-backend: {backend}}}}}
    spec:
      containers:
      - name: proxy
        image: {IMAGE}
        args: [proxy, --kind, {kind}]
        env:
        - {{name: PREFILL_URL, value: 'http://vllm-prefill-{pair}:8000'}}
        - {{name: DECODE_URL, value: 'http://vllm-decode-{pair}:8000'}}{zmq}
        ports: [{{name: http, containerPort: 8080}}]
        readinessProbe: {{httpGet: {{path: /health, port: http}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: vllm-{pair}-proxy, namespace: {MODELS}}}
spec:
  selector: {{app: vllm-{pair}-test, role: proxy}}
  ports: [{{name: http, port: 8080, targetPort: 8080}}]
---
"
        );
    }
    all
}

/// The pool, and the route by header past the picker.
pub(crate) fn pool_and_route() -> String {
    let rules = PAIRS.map(|(pair, backend)| {
        format!(
            "
  - matches: [{{path: {{type: PathPrefix, value: /}}, headers: [{{type: Exact, name: x-kv-backend, value: {backend}}}]}}]
    timeouts: {{request: 0s, backendRequest: 0s}}
    backendRefs: [{{name: vllm-{pair}-proxy, namespace: {MODELS}, port: 8080, weight: 1}}]"
        )
    });
    format!(
        "apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {{name: {POOL}, namespace: {MODELS}}}
spec:
  selector: {{matchLabels: {{role: proxy}}}}
  targetPorts: [{{number: 8080}}]
  endpointPickerRef: {{group: '', kind: Service, name: {EPP}, port: {{number: 9002}}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: vllm-ab-test, namespace: {SCHEDULER}}}
spec:
  parentRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: {GATEWAY}}}]
  rules:{}
",
        rules.concat()
    )
}

/// The lab's custom resource, with our image and `envoyFilter.mode: Auto`.
pub(crate) fn install() -> String {
    format!(
        "apiVersion: sim.llm-d.io/v1alpha1
kind: SchedulerInstall
metadata: {{name: {INSTALL}, namespace: {SCHEDULER}}}
spec:
  schedulerNamespace: {SCHEDULER}
  simulatorNamespace: {MODELS}
  epp: {{enabled: true, image: '{IMAGE}', poolName: {POOL}, poolNamespace: {MODELS}, configProfile: proxy-performance}}
  gateway: {{enabled: true, name: {GATEWAY}, className: istio}}
  envoyFilter: {{enabled: true, mode: Auto}}
  proxyService: {{port: 8080, targetPort: 8080, selector: {{role: proxy}}}}
  routing: {{enabled: true, backendType: InferencePool, inferencePool: {{name: {POOL}, namespace: {MODELS}, port: 8080}}}}
  destinationRule: {{enabled: true, algorithm: ROUND_ROBIN, connectionPool: {{http1MaxPendingRequests: 1, maxRequestsPerConnection: 1}}}}
"
    )
}

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
