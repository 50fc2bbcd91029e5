//! Conditions about what others do with the objects: whether the picker runs, the pool is found, the gateway serves.

use serde_json::Value;

use crate::kinds::{DEPLOYMENT, ENVOY_FILTER, GATEWAY, POOL, ROUTE};
use crate::operate::evidence::{EFFECTIVE, Evidence};
use crate::operate::facts::{pool, pool_of, pool_pods};
use crate::operate::pods::{Pods, Seen};
use crate::operate::status::Condition;
use crate::operate::store::ObjectKey;
use crate::operate::subject::Subject;
use crate::operate::watching::Shared;
use crate::spec::install::{Backend, Install, Mode, Routing};

/// The label that the profile by backend goes by.
const BACKEND_LABEL: &str = "llm-d.ai/kv-backend";

/// Conditions of a `SchedulerInstall` that depend on others, and what two columns show.
pub(crate) struct Sights {
    pub(crate) conditions: Vec<Condition>,
    /// Conditions that say something and keep nothing from being available.
    pub(crate) warnings: Vec<Condition>,
    pub(crate) epp: Option<String>,
    pub(crate) endpoints: Option<String>,
}

/// Looks.
pub(crate) fn look(
    shared: &Shared,
    pods: &Pods,
    subject: &Subject<'_>,
    install: &Install,
) -> Sights {
    let known = shared.evidence(subject.key);
    let earlier = known
        .is_none()
        .then(|| earlier_cause(&subject.object))
        .flatten();
    let mut evidence = known.unwrap_or_else(|| Evidence::told(&subject.object));
    let mut sights = Sights {
        conditions: Vec::new(),
        warnings: Vec::new(),
        epp: None,
        endpoints: None,
    };
    let stored = |kind, namespace: &str, name: &str| {
        let key = ObjectKey {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        shared.store.object(&key).unwrap_or(Value::Null)
    };
    let scheduler = install.scheduler_namespace.as_str();
    // One's own filter is known without a look, where it is there.
    if let Some(filter) = install.filter.as_ref().filter(|it| it.mode == Mode::Legacy)
        && !stored(&ENVOY_FILTER, scheduler, &filter.name).is_null()
    {
        let own = || format!("{scheduler}/{}", filter.name);
        evidence.skips_headers.get_or_insert_with(own);
    }
    if let Some(epp) = &install.epp {
        let deployment = stored(&DEPLOYMENT, scheduler, &epp.name);
        let (ready, wanted) = (
            deployment["status"]["readyReplicas"].as_i64().unwrap_or(0),
            deployment["spec"]["replicas"].as_i64().unwrap_or(0),
        );
        sights.epp = Some(format!("{ready}/{wanted}"));
        let available = copied(&deployment["status"]["conditions"], "Available");
        sights.conditions.push(match available {
            Some((true, ..)) => {
                Condition::new("EPPAvailable", Some(true), "Available", "the picker runs")
            }
            _ => {
                let text = format!("{ready} of {wanted} pods of the picker are ready");
                Condition::new("EPPAvailable", Some(false), "NotAvailable", text)
            }
        });
    }
    if pool_of(install).is_some() {
        let found = pool(&shared.store, install);
        sights
            .conditions
            .push(pool_resolved(shared, install, found.as_ref()));
        let which = found.as_ref().and_then(pool_pods);
        let listed = which.as_ref().is_some_and(|which| pods.listed(which));
        let seen = which.map(|which| pods.seen(&which)).unwrap_or_default();
        let ready = seen.iter().filter(|pod| pod.ready).count();
        sights.endpoints = Some(format!("{ready}/{}", seen.len()));
        if found.is_some() {
            let unseen = evidence.metrics_not_found;
            sights.conditions.push(match listed {
                true => endpoints_ready(install, &seen, unseen),
                false => Condition::new(
                    "EndpointsReady",
                    None,
                    "PodsNotSeen",
                    "the operator cannot list the pods of the pool; its log says why",
                ),
            });
        }
    }
    if let Some(gateway) = &install.gateway {
        let object = stored(&GATEWAY, scheduler, &gateway.name);
        let programmed = current(&object, &object["status"]["conditions"], "Programmed");
        sights
            .conditions
            .push(of_others("GatewayProgrammed", programmed));
    }
    if let Some(routing) = &install.routing {
        let object = stored(&ROUTE, scheduler, &routing.route);
        sights
            .conditions
            .push(of_others("RouteAccepted", route_taken(&object, routing)));
    }
    if let Some(rule) = &install.balancing
        && (rule.max_pending == 1 || rule.max_per_connection == 1)
    {
        let text = "one pending request at most and one request a connection: the gateway answers 503 as soon as two wait; raise spec.destinationRule.connectionPool for real load";
        sights.warnings.push(Condition::new(
            "DestinationRuleTight",
            Some(true),
            "OneRequestAtATime",
            text,
        ));
    }
    let asks = install.epp.is_some() && (install.filter.is_some() || routes_to_pool(install));
    let effective = match (evidence.condition(asks), earlier) {
        (Some(now), Some(earlier)) if now.reason != earlier.reason => Some(earlier),
        (now, _) => now,
    };
    sights.warnings.extend(effective);
    sights
}

/// A cause in an object of others, found by an operator that ran before this one; it stands until the first look.
fn earlier_cause(custom: &Value) -> Option<Condition> {
    if custom["status"]["observedGeneration"] != custom["metadata"]["generation"] {
        return None;
    }
    let (holds, reason, message) = copied(&custom["status"]["conditions"], EFFECTIVE)?;
    let in_object = matches!(reason.as_str(), "LegacyFilter" | "ExternalNamePicker");
    in_object.then(|| Condition::new(EFFECTIVE, Some(holds), reason, message))
}

/// What the controller of the route's own Gateway says: that it takes the route, and knows where it leads.
fn route_taken(route: &Value, routing: &Routing) -> Option<(bool, String, String)> {
    let parents = route["status"]["parents"].as_array()?;
    let place = route["metadata"]["namespace"].as_str().unwrap_or_default();
    let own = parents
        .iter()
        .find(|parent| is_own(parent, routing, place))?;
    let of = |kind: &str| current(route, &own["conditions"], kind);
    let accepted = of("Accepted")?;
    match of("ResolvedRefs") {
        Some(resolved) if accepted.0 && !resolved.0 => Some(resolved),
        _ => Some(accepted),
    }
}

/// Whether a status is of the Gateway that our route names; what a reference leaves out stands for the usual.
fn is_own(parent: &Value, routing: &Routing, scheduler: &str) -> bool {
    let reference = &parent["parentRef"];
    let (namespace, name) = &routing.parent;
    let or = |key: &str, usual: &'static str| reference[key].as_str().unwrap_or(usual);
    let place = reference["namespace"].as_str().unwrap_or(scheduler);
    reference["name"].as_str() == Some(name)
        && place == namespace
        && or("kind", "Gateway") == "Gateway"
        && or("group", GATEWAY.group) == GATEWAY.group
}

fn routes_to_pool(install: &Install) -> bool {
    let backend = install.routing.as_ref().map(|routing| &routing.backend);
    matches!(backend, Some(Backend::Pool { .. }))
}

/// A condition of an object of others.
fn copied(conditions: &Value, kind: &str) -> Option<(bool, String, String)> {
    let found = conditions
        .as_array()?
        .iter()
        .find(|one| one["type"] == kind)?;
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    Some((found["status"] == "True", text("reason"), text("message")))
}

/// The same, unless it was said of an earlier generation of the object.
fn current(object: &Value, conditions: &Value, kind: &str) -> Option<(bool, String, String)> {
    let all = conditions.as_array()?;
    let found = all.iter().find(|one| one["type"] == kind)?;
    let number = |value: &Value| value.as_i64();
    let old = number(&found["observedGeneration"]) < number(&object["metadata"]["generation"]);
    match found["observedGeneration"].is_null() || !old {
        true => copied(conditions, kind),
        false => None,
    }
}

fn of_others(kind: &'static str, copied: Option<(bool, String, String)>) -> Condition {
    match copied {
        None => Condition::new(
            kind,
            None,
            "Pending",
            "no controller has said anything about it yet",
        ),
        Some((holds, reason, message)) => {
            let reason = if reason.is_empty() {
                "Unspecified".to_owned()
            } else {
                reason
            };
            Condition::new(kind, Some(holds), reason, message)
        }
    }
}

fn pool_resolved(shared: &Shared, install: &Install, found: Option<&Value>) -> Condition {
    let not =
        |reason: &str, text: String| Condition::new("PoolResolved", Some(false), reason, text);
    let (namespace, name) = pool_of(install).unwrap_or_default();
    if shared.is_missing(&POOL) {
        return not(
            "CRDMissing",
            format!("{} is not served by this cluster", POOL.full_name()),
        );
    }
    let Some(pool) = found else {
        return not(
            "PoolNotFound",
            format!("there is no InferencePool {namespace}/{name}"),
        );
    };
    let Some(epp) = &install.epp else {
        return Condition::new(
            "PoolResolved",
            Some(true),
            "Found",
            "the pool is there; its picker is not made here",
        );
    };
    let own = (epp.pool_namespace.as_str(), epp.pool_name.as_str());
    if own != (namespace.as_str(), name.as_str()) {
        let text = format!(
            "the route leads to InferencePool {namespace}/{name}, and the picker picks from {}/{}: set spec.epp.poolName and poolNamespace to the route's",
            own.0, own.1
        );
        return not("OtherPool", text);
    }
    let reference = &pool["spec"]["endpointPickerRef"];
    let (picker, port) = (
        reference["name"].as_str().unwrap_or_default(),
        &reference["port"]["number"],
    );
    if picker != epp.name {
        let text = format!(
            "InferencePool {namespace}/{name} asks the picker '{picker}', not '{}'",
            epp.name
        );
        return not("OtherPicker", text);
    }
    if !port.is_null() && *port != epp.port {
        let text = format!(
            "InferencePool {namespace}/{name} asks port {port}, and the picker is on {}",
            epp.port
        );
        return not("OtherPort", text);
    }
    Condition::new(
        "PoolResolved",
        Some(true),
        "Resolved",
        "the pool is there and asks this picker",
    )
}

fn endpoints_ready(install: &Install, seen: &[Seen], metrics_not_found: bool) -> Condition {
    let not =
        |reason: &str, text: String| Condition::new("EndpointsReady", Some(false), reason, text);
    let ready: Vec<&Seen> = seen.iter().filter(|pod| pod.ready).collect();
    if ready.is_empty() {
        let text = format!(
            "0 of {} pods that match the pool's selector are ready",
            seen.len()
        );
        return not("NoneReady", text);
    }
    let by_backend = install
        .epp
        .as_ref()
        .is_some_and(|epp| epp.profile == "proxy-performance-by-backend");
    let without = ready
        .iter()
        .filter(|pod| !pod.labels.contains_key(BACKEND_LABEL))
        .count();
    if by_backend && without > 0 {
        let text = format!(
            "the profile proxy-performance-by-backend goes by {BACKEND_LABEL}, and {without} of {} ready pods lack the label",
            ready.len()
        );
        return not("LabelMismatch", text);
    }
    if by_backend
        && !ready.iter().any(|pod| {
            pod.labels
                .get(BACKEND_LABEL)
                .is_some_and(|value| value == "nvlink")
        })
    {
        let text = format!(
            "the profile proxy-performance-by-backend keeps pods with {BACKEND_LABEL}=nvlink and none of {} has it",
            ready.len()
        );
        return not("LabelMismatch", text);
    }
    if metrics_not_found {
        let text = "the picker finds no /metrics on some candidate (404) and cannot tell its load: a proxy that does not pass its engine's page through; `pointsman verify --kube` names it".to_owned();
        return not("MetricsNotFound", text);
    }
    let text = format!("{} of {} pods are ready", ready.len(), seen.len());
    Condition::new("EndpointsReady", Some(true), "Ready", text)
}
