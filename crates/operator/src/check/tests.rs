//! The judges over constructed objects: a good installation has no trouble, and each thing that is made wrong is named
//! with what mends it.

#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use crate::check::facts::{Facts, POD, Refused, Rights};
use crate::check::installation::{Installation, flag, pools, service_in};
use crate::check::{Verdict, candidates, interference, pasteable, picker, pool, rights, route};
use crate::kinds::{
    CONFIG_MAP, ENDPOINT_SLICE, ENVOY_FILTER, GATEWAY, GRANT, Kind, POOL, ROUTE, SERVICE,
};

const M: &str = "llm-d-vllm";
const S: &str = "llm-d-inference-scheduler";
const EPP: &str = "gaie-inference-scheduling-epp";

fn ready() -> Value {
    json!([{"type": "Ready", "status": "True"}])
}

fn pod(namespace: &str, name: &str, labels: Value, args: Value) -> Value {
    json!({
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"serviceAccountName": "epp", "volumes": [{"name": "c", "configMap": {"name": "epp-config"}}], "containers": [{"args": args, "ports": [{"containerPort": 8080}]}]},
        "status": {"podIP": "10.0.0.1", "conditions": ready()},
    })
}

fn service(namespace: &str, name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": namespace}, "spec": spec})
}

/// The lab with the picker in the pool's namespace.
fn lab() -> Facts {
    let mut facts = Facts::default();
    facts.keep(&POOL, vec![json!({
        "metadata": {"name": "vllm-proxy-performance", "namespace": M},
        "spec": {"selector": {"matchLabels": {"role": "proxy"}}, "targetPorts": [{"number": 8080}], "endpointPickerRef": {"name": EPP, "port": {"number": 9002}}},
    })]);
    let proxy = |name: &str, backend: &str| {
        pod(
            M,
            name,
            json!({"role": "proxy", "app": name, "llm-d.ai/kv-backend": backend}),
            json!([]),
        )
    };
    let args = json!([
        "--pool-name",
        "vllm-proxy-performance",
        "--pool-namespace",
        M,
        "--grpc-port",
        "9002",
        "--config-file=/etc/epp/epp-config.yaml"
    ]);
    facts.keep(
        &POD,
        vec![
            proxy("vllm-p2p-proxy", "nvlink"),
            proxy("vllm-fs-proxy", "fs"),
            pod(M, "epp-0", json!({"app": "epp"}), args),
            pod(
                S,
                "gateway-0",
                json!({"gateway.networking.k8s.io/gateway-name": "gw"}),
                json!([]),
            ),
        ],
    );
    facts.keep(&SERVICE, vec![
        service(M, EPP, json!({"selector": {"app": "epp"}, "ports": [{"name": "grpc", "port": 9002, "targetPort": 9002}]})),
        service(M, "vllm-proxy", json!({"selector": {"role": "proxy"}})),
    ]);
    facts.keep(&CONFIG_MAP, vec![json!({"metadata": {"name": "epp-config", "namespace": M}, "data": {"epp-config.yaml": "plugins: []\n"}})]);
    facts.keep(
        &GATEWAY,
        vec![json!({
            "metadata": {"name": "gw", "namespace": S}, "spec": {"gatewayClassName": "istio"},
            "status": {"conditions": [{"type": "Programmed", "status": "True"}]},
        })],
    );
    facts.keep(&ROUTE, vec![json!({
        "metadata": {"name": "route", "namespace": S},
        "spec": {"parentRefs": [{"name": "gw"}], "rules": [{"backendRefs": [{"group": POOL.group, "kind": "InferencePool", "name": "vllm-proxy-performance", "namespace": M}]}]},
    })]);
    facts.keep(&GRANT, vec![json!({
        "metadata": {"name": "allow", "namespace": M},
        "spec": {"from": [{"group": ROUTE.group, "kind": "HTTPRoute", "namespace": S}], "to": [{"group": POOL.group, "kind": "InferencePool"}]},
    })]);
    facts
}

fn change(facts: &mut Facts, kind: &Kind, name: &str, change: impl FnOnce(&mut Value)) {
    let objects = facts.objects.get_mut(&kind.full_name()).unwrap();
    let found = objects
        .iter_mut()
        .find(|one| one["metadata"]["name"] == name);
    change(found.unwrap());
}

