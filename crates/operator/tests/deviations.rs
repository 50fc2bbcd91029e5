//! Where ours must not do as the original does, one test a point; what the recorded cases show already is not repeated.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use pointsman_operator::desired::child::{Child, Owner};
use pointsman_operator::desired::{Address, Observed};
use pointsman_operator::render::{Format, children, children_of, text};
use serde_json::{Value, json};

fn install(spec: Value) -> Value {
    let mut object = json!({
        "apiVersion": "sim.llm-d.io/v1alpha1", "kind": "SchedulerInstall",
        "metadata": {"name": "i", "namespace": "s"},
        "spec": {"simulatorNamespace": "m"},
    });
    for (key, value) in spec.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    object
}

fn observed() -> Observed {
    Observed {
        epp_address: Address::Ip("10.0.0.7".to_owned()),
        epp_pods: BTreeMap::from([
            ("10.1.0.1".to_owned(), true),
            ("10.1.0.2".to_owned(), false),
        ]),
        ..Observed::default()
    }
}

fn made(spec: Value) -> Vec<Child> {
    children(Owner::Install, &install(spec), &observed()).unwrap()
}

fn simulated(spec: Value) -> Vec<Child> {
    let object = json!({"metadata": {"name": "r", "namespace": "n"}, "spec": spec});
    children(Owner::Simulator, &object, &observed()).unwrap()
}

#[track_caller]
fn find<'a>(made: &'a [Child], kind: &str, namespace: &str, name: &str) -> &'a Value {
    let found = made.iter().find(|child| {
        child.kind.kind == kind && child.namespace == namespace && child.name == name
    });
    let ids: Vec<String> = made
        .iter()
        .map(|c| format!("{}/{}/{}", c.kind.kind, c.namespace, c.name))
        .collect();
    &found
        .unwrap_or_else(|| panic!("{kind}/{namespace}/{name} is not among {ids:#?}"))
        .value
}

fn has(made: &[Child], kind: &str) -> bool {
    made.iter().any(|child| child.kind.kind == kind)
}

const EPP: &str = "gaie-inference-scheduling-epp";

#[test]
fn the_pickers_service_leads_to_its_port_and_shows_metrics() {
    let made = made(json!({"epp": {"enabled": true, "port": 9100}}));
    let ports = &find(&made, "Service", "s", EPP)["spec"]["ports"];
    assert_eq!(ports[0]["targetPort"], 9100);
    assert_eq!(ports[1]["name"], "metrics");
    assert_eq!(ports[1]["port"], 9090);
}

#[test]
fn a_pool_elsewhere_gets_rights_and_a_grant_there() {
    let made = made(json!({
        "epp": {"enabled": true, "poolNamespace": "p"}, "gateway": {"enabled": true},
        "routing": {"enabled": true, "backendType": "InferencePool"},
    }));
    for kind in ["Role", "RoleBinding"] {
        find(&made, kind, "p", EPP);
        find(&made, kind, "m", EPP);
    }
    find(&made, "ReferenceGrant", "p", "allow-scheduler-httproute");
}

#[test]
fn within_one_namespace_nothing_is_granted() {
    let mut object = install(json!({"gateway": {"enabled": true}, "routing": {"enabled": true}}));
    object["spec"]["simulatorNamespace"] = json!("s");
    let made = children(Owner::Install, &object, &observed()).unwrap();
    assert!(has(&made, "HTTPRoute") && !has(&made, "ReferenceGrant"));
}

#[test]
fn later_pickers_only_read_and_several_may_choose_a_leader() {
    let made = made(json!({"epp": {"enabled": true, "flavor": "Current", "replicas": 2}}));
    let rules = find(&made, "Role", "m", EPP)["rules"].to_string();
    assert!(
        !rules.contains("update") && !rules.contains("patch"),
        "{rules}"
    );
    assert!(rules.contains("inferencemodelrewrites") && rules.contains("llm-d.ai"));
    let leader = find(&made, "Role", "s", &format!("{EPP}-leader"))["rules"].to_string();
    assert!(
        leader.contains("leases") && leader.contains("events"),
        "{leader}"
    );
    find(&made, "RoleBinding", "s", &format!("{EPP}-leader"));
}

