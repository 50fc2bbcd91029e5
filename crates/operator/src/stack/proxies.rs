//! The P/D proxies: the candidates of the pool.

use serde_json::{Value, json};

use crate::desired::child::Child;
use crate::desired::picker::pod_security;
use crate::kinds::{DEPLOYMENT, SERVICE};
use crate::stack::settings::{Backend, Pair, Settings};
use crate::stack::{map, object, restricted};

/// The label that profiles filter by: without it the profile by backend finds nobody.
const BACKEND_LABEL: &str = "llm-d.ai/kv-backend";

pub(super) fn proxies(settings: &Settings, made: &mut Vec<Child>) {
    for pair in settings.pairs() {
        made.push(deployment(settings, pair));
    }
    // One Service a backend: the route by header goes to all of its proxies.
    for backend in settings.backends() {
        let first = Pair { backend, number: 0 };
        made.push(service(settings, first));
    }
}

fn deployment(settings: &Settings, pair: Pair) -> Child {
    let (app, name) = (pair.app(), pair.proxy());
    let shared = [
        ("app", app.as_str()),
        ("role", "proxy"),
        (BACKEND_LABEL, pair.backend.label()),
    ];
    // Several pairs of one backend differ in whom they ask, and so in their Deployment.
    let case = pair.case();
    let selected = map(shared.into_iter().chain([("case", case.as_str())]));
    let body = json!({"spec": {
        "replicas": 1,
        "selector": {"matchLabels": selected},
        "template": {
            "metadata": {"labels": selected},
            "spec": {
                "securityContext": pod_security(),
                // A Service named pointsman would set POINTSMAN_PORT, which is a flag's variable.
                "enableServiceLinks": false,
                // What is under way at the end is answered.
                "terminationGracePeriodSeconds": 60,
                "containers": [container(settings, pair)],
            },
        },
    }});
    object(&DEPLOYMENT, &settings.namespace, &name, &shared, body)
}

fn container(settings: &Settings, pair: Pair) -> Value {
    let url = |role: &str| format!("http://{}:{}", pair.server(role), settings.port);
    let mut env = vec![
        json!({"name": "PREFILL_URL", "value": url("prefill")}),
        json!({"name": "DECODE_URL", "value": url("decode")}),
    ];
    if pair.backend == Backend::P2p {
        let place = |role: &str| format!("{}:{}", pair.server(role), settings.kv_port);
        env.push(json!({"name": "PREFILL_ZMQ", "value": place("prefill")}));
        env.push(json!({"name": "DECODE_ZMQ", "value": place("decode")}));
    }
    json!({
        "name": "proxy",
        "image": settings.pointsman_image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["proxy", "--kind", pair.backend.word(), "--listen", format!(":{}", settings.proxy_port)],
        "env": env,
        "ports": [{"name": "http", "containerPort": settings.proxy_port, "protocol": "TCP"}],
        "readinessProbe": {
            "httpGet": {"path": "/health", "port": "http"},
            "periodSeconds": 2,
            "timeoutSeconds": 2,
            "failureThreshold": 3,
        },
        "livenessProbe": {
            "tcpSocket": {"port": "http"},
            "periodSeconds": 10,
            "failureThreshold": 3,
        },
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
        "securityContext": restricted(),
    })
}

fn service(settings: &Settings, pair: Pair) -> Child {
    let app = pair.app();
    let labels = [("app", app.as_str()), ("role", "proxy")];
    let port = settings.proxy_port;
    let body = json!({"spec": {
        "type": "ClusterIP",
        "selector": map(labels),
        "ports": [{"name": "http", "port": port, "protocol": "TCP", "targetPort": port}],
    }});
    object(&SERVICE, &settings.namespace, &pair.proxy(), &labels, body)
}
