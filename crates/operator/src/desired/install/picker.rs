//! The picker of a `SchedulerInstall`: account, rights, configuration, Deployment, Services.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::desired::Observed;
use crate::desired::child::Maker;
use crate::desired::picker::{
    METRICS_PORT, Start, binding, configuration, leader_rules, pod_security, rules, sha256,
};
use crate::kinds::{
    CONFIG_MAP, DEPLOYMENT, ENDPOINT_SLICE, ROLE, ROLE_BINDING, SERVICE, SERVICE_ACCOUNT,
};
use crate::spec::install::{Epp, Install, Mode};

/// The key of the configuration.
const CONFIG_KEY: &str = "epp-config.yaml";

/// Restarts the pods when the configuration changes.
const CONFIG_HASH: &str = "sim.llm-d.io/config-hash";

pub(super) fn picker(make: &mut Maker, install: &Install, epp: &Epp, observed: &Observed) {
    let (scheduler, name) = (&install.scheduler_namespace, &epp.name);
    make.owned(&SERVICE_ACCOUNT, scheduler, name, &[], json!({}));
    rights(make, install, epp);
    let app_name = ("app.kubernetes.io/name", install.id.name.as_str());
    let config = json!({CONFIG_KEY: configuration(epp.profile)});
    let config_name = format!("{name}-config");
    make.owned(
        &CONFIG_MAP,
        scheduler,
        &config_name,
        &[app_name],
        json!({"data": &config}),
    );
    let labels = [("app", name.as_str()), app_name];
    make.owned(
        &DEPLOYMENT,
        scheduler,
        name,
        &labels,
        deployment(install, epp, &config),
    );
    make.owned(&SERVICE, scheduler, name, &[], service(epp, true));
    let native = install
        .filter
        .as_ref()
        .is_some_and(|filter| filter.mode == Mode::Native);
    let wants_one = native || install.pool.is_some();
    if wants_one && epp.pool_namespace != *scheduler {
        service_beside_the_pool(make, epp, observed);
    }
}

/// Where the backends are, where the pool is, and, for several pods, where they agree who leads.
fn rights(make: &mut Maker, install: &Install, epp: &Epp) {
    let (scheduler, name) = (&install.scheduler_namespace, &epp.name);
    let mut places = vec![&install.simulator_namespace, &epp.pool_namespace];
    places.dedup();
    for namespace in places {
        make.labelled(&ROLE, namespace, name, json!({"rules": rules(epp.flavor)}));
        make.labelled(
            &ROLE_BINDING,
            namespace,
            name,
            binding(name, name, scheduler),
        );
    }
    if epp.several {
        let role = format!("{name}-leader");
        make.owned(
            &ROLE,
            scheduler,
            &role,
            &[],
            json!({"rules": leader_rules()}),
        );
        make.owned(
            &ROLE_BINDING,
            scheduler,
            &role,
            &[],
            binding(&role, name, scheduler),
        );
    }
}

fn deployment(install: &Install, epp: &Epp, config: &Value) -> Value {
    let labels = json!({"app": epp.name, "app.kubernetes.io/name": install.id.name});
    let start = Start {
        pool: &epp.pool_name,
        pool_namespace: &epp.pool_namespace,
        config_file: "/etc/epp/epp-config.yaml",
        port: epp.port,
        verbosity: epp.verbosity,
        flavor: epp.flavor,
        args: &epp.args,
        image: &epp.image,
        resources: &epp.resources,
        volume: ("epp-config", "/etc/epp"),
        env: None,
    };
    let mut pod = json!({"labels": labels});
    if epp.rolls {
        pod["annotations"] = json!({CONFIG_HASH: sha256(config.to_string().as_bytes())});
    }
    let mut spec = json!({
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": pod,
            "spec": {
                "serviceAccountName": epp.name,
                "securityContext": pod_security(),
                "containers": [start.container()],
                "volumes": [{
                    "name": "epp-config",
                    "configMap": {"name": format!("{}-config", epp.name), "defaultMode": 0o644},
                }],
            },
        },
    });
    if let Some(replicas) = epp.replicas {
        spec["replicas"] = json!(replicas);
    }
    json!({"spec": spec})
}

fn service(epp: &Epp, selects: bool) -> Value {
    let port = |name: &str, port: u16| json!({"name": name, "port": port, "protocol": "TCP", "targetPort": port});
    let mut spec = json!({
        "type": "ClusterIP",
        "ports": [port("grpc", epp.port), port("metrics", METRICS_PORT)],
    });
    if selects {
        spec["selector"] = json!({"app": epp.name});
    }
    json!({"spec": spec})
}

/// Gateways look for a pool's picker in the pool's namespace, and a name for a Service elsewhere does not work with
/// Istio: so there is a Service without a selector, whose addresses are kept here.
fn service_beside_the_pool(make: &mut Maker, epp: &Epp, observed: &Observed) {
    let namespace = &epp.pool_namespace;
    make.labelled(&SERVICE, namespace, &epp.name, service(epp, false));
    let families: BTreeSet<bool> = observed
        .epp_pods
        .keys()
        .map(|ip| ip.contains(':'))
        .collect();
    let families = if families.is_empty() {
        BTreeSet::from([false])
    } else {
        families
    };
    for six in families {
        let endpoints: Vec<Value> = observed
            .epp_pods
            .iter()
            .filter(|(ip, _)| ip.contains(':') == six)
            .map(|(ip, ready)| json!({"addresses": [ip], "conditions": {"ready": ready}}))
            .collect();
        let body = json!({
            "addressType": if six { "IPv6" } else { "IPv4" },
            "endpoints": endpoints,
            "ports": [
                {"name": "grpc", "port": epp.port, "protocol": "TCP"},
                {"name": "metrics", "port": METRICS_PORT, "protocol": "TCP"},
            ],
        });
        let name = format!("{}-{}", epp.name, if six { "ipv6" } else { "ipv4" });
        let labels = [
            ("kubernetes.io/service-name", epp.name.as_str()),
            ("endpointslice.kubernetes.io/managed-by", "sim.llm-d.io"),
        ];
        make.labelled_with(&ENDPOINT_SLICE, namespace, &name, &labels, body);
    }
}
