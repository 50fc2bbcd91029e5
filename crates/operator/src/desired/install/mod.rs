//! The objects of a `SchedulerInstall`, in the order in which they are written.

mod envoy_filter;
mod picker;
mod route;

use serde_json::json;

use crate::desired::Observed;
use crate::desired::child::{Child, Maker, Owner};
use crate::kinds::{DESTINATION_RULE, SERVICE};
use crate::spec::install::{Balancing, Install};

/// All objects that this one asks for.
pub fn desired(install: &Install, observed: &Observed) -> Vec<Child> {
    let mut make = Maker::new(Owner::Install, &install.id);
    if let Some(epp) = &install.epp {
        picker::picker(&mut make, install, epp, observed);
    }
    if let Some(gateway) = &install.gateway {
        route::gateway(&mut make, install, gateway);
    }
    proxy_service(&mut make, install);
    if let Some(routing) = &install.routing {
        route::routing(&mut make, install, routing);
    }
    if let Some(rule) = &install.balancing {
        let namespace = &install.simulator_namespace;
        let body = destination_rule(&install.proxy.name, namespace, rule);
        make.labelled(
            &DESTINATION_RULE,
            namespace,
            &format!("{}-lb", install.proxy.name),
            body,
        );
    }
    if let (Some(filter), Some(epp)) = (&install.filter, &install.epp) {
        envoy_filter::envoy_filter(&mut make, install, filter, epp, observed);
    }
    if let (Some(pool), Some(epp)) = (&install.pool, &install.epp) {
        route::pool(&mut make, pool, epp);
    }
    make.done()
}

fn proxy_service(make: &mut Maker, install: &Install) {
    let proxy = &install.proxy;
    let body = json!({"spec": {
        "type": "ClusterIP",
        "selector": proxy.selector,
        "ports": [{"name": "http", "port": proxy.port, "protocol": "TCP", "targetPort": proxy.target_port}],
    }});
    make.labelled(&SERVICE, &install.simulator_namespace, &proxy.name, body);
}

/// How Istio balances over a Service.
pub(crate) fn destination_rule(
    service: &str,
    namespace: &str,
    rule: &Balancing,
) -> serde_json::Value {
    json!({"spec": {
        "host": format!("{service}.{namespace}.svc.cluster.local"),
        "trafficPolicy": {
            "loadBalancer": {"simple": rule.algorithm},
            "connectionPool": {"http": {
                "http1MaxPendingRequests": rule.max_pending,
                "maxRequestsPerConnection": rule.max_per_connection,
            }},
        },
    }})
}
