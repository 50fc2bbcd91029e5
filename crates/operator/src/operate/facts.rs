//! The few facts that only the cluster knows, gathered for one `SchedulerInstall`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::desired::{Address, Observed};
use crate::kinds::{ENDPOINT_SLICE, POOL, SERVICE};
use crate::operate::pods::{Pods, Which};
use crate::operate::store::{ObjectKey, Store};
use crate::spec::install::{Backend, Install};

/// The pods of the picker.
pub(crate) fn picker_pods(install: &Install) -> Option<Which> {
    let epp = install.epp.as_ref()?;
    Some(Which {
        namespace: install.scheduler_namespace.clone(),
        selector: format!("app={}", epp.name),
    })
}

/// The gateway's pods and the port of their counters, where that is told.
pub(crate) fn gateway_pods(install: &Install) -> Option<(Which, u16)> {
    let stats = install.stats.as_ref()?;
    let which = Which {
        namespace: install.scheduler_namespace.clone(),
        selector: format!("gateway.networking.k8s.io/gateway-name={}", stats.gateway),
    };
    Some((which, stats.port))
}

/// Which pool this one picks from, as `(namespace, name)`.
pub(crate) fn pool_of(install: &Install) -> Option<(String, String)> {
    let routed = install
        .routing
        .as_ref()
        .and_then(|routing| match &routing.backend {
            Backend::Pool {
                namespace, name, ..
            } => Some((namespace.clone(), name.clone())),
            Backend::Service => None,
        });
    let own = install.pool.as_ref().and(install.epp.as_ref());
    routed.or_else(|| own.map(|epp| (epp.pool_namespace.clone(), epp.pool_name.clone())))
}

/// The pool, where it exists.
pub(crate) fn pool(store: &Store, install: &Install) -> Option<Value> {
    at(store, pool_of(install)?)
}

fn at(store: &Store, (namespace, name): (String, String)) -> Option<Value> {
    store.object(&ObjectKey {
        kind: &POOL,
        namespace,
        name,
    })
}

/// The pods of a pool.
pub(crate) fn pool_pods(pool: &Value) -> Option<Which> {
    let labels = pool["spec"]["selector"]["matchLabels"].as_object()?;
    let terms: Vec<String> = labels
        .iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", value.as_str()?)))
        .collect();
    Some(Which {
        namespace: pool["metadata"]["namespace"].as_str()?.to_owned(),
        selector: terms.join(","),
    })
}

/// All pods that this one asks about.
pub(crate) fn questions(store: &Store, install: &Install) -> BTreeSet<Which> {
    let of_pool = pool(store, install).as_ref().and_then(pool_pods);
    let gateway = gateway_pods(install).map(|(which, _)| which);
    let all = picker_pods(install).into_iter().chain(of_pool);
    all.chain(gateway).collect()
}

/// What rendering needs to know.
pub(crate) fn observed(store: &Store, pods: &Pods, install: &Install) -> Observed {
    let Some(epp) = &install.epp else {
        return Observed::default();
    };
    let service = store.object(&ObjectKey {
        kind: &SERVICE,
        namespace: install.scheduler_namespace.clone(),
        name: epp.name.clone(),
    });
    let epp_address = match service {
        None => Address::Pending,
        Some(service) => match service["spec"]["clusterIP"].as_str() {
            None | Some("") => Address::Pending,
            Some("None") => Address::Headless,
            Some(ip) => Address::Ip(ip.to_owned()),
        },
    };
    let epp_pods = match picker_pods(install) {
        Some(which) if pods.listed(&which) => pods
            .seen(&which)
            .into_iter()
            .filter_map(|pod| Some((pod.address?, pod.ready)))
            .collect(),
        // Pods that cannot be seen are not gone: what was told of them stays.
        _ => told(store, &epp.pool_namespace, &epp.name),
    };
    let pool = asked_pool(install).and_then(|it| at(store, it));
    Observed {
        epp_address,
        epp_pods,
        pool_fails_open: pool.is_some_and(|pool| fails_open(&pool)),
    }
}

/// Where the pool is that the picker serves, as far as the custom resource says.
pub(crate) fn asked_pool(install: &Install) -> Option<(String, String)> {
    let epp = install.epp.as_ref()?;
    pool_of(install).or_else(|| Some((epp.pool_namespace.clone(), epp.pool_name.clone())))
}

/// Whether requests go on without a picker.
pub(crate) fn fails_open(pool: &Value) -> bool {
    pool["spec"]["endpointPickerRef"]["failureMode"] == "FailOpen"
}

/// The picker's pods as the slices beside the pool name them.
fn told(store: &Store, namespace: &str, epp: &str) -> BTreeMap<String, bool> {
    let slices = ["ipv4", "ipv6"].map(|family| {
        store.object(&ObjectKey {
            kind: &ENDPOINT_SLICE,
            namespace: namespace.to_owned(),
            name: format!("{epp}-{family}"),
        })
    });
    let mut found = BTreeMap::new();
    for slice in slices.into_iter().flatten() {
        for one in slice["endpoints"].as_array().into_iter().flatten() {
            if let Some(ip) = one["addresses"][0].as_str() {
                found.insert(ip.to_owned(), one["conditions"]["ready"] == true);
            }
        }
    }
    found
}
