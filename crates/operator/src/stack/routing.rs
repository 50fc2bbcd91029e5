//! The pool of candidates, and the route that goes past the picker when a header says which pair is wanted.

use serde_json::{Value, json};

use crate::desired::child::Child;
use crate::kinds::{GRANT, POOL, ROUTE};
use crate::stack::settings::{Pair, Settings};
use crate::stack::{map, object};

/// The pool. Its picker is looked for in the pool's own namespace, and a name for a Service elsewhere (ExternalName)
/// does not work with Istio: the `SchedulerInstall` asks the operator for a Service there that leads to the picker.
pub(super) fn pool(settings: &Settings) -> Child {
    let body = json!({"spec": {
        "selector": {"matchLabels": map(settings.candidates())},
        "targetPorts": [{"number": settings.proxy_port}],
        "endpointPickerRef": {
            "group": "",
            "kind": "Service",
            "name": settings.epp,
            "port": {"number": settings.epp_port},
            "failureMode": settings.failure_mode,
        },
    }});
    object(&POOL, &settings.namespace, &settings.pool, &[], body)
}

/// The grant and the route. It has a header to match, so it goes before the route to the pool, and requests without
/// that header fall through.
pub(super) fn by_header(settings: &Settings, made: &mut Vec<Child>) {
    let group = "gateway.networking.k8s.io";
    if settings.namespace != settings.scheduler_namespace {
        let body = json!({"spec": {
            "from": [{"group": group, "kind": "HTTPRoute", "namespace": settings.scheduler_namespace}],
            "to": [{"group": "", "kind": "Service"}],
        }});
        made.push(object(
            &GRANT,
            &settings.namespace,
            &settings.ab_route,
            &[],
            body,
        ));
    }
    let rules: Vec<Value> = settings
        .backends()
        .into_iter()
        .map(|backend| {
            let proxy = Pair { backend, number: 0 }.proxy();
            json!({
                "matches": [{
                    "path": {"type": "PathPrefix", "value": "/"},
                    "headers": [{"type": "Exact", "name": settings.ab_header, "value": backend.label()}],
                }],
                "timeouts": {"request": "0s", "backendRequest": "0s"},
                "backendRefs": [{
                    "group": "",
                    "kind": "Service",
                    "name": proxy,
                    "namespace": settings.namespace,
                    "port": settings.proxy_port,
                    "weight": 1,
                }],
            })
        })
        .collect();
    let body = json!({"spec": {
        "parentRefs": [{
            "group": group,
            "kind": "Gateway",
            "name": settings.gateway,
            "namespace": settings.scheduler_namespace,
        }],
        "rules": rules,
    }});
    made.push(object(
        &ROUTE,
        &settings.scheduler_namespace,
        &settings.ab_route,
        &[],
        body,
    ));
}
