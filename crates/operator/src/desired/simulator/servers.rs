//! The simulated model servers.

use serde_json::{Value, json};

use crate::desired::child::Maker;
use crate::desired::install::destination_rule;
use crate::kinds::{DEPLOYMENT, DESTINATION_RULE, SERVICE};
use crate::spec::simulator::{Role, Servers, Simulator};

pub(super) fn servers(make: &mut Maker, simulator: &Simulator, servers: &Servers) {
    let (namespace, owner) = (&simulator.id.namespace, simulator.id.name.as_str());
    let (name, role) = (
        deployment_name(owner, &servers.role),
        role_word(&servers.role),
    );
    let all = [
        ("llm-d.ai/role", role),
        ("llm-d.ai/inferenceServing", "true"),
        ("app.kubernetes.io/name", owner),
    ];
    let selector: Value = match servers.role {
        Role::Alone { .. } => json!({"llm-d.ai/role": role, "app.kubernetes.io/name": owner}),
        _ => all
            .iter()
            .map(|(k, v)| ((*k).to_owned(), json!(v)))
            .collect(),
    };
    make.owned(
        &DEPLOYMENT,
        namespace,
        &name,
        &all,
        deployment(servers, &all, &selector, role),
    );
    let service = |kind: &str| {
        json!({"spec": {
            "type": kind,
            "selector": selector,
            "ports": [{"name": "http", "port": servers.port, "protocol": "TCP", "targetPort": servers.port}],
        }})
    };
    match &servers.role {
        Role::Alone {
            service: front,
            kind,
        } => {
            let labels = [("app.kubernetes.io/name", owner)];
            make.owned(&SERVICE, namespace, front, &labels, service(kind));
            if let Some(rule) = &servers.balancing {
                let body = destination_rule(front, namespace, rule);
                make.owned(
                    &DESTINATION_RULE,
                    namespace,
                    &format!("{front}-lb"),
                    &labels,
                    body,
                );
            }
        }
        _ => make.owned(&SERVICE, namespace, &name, &all, service("ClusterIP")),
    }
}

/// The name of the Deployment of these servers.
pub(crate) fn deployment_name(owner: &str, role: &Role) -> String {
    match role {
        Role::Alone { .. } => format!("ms-sim-{owner}-decode"),
        Role::Prefill => "ms-sim-llm-d-modelservice-prefill".to_owned(),
        Role::Decode => "ms-sim-llm-d-modelservice-decode".to_owned(),
    }
}

fn role_word(role: &Role) -> &'static str {
    match role {
        Role::Prefill => "prefill",
        Role::Alone { .. } | Role::Decode => "decode",
    }
}

fn deployment(servers: &Servers, labels: &[(&str, &str)], selector: &Value, role: &str) -> Value {
    let mut args: Vec<String> = [
        "--model",
        "random",
        "--mode",
        "random",
        "--v",
        &servers.verbosity.to_string(),
        "--port",
        &servers.port.to_string(),
    ]
    .map(str::to_owned)
    .into();
    args.extend(servers.args.iter().cloned());
    let labels: Value = labels
        .iter()
        .map(|(k, v)| ((*k).to_owned(), json!(v)))
        .collect();
    json!({"spec": {
        "replicas": servers.replicas,
        "selector": {"matchLabels": selector},
        "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [{
                "name": role,
                "image": servers.image,
                "imagePullPolicy": pull_policy(&servers.image),
                "args": args,
                "ports": [{"name": "http", "containerPort": servers.port, "protocol": "TCP"}],
                "resources": servers.resources,
            }]},
        },
    }})
}

/// Images that were loaded by hand are never pulled; those that name a registry are.
fn pull_policy(image: &str) -> &'static str {
    let (path, tag) = match image.rsplit_once('/') {
        None => (None, image),
        Some((path, last)) => (Some(path), last),
    };
    let host = path.and_then(|path| path.split('/').next());
    let has_host = host.is_some_and(|host| host.contains(['.', ':']) || host == "localhost");
    let tag = tag
        .split('@')
        .next()
        .unwrap_or(tag)
        .split_once(':')
        .map(|(_, tag)| tag);
    match !has_host || tag == Some("local") {
        true => "Never",
        false => "IfNotPresent",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_images_loaded_by_hand_are_never_pulled() {
        for local in [
            "sim",
            "sim:1",
            "library/sim:1",
            "docker.io/library/sim:local",
            "sim:local",
        ] {
            assert_eq!(pull_policy(local), "Never", "{local}");
        }
        for remote in [
            "ghcr.io/llm-d/sim:latest",
            "localhost/sim:2",
            "r:5000/sim",
            "r.io/sim@sha256:ab",
        ] {
            assert_eq!(pull_policy(remote), "IfNotPresent", "{remote}");
        }
    }
}
