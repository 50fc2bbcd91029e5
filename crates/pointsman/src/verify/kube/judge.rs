//! What the objects of a cluster mean: the checks, and which of them explains trouble with the traffic.

use std::collections::BTreeSet;

use pointsman_core::config::fault::{Fault, Severity};
use pointsman_feeds::plan::{Terms, from_text};
use pointsman_operator::check::facts::{Facts, id_of, name_of, namespace_of};
use pointsman_operator::check::installation::Installation;
use pointsman_operator::check::{
    Verdict, candidates, interference, pasteable, picker, pool, rights, route,
};
use pointsman_operator::kinds::{GATEWAY, POOL, ROUTE};

use crate::findings::line_of;
use crate::planning::registry;
use crate::verify::check::{
    CLUSTER, CONFIG, Check, EXT_PROC, GATEWAYS, HTTP_ROUTES, PICKER, PICKER_SERVICE, PODS,
    POOL as NAMED, RIGHTS, Title,
};

/// Checks that explain why traffic goes wrong, the likeliest first.
const EXPLAINING: [Title; 7] = [
    EXT_PROC,
    PICKER_SERVICE,
    GATEWAYS,
    HTTP_ROUTES,
    PICKER,
    PODS,
    RIGHTS,
];

/// Definitions that have to be installed, by the kind that is missing without.
const DEFINITIONS: [(&str, &str); 2] = [
    (
        "InferencePool.inference.networking.k8s.io",
        "kubectl apply -f https://github.com/kubernetes-sigs/gateway-api-inference-extension/releases/download/v1.5.0/manifests.yaml",
    ),
    (
        "HTTPRoute.gateway.networking.k8s.io",
        "kubectl apply -f https://github.com/kubernetes-sigs/gateway-api/releases/download/v1.5.1/standard-install.yaml",
    ),
];

/// Whether the API server answered and showed what is needed.
pub(crate) fn cluster(facts: &Facts) -> Check {
    let count: usize = facts.objects.values().map(Vec::len).sum();
    let mut verdict = Verdict::of(format!("{}, {count} objects read", facts.server));
    for (kind, command) in DEFINITIONS {
        if facts.unknown.contains(kind) {
            verdict.add(format!("the API server knows no {kind}"), command);
        }
    }
    let forbidden: Vec<_> = facts.refused.iter().filter(|one| one.forbidden).collect();
    if let Some(first) = forbidden.first() {
        let mut said = BTreeSet::new();
        let mut rules = BTreeSet::new();
        for one in &forbidden {
            said.insert(match &one.namespace {
                Some(namespace) => format!("{} in {namespace}", one.plural),
                None => format!("{} in all namespaces", one.plural),
            });
            rules.insert(rights::rule(&one.group, &one.plural, &["get", "list"]));
        }
        let said: Vec<String> = said.into_iter().collect();
        let rules: Vec<String> = rules.into_iter().collect();
        verdict.add(
            format!("your account may not list {}: {}", said.join(", "), first.message),
            format!(
                "kubectl apply -f - <<'EOF'\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: pointsman-verify}}\nrules:\n{}EOF\nkubectl create clusterrolebinding pointsman-verify --clusterrole=pointsman-verify --user='<you>'",
                rules.concat()
            ),
        );
    }
    if let Some(one) = facts.refused.iter().find(|one| !one.forbidden) {
        verdict.add(
            format!("{} cannot be listed: {}", one.plural, one.message),
            "kubectl cluster-info\n# name a working kubeconfig with --kubeconfig",
        );
    }
    check(CLUSTER, verdict)
}

/// Everything that the objects around a pool say.
pub(crate) fn installation(found: &Installation<'_>) -> Vec<Check> {
    vec![
        check(NAMED, pool::judge(found)),
        check(PODS, candidates::judge(found)),
        check(PICKER, picker::pods(found)),
        check(CONFIG, config(found)),
        check(RIGHTS, rights::judge(found.facts)),
        check(PICKER_SERVICE, picker::service(found)),
        check(HTTP_ROUTES, route::routes(found)),
        check(GATEWAYS, route::gateways(found)),
        check(EXT_PROC, interference::judge(found)),
    ]
}

/// There is no pool to look at.
pub(crate) fn no_pool(facts: &Facts, asked: &str) -> Check {
    let routes = facts.all(&ROUTE).len();
    let gateways = facts.all(&GATEWAY).len();
    NAMED.bad(
        format!("{routes} HTTPRoutes, {gateways} gateways, no such InferencePool"),
        format!("there is no InferencePool{asked}"),
        format!(
            "kubectl get {}.{} -A\n# create one over your model servers, or name its namespace with --namespace and the pool with --pool",
            POOL.plural, POOL.group
        ),
    )
}

/// The check that explains trouble with the traffic, and its cause.
pub(crate) fn obstacle(checks: &[Check]) -> Option<(Title, String)> {
    EXPLAINING.into_iter().find_map(|title| {
        let found = checks.iter().find(|one| one.id == title.id && !one.ok)?;
        Some((title, found.cause.clone()?))
    })
}

