//! Gateways as Deployments of their own, in front of the decode servers.

use serde_json::{Value, json};

use crate::desired::child::Maker;
use crate::desired::picker::{from_pod, sha256};
use crate::kinds::{CONFIG_MAP, DEPLOYMENT, SERVICE};
use crate::spec::simulator::{OwnGateway, Simulator};

/// Envoy's configuration; the port of the decode servers stands for itself.
const ENVOY: &str = include_str!("../../profiles/envoy.yaml");

/// The port that the standard gateway listens on.
const STANDARD_PORT: u16 = 80;
/// The port that Istio's listens on.
const ISTIO_PORT: u16 = 8080;

pub(super) fn gateway(make: &mut Maker, simulator: &Simulator, gateway: &OwnGateway) {
    let namespace = &simulator.id.namespace;
    let name = match gateway.istio {
        false => "infra-sim-inference-gateway",
        true => "infra-sim-inference-gateway-istio",
    };
    let mut labels = vec![
        ("llm-d.ai/component", "gateway"),
        ("app.kubernetes.io/name", simulator.id.name.as_str()),
    ];
    if gateway.istio {
        labels.push(("llm-d.ai/gateway-type", "istio"));
    }
    let selector: Value = labels
        .iter()
        .map(|(k, v)| ((*k).to_owned(), json!(v)))
        .collect();
    let envoy = ENVOY.replace("DECODE_PORT", &simulator.decode_port.to_string());
    let config = json!({"envoy.yaml": envoy});
    let (container, volumes, annotations, listens) = match gateway.istio {
        false => {
            let volume = json!([{"name": "envoy-config", "configMap": {"name": name, "defaultMode": 0o644}}]);
            let hash = json!({"sim.llm-d.io/config-hash": sha256(envoy.as_bytes())});
            (standard(gateway), Some(volume), hash, STANDARD_PORT)
        }
        true => (
            istio(gateway),
            None,
            json!({"sidecar.istio.io/inject": "false"}),
            ISTIO_PORT,
        ),
    };
    make.owned(
        &CONFIG_MAP,
        namespace,
        name,
        &labels,
        json!({"data": config}),
    );
    let mut pod = json!({"containers": [container]});
    if let Some(volumes) = volumes {
        pod["volumes"] = volumes;
    }
    let deployment = json!({"spec": {
        "replicas": gateway.replicas,
        "selector": {"matchLabels": selector},
        "template": {"metadata": {"labels": selector, "annotations": annotations}, "spec": pod},
    }});
    make.owned(&DEPLOYMENT, namespace, name, &labels, deployment);
    let service = json!({"spec": {
        "type": "ClusterIP",
        "selector": selector,
        "ports": [{"name": "http", "port": gateway.port, "protocol": "TCP", "targetPort": listens}],
    }});
    make.owned(&SERVICE, namespace, name, &labels, service);
}

fn container(gateway: &OwnGateway, name: &str, args: &[&str], ports: &[(&str, u16)]) -> Value {
    let ports: Vec<Value> = ports
        .iter()
        .map(|(name, port)| json!({"name": name, "containerPort": port, "protocol": "TCP"}))
        .collect();
    json!({
        "name": name,
        "image": gateway.image,
        "imagePullPolicy": "IfNotPresent",
        "args": args,
        "env": [from_pod("POD_NAME", "metadata.name"), from_pod("POD_NAMESPACE", "metadata.namespace")],
        "ports": ports,
        "resources": gateway.resources,
    })
}

fn standard(gateway: &OwnGateway) -> Value {
    let args = [
        "--disable-hot-restart",
        "--service-node",
        "$(POD_NAME).$(POD_NAMESPACE)",
        "--log-level",
        "warn",
        "--component-log-level",
        "connection:warn,http:warn,upstream:warn",
    ];
    let ports = [("listener-80", STANDARD_PORT), ("http-monitoring", 9091)];
    let mut made = container(gateway, "kgateway-proxy", &args, &ports);
    if let Some(env) = made["env"].as_array_mut() {
        env.push(json!({"name": "ENVOY_UID", "value": "0"}));
    }
    let ready = json!({"path": "/ready", "port": 19000});
    made["startupProbe"] = json!({
        "httpGet": ready,
        "periodSeconds": 1,
        "timeoutSeconds": 2,
        "successThreshold": 1,
        "failureThreshold": 60,
    });
    made["readinessProbe"] = json!({
        "httpGet": ready,
        "initialDelaySeconds": 5,
        "periodSeconds": 10,
        "timeoutSeconds": 1,
        "successThreshold": 1,
        "failureThreshold": 3,
    });
    made["volumeMounts"] = json!([{"name": "envoy-config", "mountPath": "/etc/envoy"}]);
    made
}

fn istio(gateway: &OwnGateway) -> Value {
    container(
        gateway,
        "istio-proxy",
        &["proxy", "sidecar"],
        &[("http", ISTIO_PORT)],
    )
}
