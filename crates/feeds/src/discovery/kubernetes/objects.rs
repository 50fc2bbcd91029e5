//! Objects of the API server as far as they matter here. What an object does not say, or says in a way that the
//! definitions do not allow, is left out and never an error: one odd object must not hide the others.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;
use kube::core::DynamicObject;
use pointsman_core::model::rewrites::{Rewrite, Rule, Target};
use serde_json::Value;

/// The group that a poolRef means when it names none.
const DEFAULT_GROUP: &str = "inference.networking.k8s.io";

/// Annotations that restrict a pod to some of the pool's ports; the present name first.
const ACTIVE_PORTS: [&str; 2] = [
    "llm-d.ai/active-ports",
    "inference.networking.k8s.io/active-ports",
];

/// An InferencePool of either version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PoolSpec {
    /// Labels that its pods have.
    pub(super) selector: BTreeMap<String, String>,
    /// Ports of each pod, in the pool's order.
    pub(super) ports: Vec<u16>,
    /// What they speak, if it says so.
    pub(super) app_protocol: Option<String>,
}

impl PoolSpec {
    /// Reads v1 (`selector.matchLabels`, `targetPorts`) and v1alpha2 (`selector`, `targetPortNumber`).
    pub(super) fn read(object: &DynamicObject) -> Self {
        let spec = &object.data["spec"];
        let written = &spec["selector"];
        let selector = written.get("matchLabels").unwrap_or(written);
        let mut ports: Vec<u16> = Vec::new();
        let listed = spec["targetPorts"].as_array().into_iter().flatten();
        let numbers = listed.map(|port| &port["number"]);
        for number in numbers.chain([&spec["targetPortNumber"]]) {
            if let Some(port) = port(number).filter(|port| !ports.contains(port)) {
                ports.push(port);
            }
        }
        let labels = selector.as_object().into_iter().flatten();
        Self {
            selector: labels
                .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                .collect(),
            ports,
            app_protocol: spec["appProtocol"]
                .as_str()
                .filter(|text| !text.is_empty())
                .map(ToOwned::to_owned),
        }
    }

    /// The selector as the API server reads it.
    pub(super) fn selector_text(&self) -> String {
        let pairs = self.selector.iter();
        let pairs: Vec<String> = pairs.map(|(key, value)| format!("{key}={value}")).collect();
        pairs.join(",")
    }
}

fn port(value: &Value) -> Option<u16> {
    let number = value.as_u64()?;
    u16::try_from(number).ok().filter(|port| *port != 0)
}

/// A pod that can take requests, or cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodFacts {
    /// `<namespace>/<name>`.
    pub(super) name: String,
    /// Its address, where it is ready and not about to end.
    pub(super) serving_at: Option<IpAddr>,
    /// Its labels.
    pub(super) labels: BTreeMap<String, String>,
    /// The ports it is restricted to.
    pub(super) active: Option<Vec<u16>>,
}

impl PodFacts {
    /// Reads a pod.
    pub(super) fn read(pod: Pod) -> Self {
        let status = pod.status.unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let is_ready = conditions
            .iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True");
        let meta = pod.metadata;
        let address = status.pod_ip.and_then(|ip| ip.parse().ok());
        let annotations = meta.annotations.unwrap_or_default();
        let active = ACTIVE_PORTS
            .iter()
            .find_map(|name| annotations.get(*name))
            .map(|list| {
                let ports = list.split(',');
                ports.filter_map(|port| port.trim().parse().ok()).collect()
            });
        Self {
            name: format!(
                "{}/{}",
                meta.namespace.unwrap_or_default(),
                meta.name.unwrap_or_default()
            ),
            serving_at: address.filter(|_| is_ready && meta.deletion_timestamp.is_none()),
            labels: meta.labels.unwrap_or_default(),
            active,
        }
    }
}

/// Whether an object's `spec.poolRef` names this pool.
pub(super) fn is_for(object: &DynamicObject, group: &str, pool: &str) -> bool {
    let reference = &object.data["spec"]["poolRef"];
    let of_group = reference["group"].as_str().unwrap_or(DEFAULT_GROUP);
    reference["name"].as_str() == Some(pool) && of_group == group
}

/// The priority of an InferenceObjective.
pub(super) fn priority(object: &DynamicObject) -> i64 {
    object.data["spec"]["priority"].as_i64().unwrap_or(0)
}

