//! The way into the pool: Gateway, HTTPRoute, the grants that the route needs, the pool itself.

use serde_json::{Value, json};

use crate::desired::child::Maker;
use crate::kinds::{GATEWAY, GRANT, POOL, ROUTE};
use crate::spec::install::{Backend, Epp, Gateway, Install, Pool, Routing};

const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";
const POOL_GROUP: &str = "inference.networking.k8s.io";

pub(super) fn gateway(make: &mut Maker, install: &Install, gateway: &Gateway) {
    let mut listener = json!({
        "name": "default",
        "port": gateway.port,
        "protocol": gateway.protocol,
    });
    if let Some(tls) = &gateway.tls {
        listener["tls"] = json!({"mode": "Terminate", "certificateRefs": tls["certificateRefs"]});
    }
    let body = json!({"spec": {"gatewayClassName": gateway.class, "listeners": [listener]}});
    make.owned(
        &GATEWAY,
        &install.scheduler_namespace,
        &gateway.name,
        &[],
        body,
    );
}

pub(super) fn routing(make: &mut Maker, install: &Install, routing: &Routing) {
    let scheduler = &install.scheduler_namespace;
    let mut places = vec![&install.simulator_namespace];
    if let Backend::Pool { namespace, .. } = &routing.backend {
        places.push(namespace);
    }
    places.dedup();
    // Within one namespace nothing has to be granted.
    for namespace in places
        .into_iter()
        .filter(|namespace| *namespace != scheduler)
    {
        let grant = json!({"spec": {
            "from": [{"group": GATEWAY_GROUP, "kind": "HTTPRoute", "namespace": scheduler}],
            "to": [{"group": POOL_GROUP, "kind": "InferencePool"}, {"group": "", "kind": "Service"}],
        }});
        make.labelled(&GRANT, namespace, "allow-scheduler-httproute", grant);
    }
    let (parent_namespace, parent) = &routing.parent;
    let body = json!({"spec": {
        "parentRefs": [{"group": GATEWAY_GROUP, "kind": "Gateway", "name": parent, "namespace": parent_namespace}],
        "rules": [{
            "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
            "timeouts": {"request": "0s", "backendRequest": "0s"},
            "backendRefs": [backend(install, routing)],
        }],
    }});
    make.owned(&ROUTE, scheduler, &routing.route, &[], body);
}

fn backend(install: &Install, routing: &Routing) -> Value {
    match &routing.backend {
        Backend::Service => json!({
            "group": "",
            "kind": "Service",
            "name": install.proxy.name,
            "namespace": install.simulator_namespace,
            "port": install.proxy.port,
            "weight": 1,
        }),
        Backend::Pool {
            namespace,
            name,
            port,
        } => {
            let mut backend = json!({
                "group": POOL_GROUP,
                "kind": "InferencePool",
                "name": name,
                "namespace": namespace,
                "weight": 1,
            });
            if *port != 0 {
                backend["port"] = json!(port);
            }
            backend
        }
    }
}

pub(super) fn pool(make: &mut Maker, pool: &Pool, epp: &Epp) {
    let ports: Vec<Value> = pool
        .ports
        .iter()
        .map(|port| json!({"number": port}))
        .collect();
    let body = json!({"spec": {
        "selector": {"matchLabels": pool.selector},
        "targetPorts": ports,
        "endpointPickerRef": {
            "group": "",
            "kind": "Service",
            "name": epp.name,
            "port": {"number": epp.port},
            "failureMode": pool.failure_mode,
        },
    }});
    make.labelled(&POOL, &epp.pool_namespace, &epp.pool_name, body);
}
