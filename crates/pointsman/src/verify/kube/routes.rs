//! HTTPRoutes of the cluster as the rules that a gateway follows.

use std::cmp::Reverse;

use pointsman_operator::check::facts::{Facts, id_of, items, name_of, namespace_of, text};
use pointsman_operator::check::installation::{Installation, is_pool, parents, pods_behind};
use pointsman_operator::kinds::{ROUTE, SERVICE};
use serde_json::Value;

use crate::verify::views::{Backend, Pool, Routes, Rule, Test};

/// The rules of all routes that share a gateway with the pool, in order of precedence.
pub(crate) fn routes(found: &Installation<'_>, pool: &Pool) -> Routes {
    let mut rules: Vec<(String, Rule)> = Vec::new();
    for route in found.facts.all(&ROUTE) {
        let shares = parents(route).any(|parent| {
            let mut gateways = found.gateways.iter();
            gateways.any(|gateway| (namespace_of(gateway), name_of(gateway)) == parent)
        });
        if !shares {
            continue;
        }
        for rule in items(&route["spec"]["rules"]) {
            let backends = backends(found, route, rule, pool);
            let whole = [Value::Null];
            let matches = match items(&rule["matches"]) {
                [] => &whole,
                some => some,
            };
            for one in matches {
                let age = text(&route["metadata"]["creationTimestamp"]);
                let order = format!("{age} {}", id_of(route));
                rules.push((order, rule_of(one, backends.clone())));
            }
        }
    }
    // Stable: rules of one route stay in their order.
    rules.sort_by_key(|(order, rule)| {
        (
            rule.path.kind != "Exact",
            Reverse(rule.path.value.len()),
            rule.method.is_none(),
            Reverse(rule.headers.len()),
            order.clone(),
        )
    });
    Routes {
        rules: rules.into_iter().map(|(_, rule)| rule).collect(),
    }
}

/// The first host name that the pool's routes ask for, if none of them takes any host.
pub(crate) fn host(found: &Installation<'_>) -> Option<String> {
    let mut first = None;
    for route in &found.routes {
        let hosts = items(&route["spec"]["hostnames"]);
        let own = hosts.first().and_then(Value::as_str)?;
        first.get_or_insert(own);
    }
    let first = first?;
    Some(first.replace('*', "any"))
}

fn rule_of(one: &Value, backends: Vec<Backend>) -> Rule {
    let or = |value: &Value, default: &str| value.as_str().unwrap_or(default).to_owned();
    let headers = items(&one["headers"]).iter().map(|header| Test {
        name: or(&header["name"], "").to_lowercase(),
        kind: or(&header["type"], "Exact"),
        value: or(&header["value"], ""),
    });
    Rule {
        path: Test {
            name: String::new(),
            kind: or(&one["path"]["type"], "PathPrefix"),
            value: or(&one["path"]["value"], "/"),
        },
        method: one["method"].as_str().map(str::to_owned),
        headers: headers.collect(),
        backends,
    }
}

fn backends(found: &Installation<'_>, route: &Value, rule: &Value, pool: &Pool) -> Vec<Backend> {
    let of = |reference: &Value| {
        let weight = reference["weight"].as_u64().unwrap_or(1);
        let weight = u32::try_from(weight).unwrap_or(u32::MAX);
        let name = text(&reference["name"]);
        if is_pool(reference, namespace_of(route), found.pool) {
            return Backend {
                kind: "InferencePool".to_owned(),
                name: name.to_owned(),
                weight,
                endpoints: Vec::new(),
            };
        }
        let namespace = reference["namespace"].as_str();
        Backend {
            kind: "Service".to_owned(),
            name: name.to_owned(),
            weight,
            endpoints: endpoints(
                found.facts,
                namespace.unwrap_or_else(|| namespace_of(route)),
                name,
                pool,
            ),
        }
    };
    items(&rule["backendRefs"]).iter().map(of).collect()
}

/// Candidates on the pods behind a Service.
fn endpoints(facts: &Facts, namespace: &str, name: &str, pool: &Pool) -> Vec<String> {
    let Some(service) = facts.get(&SERVICE, namespace, name) else {
        return Vec::new();
    };
    let pods: Vec<String> = pods_behind(facts, service).into_iter().map(id_of).collect();
    let names = pool.endpoints.iter().map(|candidate| &candidate.name);
    names
        .filter(|name| pods.iter().any(|pod| is_of(name, pod)))
        .cloned()
        .collect()
}

/// Whether a candidate is a pod, or one of its ranks.
pub(crate) fn is_of(candidate: &str, pod: &str) -> bool {
    let rest = candidate.strip_prefix(pod);
    rest.is_some_and(|rest| {
        rest.is_empty()
            || rest
                .strip_prefix("-rank-")
                .is_some_and(|rank| !rank.is_empty() && rank.bytes().all(|b| b.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::views::Candidate;
    use pointsman_operator::check::facts::POD;
    use pointsman_operator::kinds::{GATEWAY, POOL};
    use serde_json::json;

    #[test]
    fn a_candidate_is_a_pod_or_its_rank() {
        assert!(is_of("n/p", "n/p") && is_of("n/p-rank-0", "n/p"));
        assert!(!is_of("n/p-1-rank-0", "n/p") && !is_of("n/p-rank-", "n/p"));
    }

    #[test]
    fn routes_become_rules_in_order_of_precedence() {
        let mut facts = Facts::default();
        facts.keep(&POOL, vec![json!({"metadata": {"name": "pool", "namespace": "m"}, "spec": {"selector": {"matchLabels": {"role": "proxy"}}}})]);
        facts.keep(
            &GATEWAY,
            vec![json!({"metadata": {"name": "gw", "namespace": "s"}})],
        );
        facts.keep(&SERVICE, vec![json!({"metadata": {"name": "fs", "namespace": "m"}, "spec": {"selector": {"app": "fs"}}})]);
        facts.keep(
            &POD,
            vec![json!({"metadata": {"name": "fs-0", "namespace": "m", "labels": {"app": "fs"}}})],
        );
        let parent = json!([{"name": "gw"}]);
        facts.keep(&ROUTE, vec![
            json!({"metadata": {"name": "pool", "namespace": "s"}, "spec": {"parentRefs": parent, "hostnames": ["*.example"], "rules": [{"backendRefs": [{"kind": "InferencePool", "name": "pool", "namespace": "m"}]}]}}),
            json!({"metadata": {"name": "ab", "namespace": "s"}, "spec": {"parentRefs": parent, "rules": [{"matches": [{"headers": [{"name": "X-Kv-Backend", "value": "fs"}], "path": {"value": "/"}}], "backendRefs": [{"name": "fs", "namespace": "m", "weight": 3}]}]}}),
            json!({"metadata": {"name": "other", "namespace": "s"}, "spec": {"parentRefs": [{"name": "else"}], "rules": [{"backendRefs": [{"name": "fs"}]}]}}),
        ]);
        let pool = Pool {
            endpoints: vec![Candidate {
                name: "m/fs-0-rank-0".to_owned(),
                ..Candidate::default()
            }],
        };
        let found = Installation::of(&facts, &facts.all(&POOL)[0]);
        let rules = routes(&found, &pool).rules;
        assert_eq!(rules.len(), 2);
        assert_eq!(rules[0].headers[0].name, "x-kv-backend");
        assert_eq!(rules[0].backends[0].endpoints, ["m/fs-0-rank-0"]);
        assert_eq!(rules[0].backends[0].weight, 3);
        assert_eq!(rules[1].backends[0].kind, "InferencePool");
        assert_eq!(host(&found).as_deref(), Some("any.example"));
    }
}
