//! What is asked for arrives, and what is done by hand is set right.

use std::time::Instant;

use pointsman_tests::cluster::{Cluster, Setup};
use pointsman_tests::operator_world::{World, install};
use pointsman_tests::patience::until;
use serde_json::{Value, json};

use crate::objects::{EPP, get, patch, says};

/// What the picker's ConfigMap and Deployment say.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Picker {
    config: String,
    hash: String,
    image: String,
}

fn picker(cluster: &Cluster) -> Picker {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let config = get(cluster, "a", &format!("configmap/{EPP}-config"));
    let pod = get(cluster, "a", &format!("deployment/{EPP}"))["spec"]["template"].clone();
    Picker {
        config: text(&config["data"]["epp-config.yaml"]),
        hash: text(&pod["metadata"]["annotations"]["sim.llm-d.io/config-hash"]),
        image: text(&pod["spec"]["containers"][0]["image"]),
    }
}

#[test]
fn profile_image_and_edits_by_hand_arrive_and_roll_back() {
    let world = World::start(&Setup::plain());
    let cluster = &world.cluster;
    let _operator = world.operator("the operator");
    for namespace in ["a", "a-m"] {
        world.namespace(namespace);
    }
    cluster.apply(&install("a", &json!({})));
    says(&world, "a", "i", "Ready", "True Reconciled");
    let first = picker(cluster);
    assert!(first.config.contains("load-aware-scorer") && first.hash.len() == 64);
    let arrives = |what: &str, is: &dyn Fn(&Picker) -> bool| {
        let began = Instant::now();
        let now = until(what, || Some(picker(cluster)).filter(|now| is(now)));
        println!("{what}: {} ms", began.elapsed().as_millis());
        now
    };
    let spec = |epp: Value| json!({"spec": {"epp": epp}});

    patch(
        cluster,
        "a",
        "schedinst/i",
        &spec(json!({"configProfile": "proxy-performance"})),
    );
    let profiled = arrives("another profile", &|now| {
        now.config.contains("active-request-scorer") && now.hash != first.hash
    });
    assert_eq!(profiled.image, first.image);

    let image = "ghcr.io/llm-d/llm-d-inference-scheduler:v0.4.9";
    patch(cluster, "a", "schedinst/i", &spec(json!({"image": image})));
    let imaged = arrives("another image", &|now| now.image == image);
    assert_eq!(
        (&imaged.config, &imaged.hash),
        (&profiled.config, &profiled.hash)
    );

    let by_hand = json!({"data": {"epp-config.yaml": "by-hand", "more": "x"}});
    patch(cluster, "a", &format!("configmap/{EPP}-config"), &by_hand);
    arrives("a ConfigMap that was edited by hand", &|now| *now == imaged);
    let scaled = json!({"spec": {"template": {"spec": {"serviceAccountName": "other"}}}});
    patch(cluster, "a", &format!("deployment/{EPP}"), &scaled);
    until("a Deployment that was edited by hand", || {
        let now = get(cluster, "a", &format!("deployment/{EPP}"));
        (now["spec"]["template"]["spec"]["serviceAccountName"] == EPP).then_some(())
    });

    let back = json!({"configProfile": "default", "image": first.image});
    patch(cluster, "a", "schedinst/i", &spec(back));
    arrives("back to profile and image", &|now| *now == first);

    // A restart that somebody asked for by hand is theirs.
    cluster.kubectl(&[
        "rollout",
        "restart",
        "-n",
        "a",
        &format!("deployment/{EPP}"),
    ]);
    patch(cluster, "a", "schedinst/i", &spec(json!({"verbosity": 3})));
    until("the verbosity, and the restart still there", || {
        let now = get(cluster, "a", &format!("deployment/{EPP}")).to_string();
        (now.contains(r#""--v","3""#) && now.contains("restartedAt")).then_some(())
    });

    // An autoscaler's number of pods is its own.
    patch(
        cluster,
        "a",
        "schedinst/i",
        &spec(json!({"autoscaled": true})),
    );
    until("the number of pods to be let go", || {
        let shown = cluster.kubectl(&[
            "get",
            "deployment",
            "-n",
            "a",
            EPP,
            "--show-managed-fields",
            "-o",
            "json",
        ]);
        let shown: Value = serde_json::from_str(&shown).unwrap();
        let ours = shown["metadata"]["managedFields"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| {
                one["manager"] == "pointsman-operator"
                    && one["fieldsV1"]["f:spec"]["f:replicas"].is_object()
            });
        (!ours).then_some(())
    });
    cluster.kubectl(&[
        "scale",
        "-n",
        "a",
        &format!("deployment/{EPP}"),
        "--replicas=5",
    ]);
    patch(cluster, "a", "schedinst/i", &spec(json!({"verbosity": 4})));
    until("the verbosity, and five pods still asked for", || {
        let now = get(cluster, "a", &format!("deployment/{EPP}"));
        let five = now["spec"]["replicas"] == 5;
        (five && now.to_string().contains(r#""--v","4""#)).then_some(())
    });
}

/// What is done by hand to an object of each kind: something is changed, or something is added where all is ours.
fn edits(kind: &str) -> Vec<Value> {
    match kind {
        "Role" => vec![
            json!({"rules": []}),
            json!([{"op": "add", "path": "/rules/0/resourceNames", "value": ["x"]}]),
        ],
        "RoleBinding" => vec![json!({"subjects": []})],
        "ConfigMap" => vec![
            json!({"data": {"more": "x"}}),
            json!({"binaryData": {"more": "eA=="}}),
        ],
        "Deployment" => {
            let container = "/spec/template/spec/containers/0";
            vec![
                json!({"spec": {"replicas": 7}}),
                json!([{"op": "add", "path": format!("{container}/command"), "value": ["sh"]}]),
                json!([{"op": "add", "path": format!("{container}/env"), "value": [{"name": "A", "value": "b"}]}]),
                json!({"spec": {"paused": true}}),
                json!({"metadata": {"labels": {"more": "x"}}}),
            ]
        }
        "Service" => vec![
            json!({"spec": {"ports": [{"name": "other", "port": 1, "protocol": "TCP"}]}}),
            json!({"spec": {"selector": {"more": "x"}}}),
        ],
        "EndpointSlice" => {
            vec![json!({"ports": [{"name": "other", "port": 1, "protocol": "TCP"}]})]
        }
        "Gateway" => vec![
            json!({"spec": {"listeners": [{"name": "other", "port": 81, "protocol": "HTTP"}]}}),
            json!([{"op": "add", "path": "/spec/listeners/0/hostname", "value": "x.example"}]),
            json!([{"op": "add", "path": "/spec/listeners/0/allowedRoutes/namespaces/from", "value": "All"}]),
        ],
        "HTTPRoute" => vec![
            json!({"spec": {"rules": [{"matches": [{"path": {"type": "Exact", "value": "/x"}}]}]}}),
            json!({"spec": {"hostnames": ["x.example"]}}),
            json!([{"op": "add", "path": "/spec/rules/0/matches/0/headers", "value": [{"name": "x", "value": "y"}]}]),
        ],
        "ReferenceGrant" => vec![
            json!({"spec": {"to": [{"group": "", "kind": "Secret"}]}}),
            json!([{"op": "add", "path": "/spec/to/0/name", "value": "x"}]),
        ],
        "DestinationRule" => vec![
            json!({"spec": {"host": "other"}}),
            json!({"spec": {"trafficPolicy": {"tls": {"mode": "DISABLE"}}, "exportTo": ["."]}}),
        ],
        "EnvoyFilter" => vec![
            json!({"spec": {"workloadSelector": {"labels": {"more": "x"}}}}),
            json!({"spec": {"priority": 7}}),
            json!([{"op": "add", "path": "/spec/configPatches/0/patch/value/disabled", "value": true}]),
        ],
        "InferencePool" => vec![
            json!({"spec": {"targetPorts": [{"number": 1}]}}),
            json!({"spec": {"selector": {"matchLabels": {"more": "x"}}}}),
        ],
        "ServiceAccount" => {
            vec![json!({"metadata": {"labels": {"sim.llm-d.io/schedulerNamespace": "other"}}})]
        }
        other => panic!("there is no edit for {other}"),
    }
}

/// Edits as another field manager than the operator, by JSON patch where a list is edited from within.
fn by_hand(cluster: &Cluster, namespace: &str, object: &str, edit: &Value) {
    let how = match edit.is_array() {
        true => "--type=json",
        false => "--type=merge",
    };
    let edit = edit.to_string();
    cluster.kubectl(&["patch", "-n", namespace, object, how, "-p", &edit]);
}

/// What somebody can set: everything but what the server keeps.
fn settings(mut object: Value) -> Value {
    object.as_object_mut().unwrap().remove("status");
    let meta = object["metadata"].as_object_mut().unwrap();
    for key in [
        "resourceVersion",
        "generation",
        "managedFields",
        "uid",
        "creationTimestamp",
    ] {
        meta.remove(key);
    }
    if object["kind"] == "EnvoyFilter" {
        // The address of the picker's Service, which has another one once it was deleted.
        let place = "/spec/configPatches/1/patch/value/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/address";
        *object.pointer_mut(place).unwrap() = json!("");
    }
    if object["kind"] == "Service" {
        object["spec"]["clusterIP"] = json!("");
        object["spec"]["clusterIPs"] = json!([]);
    }
    object
}

#[test]
fn whatever_is_changed_or_deleted_by_hand_of_any_kind_is_set_right() {
    let world = World::start(&Setup::plain());
    let cluster = &world.cluster;
    let _operator = world.operator("the operator");
    for namespace in ["a", "a-m"] {
        world.namespace(namespace);
    }
    // One with a filter, and one that makes pool, Service and EndpointSlice beside it.
    cluster.apply(&install(
        "a",
        &json!({"inferencePool": {"enabled": true}, "epp": {"enabled": true, "replicas": 2}}),
    ));
    says(&world, "a", "i", "Ready", "True Reconciled");
    let children = get(cluster, "a", "schedinst/i")["status"]["children"].clone();
    let mut seen = Vec::new();
    for child in children.as_array().unwrap() {
        let word = |key: &str| child[key].as_str().unwrap().to_owned();
        let (kind, namespace, name) = (word("kind"), word("namespace"), word("name"));
        // What kubectl prefers is a newer version than the one that is written.
        let version = match kind.as_str() {
            "ReferenceGrant" | "DestinationRule" => ".v1beta1",
            _ => "",
        };
        let group = word("group");
        let resource = match (version, group.as_str()) {
            (_, "") => kind.to_lowercase(),
            ("", group) => format!("{}.{group}", kind.to_lowercase()),
            (version, group) => format!("{}{version}.{group}", kind.to_lowercase()),
        };
        let object = format!("{resource}/{name}");
        let now = || settings(get(cluster, &namespace, &object));
        let before = now();
        for edit in edits(&kind) {
            by_hand(cluster, &namespace, &object, &edit);
            let began = Instant::now();
            until(
                &format!("{kind} {namespace}/{name} to be set right after {edit}"),
                || (now() == before).then_some(()),
            );
            println!("{kind} edited: {} ms", began.elapsed().as_millis());
        }
        if seen.contains(&kind) {
            continue;
        }
        cluster.kubectl(&["delete", "-n", &namespace, &object, "--wait=false"]);
        let began = Instant::now();
        until(
            &format!("{kind} {namespace}/{name} to be there again"),
            || {
                let text = cluster
                    .try_kubectl(&["get", "-n", &namespace, &object, "-o", "json"])
                    .ok()?;
                let again: Value = serde_json::from_str(&text).unwrap();
                (settings(again) == before).then_some(())
            },
        );
        println!("{kind} deleted: {} ms", began.elapsed().as_millis());
        seen.push(kind);
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 13, "{seen:?}");
}