/// A verdict as a check.
pub(crate) fn check(title: Title, verdict: Verdict) -> Check {
    if verdict.troubles.is_empty() {
        return title.good(verdict.detail);
    }
    let mut causes: Vec<String> = Vec::new();
    let mut fixes: Vec<String> = Vec::new();
    for trouble in verdict.troubles {
        if !causes.contains(&trouble.cause) {
            causes.push(trouble.cause);
        }
        if !fixes.contains(&trouble.fix) {
            fixes.push(trouble.fix);
        }
    }
    title.bad(verdict.detail, causes.join("; "), fixes.join("\n"))
}

/// The text in the ConfigMap, read as the picker reads it.
fn config(found: &Installation<'_>) -> Verdict {
    let Some(pod) = found.pickers.first() else {
        return Verdict::of("no picker, so no configuration");
    };
    let Some((map, text)) = found.configuration(pod) else {
        return Verdict::of("the picker reads no ConfigMap");
    };
    let place = format!("ConfigMap {}", id_of(map));
    let Some(text) = text else {
        let mut verdict = Verdict::of(format!("{place} lacks the file that the picker reads"));
        verdict.add(
            format!("{place} has no key of the file name that --config-file names"),
            format!("put the configuration into {place} under the key epp-config.yaml"),
        );
        return verdict;
    };
    let mut verdict = read_config(text, &place);
    for trouble in &mut verdict.troubles {
        trouble.fix = pasteable(&format!(
            "correct it where it comes from (spec.epp.configProfile, or the chart's values) and check it first: pointsman validate FILE; what stands there now:\nkubectl get configmap -n {} {} -o yaml",
            namespace_of(map),
            name_of(map)
        ));
    }
    verdict
}

/// A configuration, read as the picker reads it.
pub(crate) fn read_config(text: &str, place: &str) -> Verdict {
    let registry = registry();
    match from_text(text, place, &Terms::new(&registry)) {
        Ok(_) => Verdict::of(format!("{place} is valid")),
        Err(faults) => {
            let errors: Vec<&Fault> = faults
                .iter()
                .filter(|fault| fault.severity == Severity::Error)
                .collect();
            let mut verdict = Verdict::of(format!("{place} is refused, {} errors", errors.len()));
            for fault in errors {
                verdict.add(
                    line_of(place, fault),
                    format!("correct it: pointsman validate {place}"),
                );
            }
            verdict
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use pointsman_operator::check::facts::Refused;
    use serde_json::json;

    #[test]
    fn what_may_not_be_listed_comes_with_its_rule() {
        let mut facts = Facts::default();
        facts.refused.push(Refused {
            group: String::new(),
            plural: "pods".to_owned(),
            namespace: Some("m".to_owned()),
            forbidden: true,
            message: "pods is forbidden".to_owned(),
        });
        facts.unknown.insert(DEFINITIONS[0].0.to_owned());
        let found = cluster(&facts);
        let (cause, fix) = (found.cause.unwrap(), found.fix.unwrap());
        assert!(cause.contains("knows no InferencePool") && cause.contains("pods in m"));
        assert!(
            fix.contains("resources: [pods], verbs: [get, list]"),
            "{fix}"
        );
        assert!(fix.contains("kubectl apply -f https://"));
    }

    #[test]
    fn the_likeliest_cause_explains_the_rest() {
        let checks = [
            PODS.bad("", "pods", ""),
            EXT_PROC.bad("", "filter", ""),
            PICKER.good(""),
        ];
        assert_eq!(obstacle(&checks), Some((EXT_PROC, "filter".to_owned())));
        assert_eq!(obstacle(&checks[2..]), None);
    }

    #[test]
    fn a_configuration_that_is_refused_says_where() {
        let mut facts = Facts::default();
        facts.keep(&POOL, vec![json!({"metadata": {"name": "p", "namespace": "m"}, "spec": {"endpointPickerRef": {"name": "epp"}}})]);
        let pod = json!({
            "metadata": {"name": "epp", "namespace": "m"},
            "spec": {"volumes": [{"configMap": {"name": "c"}}], "containers": [{"args": ["--pool-name=p"]}]},
        });
        facts.keep(&pointsman_operator::check::facts::POD, vec![pod]);
        let map = |data| json!({"metadata": {"name": "c", "namespace": "m"}, "data": data});
        let kind = &pointsman_operator::kinds::CONFIG_MAP;
        let text = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n- type: max-score-pikcer\n";
        facts.keep(kind, vec![map(json!({"epp-config.yaml": text}))]);
        let refused = config(&Installation::of(&facts, &facts.all(&POOL)[0]));
        assert!(
            refused.troubles[0].cause.contains("ConfigMap m/c:4:"),
            "{refused:?}"
        );
        assert!(refused.troubles[0].fix.contains("pointsman validate"));
        facts
            .objects
            .insert(kind.full_name(), vec![map(json!({"other": text}))]);
        let empty = config(&Installation::of(&facts, &facts.all(&POOL)[0]));
        assert!(empty.troubles[0].cause.contains("no key"), "{empty:?}");
    }
}
