//! The operator against a real API server, with nothing but the rights of `deploy/operator`: the recorded cases step by
//! step, drift, what is written at rest, definitions that come later, two operators.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use pointsman_tests::binary::{pointsman, workspace};
use pointsman_tests::cluster::{Cluster, Setup};
use pointsman_tests::operator_cases::{Action, Case, Expected, all, differences, id_of, is_custom};
use pointsman_tests::patience::{LONG, until};
use pointsman_tests::process::Process;
use serde_json::{Value, json};

const SYSTEM: &str = "pointsman-system";
const CUSTOM: &str = "schedulerinstalls,simulatordeployments";
const MINE: &str = "app.kubernetes.io/managed-by=pointsman-operator";

/// A cluster with our definitions and rights, and the operator's identity in it.
struct World {
    cluster: Cluster,
    kubeconfig: PathBuf,
}

impl World {
    fn start(setup: &Setup) -> Self {
        let cluster = Cluster::start(setup);
        let apply =
            |file: &str| cluster.apply(&std::fs::read_to_string(workspace().join(file)).unwrap());
        apply("deploy/operator/crds.yaml");
        cluster.kubectl(&[
            "wait",
            "--for=condition=Established",
            "--all",
            "crd",
            "--timeout=60s",
        ]);
        apply("deploy/operator/role.yaml");
        apply("deploy/operator/operator.yaml");
        let kubeconfig = cluster.kubeconfig_of(SYSTEM, "pointsman-operator");
        Self {
            cluster,
            kubeconfig,
        }
    }

    fn operator(&self, name: &str) -> Process {
        let mut command = Command::new(pointsman());
        command.args([
            "operator",
            "--leader-elect",
            "--leader-election-namespace",
            SYSTEM,
        ]);
        command.args([
            "--metrics-bind-address",
            "127.0.0.1:0",
            "--health-probe-bind-address",
            "0",
        ]);
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        Process::start(name, command)
    }

    /// Creates it where it is missing.
    fn namespace(&self, name: &str) {
        self.cluster.apply(&format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n"
        ));
    }

    /// All objects of the involved kinds in a namespace, by id.
    fn objects(&self, namespaces: &[String], kinds: &str) -> BTreeMap<String, Value> {
        let mut found = BTreeMap::new();
        for namespace in namespaces {
            let text = self
                .cluster
                .kubectl(&["get", kinds, "-n", namespace, "-o", "json"]);
            let list: Value = serde_json::from_str(&text).unwrap();
            for object in list["items"].as_array().unwrap() {
                found.insert(id_of(object), object.clone());
            }
        }
        found
    }

    /// Which of the kinds are served here.
    fn kinds(&self, without: &[String]) -> String {
        let mut kinds = vec![
            CUSTOM,
            "serviceaccounts,roles,rolebindings,configmaps,deployments.apps,services",
        ];
        if !without
            .iter()
            .any(|group| group == "gateway.networking.k8s.io")
        {
            kinds.push("gateways,httproutes,referencegrants.v1beta1.gateway.networking.k8s.io");
        }
        if !without.iter().any(|group| group == "networking.istio.io") {
            // What kubectl prefers is a newer version than the one that was recorded.
            kinds.push("destinationrules.v1beta1.networking.istio.io,envoyfilters");
        }
        kinds.join(",")
    }

    fn act(&self, action: &Action) -> Result<String, String> {
        let patch_of = |patch: &Value| patch.to_string();
        match action {
            Action::Apply(objects) => objects.iter().try_fold(String::new(), |_, object| {
                let file = std::env::temp_dir()
                    .join(format!("pointsman-case-{}.json", std::process::id()));
                std::fs::write(&file, object.to_string()).unwrap();
                self.cluster
                    .try_kubectl(&["apply", "--server-side", "-f", file.to_str().unwrap()])
            }),
            Action::Patch(target, patch) => self.cluster.try_kubectl(&[
                "patch",
                &target.kind,
                "-n",
                &target.namespace,
                &target.name,
                "--type=merge",
                "-p",
                &patch_of(patch),
            ]),
            Action::Delete(target) => self.cluster.try_kubectl(&[
                "delete",
                &target.kind,
                "-n",
                &target.namespace,
                &target.name,
            ]),
        }
    }

    /// Deletes all custom resources and waits until nothing of them is left.
    fn clear(&self, namespaces: &[String], kinds: &str) {
        for namespace in namespaces {
            self.cluster
                .kubectl(&["delete", CUSTOM, "--all", "-n", namespace]);
        }
        until("all objects of deleted custom resources to be gone", || {
            namespaces
                .iter()
                .all(|namespace| {
                    self.cluster
                        .kubectl(&["get", kinds, "-n", namespace, "-l", MINE, "-o", "name"])
                        .trim()
                        .is_empty()
                })
                .then_some(())
        });
    }

    fn condition(&self, namespace: &str, name: &str, kind: &str) -> String {
        let path = format!(
            "jsonpath={{.status.conditions[?(@.type==\"{kind}\")].status}} {{.status.conditions[?(@.type==\"{kind}\")].reason}}"
        );
        self.cluster.kubectl(&[
            "get",
            "schedulerinstall",
            "-n",
            namespace,
            name,
            "-o",
            &path,
        ])
    }
}

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

fn install(namespace: &str, more: Value) -> String {
    let mut spec = json!({
        "simulatorNamespace": format!("{namespace}-m"), "epp": {"enabled": true}, "gateway": {"enabled": true},
        "routing": {"enabled": true}, "destinationRule": {"enabled": true}, "envoyFilter": {"enabled": true},
    });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    json!({
        "apiVersion": "sim.llm-d.io/v1alpha1", "kind": "SchedulerInstall",
        "metadata": {"name": "i", "namespace": namespace}, "spec": spec,
    })
    .to_string()
}

/// Writes of the operator so far, but for its Lease and its events.
fn writes(cluster: &Cluster) -> Vec<String> {
    let by_operator = |entry: &&Value| {
        entry["user"]["username"] == "system:serviceaccount:pointsman-system:pointsman-operator"
            && matches!(
                entry["verb"].as_str(),
                Some("create" | "update" | "patch" | "delete")
            )
            && !matches!(
                entry["objectRef"]["resource"].as_str(),
                Some("leases" | "events")
            )
    };
    cluster
        .audit()
        .iter()
        .filter(by_operator)
        .map(|entry| {
            format!(
                "{} {}/{}{}",
                entry["verb"],
                entry["objectRef"]["resource"],
                entry["objectRef"]["name"],
                entry["objectRef"]["subresource"]
            )
        })
        .collect()
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
    cluster.apply(&install("a", json!({})));
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
    let before = writes(cluster).len();
    rest();
    assert_eq!(
        writes(cluster)[before..],
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
    let all = writes(cluster);
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
    cluster.apply(&install("b", json!({})));
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
