//! Specs that cannot be followed (O6).

use pointsman_tests::binary::workspace;
use pointsman_tests::cluster::Setup;
use pointsman_tests::operator_world::{World, install};
use pointsman_tests::patience::until;
use pointsman_tests::scratch::Scratch;
use serde_json::{Value, json};

use crate::objects::made;

#[test]
fn o6_a_spec_that_cannot_be_followed_is_refused_with_its_field_and_makes_nothing() {
    let world = World::start(&Setup::plain());
    let cluster = &world.cluster;
    let _operator = world.operator("the operator");
    for namespace in ["a", "a-m"] {
        world.namespace(namespace);
    }
    let folder = Scratch::new("o6");
    for (more, expected) in [
        (
            json!({"simulatorNamespace": ""}),
            "spec.simulatorNamespace is required",
        ),
        (
            json!({"epp": {"enabled": true, "configProfile": "fast"}}),
            "spec.epp.configProfile",
        ),
        (
            json!({"epp": {"enabled": true, "replicas": 0}}),
            "spec.epp.replicas",
        ),
        (
            json!({"epp": {"enabled": true, "port": 9090}}),
            "spec.epp.port must not be",
        ),
        (
            json!({"epp": {"enabled": true, "port": 70000}}),
            "spec.epp.port must be between",
        ),
        (
            json!({"epp": {"enabled": true, "name": "Bad_Name"}}),
            "spec.epp.name",
        ),
        (
            json!({"proxyService": {"port": 0}}),
            "spec.proxyService.port",
        ),
        (
            json!({"proxyService": {"name": "a".repeat(64)}}),
            "spec.proxyService.name",
        ),
        (
            json!({"gateway": {"enabled": true, "listenerPort": -1}}),
            "spec.gateway.listenerPort",
        ),
        (
            json!({"gateway": {"enabled": true, "statsPort": 65536}}),
            "spec.gateway.statsPort",
        ),
        (
            json!({"gateway": {"enabled": true, "listenerProtocol": "UDP"}}),
            "spec.gateway.listenerProtocol",
        ),
        (
            json!({"gateway": {"enabled": true, "listenerProtocol": "HTTPS"}}),
            "spec.gateway.tls.certificateRefs",
        ),
        (
            json!({"epp": {"enabled": false}}),
            "spec.envoyFilter.enabled needs spec.epp.enabled",
        ),
        (
            json!({"epp": null, "envoyFilter": {}, "routing": {"enabled": true, "backendType": "InferencePool"}}),
            "spec.routing.inferencePool.name",
        ),
        (
            json!({"gateway": null, "envoyFilter": {}}),
            "spec.routing.parentGateway.name",
        ),
        (json!({"epp": {"enabled": true, "replica": 2}}), "replica"),
    ] {
        let mut custom: Value = serde_json::from_str(&install("a", &more)).unwrap();
        // Null takes a part away.
        custom["spec"]
            .as_object_mut()
            .unwrap()
            .retain(|_, part| !part.is_null());
        let file = folder.file("custom.json", &custom.to_string());
        let said = cluster.try_kubectl(&["apply", "--server-side", "-f", &file]);
        let said = said.expect_err(expected);
        assert!(said.contains(expected), "{more}: {said}");
    }
    // With the original's definitions, which refuse next to nothing, the status says it.
    cluster.apply_folder(&workspace().join("tests/crds/sim.llm-d.io"));
    let name = "a".repeat(64);
    for (custom, more, reason) in [
        (name.as_str(), json!({}), "NameTooLong"),
        (
            "b",
            json!({"simulatorNamespace": ""}),
            "MissingSimulatorNamespace",
        ),
        (
            "c",
            json!({"epp": {"enabled": false}}),
            "EnvoyFilterNeedsEPP",
        ),
        (
            "d",
            json!({"epp": {"enabled": true, "port": 9090}}),
            "InvalidValue",
        ),
    ] {
        let mut object: Value = serde_json::from_str(&install("a", &more)).unwrap();
        object["metadata"]["name"] = json!(custom);
        // A definition that was just changed is not in force at once.
        until("the custom resource to be taken", || {
            let file = folder.file("custom.json", &object.to_string());
            cluster
                .try_kubectl(&["apply", "--server-side", "-f", &file])
                .ok()
        });
        until(&format!("{reason} to be told"), || {
            let said = format!("False {reason}");
            let told = ["Accepted", "Ready", "Available"]
                .iter()
                .all(|kind| world.condition("a", custom, kind) == said);
            told.then_some(())
        });
        cluster.kubectl(&["delete", "schedinst", "-n", "a", custom]);
    }
    assert!(made(cluster).is_empty());
    let ours = std::fs::read_to_string(workspace().join("deploy/operator/crds.yaml")).unwrap();
    cluster.apply(&ours);
    // Where objects are cannot be changed under them.
    cluster.apply(&install("a", &json!({})));
    let moved = r#"{"spec":{"simulatorNamespace":"other"}}"#;
    until("what would move objects to be refused", || {
        let moving = [
            "patch",
            "-n",
            "a",
            "schedinst/i",
            "--type=merge",
            "--dry-run=server",
            "-p",
            moved,
        ];
        let said = cluster.try_kubectl(&moving).err()?;
        said.contains("spec.simulatorNamespace cannot be changed")
            .then_some(())
    });
}
