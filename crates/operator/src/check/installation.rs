//! What belongs to one pool: its candidates, its picker, the routes and gateways that lead to it.

use serde_json::Value;

use crate::check::facts::{
    Facts, OLD_POOL, POD, id_of, is_ready, items, name_of, namespace_of, text,
};
use crate::check::labels::{Labels, labels, labels_of, matches};
use crate::kinds::{CONFIG_MAP, ENDPOINT_SLICE, GATEWAY, POOL, ROUTE, SERVICE};

/// The port of the metrics and of the decisions, where the picker's arguments name no other.
const METRICS_PORT: u16 = 9090;

/// The file name of the configuration in the operator's ConfigMap.
const CONFIG_KEY: &str = "epp-config.yaml";

/// One pool with all that is around it.
#[derive(Clone, Debug)]
pub struct Installation<'a> {
    /// All that was read.
    pub facts: &'a Facts,
    /// The pool.
    pub pool: &'a Value,
    /// Pods that the pool selects.
    pub candidates: Vec<&'a Value>,
    /// The Service that the pool names, and the Service that it comes to if it is of type ExternalName.
    pub services: Vec<&'a Value>,
    /// The picker's pods.
    pub pickers: Vec<&'a Value>,
    /// Routes with the pool as a backend.
    pub routes: Vec<&'a Value>,
    /// Gateways of those routes.
    pub gateways: Vec<&'a Value>,
}

/// All pools, of both versions; a pool that has both is told once.
pub fn pools(facts: &Facts) -> Vec<&Value> {
    let new = facts.all(&POOL).iter();
    let old = facts.all(&OLD_POOL).iter();
    let mut found: Vec<&Value> = Vec::new();
    for pool in new.chain(old) {
        if found.iter().all(|known| id_of(known) != id_of(pool)) {
            found.push(pool);
        }
    }
    found
}

/// The labels that a pool selects by, of either version.
pub fn selector(pool: &Value) -> Labels<'_> {
    let selector = &pool["spec"]["selector"];
    match selector["matchLabels"].is_object() {
        true => labels(&selector["matchLabels"]),
        false => labels(selector),
    }
}

/// The picker that a pool names: Service and port.
pub fn picker_of(pool: &Value) -> Option<(&str, u16)> {
    let spec = &pool["spec"];
    let named = [&spec["endpointPickerRef"], &spec["extensionRef"]];
    let reference = named.into_iter().find(|one| one.is_object())?;
    let port = reference["port"]["number"]
        .as_u64()
        .or_else(|| reference["portNumber"].as_u64())
        .and_then(|port| u16::try_from(port).ok());
    Some((text(&reference["name"]), port.unwrap_or(9002)))
}

/// The ports that candidates serve on.
pub fn target_ports(pool: &Value) -> Vec<u16> {
    let spec = &pool["spec"];
    let listed = items(&spec["targetPorts"])
        .iter()
        .filter_map(|one| one["number"].as_u64());
    let single = spec["targetPortNumber"].as_u64();
    listed
        .chain(single)
        .filter_map(|port| u16::try_from(port).ok())
        .collect()
}

/// Name and namespace of a Service in a name such as `epp.ns.svc.cluster.local`.
pub fn service_in(host: &str) -> Option<(&str, &str)> {
    let mut parts = host.split('.');
    let (name, namespace) = (parts.next()?, parts.next()?);
    (parts.next() == Some("svc") && !name.is_empty()).then_some((namespace, name))
}

/// The arguments of all containers of a pod, flag and value apart.
pub fn arguments(pod: &Value) -> Vec<&str> {
    let containers = items(&pod["spec"]["containers"]).iter();
    containers
        .flat_map(|one| items(&one["command"]).iter().chain(items(&one["args"])))
        .filter_map(Value::as_str)
        .flat_map(|word| match word.split_once('=') {
            Some((flag, value)) if flag.starts_with('-') => vec![flag, value],
            _ => vec![word],
        })
        .collect()
}

