//! What both kinds of custom resource say of a picker: its configuration, its container, what it may do.

use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use std::fmt::Write as _;

use crate::spec::install::Flavor;

/// The port of the picker's metrics.
pub(crate) const METRICS_PORT: u16 = 9090;

/// The group of pools that pickers watch.
const POOL_GROUP: &str = "inference.networking.k8s.io";

/// The picker's configuration under a profile, byte for byte as the original operator writes it.
pub(crate) fn configuration(profile: &str) -> &'static str {
    match profile {
        "proxy-performance" => include_str!("../profiles/proxy-performance.yaml"),
        "proxy-performance-by-backend" => {
            include_str!("../profiles/proxy-performance-by-backend.yaml")
        }
        _ => include_str!("../profiles/default.yaml"),
    }
}

/// A hash in hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    let mut out = String::new();
    for byte in digest(&SHA256, bytes).as_ref() {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// What a picker is started with.
pub(crate) struct Start<'a> {
    pub(crate) pool: &'a str,
    pub(crate) pool_namespace: &'a str,
    pub(crate) config_file: &'a str,
    pub(crate) port: u16,
    pub(crate) verbosity: i32,
    pub(crate) flavor: Flavor,
    pub(crate) args: &'a [String],
    pub(crate) image: &'a str,
    pub(crate) resources: &'a Value,
    pub(crate) volume: (&'a str, &'a str),
    pub(crate) env: Option<Value>,
}

impl Start<'_> {
    fn arguments(&self) -> Vec<String> {
        let mut words: Vec<String> = [
            "--pool-name",
            self.pool,
            "--pool-namespace",
            self.pool_namespace,
            "--pool-group",
            POOL_GROUP,
            "--zap-encoder",
            "json",
            "--config-file",
            self.config_file,
        ]
        .map(str::to_owned)
        .into();
        if self.flavor == Flavor::Legacy {
            let metric = [
                "--kv-cache-usage-percentage-metric",
                "vllm:kv_cache_usage_perc",
            ];
            words.extend(metric.map(str::to_owned));
        }
        words.push("--secure-serving=false".to_owned());
        let numbers = [
            ("--grpc-port", self.port.to_string()),
            ("--grpc-health-port", self.health().to_string()),
            ("--v", self.verbosity.to_string()),
        ];
        words.extend(
            numbers
                .into_iter()
                .flat_map(|(flag, value)| [flag.to_owned(), value]),
        );
        words.push("--tracing=false".to_owned());
        words.extend(self.args.iter().cloned());
        words
    }

    fn health(&self) -> u16 {
        self.port.saturating_add(1)
    }

    /// The container.
    pub(crate) fn container(&self) -> Value {
        let port =
            |name: &str, port: u16| json!({"name": name, "containerPort": port, "protocol": "TCP"});
        let probe = |initial: Option<u16>, period: u16| {
            let mut probe = json!({
                "tcpSocket": {"port": self.health()},
                "periodSeconds": period,
                "timeoutSeconds": 1,
                "successThreshold": 1,
                "failureThreshold": 3,
            });
            if let Some(initial) = initial {
                probe["initialDelaySeconds"] = json!(initial);
            }
            probe
        };
        let mut container = json!({
            "name": "epp",
            "image": self.image,
            "imagePullPolicy": "IfNotPresent",
            "args": self.arguments(),
            "ports": [
                port("grpc", self.port),
                port("grpc-health", self.health()),
                port("metrics", METRICS_PORT),
            ],
            "livenessProbe": probe(Some(5), 10),
            "readinessProbe": probe(None, 2),
            "resources": self.resources,
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": true,
            },
            "volumeMounts": [{"name": self.volume.0, "mountPath": self.volume.1}],
        });
        if let Some(env) = &self.env {
            container["env"] = env.clone();
        }
        container
    }
}

/// What holds for the whole pod.
pub(crate) fn pod_security() -> Value {
    json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}})
}

/// What a picker may do where its pool is. The line of v0.4 is given what the original operator gave it; later pickers
/// only read.
pub(crate) fn rules(flavor: Flavor) -> Value {
    let read = ["get", "list", "watch"];
    let change = ["get", "list", "watch", "update", "patch"];
    let verbs: &[&str] = match flavor {
        Flavor::Legacy => &change,
        Flavor::Current => &read,
    };
    let pools = ["inferencepools", "inferenceobjectives"];
    json!([
        {"apiGroups": [""], "resources": ["pods", "services", "endpoints"], "verbs": read},
        {"apiGroups": [POOL_GROUP], "resources": pools, "verbs": verbs},
        {"apiGroups": ["inference.networking.x-k8s.io"], "resources": pools, "verbs": verbs},
        {"apiGroups": ["inference.networking.x-k8s.io"], "resources": ["inferencemodelrewrites"], "verbs": read},
        {"apiGroups": ["llm-d.ai"], "resources": ["inferenceobjectives", "inferencemodelrewrites"], "verbs": read},
    ])
}

/// What several pickers need to agree who leads.
pub(crate) fn leader_rules() -> Value {
    json!([
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "list", "watch", "create", "update", "patch", "delete"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
    ])
}

/// Gives a role to the picker's account.
pub(crate) fn binding(role: &str, account: &str, namespace: &str) -> Value {
    json!({
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    })
}

/// A variable that the cluster fills in.
pub(crate) fn from_pod(name: &str, path: &str) -> Value {
    json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}})
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use pointsman_core::config::presets::{LAB_NAMES, preset};
    use pointsman_core::config::written::Written;

    #[test]
    fn configurations_are_the_presets() {
        for name in LAB_NAMES {
            let written: Written = serde_saphyr::from_str(configuration(name)).unwrap();
            let preset = preset(name).unwrap();
            assert_eq!(written.api_version, preset.api_version);
            let plugins = |w: &Written| {
                let mut all: Vec<String> = w
                    .plugins
                    .iter()
                    .map(|p| format!("{} {:?} {:?}", p.kind, p.name, p.parameters))
                    .collect();
                all.sort();
                all
            };
            let uses = |w: &Written| {
                let mut all: Vec<String> = w.scheduling_profiles[0]
                    .plugins
                    .iter()
                    .map(|p| format!("{} {:?}", p.plugin_ref, p.weight))
                    .collect();
                all.sort();
                all
            };
            assert_eq!(plugins(&written), plugins(&preset), "{name}");
            assert_eq!(uses(&written), uses(&preset), "{name}");
        }
    }

    #[test]
    fn a_hash_is_sha256() {
        assert_eq!(
            sha256(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
