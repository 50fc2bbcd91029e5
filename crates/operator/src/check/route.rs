//! The way from a gateway to the pool: routes, the permission to refer across namespaces, and the gateways themselves.

use serde_json::Value;

use crate::check::Verdict;
use crate::check::facts::{condition, id_of, is_ready, items, name_of, namespace_of, text};
use crate::check::installation::{Installation, backends, is_pool, parents, pods_behind};
use crate::check::labels::labels_of;
use crate::kinds::{GATEWAY, GRANT, ROUTE, SERVICE};

/// The label by which Istio knows a gateway's pods.
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";

/// Judges the routes.
pub fn routes(installation: &Installation<'_>) -> Verdict {
    let routes = &installation.routes;
    let names: Vec<String> = routes.iter().map(|route| id_of(route)).collect();
    let mut verdict = Verdict::of(match names.is_empty() {
        true => format!("no HTTPRoute leads to pool {}", installation.name()),
        false => format!("{} leads to the pool", names.join(", ")),
    });
    if routes.is_empty() {
        let (cause, fix) = none(installation);
        verdict.add(cause, fix);
    }
    let facts = installation.facts;
    let beside = facts.all(&ROUTE).iter().filter(|route| {
        let mut own = parents(route);
        own.any(|parent| {
            let of = |gateway: &&Value| (namespace_of(gateway), name_of(gateway)) == parent;
            installation.gateways.iter().any(of)
        })
    });
    for route in beside {
        grants(installation, route, &mut verdict);
    }
    for route in routes {
        for (namespace, name) in parents(route) {
            if facts.was_read(&GATEWAY, namespace) && facts.get(&GATEWAY, namespace, name).is_none()
            {
                verdict.add(
                    format!("HTTPRoute {} names gateway {namespace}/{name}, which does not exist", id_of(route)),
                    format!(
                        "kubectl get gateways -A\n# correct spec.parentRefs of HTTPRoute {} or create the Gateway",
                        id_of(route)
                    ),
                );
            }
        }
        conditions(installation, route, &mut verdict);
    }
    verdict
}

/// No route leads to the pool: perhaps one leads past the picker.
fn none(installation: &Installation<'_>) -> (String, String) {
    let facts = installation.facts;
    let pool = installation.pool;
    let reference = format!(
        "backendRefs: [{{group: inference.networking.k8s.io, kind: InferencePool, name: {}, namespace: {}}}]",
        name_of(pool),
        namespace_of(pool)
    );
    let past = facts.all(&ROUTE).iter().find_map(|route| {
        let service = backends(route).find_map(|one| {
            let namespace = one["namespace"]
                .as_str()
                .unwrap_or_else(|| namespace_of(route));
            let service = facts.get(&SERVICE, namespace, text(&one["name"]))?;
            let pods = pods_behind(facts, service);
            let shared = pods.iter().any(|pod| {
                let own = id_of(pod);
                installation.candidates.iter().any(|one| id_of(one) == own)
            });
            shared.then_some(service)
        })?;
        Some((route, service))
    });
    match past {
        Some((route, service)) => (
            format!(
                "HTTPRoute {} sends to Service {}, whose pods are the pool's candidates: requests go past the picker",
                id_of(route),
                id_of(service)
            ),
            format!("in HTTPRoute {}: {reference}", id_of(route)),
        ),
        None if facts.may_be_elsewhere(&ROUTE) => (
            "no HTTPRoute in the namespaces that your account may read has the InferencePool as a backend".to_owned(),
            "# name the routes' namespace, too: --namespace NAME; or let your account list them everywhere:\nkubectl create clusterrole pointsman-verify-routes --verb=get,list --resource=httproutes.gateway.networking.k8s.io\nkubectl create clusterrolebinding pointsman-verify-routes --clusterrole=pointsman-verify-routes --user='<you>'".to_owned(),
        ),
        None => (
            "no HTTPRoute has the InferencePool as a backend".to_owned(),
            format!("an HTTPRoute of your gateway with {reference}"),
        ),
    }
}

/// Backends in other namespaces need a grant there.
fn grants(installation: &Installation<'_>, route: &Value, verdict: &mut Verdict) {
    let from = namespace_of(route);
    for reference in backends(route) {
        let to = reference["namespace"].as_str().unwrap_or(from);
        let kind = reference["kind"].as_str().unwrap_or("Service");
        let facts = installation.facts;
        if to == from || !facts.was_read(&GRANT, to) {
            continue;
        }
        let mut granting = facts.within(&GRANT, to);
        if granting.any(|grant| allows(grant, from, reference)) {
            continue;
        }
        let group = reference["group"].as_str().unwrap_or_default();
        let name = text(&reference["name"]);
        verdict.add(
            format!(
                "HTTPRoute {} refers to {kind} {to}/{name}, and no ReferenceGrant in {to} allows that to routes of {from}",
                id_of(route)
            ),
            format!(
                "kubectl apply -f - <<'EOF'\napiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {{name: allow-{from}-to-{}, namespace: {to}}}\nspec:\n  from: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: {from}}}]\n  to: [{{group: \"{group}\", kind: {kind}}}]\nEOF",
                kind.to_lowercase()
            ),
        );
    }
}