fn all(facts: &Facts) -> Vec<Verdict> {
    let found = Installation::of(facts, pools(facts)[0]);
    vec![
        pool::judge(&found),
        candidates::judge(&found),
        picker::pods(&found),
        picker::service(&found),
        route::routes(&found),
        route::gateways(&found),
        interference::judge(&found),
        rights::judge(facts),
    ]
}

/// There is one trouble in all, and cause and fix say these words.
#[track_caller]
fn one(facts: &Facts, cause: &[&str], fix: &[&str]) {
    let found = all(facts);
    let troubles: Vec<_> = found.iter().flat_map(|one| &one.troubles).collect();
    assert_eq!(troubles.len(), 1, "{troubles:#?}");
    shell_takes(&troubles[0].fix);
    for (said, words) in [(&troubles[0].cause, cause), (&troubles[0].fix, fix)] {
        for word in words {
            assert!(said.contains(word), "{word} in {said}");
        }
    }
}

/// A shell reads it, and no text in it lasts to the end of the input.
#[track_caller]
fn shell_takes(fix: &str) {
    let read = std::process::Command::new("sh")
        .args(["-n", "-c", fix])
        .output();
    let read = read.unwrap();
    assert!(
        read.status.success() && read.stderr.is_empty(),
        "{fix}\n{}",
        String::from_utf8_lossy(&read.stderr)
    );
    assert!(
        !fix.contains("EOF'") || fix.lines().any(|line| line == "EOF"),
        "{fix}"
    );
    for line in fix.lines().filter(|line| line.starts_with("kubectl ")) {
        assert!(!line.contains(" (") && !line.contains("; "), "{line}");
    }
}

#[test]
fn remarks_of_a_fix_are_remarks_of_the_shell() {
    let fix =
        "set it there (or here), it's\nkubectl apply -f - <<'EOF'\nkind: Role\nEOF\nthen wait";
    let taken = pasteable(fix);
    assert_eq!(
        taken,
        "# set it there (or here), it's\nkubectl apply -f - <<'EOF'\nkind: Role\nEOF\n# then wait"
    );
    assert_eq!(pasteable(&taken), taken);
    shell_takes(&taken);
}

#[test]
fn a_picker_in_another_namespace_that_may_not_be_read_is_no_false_alarm() {
    let mut facts = lab();
    change(&mut facts, &SERVICE, EPP, |one| {
        one["spec"].as_object_mut().unwrap().remove("selector");
    });
    let pods = facts.objects.get_mut(&POD.full_name()).unwrap();
    pods.retain(|pod| pod["metadata"]["name"] != "epp-0");
    for pod in pods {
        pod["status"]["podIP"] = json!("10.0.0.9");
    }
    facts.keep(&ENDPOINT_SLICE, vec![json!({
        "metadata": {"name": EPP, "namespace": M, "labels": {"kubernetes.io/service-name": EPP}},
        "endpoints": [{"addresses": ["10.0.0.1"]}],
    })]);
    facts.in_some.insert(POD.full_name());
    one(
        &facts,
        &["in the namespaces that your account may read"],
        &["--namespace", "kubectl create clusterrole"],
    );
    // Where everything was read, the address is nobody's.
    facts.in_some.clear();
    let found = Installation::of(&facts, pools(&facts)[0]);
    assert_eq!(picker::service(&found).troubles.len(), 1);
    facts.objects.insert(ROUTE.full_name(), Vec::new());
    facts.in_some.insert(ROUTE.full_name());
    let found = Installation::of(&facts, pools(&facts)[0]);
    let said = &route::routes(&found).troubles[0];
    assert!(said.cause.contains("may read"), "{said:?}");
    shell_takes(&said.fix);
}

#[test]
fn the_lab_has_no_trouble() {
    let facts = lab();
    let found = all(&facts);
    assert!(
        found.iter().all(|one| one.troubles.is_empty()),
        "{found:#?}"
    );
    assert_eq!(found[1].detail, "2 of 2 pods with role=proxy are ready");
}