/// The value of a flag in a pod's arguments; the last one counts.
pub fn flag<'a>(pod: &'a Value, name: &str) -> Option<&'a str> {
    let words = arguments(pod);
    let found = words.windows(2).rev().find(|pair| {
        let bare = pair[0].trim_start_matches('-');
        bare.len() < pair[0].len() && bare == name
    });
    found.map(|pair| pair[1])
}

/// The port where a picker's pod shows metrics and decisions.
pub fn metrics_port(pod: &Value) -> u16 {
    let named = flag(pod, "metrics-port").and_then(|port| port.parse().ok());
    named.unwrap_or(METRICS_PORT)
}

/// Whether a Service selects no pods itself, so that its slices say where it leads.
pub fn leads_by_slices(service: &Value) -> bool {
    service["spec"]["externalName"].is_null() && labels(&service["spec"]["selector"]).is_empty()
}

/// Pods that a Service leads to: by its selector, or else by the addresses of its slices.
pub fn pods_behind<'a>(facts: &'a Facts, service: &Value) -> Vec<&'a Value> {
    let namespace = namespace_of(service);
    let wanted = labels(&service["spec"]["selector"]);
    if !wanted.is_empty() {
        return facts
            .within(&POD, namespace)
            .filter(|pod| matches(&wanted, &labels_of(pod)))
            .collect();
    }
    let addresses = slice_addresses(facts, service);
    let pods = facts.all(&POD).iter();
    pods.filter(|pod| {
        let address = text(&pod["status"]["podIP"]);
        !address.is_empty() && addresses.contains(&address)
    })
    .collect()
}

/// The addresses in the slices of a Service.
pub fn slice_addresses<'a>(facts: &'a Facts, service: &Value) -> Vec<&'a str> {
    let of = |slice: &&Value| {
        labels_of(slice).get("kubernetes.io/service-name") == Some(&name_of(service))
    };
    facts
        .within(&ENDPOINT_SLICE, namespace_of(service))
        .filter(of)
        .flat_map(|slice| items(&slice["endpoints"]))
        .flat_map(|endpoint| items(&endpoint["addresses"]))
        .filter_map(Value::as_str)
        .collect()
}

/// Whether a backendRef of a route in `route_namespace` is this pool.
pub fn is_pool(reference: &Value, route_namespace: &str, pool: &Value) -> bool {
    let namespace = reference["namespace"].as_str().unwrap_or(route_namespace);
    reference["kind"] == "InferencePool"
        && text(&reference["name"]) == name_of(pool)
        && namespace == namespace_of(pool)
}

/// All backendRefs of a route.
pub fn backends(route: &Value) -> impl Iterator<Item = &Value> {
    items(&route["spec"]["rules"])
        .iter()
        .flat_map(|rule| items(&rule["backendRefs"]))
}

/// The gateways that a route names as its parents, as namespace and name.
pub fn parents(route: &Value) -> impl Iterator<Item = (&str, &str)> {
    items(&route["spec"]["parentRefs"])
        .iter()
        .filter(|parent| parent["kind"].as_str().unwrap_or("Gateway") == "Gateway")
        .map(move |parent| {
            let namespace = parent["namespace"].as_str();
            (
                namespace.unwrap_or_else(|| namespace_of(route)),
                text(&parent["name"]),
            )
        })
}

impl<'a> Installation<'a> {
    /// What belongs to this pool.
    pub fn of(facts: &'a Facts, pool: &'a Value) -> Self {
        let namespace = namespace_of(pool);
        let wanted = selector(pool);
        let candidates = facts
            .within(&POD, namespace)
            .filter(|pod| !wanted.is_empty() && matches(&wanted, &labels_of(pod)))
            .collect();
        let services = services(facts, pool);
        let routes: Vec<&Value> = facts
            .all(&ROUTE)
            .iter()
            .filter(|route| backends(route).any(|one| is_pool(one, namespace_of(route), pool)))
            .collect();
        let gateways = facts
            .all(&GATEWAY)
            .iter()
            .filter(|gateway| {
                let own = (namespace_of(gateway), name_of(gateway));
                routes.iter().any(|route| parents(route).any(|p| p == own))
            })
            .collect();
        Self {
            facts,
            pool,
            candidates,
            pickers: pickers(facts, pool, &services),
            services,
            routes,
            gateways,
        }
    }