#[test]
fn the_flag_that_later_pickers_refuse_goes_by_the_image() {
    let args = |epp: Value| {
        let mut epp = epp;
        epp["enabled"] = json!(true);
        find(&made(json!({"epp": epp})), "Deployment", "s", EPP)["spec"]["template"]["spec"]["containers"][0]["args"].to_string()
    };
    let flag = "--kv-cache-usage-percentage-metric";
    for legacy in [
        json!({}),
        json!({"image": "r.io/llm-d-inference-scheduler:v0.4.2"}),
        json!({"image": "own:1", "flavor": "LegacyFlags"}),
    ] {
        assert!(args(legacy.clone()).contains(flag), "{legacy}");
    }
    for current in [
        json!({"image": "ghcr.io/llm-d/llm-d-router:v0.10.0"}),
        json!({"image": "ghcr.io/llm-d/llm-d-inference-scheduler:v0.5.0"}),
        json!({"image": "r.io/pointsman:1"}),
        json!({"flavor": "Current"}),
    ] {
        assert!(!args(current.clone()).contains(flag), "{current}");
    }
}

#[test]
fn another_profile_restarts_the_pods_unless_the_picker_takes_it_up() {
    let hash = |epp: Value| {
        let mut epp = epp;
        epp["enabled"] = json!(true);
        let made = made(json!({"epp": epp}));
        find(&made, "Deployment", "s", EPP)["spec"]["template"]["metadata"]["annotations"]["sim.llm-d.io/config-hash"].clone()
    };
    let (a, b) = (
        hash(json!({})),
        hash(json!({"configProfile": "proxy-performance"})),
    );
    assert!(a.is_string() && b.is_string() && a != b);
    assert_eq!(hash(json!({"reload": "None"})), Value::Null);
    assert_eq!(hash(json!({"image": "r.io/pointsman:1"})), Value::Null);
    assert!(hash(json!({"image": "r.io/pointsman:1", "reload": "Rolling"})).is_string());
}

#[test]
fn replicas_are_left_to_an_autoscaler() {
    let made = made(json!({"epp": {"enabled": true, "autoscaled": true}}));
    assert!(
        find(&made, "Deployment", "s", EPP)["spec"]
            .get("replicas")
            .is_none()
    );
}