#[test]
fn the_labs_own_filter_is_recognised_and_others_are_not() {
    let mut facts = lab();
    let with = |mode: &str| {
        json!({
            "metadata": {"name": "epp-ext-proc", "namespace": S, "ownerReferences": [{"kind": "SchedulerInstall", "name": "llm-sched-install"}]},
            "spec": {
                "workloadSelector": {"labels": {"gateway.networking.k8s.io/gateway-name": "gw"}},
                "configPatches": [
                    {"applyTo": "CLUSTER", "patch": {"value": {"name": "epp-cluster"}}},
                    {"applyTo": "HTTP_FILTER", "match": {"listener": {"filterChain": {"filter": {"subFilter": {"name": "envoy.filters.http.ext_proc"}}}}}, "patch": {"value": {"typed_config": {"processing_mode": {"request_header_mode": mode}}}}},
                ],
            },
        })
    };
    facts.keep(&ENVOY_FILTER, vec![with("SKIP")]);
    let words = [
        "EnvoyFilter llm-d-inference-scheduler/epp-ext-proc",
        "SKIP",
        "round robin",
    ];
    one(
        &facts,
        &words,
        &[
            "kubectl patch schedulerinstall",
            "llm-sched-install",
            "Auto",
        ],
    );
    facts
        .objects
        .insert(ENVOY_FILTER.full_name(), vec![with("SEND")]);
    assert!(all(&facts).iter().all(|one| one.troubles.is_empty()));
    // One that holds for other pods is none of ours.
    let mut other = with("SKIP");
    other["spec"]["workloadSelector"]["labels"] = json!({"app": "else"});
    facts.objects.insert(ENVOY_FILTER.full_name(), vec![other]);
    assert!(all(&facts).iter().all(|one| one.troubles.is_empty()));
}

#[test]
fn an_external_name_is_recognised_and_the_pods_behind_it_are_found() {
    let mut facts = lab();
    change(&mut facts, &SERVICE, EPP, |one| {
        one["spec"] =
            json!({"type": "ExternalName", "externalName": format!("{EPP}.{S}.svc.cluster.local")});
    });
    change(&mut facts, &POD, "epp-0", |one| {
        one["metadata"]["namespace"] = json!(S)
    });
    facts.keep(
        &SERVICE,
        vec![service(
            S,
            EPP,
            json!({"selector": {"app": "epp"}, "ports": [{"port": 9002}]}),
        )],
    );
    one(
        &facts,
        &["ExternalName", "500"],
        &["kind: EndpointSlice", "10.0.0.1", "kubernetes.io/h2c"],
    );
}

#[test]
fn services_that_lead_nowhere_or_to_the_wrong_port_are_named() {
    let mut facts = lab();
    change(&mut facts, &SERVICE, EPP, |one| {
        one["spec"]["ports"][0]["targetPort"] = json!(9003)
    });
    one(
        &facts,
        &["to 9003", "listens on 9002"],
        &["targetPort", "9002"],
    );
    change(&mut facts, &SERVICE, EPP, |one| {
        one["spec"]["ports"] = json!([{"name": "grpc", "port": 9005}])
    });
    one(
        &facts,
        &["port 9002", "9005"],
        &["kubectl patch inferencepool", "9005"],
    );
    change(&mut facts, &SERVICE, EPP, |one| {
        one["spec"]["ports"] = json!([{"name": "ext", "port": 9002}])
    });
    one(&facts, &["HTTP/2"], &["appProtocol", "kubernetes.io/h2c"]);
    change(&mut facts, &SERVICE, EPP, |one| {
        one["metadata"]["name"] = json!("other")
    });
    one(
        &facts,
        &["not in the pool's namespace"],
        &["kind: Service", "selector: {app: epp}"],
    );
}

#[test]
fn a_selector_that_matches_nothing_and_a_missing_label_are_named() {
    let mut facts = lab();
    change(&mut facts, &POOL, "vllm-proxy-performance", |one| {
        one["spec"]["selector"]["matchLabels"] = json!({"role": "server"});
    });
    let words = ["label mismatch", "role=server", "vllm-p2p-proxy carries"];
    one(
        &facts,
        &words,
        &["kubectl label pod -n llm-d-vllm vllm-p2p-proxy role=server"],
    );
    let mut facts = lab();
    let config = "plugins:\n- type: by-label-selector\n  name: by-kv-backend\n  parameters: {matchLabels: {llm-d.ai/kv-backend: rdma}}\n";
    change(&mut facts, &CONFIG_MAP, "epp-config", |one| {
        one["data"]["epp-config.yaml"] = json!(config)
    });
    let words = [
        "filter 'by-kv-backend'",
        "kv-backend=rdma",
        "InferencePoolResourceExhausted",
    ];
    one(
        &facts,
        &words,
        &["kubectl label pod", "llm-d.ai/kv-backend=rdma"],
    );
    change(&mut facts, &CONFIG_MAP, "epp-config", |one| {
        one["data"]["epp-config.yaml"] = json!(config.replace("rdma", "nvlink"));
    });
    let found = &all(&facts)[1];
    assert!(found.troubles.is_empty() && found.detail.contains("removes vllm-fs-proxy"));
}

