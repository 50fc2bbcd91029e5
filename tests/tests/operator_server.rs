//! The operator against a real API server, with nothing but the rights of `deploy/operator`: the recorded cases step by
//! step, drift, what is written at rest, definitions that come later, two operators.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Instant;

use pointsman_tests::binary::workspace;
use pointsman_tests::cluster::Setup;
use pointsman_tests::operator_cases::{Case, Expected, all, differences, is_custom};
use pointsman_tests::operator_world::{MINE, SYSTEM, World, install};
use pointsman_tests::patience::{LONG, until};
use serde_json::{Value, json};

/// What is not yet as it should be.
fn faults(expected: &Expected, there: &BTreeMap<String, Value>) -> Vec<String> {
    let mut faults = Vec::new();
    for (id, recorded) in &expected.objects {
        let Some(ours) = there.get(id) else {
            if !(is_custom(id) && expected.may_be_refused) {
                faults.push(format!("{id} is missing"));
            }
            continue;
        };
        if is_custom(id) {
            faults.extend(wrong_ready(id, recorded, ours, expected));
        } else if !expected.only_existence {
            faults.extend(
                differences(recorded, ours)
                    .into_iter()
                    .map(|text| format!("{id}: {text}")),
            );
        }
    }
    let given = |id: &str| id.ends_with("/default") || id.ends_with("/kube-root-ca.crt");
    for id in there.keys() {
        if !expected.objects.contains_key(id) && !expected.may.contains(id) && !given(id) {
            faults.push(format!("{id} is there and should not be"));
        }
    }
    faults
}

fn wrong_ready(id: &str, recorded: &Value, ours: &Value, expected: &Expected) -> Option<String> {
    let ready = |object: &Value| {
        let conditions = object["status"]["conditions"].as_array()?;
        let one = conditions.iter().find(|one| one["type"] == "Ready")?;
        Some((
            one["status"].as_str()?.to_owned(),
            one["reason"].as_str().map(str::to_owned),
        ))
    };
    let told = expected
        .ready
        .iter()
        .find(|told| told.object.as_deref().is_none_or(|object| object == id));
    let wanted = match told {
        Some(told) => (told.status.clone(), told.reason.clone()),
        None => ready(recorded)?,
    };
    let found = ready(ours);
    // Here pods run in every case; where they did not when it was recorded, how many are ready is no matter.
    let of_pods =
        |reason: Option<&String>| reason.is_some_and(|reason| reason.starts_with("Deployment"));
    if of_pods(wanted.1.as_ref())
        && found
            .as_ref()
            .is_some_and(|(_, reason)| of_pods(reason.as_ref()))
    {
        return None;
    }
    let good = found.as_ref().is_some_and(|(status, reason)| {
        *status == wanted.0 && (wanted.1.is_none() || *reason == wanted.1)
    });
    (!good).then(|| format!("{id}: Ready is {found:?}, expected {wanted:?}"))
}

