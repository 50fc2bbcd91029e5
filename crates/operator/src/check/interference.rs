//! What stands between gateway and picker and makes the gateway ignore the picker's answers.

use serde_json::Value;

use crate::check::Verdict;
use crate::check::facts::{id_of, items, name_of, namespace_of, text};
use crate::check::installation::Installation;
use crate::check::labels::{labels, labels_of, matches};
use crate::kinds::ENVOY_FILTER;

/// The filter that asks the picker.
const EXT_PROC: &str = "envoy.filters.http.ext_proc";

/// The label by which filters select a gateway's pods.
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";

/// Where filters of Istio hold for all namespaces.
const ROOT: &str = "istio-system";

/// Judges the EnvoyFilters that hold for the pool's gateways.
pub fn judge(installation: &Installation<'_>) -> Verdict {
    let filters: Vec<&Value> = installation
        .facts
        .all(&ENVOY_FILTER)
        .iter()
        .filter(|filter| touches_ext_proc(filter) && holds(installation, filter))
        .collect();
    let names: Vec<String> = filters.iter().map(|filter| id_of(filter)).collect();
    let mut verdict = Verdict::of(match names.is_empty() {
        true => "no EnvoyFilter changes how the gateway asks the picker".to_owned(),
        false => format!(
            "EnvoyFilter {} changes how the gateway asks the picker",
            names.join(", ")
        ),
    });
    for filter in filters.iter().filter(|filter| skips_headers(filter)) {
        verdict.add(said(filter), mending(filter));
    }
    verdict
}

/// What is wrong with a filter that keeps the request's headers from the picker.
fn said(filter: &Value) -> String {
    format!(
        "EnvoyFilter {} has the gateway skip the request's headers (request_header_mode: SKIP): the picker decides, Envoy drops its answer (ext_proc.spurious_msgs_received) or hears it too late to route by, and goes round robin",
        id_of(filter)
    )
}

fn mending(filter: &Value) -> String {
    let (namespace, name) = (namespace_of(filter), name_of(filter));
    let owners = items(&filter["metadata"]["ownerReferences"]).iter();
    let install = owners
        .filter(|owner| owner["kind"] == "SchedulerInstall")
        .find_map(|owner| owner["name"].as_str());
    match install {
        Some(install) => format!(
            "kubectl patch schedulerinstall -n {namespace} {install} --type=merge -p '{{\"spec\":{{\"envoyFilter\":{{\"mode\":\"Auto\"}}}}}}'\n# with pointsman's operator; the original writes the filter again, so switch it off there: envoyFilter.enabled=false"
        ),
        None => format!("kubectl delete envoyfilter -n {namespace} {name}"),
    }
}

/// Whether any of its patches is about the filter that asks the picker.
fn touches_ext_proc(filter: &Value) -> bool {
    let mut patches = items(&filter["spec"]["configPatches"]).iter();
    patches.any(names_ext_proc) || skips_headers(filter)
}

fn names_ext_proc(value: &Value) -> bool {
    match value {
        Value::String(text) => text == EXT_PROC,
        Value::Array(items) => items.iter().any(names_ext_proc),
        Value::Object(map) => map
            .iter()
            .any(|(key, value)| key == EXT_PROC || names_ext_proc(value)),
        _ => false,
    }
}

/// Whether some patch keeps the request's headers from the picker. Only the filter that asks the picker has such a mode, so
/// a patch that does not name it means it too.
pub fn skips_headers(filter: &Value) -> bool {
    items(&filter["spec"]["configPatches"])
        .iter()
        .any(|patch| has_skip(&patch["patch"]["value"]))
}

fn has_skip(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(has_skip),
        Value::Object(map) => map.iter().any(|(key, value)| {
            let skip = matches!(key.as_str(), "request_header_mode" | "requestHeaderMode")
                && text(value) == "SKIP";
            skip || has_skip(value)
        }),
        _ => false,
    }
}

/// Whether a filter holds for a gateway of this pool.
fn holds(installation: &Installation<'_>, filter: &Value) -> bool {
    let wanted = labels(&filter["spec"]["workloadSelector"]["labels"]);
    installation.gateways.iter().any(|gateway| {
        let own = [namespace_of(gateway), ROOT].contains(&namespace_of(filter));
        let pods = installation.gateway_pods(gateway);
        let by_name = wanted.get(GATEWAY_NAME) == Some(&name_of(gateway));
        let by_pod = pods.iter().any(|pod| matches(&wanted, &labels_of(pod)));
        own && (wanted.is_empty() || by_name || by_pod)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_filter_that_skips_headers_is_known_by_either_spelling() {
        let filter = |mode: &str, word: &str| json!({"spec": {"configPatches": [{"patch": {"value": {"typed_config": {"processing_mode": {mode: word}}}}}]}});
        assert!(skips_headers(&filter("request_header_mode", "SKIP")));
        assert!(skips_headers(&filter("requestHeaderMode", "SKIP")));
        assert!(!skips_headers(&filter("request_header_mode", "SEND")));
        assert!(!skips_headers(&filter("response_header_mode", "SKIP")));
    }
}
