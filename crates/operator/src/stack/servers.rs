//! Prefill and decode servers: vLLM, or simulated ones behind the same arguments.

use serde_json::{Value, json};

use crate::desired::child::Child;
use crate::desired::picker::{from_pod, pod_security};
use crate::kinds::{DEPLOYMENT, POD, SERVICE};
use crate::stack::settings::{Backend, Pair, Settings, Workload};
use crate::stack::volume::Source;
use crate::stack::{map, object, restricted};

/// Where servers see models and KV.
const MODELS: &str = "/models";
const KV: &str = "/kv_cache";

/// One of the two servers of a pair.
struct Server<'a> {
    settings: &'a Settings,
    pair: Pair,
    /// `prefill` or `decode`.
    role: &'static str,
}

pub(super) fn servers(settings: &Settings, made: &mut Vec<Child>) {
    for pair in settings.pairs() {
        for role in ["prefill", "decode"] {
            let server = Server {
                settings,
                pair,
                role,
            };
            made.push(server.workload());
            made.push(server.service());
        }
    }
}

impl Server<'_> {
    fn name(&self) -> String {
        self.pair.server(self.role)
    }

    fn labels(&self) -> [(&'static str, String); 3] {
        [
            ("app", self.pair.app()),
            ("role", self.role.to_owned()),
            ("case", self.pair.case()),
        ]
    }

    fn workload(&self) -> Child {
        let (namespace, name) = (&self.settings.namespace, self.name());
        let labels = self.labels();
        let labels: Vec<(&str, &str)> = labels.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let spec = self.pod();
        match self.settings.workload {
            Workload::Pods => object(&POD, namespace, &name, &labels, json!({"spec": spec})),
            Workload::Deployments => {
                let matched = map(labels.iter().copied());
                let body = json!({"spec": {
                    "replicas": 1,
                    // A new server needs the GPUs of the old one.
                    "strategy": {"type": "Recreate"},
                    "selector": {"matchLabels": matched},
                    "template": {"metadata": {"labels": matched}, "spec": spec},
                }});
                object(&DEPLOYMENT, namespace, &name, &labels, body)
            }
        }
    }

    fn service(&self) -> Child {
        let labels = self.labels();
        let labels: Vec<(&str, &str)> = labels.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let ports: Vec<Value> = self
            .ports()
            .into_iter()
            .map(|(name, port)| json!({"name": name, "port": port, "protocol": "TCP", "targetPort": port}))
            .collect();
        let body = json!({"spec": {
            "type": "ClusterIP",
            "selector": map(labels.iter().copied()),
            "ports": ports,
        }});
        object(
            &SERVICE,
            &self.settings.namespace,
            &self.name(),
            &labels,
            body,
        )
    }

    fn ports(&self) -> Vec<(&'static str, u16)> {
        let mut ports = vec![("http", self.settings.port)];
        if self.pair.backend == Backend::P2p {
            ports.push(("kv-transfer", self.settings.kv_port));
        }
        ports
    }

    fn pod(&self) -> Value {
        let settings = self.settings;
        let mut spec = json!({"containers": [self.container()], "enableServiceLinks": false});
        if self.role == "decode" {
            spec["affinity"] = self.beside_prefill();
        }
        if settings.simulated {
            spec["securityContext"] = pod_security();
            return spec;
        }
        if !settings.node_selector.is_empty() {
            let labels = settings.node_selector.iter();
            spec["nodeSelector"] = map(labels.map(|(k, v)| (k.as_str(), v.as_str())));
        }
        let mut volumes = vec![settings.model_volume.volume("models")];
        if self.pair.backend == Backend::Fs {
            volumes.push(self.kv_volume().volume("kv-cache-storage"));
        }
        if settings.gpus > 1 {
            volumes.push(json!({"name": "shm", "emptyDir": {"medium": "Memory"}}));
        }
        spec["volumes"] = json!(volumes);
        spec
    }

    /// A directory of the node is each pair's own; who gives a claim says by that what it holds.
    fn kv_volume(&self) -> Source {
        match &self.settings.kv_volume {
            Source::Host(path) => Source::Host(format!(
                "{}/{}",
                path.trim_end_matches('/'),
                self.pair.case()
            )),
            other => other.clone(),
        }
    }

    /// KV moves within a node.
    fn beside_prefill(&self) -> Value {
        let labels = json!({
            "app": self.pair.app(),
            "role": "prefill",
            "case": self.pair.case(),
        });
        json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{
            "labelSelector": {"matchLabels": labels},
            "topologyKey": "kubernetes.io/hostname",
        }]}})
    }

    fn container(&self) -> Value {
        let settings = self.settings;
        let ports: Vec<Value> = self
            .ports()
            .into_iter()
            .map(|(name, port)| json!({"name": name, "containerPort": port, "protocol": "TCP"}))
            .collect();
        let health = json!({"path": "/health", "port": "http"});
        let probe = |failures: u32, period: u32, delay: u32| {
            json!({
                "httpGet": health,
                "initialDelaySeconds": delay,
                "periodSeconds": period,
                "timeoutSeconds": 2,
                "failureThreshold": failures,
            })
        };
        // A simulated server is there at once.
        let delay = if settings.simulated { 1 } else { 10 };
        let mut container = json!({
            "name": "vllm",
            "imagePullPolicy": "IfNotPresent",
            "ports": ports,
            "startupProbe": probe(90, delay, delay),
            "readinessProbe": probe(12, delay.min(5), delay),
        });
        if settings.simulated {
            container["image"] = json!(settings.pointsman_image);
            container["args"] = json!(self.simulated());
            container["env"] = json!([
                from_pod("POD_NAME", "metadata.name"),
                from_pod("POD_NAMESPACE", "metadata.namespace"),
            ]);
            container["securityContext"] = restricted();
            return container;
        }
        container["image"] = json!(settings.image);
        container["command"] = json!(self.served());
        container["env"] = json!(self.variables());
        let gpus = json!({"nvidia.com/gpu": settings.gpus.to_string()});
        container["resources"] = json!({"limits": gpus, "requests": gpus});
        container["volumeMounts"] = json!(self.mounts());
        container
    }

    fn mounts(&self) -> Vec<Value> {
        let mut mounts = vec![json!({"name": "models", "mountPath": MODELS})];
        if self.pair.backend == Backend::Fs {
            mounts.push(json!({"name": "kv-cache-storage", "mountPath": KV}));
        }
        if self.settings.gpus > 1 {
            mounts.push(json!({"name": "shm", "mountPath": "/dev/shm"}));
        }
        mounts
    }

    fn variables(&self) -> Vec<Value> {
        let mut pairs = vec![("HF_HOME", MODELS), ("HF_HUB_ENABLE_HF_TRANSFER", "1")];
        if self.pair.backend == Backend::P2p {
            pairs.extend([
                ("TRANSFORMERS_CACHE", MODELS),
                ("NCCL_DEBUG", "INFO"),
                ("NCCL_DEBUG_SUBSYS", "ALL"),
                ("VLLM_LOGGING_LEVEL", "DEBUG"),
            ]);
        }
        let mut all: Vec<Value> = pairs
            .into_iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        if let Some(secret) = &self.settings.token_secret {
            let from = json!({"secretKeyRef": {"name": secret, "key": "token"}});
            all.push(json!({"name": "HF_TOKEN", "valueFrom": from}));
        }
        all
    }

    fn served(&self) -> Vec<String> {
        let start = ["vllm", "serve", &self.settings.model].map(str::to_owned);
        start.into_iter().chain(self.arguments()).collect()
    }

    /// The simulator takes vLLM's arguments. It asks the prefill server what that has computed.
    fn simulated(&self) -> Vec<String> {
        let start = ["sim", "--model", &self.settings.model, "--host", "0.0.0.0"];
        let mut words: Vec<String> = start.map(str::to_owned).into();
        if self.role == "decode" {
            let prefill = self.pair.server("prefill");
            words.push(format!("--kv-peer=http://{prefill}:{}", self.settings.port));
        }
        words.extend(self.arguments());
        words
    }

    fn arguments(&self) -> Vec<String> {
        let settings = self.settings;
        let mut words = vec![
            format!("--tensor-parallel-size={}", settings.gpus.max(1)),
            format!("--port={}", settings.port),
        ];
        if !settings.tool_call_parser.is_empty() {
            words.push("--enable-auto-tool-choice".to_owned());
            words.push(format!("--tool-call-parser={}", settings.tool_call_parser));
        }
        words.push(format!("--gpu-memory-utilization={}", settings.gpu_memory));
        words.push(format!("--max-model-len={}", settings.max_model_len));
        words.push("--no-enable-prefix-caching".to_owned());
        words.push("--no-enable-chunked-prefill".to_owned());
        words.push(format!("--kv-transfer-config={}", self.connector()));
        words.extend(settings.server_args.iter().cloned());
        words
    }

    /// vLLM's own description of how KV moves.
    fn connector(&self) -> Value {
        let prefill = self.role == "prefill";
        let role = if prefill {
            "kv_producer"
        } else {
            "kv_consumer"
        };
        match self.pair.backend {
            Backend::P2p => json!({
                "kv_connector": "P2pNcclConnector",
                "kv_role": role,
                "kv_rank": i32::from(!prefill),
                "kv_parallel_size": 2,
                "kv_ip": "0.0.0.0",
                "kv_port": self.settings.kv_port,
                "engine_id": "p2p-nccl-same-node",
            }),
            Backend::Fs => json!({
                "kv_connector": "ExampleConnector",
                "kv_role": role,
                "kv_connector_extra_config": {"shared_storage_path": KV},
            }),
        }
    }
}