/// An InferenceModelRewrite.
pub(super) fn rewrite(object: &DynamicObject) -> Rewrite {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
    let rule = |rule: &Value| {
        let matches = list(&rule["matches"]);
        let models: Vec<String> = matches
            .iter()
            .filter_map(|one| text(&one["model"]["value"]))
            .collect();
        let target = |target: &Value| {
            Some(Target {
                model: text(&target["modelRewrite"])?,
                weight: target["weight"].as_u64().unwrap_or(0),
            })
        };
        // A rule whose matches say nothing that we read must not become one for every model.
        (models.is_empty() == matches.is_empty()).then(|| Rule {
            models,
            targets: list(&rule["targets"]).iter().filter_map(target).collect(),
        })
    };
    let created = object.metadata.creation_timestamp.as_ref();
    Rewrite {
        name: object.metadata.name.clone().unwrap_or_default(),
        created: created.map(|time| time.0.to_string()).unwrap_or_default(),
        rules: list(&object.data["spec"]["rules"])
            .iter()
            .filter_map(rule)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn object(spec: Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "g/v1", "kind": "K", "metadata": {"name": "n"}, "spec": spec
        }))
        .unwrap()
    }

    fn pod(value: Value) -> PodFacts {
        PodFacts::read(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn both_versions_of_a_pool_are_read() {
        let v1 = object(json!({
            "selector": {"matchLabels": {"app": "x"}},
            "targetPorts": [{"number": 8000}, {"number": 8001}, {"number": 8000}, {"number": 70000}],
            "appProtocol": "kubernetes.io/h2c"
        }));
        let spec = PoolSpec::read(&v1);
        assert_eq!(spec.app_protocol.as_deref(), Some("kubernetes.io/h2c"));
        assert_eq!(spec.ports, [8000, 8001]);
        assert_eq!(spec.selector_text(), "app=x");
        let old = object(json!({"selector": {"app": "x"}, "targetPortNumber": 9}));
        assert_eq!(PoolSpec::read(&old).ports, [9]);
        assert_eq!(PoolSpec::read(&old).selector, spec.selector);
        assert_eq!(PoolSpec::read(&object(json!(7))), PoolSpec::default());
    }

    #[test]
    fn a_pod_serves_while_it_is_ready_and_not_about_to_end() {
        let base = json!({
            "metadata": {"name": "p", "namespace": "n", "annotations": {"llm-d.ai/active-ports": "8001, x"}},
            "status": {"podIP": "fd00::7", "conditions": [{"type": "Ready", "status": "True"}]}
        });
        let ready = pod(base.clone());
        assert_eq!(ready.name, "n/p");
        assert_eq!(ready.serving_at, Some("fd00::7".parse().unwrap()));
        assert_eq!(ready.active, Some(vec![8001]));
        let mut ending = base.clone();
        ending["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(pod(ending).serving_at, None);
        let mut unready = base.clone();
        unready["status"]["conditions"][0]["status"] = json!("False");
        assert_eq!(pod(unready).serving_at, None);
        assert_eq!(pod(json!({"metadata": {}})).serving_at, None);
    }

    #[test]
    fn a_pool_reference_without_a_group_means_the_standard_one() {
        let bare = object(json!({"poolRef": {"name": "p"}, "priority": -3}));
        assert!(is_for(&bare, DEFAULT_GROUP, "p") && !is_for(&bare, DEFAULT_GROUP, "q"));
        assert!(!is_for(&bare, "inference.networking.x-k8s.io", "p"));
        assert_eq!(priority(&bare), -3);
        assert_eq!(priority(&object(json!({}))), 0);
    }

    #[test]
    fn rules_of_a_rewrite_are_read_and_odd_ones_left_out() {
        let read = rewrite(&object(json!({"rules": [
            {"matches": [{"model": {"value": "a"}}], "targets": [{"modelRewrite": "b", "weight": 3}, {"weight": 1}]},
            {"matches": [{"model": {}}], "targets": [{"modelRewrite": "c"}]},
            {"targets": [{"modelRewrite": "d"}]}
        ]})));
        let models: Vec<_> = read.rules.iter().map(|rule| rule.models.clone()).collect();
        assert_eq!(models, [vec!["a".to_owned()], vec![]]);
        assert_eq!(read.rules[0].targets.len(), 1);
        assert_eq!(read.rules[1].targets[0].weight, 0);
    }
}