#[test]
fn the_pickers_pod_is_restricted() {
    let made = made(json!({"epp": {"enabled": true}}));
    let pod = &find(&made, "Deployment", "s", EPP)["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(
        pod["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault"
    );
    assert_eq!(
        pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"],
        true
    );
    assert_eq!(
        pod["containers"][0]["securityContext"]["capabilities"]["drop"][0],
        "ALL"
    );
}

fn filtered(mode: &str, backend: &str) -> Vec<Child> {
    made(json!({
        "epp": {"enabled": true}, "gateway": {"enabled": true},
        "routing": {"enabled": true, "backendType": backend},
        "envoyFilter": {"enabled": true, "mode": mode},
    }))
}

#[test]
fn auto_writes_no_filter_where_istio_asks_the_picker_by_itself() {
    let made = filtered("Auto", "InferencePool");
    assert!(!has(&made, "EnvoyFilter"));
    let service = find(&made, "Service", "m", EPP);
    assert!(service["spec"].get("selector").is_none(), "{service}");
    let slice = find(&made, "EndpointSlice", "m", &format!("{EPP}-ipv4"));
    assert_eq!(
        slice["metadata"]["labels"]["kubernetes.io/service-name"],
        EPP
    );
    assert_eq!(
        slice["endpoints"],
        json!([
            {"addresses": ["10.1.0.1"], "conditions": {"ready": true}},
            {"addresses": ["10.1.0.2"], "conditions": {"ready": false}},
        ])
    );
    let other = filtered("Auto", "Service");
    assert!(has(&other, "EnvoyFilter") && !has(&other, "EndpointSlice"));
}

#[test]
fn full_duplex_lets_the_answer_count() {
    let made = filtered("FullDuplex", "InferencePool");
    let filter = find(&made, "EnvoyFilter", "s", "epp-ext-proc");
    let patches = filter["spec"]["configPatches"].as_array().unwrap();
    assert_eq!(patches[0]["patch"]["operation"], "INSERT_FIRST");
    let config = &patches[0]["patch"]["value"]["typed_config"];
    assert_eq!(config["processing_mode"]["request_header_mode"], "SEND");
    assert_eq!(
        config["processing_mode"]["response_body_mode"],
        "FULL_DUPLEX_STREAMED"
    );
    assert_eq!(config["failure_mode_allow"], false);
    let cluster = &patches[1]["patch"]["value"];
    assert!(cluster.get("http2_protocol_options").is_none());
    assert!(cluster["typed_extension_protocol_options"].is_object());
}

#[test]
fn full_duplex_goes_on_without_the_picker_where_the_pool_says_so() {
    let object = install(json!({
        "epp": {"enabled": true}, "gateway": {},
        "routing": {"enabled": true, "backendType": "InferencePool"},
        "envoyFilter": {"enabled": true, "mode": "FullDuplex"},
    }));
    for pool_fails_open in [false, true] {
        let observed = Observed {
            pool_fails_open,
            ..observed()
        };
        let made = children(Owner::Install, &object, &observed).unwrap();
        let filter = find(&made, "EnvoyFilter", "s", "epp-ext-proc");
        let config = &filter["spec"]["configPatches"][0]["patch"]["value"]["typed_config"];
        assert_eq!(config["failure_mode_allow"], pool_fails_open);
    }
}

#[test]
fn what_asks_for_one_object_twice_is_refused_with_both_fields() {
    let name = "gaie-inference-scheduling-epp";
    let same = install(json!({
        "simulatorNamespace": "s", "epp": {"enabled": true}, "proxyService": {"name": name},
    }));
    let sim = |name: &str, more: Value| {
        let mut object = json!({
            "apiVersion": "sim.llm-d.io/v1alpha1", "kind": "SimulatorDeployment",
            "metadata": {"name": "i", "namespace": "s"}, "spec": more,
        });
        object["spec"]["service"] = json!({"name": name});
        object
    };
    let gateways = json!({"inferenceGateway": {"enabled": true, "standard": {"enabled": true}}});
    for (owner, object, fields) in [
        (
            Owner::Install,
            same,
            ["spec.epp.name", "spec.proxyService.name"],
        ),
        (
            Owner::Simulator,
            sim("gaie-sim-epp", json!({"epp": {"enabled": true}})),
            ["spec.service.name", "spec.epp.enabled"],
        ),
        (
            Owner::Simulator,
            sim("infra-sim-inference-gateway", gateways),
            [
                "spec.service.name",
                "spec.inferenceGateway.standard.enabled",
            ],
        ),
    ] {
        let refused = children(owner, &object, &Observed::default()).unwrap_err();
        assert_eq!(refused.reason, "InvalidValue");
        for field in fields {
            assert!(refused.message.contains(field), "{}", refused.message);
        }
    }
}

#[test]
fn the_filter_waits_for_the_services_address() {
    let object =
        install(json!({"epp": {"enabled": true}, "gateway": {}, "envoyFilter": {"enabled": true}}));
    let none = Observed {
        epp_address: Address::Pending,
        ..Observed::default()
    };
    assert!(!has(
        &children(Owner::Install, &object, &none).unwrap(),
        "EnvoyFilter"
    ));
    let made = children(Owner::Install, &object, &Observed::default()).unwrap();
    let filter = made
        .iter()
        .find(|child| child.kind.kind == "EnvoyFilter")
        .unwrap();
    assert!(filter.note.is_some());
    let cluster = &filter.value["spec"]["configPatches"][1]["patch"]["value"];
    assert_eq!(cluster["type"], "STRICT_DNS");
    assert!(
        cluster
            .to_string()
            .contains("gaie-inference-scheduling-epp.s.svc.cluster.local")
    );
}

#[test]
fn the_operator_makes_the_pool_when_asked() {
    let made = made(json!({
        "epp": {"enabled": true, "poolName": "pool"}, "proxyService": {"port": 8080, "selector": {"role": "proxy"}},
        "inferencePool": {"enabled": true, "failureMode": "FailOpen"},
    }));
    let pool = &find(&made, "InferencePool", "m", "pool")["spec"];
    assert_eq!(pool["selector"]["matchLabels"], json!({"role": "proxy"}));
    assert_eq!(pool["targetPorts"], json!([{"number": 8080}]));
    assert_eq!(pool["endpointPickerRef"]["port"]["number"], 9002);
    assert_eq!(pool["endpointPickerRef"]["failureMode"], "FailOpen");
    // The picker that it names must be in its namespace.
    find(&made, "Service", "m", EPP);
}

#[test]
fn https_needs_certificates_and_gets_them() {
    let object = install(json!({"gateway": {"enabled": true, "listenerProtocol": "HTTPS"}}));
    let refused = children(Owner::Install, &object, &observed()).unwrap_err();
    assert_eq!(refused.reason, "HTTPSNeedsTLS");
    let made = made(json!({"gateway": {
        "enabled": true, "listenerProtocol": "HTTPS", "tls": {"certificateRefs": [{"name": "c"}]},
    }}));
    let name = "infra-inference-scheduling-inference-gateway";
    let listener = &find(&made, "Gateway", "s", name)["spec"]["listeners"][0];
    assert_eq!(
        listener["tls"],
        json!({"mode": "Terminate", "certificateRefs": [{"name": "c"}]})
    );
}

#[test]
fn bad_values_name_their_field() {
    for (spec, field) in [
        (json!({"epp": {"port": 9090}}), "spec.epp.port"),
        (json!({"epp": {"port": 9089}}), "spec.epp.port"),
        (json!({"epp": {"name": "Bad_Name"}}), "spec.epp.name"),
        (json!({"epp": {"verbosity": -1}}), "spec.epp.verbosity"),
        (
            json!({"proxyService": {"port": 70000}}),
            "spec.proxyService.port",
        ),
        (
            json!({"gateway": {"listenerPort": 0}}),
            "spec.gateway.listenerPort",
        ),
        (
            json!({"gateway": {"listenerProtocol": "UDP"}}),
            "spec.gateway.listenerProtocol",
        ),
        (json!({"epp": {"replica": 1}}), "replica"),
    ] {
        let refused = children(Owner::Install, &install(spec.clone()), &observed()).unwrap_err();
        assert!(refused.message.contains(field), "{spec}: {refused}");
    }
    let mut long = install(json!({}));
    long["metadata"]["name"] = json!("a".repeat(64));
    assert!(
        children(Owner::Install, &long, &observed())
            .unwrap_err()
            .message
            .contains("metadata.name")
    );
}

#[test]
fn simulated_gateways_lead_to_the_decode_port_and_listen_where_their_service_says() {
    let made = simulated(json!({
        "decode": {"enabled": true, "port": 8300},
        "inferenceGateway": {"enabled": true, "standard": {"enabled": true}, "istio": {"enabled": true}},
    }));
    let config = find(&made, "ConfigMap", "n", "infra-sim-inference-gateway")["data"]["envoy.yaml"]
        .as_str()
        .unwrap();
    assert!(
        config.contains("port_value: 8300\n") && !config.contains("DECODE_PORT"),
        "{config}"
    );
    let target =
        |name: &str| find(&made, "Service", "n", name)["spec"]["ports"][0]["targetPort"].clone();
    assert_eq!(target("infra-sim-inference-gateway"), 80);
    assert_eq!(target("infra-sim-inference-gateway-istio"), 8080);
}

#[test]
fn a_simulated_pickers_account_is_made() {
    let made = simulated(json!({"epp": {"enabled": true}}));
    for kind in ["ServiceAccount", "Role", "RoleBinding"] {
        find(&made, kind, "n", "gaie-sim-epp");
    }
}

#[test]
fn everything_names_whom_it_belongs_to() {
    let mut all = filtered("Legacy", "Service");
    all.extend(simulated(json!({"epp": {"enabled": true}})));
    for child in all {
        let labels = &child.value["metadata"]["labels"];
        assert_eq!(
            labels["app.kubernetes.io/managed-by"], "pointsman-operator",
            "{}",
            child.name
        );
        assert!(
            Owner::of_labels(labels, &child.namespace).is_some(),
            "{}",
            child.name
        );
    }
    let mut elsewhere = install(json!({"epp": {"enabled": true}}));
    elsewhere["spec"]["schedulerNamespace"] = json!("other");
    for child in children(Owner::Install, &elsewhere, &observed()).unwrap() {
        assert!(
            child.value["metadata"].get("ownerReferences").is_none(),
            "{}",
            child.name
        );
    }
}

#[test]
fn rendering_is_the_same_byte_for_byte_and_reads_back() {
    let file = text(
        [(
            &install(json!({"epp": {"enabled": true}, "gateway": {"enabled": true}})),
            None,
        )],
        Format::Yaml,
    );
    let once = children_of(&file).unwrap();
    let again = children_of(&file).unwrap();
    let shown =
        |children: &[Child]| text(children.iter().map(|c| (&c.value, c.note)), Format::Yaml);
    assert_eq!(shown(&once), shown(&again));
    let read: Vec<Value> = serde_saphyr::from_multiple(&shown(&once)).unwrap();
    let read: Vec<Value> = read.into_iter().filter(|v| !v.is_null()).collect();
    assert_eq!(
        read,
        once.iter().map(|c| c.value.clone()).collect::<Vec<_>>()
    );
    for (bad, why) in [
        ("", "no SchedulerInstall"),
        ("kind: Pod\napiVersion: v1\n", "document 1 is a Pod v1"),
        ("a: [", "a: ["),
    ] {
        let error = children_of(bad).unwrap_err().to_string();
        assert!(bad == "a: [" || error.contains(why), "{error}");
    }
}

#[test]
fn what_the_api_server_would_refuse_halfway_is_refused_before_anything_is_made() {
    let long = "g".repeat(64);
    let epp = json!({"enabled": true});
    for (spec, reason, words) in [
        (
            json!({"proxyService": {"selector": {"role": "a b"}}}),
            "InvalidValue",
            "spec.proxyService.selector.role is 'a b'",
        ),
        (
            json!({"epp": epp, "inferencePool": {"enabled": true, "targetPorts": [8000, 8001, 8000]}}),
            "InvalidValue",
            "spec.inferencePool.targetPorts[2] is 8000",
        ),
        (
            json!({"gateway": {"enabled": true, "listenerProtocol": "TLS"}}),
            "InvalidValue",
            "TLS needs spec.gateway.tls.certificateRefs",
        ),
        (
            json!({"gateway": {"enabled": true, "listenerProtocol": "HTTPS", "tls": {}}}),
            "HTTPSNeedsTLS",
            "spec.gateway.tls.certificateRefs",
        ),
        (
            json!({"gateway": {"enabled": true, "tls": {"certificateRefs": [{"name": "c"}]}}}),
            "InvalidValue",
            "spec.gateway.tls is for listenerProtocol HTTPS and TLS",
        ),
        (
            json!({"gateway": {"enabled": true, "listenerProtocol": "HTTPS", "tls": {"certificateRefs": [{"name": 7}]}}}),
            "InvalidValue",
            "spec.gateway.tls.certificateRefs[0].name",
        ),
        (
            json!({"epp": epp, "gateway": {"name": long}, "envoyFilter": {"enabled": true}}),
            "InvalidValue",
            "spec.gateway.name is too long",
        ),
        (
            json!({"epp": {"enabled": true, "resources": {"requests": {"cpu": 2}, "limits": {"cpu": 1}}}}),
            "InvalidValue",
            "spec.epp.resources.requests.cpu is 2",
        ),
        (
            json!({"destinationRule": {"enabled": true, "connectionPool": {"http1MaxPendingRequests": -1}}}),
            "InvalidValue",
            "spec.destinationRule.connectionPool.http1MaxPendingRequests is -1",
        ),
        (
            json!({"destinationRule": {"enabled": true, "connectionPool": {"maxRequestsPerConnection": -5}}}),
            "InvalidValue",
            "maxRequestsPerConnection is -5",
        ),
    ] {
        let said = children(Owner::Install, &install(spec.clone()), &observed());
        let said = said.err().unwrap_or_else(|| panic!("{spec} is taken"));
        assert_eq!(said.reason, reason, "{spec}");
        assert!(said.message.contains(words), "{words} in {}", said.message);
    }
    let good = made(json!({
        "gateway": {"enabled": true, "listenerProtocol": "TLS", "tls": {"certificateRefs": [{"name": "c"}]}},
        "epp": {"enabled": true, "resources": {"requests": {"cpu": "500m"}, "limits": {"cpu": 1}}},
    }));
    assert!(has(&good, "Gateway"));
}