    /// `namespace/name` of the pool.
    pub fn name(&self) -> String {
        id_of(self.pool)
    }

    /// Candidates that are ready.
    pub fn ready(&self) -> impl Iterator<Item = &'a Value> + '_ {
        self.candidates.iter().copied().filter(|pod| is_ready(pod))
    }

    /// Pods of a gateway, by the label that its controller gives them, else those behind its Service.
    pub fn gateway_pods(&self, gateway: &Value) -> Vec<&'a Value> {
        let name = name_of(gateway);
        let labelled = |pod: &&Value| {
            labels_of(pod).get("gateway.networking.k8s.io/gateway-name") == Some(&name)
        };
        let own: Vec<&Value> = self
            .facts
            .within(&POD, namespace_of(gateway))
            .filter(labelled)
            .collect();
        if !own.is_empty() {
            return own;
        }
        match self.gateway_service(gateway) {
            Some(service) => pods_behind(self.facts, service),
            None => Vec::new(),
        }
    }

    /// The Service that Istio makes for a gateway, or one of the gateway's name.
    pub fn gateway_service(&self, gateway: &Value) -> Option<&'a Value> {
        let (namespace, name) = (namespace_of(gateway), name_of(gateway));
        let class = text(&gateway["spec"]["gatewayClassName"]);
        [format!("{name}-{class}"), name.to_owned()]
            .iter()
            .find_map(|name| self.facts.get(&SERVICE, namespace, name))
    }

    /// The ConfigMap that a picker's pod reads its configuration from, and the text in it.
    pub fn configuration(&self, pod: &Value) -> Option<(&'a Value, Option<&'a str>)> {
        let volumes = items(&pod["spec"]["volumes"]).iter();
        let mut names = volumes.filter_map(|volume| volume["configMap"]["name"].as_str());
        let map = names.find_map(|name| self.facts.get(&CONFIG_MAP, namespace_of(pod), name))?;
        let file = flag(pod, "config-file").and_then(|path| path.rsplit('/').next());
        let data = &map["data"];
        let key = file.filter(|key| data[key].is_string());
        Some((map, data[key.unwrap_or(CONFIG_KEY)].as_str()))
    }
}

fn services<'a>(facts: &'a Facts, pool: &Value) -> Vec<&'a Value> {
    let Some((name, _)) = picker_of(pool) else {
        return Vec::new();
    };
    let mut found: Vec<&Value> = facts
        .get(&SERVICE, namespace_of(pool), name)
        .into_iter()
        .collect();
    let external = found
        .first()
        .and_then(|service| service["spec"]["externalName"].as_str());
    if let Some((namespace, name)) = external.and_then(service_in) {
        found.extend(facts.get(&SERVICE, namespace, name));
    }
    found
}

/// The picker's pods: behind the Service, or with arguments that name the pool.
fn pickers<'a>(facts: &'a Facts, pool: &Value, services: &[&'a Value]) -> Vec<&'a Value> {
    if let Some(service) = services.last() {
        let mut behind = pods_behind(facts, service);
        // Pods of the host's network share its address with others; arguments tell which is a picker.
        if leads_by_slices(service) && behind.iter().any(|pod| flag(pod, "pool-name").is_some()) {
            behind.retain(|pod| flag(pod, "pool-name").is_some());
        }
        if !behind.is_empty() {
            return behind;
        }
    }
    let pods = facts.all(&POD).iter();
    pods.filter(|pod| {
        flag(pod, "pool-name") == Some(name_of(pool))
            && flag(pod, "pool-namespace").unwrap_or_else(|| namespace_of(pod))
                == namespace_of(pool)
    })
    .collect()
}