#[test]
fn pods_that_are_not_ready_say_why() {
    let mut facts = lab();
    change(&mut facts, &POD, "vllm-fs-proxy", |one| {
        one["status"] = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes: insufficient nvidia.com/gpu"}]});
    });
    one(
        &facts,
        &[
            "vllm-fs-proxy is not ready",
            "Unschedulable",
            "nvidia.com/gpu",
        ],
        &["kubectl describe pod"],
    );
    let mut facts = lab();
    change(&mut facts, &POD, "epp-0", |one| {
        one["status"] = json!({"containerStatuses": [{
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 1, "message": "flag \"x\" is deprecated and cannot be used\n"}},
        }]});
    });
    one(
        &facts,
        &["picker pod", "CrashLoopBackOff", "deprecated"],
        &["flavor: Current"],
    );
}

#[test]
fn a_route_past_the_picker_a_missing_grant_and_a_gateway_without_its_label_are_named() {
    let mut facts = lab();
    change(&mut facts, &ROUTE, "route", |one| {
        one["spec"]["rules"][0]["backendRefs"] = json!([{"name": "vllm-proxy", "namespace": M}]);
    });
    one(
        &facts,
        &["past the picker", "Service llm-d-vllm/vllm-proxy"],
        &["kind: InferencePool"],
    );
    let mut facts = lab();
    facts.objects.insert(GRANT.full_name(), Vec::new());
    one(
        &facts,
        &["no ReferenceGrant in llm-d-vllm"],
        &[
            "kind: ReferenceGrant",
            "namespace: llm-d-inference-scheduler",
        ],
    );
    // What could not be read proves nothing.
    facts.refused.push(Refused {
        group: GRANT.group.to_owned(),
        plural: GRANT.plural.to_owned(),
        namespace: None,
        forbidden: true,
        message: String::new(),
    });
    assert!(all(&facts).iter().all(|one| one.troubles.is_empty()));
    let mut facts = lab();
    facts.keep(
        &SERVICE,
        vec![service(S, "gw-istio", json!({"selector": {"app": "gw"}}))],
    );
    change(&mut facts, &POD, "gateway-0", |one| {
        one["metadata"]["labels"] = json!({"app": "gw"})
    });
    one(
        &facts,
        &["gateway-0 lacks the label", "round robin"],
        &["kubectl label pod", "gateway-name=gw"],
    );
    let mut facts = lab();
    change(&mut facts, &GATEWAY, "gw", |one| {
        one["status"] = Value::Null
    });
    one(&facts, &["no controller took"], &["gatewayclass istio"]);
}

#[test]
fn a_missing_right_comes_with_its_role() {
    let mut facts = lab();
    let asked = rights::needed(&Installation::of(&facts, pools(&facts)[0]));
    assert_eq!(asked.len(), 6);
    let held = |right: &crate::check::facts::Right| right.resource != "pods";
    facts.rights = Rights {
        asked: asked
            .into_iter()
            .map(|right| {
                let has = held(&right);
                (right, has)
            })
            .collect(),
        untold: None,
    };
    let words = ["account llm-d-vllm/epp may not get pods, list pods, watch pods"];
    one(
        &facts,
        &words,
        &[
            "kind: Role\n",
            "resources: [pods], verbs: [get, list, watch]",
            "namespace: llm-d-vllm",
        ],
    );
}

#[test]
fn flags_and_host_names_are_read_in_every_form() {
    let of = |args: Value| pod(M, "p", json!({}), args);
    assert_eq!(
        flag(&of(json!(["--pool-name", "a"])), "pool-name"),
        Some("a")
    );
    assert_eq!(
        flag(&of(json!(["-pool-name=a", "--pool-name=b"])), "pool-name"),
        Some("b")
    );
    assert_eq!(flag(&of(json!(["pool-name", "a"])), "pool-name"), None);
    assert_eq!(service_in("a.b.svc.cluster.local"), Some(("b", "a")));
    assert_eq!(service_in("example.com"), None);
}
