//! The picker beside simulated servers.

use serde_json::json;

use crate::desired::child::Maker;
use crate::desired::picker::{
    METRICS_PORT, Start, binding, configuration, from_pod, leader_rules, pod_security, rules,
    sha256,
};
use crate::kinds::{CONFIG_MAP, DEPLOYMENT, ROLE, ROLE_BINDING, SERVICE, SERVICE_ACCOUNT};
use crate::spec::install::flavor_of;
use crate::spec::simulator::{Simulator, SimulatorEpp};

/// The name of everything of it, whatever the custom resource is called.
const NAME: &str = "gaie-sim-epp";
/// The pool that it picks from.
const POOL: &str = "gaie-sim";
const CONFIG_KEY: &str = "default-plugins.yaml";
const VOLUME: &str = "plugins-config-volume";

pub(super) fn picker(make: &mut Maker, simulator: &Simulator, epp: &SimulatorEpp) {
    let namespace = &simulator.id.namespace;
    let labels = [
        ("llm-d.ai/component", "epp"),
        ("app.kubernetes.io/name", simulator.id.name.as_str()),
    ];
    let flavor = flavor_of(&epp.image);
    let mut allowed = rules(flavor);
    if let (true, Some(allowed), Some(more)) = (
        epp.replicas > 1,
        allowed.as_array_mut(),
        leader_rules().as_array(),
    ) {
        allowed.extend(more.iter().cloned());
    }
    make.owned(&SERVICE_ACCOUNT, namespace, NAME, &labels, json!({}));
    make.owned(&ROLE, namespace, NAME, &labels, json!({"rules": allowed}));
    make.owned(
        &ROLE_BINDING,
        namespace,
        NAME,
        &labels,
        binding(NAME, NAME, namespace),
    );
    let config = json!({CONFIG_KEY: configuration("default")});
    make.owned(
        &CONFIG_MAP,
        namespace,
        NAME,
        &labels,
        json!({"data": config}),
    );
    let start = Start {
        pool: POOL,
        pool_namespace: namespace,
        config_file: "/config/default-plugins.yaml",
        port: epp.port,
        verbosity: epp.verbosity,
        flavor,
        args: &epp.args,
        image: &epp.image,
        resources: &epp.resources,
        volume: (VOLUME, "/config"),
        env: Some(json!([
            from_pod("NAMESPACE", "metadata.namespace"),
            from_pod("POD_NAME", "metadata.name"),
        ])),
    };
    let selector = json!({
        "llm-d.ai/component": "epp",
        "app.kubernetes.io/name": simulator.id.name,
    });
    let deployment = json!({"spec": {
        "replicas": epp.replicas,
        "selector": {"matchLabels": selector},
        "template": {
            "metadata": {
                "labels": selector,
                "annotations": {"sim.llm-d.io/config-hash": sha256(config.to_string().as_bytes())},
            },
            "spec": {
                "serviceAccountName": NAME,
                "securityContext": pod_security(),
                "containers": [start.container()],
                "volumes": [{"name": VOLUME, "configMap": {"name": NAME, "defaultMode": 0o644}}],
            },
        },
    }});
    make.owned(&DEPLOYMENT, namespace, NAME, &labels, deployment);
    let service = json!({"spec": {
        "type": "ClusterIP",
        "selector": selector,
        "ports": [
            {"name": "http", "port": epp.port, "protocol": "TCP", "targetPort": epp.port},
            {"name": "metrics", "port": METRICS_PORT, "protocol": "TCP", "targetPort": METRICS_PORT},
        ],
    }});
    make.owned(&SERVICE, namespace, NAME, &labels, service);
}