fn allows(grant: &Value, from: &str, reference: &Value) -> bool {
    let comes = items(&grant["spec"]["from"])
        .iter()
        .any(|one| one["kind"] == "HTTPRoute" && one["namespace"] == from);
    let kind = reference["kind"].as_str().unwrap_or("Service");
    let goes = items(&grant["spec"]["to"]).iter().any(|one| {
        let named = one["name"].as_str();
        one["kind"] == kind
            && text(&one["group"]) == text(&reference["group"])
            && named.is_none_or(|name| name == text(&reference["name"]))
    });
    comes && goes
}

/// What gateways say of a route.
fn conditions(installation: &Installation<'_>, route: &Value, verdict: &mut Verdict) {
    let said = items(&route["status"]["parents"]);
    for parent in said {
        for kind in ["Accepted", "ResolvedRefs"] {
            let Some(one) = condition(&parent["conditions"], kind) else {
                continue;
            };
            if one["status"] != "False" {
                continue;
            }
            verdict.add(
                format!(
                    "gateway {} says of HTTPRoute {}: {kind}=False, {}: {}",
                    text(&parent["parentRef"]["name"]),
                    id_of(route),
                    text(&one["reason"]),
                    text(&one["message"])
                ),
                match text(&one["reason"]) {
                    "RefNotPermitted" => "a ReferenceGrant in the backend's namespace".to_owned(),
                    "BackendNotFound" => {
                        let pool = backends(route)
                            .any(|one| is_pool(one, namespace_of(route), installation.pool));
                        format!(
                            "correct backendRefs of HTTPRoute {}{}",
                            id_of(route),
                            if pool { "; a gateway without support for InferencePools says this, too: in Istio set ENABLE_GATEWAY_API_INFERENCE_EXTENSION=true" } else { "" }
                        )
                    }
                    _ => format!(
                        "kubectl describe httproute -n {} {}",
                        namespace_of(route),
                        name_of(route)
                    ),
                },
            );
        }
    }
}

/// Judges the gateways.
pub fn gateways(installation: &Installation<'_>) -> Verdict {
    let names: Vec<String> = installation
        .gateways
        .iter()
        .map(|gateway| id_of(gateway))
        .collect();
    let mut verdict = Verdict::of(match names.is_empty() {
        true => "no gateway leads to the pool".to_owned(),
        false => names.join(", "),
    });
    for gateway in &installation.gateways {
        let (namespace, name) = (namespace_of(gateway), name_of(gateway));
        let class = text(&gateway["spec"]["gatewayClassName"]);
        let show = format!("kubectl describe gateway -n {namespace} {name}");
        let status = &gateway["status"]["conditions"];
        let programmed = condition(status, "Programmed").or_else(|| condition(status, "Accepted"));
        match programmed.map(|one| (one, text(&one["status"]))) {
            Some((_, "True")) => {}
            Some((one, "False")) => verdict.add(
                format!(
                    "gateway {namespace}/{name} is not in force: {}: {}",
                    text(&one["reason"]),
                    text(&one["message"])
                ),
                show,
            ),
            _ => verdict.add(
                format!("no controller took gateway {namespace}/{name} (class {class})"),
                format!("kubectl get gatewayclass {class}\n# install the controller of that class, or correct gatewayClassName"),
            ),
        }
        let pods = installation.gateway_pods(gateway);
        if !pods.is_empty() && !pods.iter().any(|pod| is_ready(pod)) {
            verdict.add(
                format!("no pod of gateway {namespace}/{name} is ready"),
                format!("kubectl get pods -n {namespace} -l {GATEWAY_NAME}={name}"),
            );
        }
        let bare = |pod: &&&Value| labels_of(pod).get(GATEWAY_NAME) != Some(&name);
        if class.starts_with("istio")
            && let Some(pod) = pods.iter().find(bare)
        {
            verdict.add(
                format!(
                    "gateway pod {} lacks the label {GATEWAY_NAME}={name}: Istio gives it no ext_proc filter, and it goes round robin without a word",
                    id_of(pod)
                ),
                format!(
                    "kubectl label pod -n {namespace} {} {GATEWAY_NAME}={name}\n# and in the template of its Deployment",
                    name_of(pod)
                ),
            );
        }
    }
    verdict
}