fn play(world: &World, case: &Case) {
    let namespaces = case.namespaces();
    for namespace in &namespaces {
        world.namespace(namespace);
    }
    let kinds = world.kinds(&case.without());
    for number in 0..case.steps() {
        let expected = case.expected(number);
        let done = world.act(&case.action(number));
        if case.rejected(number).is_some() {
            assert!(
                done.is_err(),
                "{} step {}: was not refused",
                case.name,
                number + 1
            );
        } else if let Err(why) = done {
            assert!(
                expected.may_be_refused,
                "{} step {}: {why}",
                case.name,
                number + 1
            );
        }
        let deadline = Instant::now() + LONG;
        loop {
            let left = faults(&expected, &world.objects(&namespaces, &kinds));
            if left.is_empty() {
                break;
            }
            let text = left.join("\n");
            assert!(
                Instant::now() < deadline,
                "{} step {}:\n{text}",
                case.name,
                number + 1
            );
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
    world.clear(&namespaces, &kinds);
}

#[test]
fn recorded_cases_come_about_and_leave_nothing_behind() {
    let setup = Setup {
        controllers: true,
        nodes: 1,
        ..Setup::plain()
    };
    let world = World::start(&setup);
    let _operator = world.operator("the operator");
    for case in all().iter().filter(|case| case.without().is_empty()) {
        play(&world, case);
    }
}

#[test]
fn changes_cost_one_write_each_rest_costs_none_and_one_operator_leads() {
    let setup = Setup {
        audit: true,
        ..Setup::plain()
    };
    let world = World::start(&setup);
    let cluster = &world.cluster;
    let first = world.operator("the first operator");
    first.wait_line("that it leads", |line| {
        line.contains("keeping").then_some(())
    });
    let second = world.operator("the second operator");
    second.wait_line("that it waits", |line| {
        line.contains("waiting").then_some(())
    });
    for namespace in ["a", "a-m"] {
        world.namespace(namespace);
    }
    cluster.apply(&install("a", &json!({})));
    until("Ready", || {
        (world.condition("a", "i", "Ready") == "True Reconciled").then_some(())
    });
    let renewed = || {
        cluster.kubectl(&[
            "get",
            "lease",
            "-n",
            SYSTEM,
            "sim-operator.llm-d.io",
            "-o",
            "jsonpath={.spec.renewTime}",
        ])
    };
    let rest = || {
        for _ in 0..3 {
            let before = renewed();
            until("the Lease to be renewed", || {
                (renewed() != before).then_some(())
            });
        }
    };
    rest();
    let before = world.writes().len();
    rest();
    assert_eq!(
        world.writes()[before..],
        [] as [String; 0],
        "writes at rest"
    );

    // Another profile and image: the ConfigMap, the Deployment and the status, once each.
    let patch = r#"{"spec":{"epp":{"configProfile":"proxy-performance","image":"ghcr.io/llm-d/llm-d-inference-scheduler:v0.4.1"}}}"#;
    cluster.kubectl(&[
        "patch",
        "schedinst",
        "-n",
        "a",
        "i",
        "--type=merge",
        "-p",
        patch,
    ]);
    let name = "gaie-inference-scheduling-epp";
    let image = || {
        cluster.kubectl(&[
            "get",
            "deployment",
            "-n",
            "a",
            name,
            "-o",
            "jsonpath={..image}",
        ])
    };
    until("the new image", || {
        image().ends_with("v0.4.1").then_some(())
    });
    let config = || {
        cluster.kubectl(&[
            "get",
            "configmap",
            "-n",
            "a",
            &format!("{name}-config"),
            "-o",
            "jsonpath={.data}",
        ])
    };
    assert!(config().contains("active-request-scorer"), "{}", config());
    rest();
    let all = world.writes();
    assert_eq!(all.len() - before, 3, "{:#?}", &all[before..]);

    // What is done by hand is rolled back, and what is deleted comes again.
    let object = format!("configmap/{name}-config");
    cluster.kubectl(&[
        "patch",
        "-n",
        "a",
        &object,
        "--type=merge",
        "-p",
        r#"{"data":{"epp-config.yaml":"x","extra":"y"}}"#,
    ]);
    until("the ConfigMap to be set right", || {
        (config().contains("active-request-scorer") && !config().contains("extra")).then_some(())
    });
    cluster.kubectl(&["delete", "deployment", "-n", "a", name]);
    until("the Deployment to be there again", || {
        cluster
            .try_kubectl(&["get", "deployment", "-n", "a", name])
            .ok()
    });

    // A Service of another address: the filter follows.
    cluster.kubectl(&["delete", "service", "-n", "a", name]);
    until("the filter to name the new address", || {
        let ip = cluster
            .try_kubectl(&[
                "get",
                "service",
                "-n",
                "a",
                name,
                "-o",
                "jsonpath={.spec.clusterIP}",
            ])
            .ok()?;
        let filter = cluster.kubectl(&[
            "get",
            "envoyfilter",
            "-n",
            "a",
            "epp-ext-proc",
            "-o",
            "json",
        ]);
        filter.contains(&format!("\"{ip}\"")).then_some(())
    });

    // The first one ends without letting go; the second takes over.
    drop(first);
    second.wait_line("that it leads", |line| {
        line.contains("keeping").then_some(())
    });

    // Objects stay when that is asked for.
    cluster.kubectl(&[
        "annotate",
        "schedinst",
        "-n",
        "a",
        "i",
        "sim.llm-d.io/orphan=true",
    ]);
    cluster.kubectl(&["delete", "schedinst", "-n", "a", "i"]);
    let left = cluster.kubectl(&[
        "get",
        "deployment",
        "-n",
        "a",
        name,
        "-o",
        "jsonpath={.metadata.ownerReferences}{.metadata.labels}",
    ]);
    assert!(!left.contains("sim.llm-d.io"), "{left}");
}

#[test]
fn kinds_whose_definition_comes_later_follow_by_themselves() {
    let world = World::start(&Setup::default());
    let cluster = &world.cluster;
    let _operator = world.operator("the operator");
    for case in all().iter().filter(|case| !case.without().is_empty()) {
        play(&world, case);
    }
    for namespace in ["b", "b-m"] {
        world.namespace(namespace);
    }
    cluster.apply(&install("b", &json!({})));
    until("what is missing to be named", || {
        (world.condition("b", "i", "Ready") == "False CRDMissing").then_some(())
    });
    for folder in ["gateway-api-v1.5.1", "istio"] {
        cluster.apply_folder(&workspace().join("tests/crds").join(folder));
    }
    until("the rest to follow", || {
        (world.condition("b", "i", "Ready") == "True Reconciled").then_some(())
    });
    for (kind, namespace) in [
        ("gateways", "b"),
        ("httproutes", "b"),
        ("envoyfilters", "b"),
        ("referencegrants", "b-m"),
        ("destinationrules", "b-m"),
    ] {
        let found = cluster.kubectl(&["get", kind, "-n", namespace, "-l", MINE, "-o", "name"]);
        assert_eq!(found.lines().count(), 1, "{kind}: {found}");
    }
}
