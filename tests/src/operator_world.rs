//! A cluster with our definitions and rights, and the operator's identity in it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::binary::{pointsman, workspace};
use crate::cluster::{Cluster, Setup};
use crate::operator_cases::{Action, id_of};
use crate::patience::until;
use crate::process::Process;

/// Where the operator is.
pub const SYSTEM: &str = "pointsman-system";
const CUSTOM: &str = "schedulerinstalls,simulatordeployments";
/// What finds the objects that it has made.
pub const MINE: &str = "app.kubernetes.io/managed-by=pointsman-operator";

/// The lab's picker.
pub const EPP: &str = "gaie-inference-scheduling-epp";

/// Merges JSON into an object.
pub fn patch(cluster: &Cluster, namespace: &str, object: &str, patch: &(impl Display + ?Sized)) {
    let patch = patch.to_string();
    let merge = ["--type=merge", "-p", &patch];
    cluster.kubectl(&[&["patch", "-n", namespace, object][..], &merge].concat());
}

/// The cluster.
pub struct World {
    /// With our definitions and rights.
    pub cluster: Cluster,
    /// The operator's.
    pub kubeconfig: PathBuf,
}

impl World {
    /// Starts it.
    pub fn start(setup: &Setup) -> Self {
        let cluster = Cluster::start(setup);
        let apply = |file: &str| {
            cluster.apply(
                &std::fs::read_to_string(workspace().join(file)).expect("as the test has it"),
            )
        };
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

    /// An operator with the rights of the manifests, which stands for the Lease.
    pub fn operator(&self, name: &str) -> Process {
        let flags = ["--leader-elect", "--leader-election-namespace", SYSTEM];
        operator(name, &self.kubeconfig, &flags)
    }

    /// Creates it where it is missing.
    pub fn namespace(&self, name: &str) {
        self.cluster.apply(&format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n"
        ));
    }

    /// All objects of the involved kinds in a namespace, by id.
    pub fn objects(&self, namespaces: &[String], kinds: &str) -> BTreeMap<String, Value> {
        let mut found = BTreeMap::new();
        for namespace in namespaces {
            let text = self
                .cluster
                .kubectl(&["get", kinds, "-n", namespace, "-o", "json"]);
            let list: Value = serde_json::from_str(&text).expect("as the test has it");
            for object in list["items"].as_array().expect("as the test has it") {
                found.insert(id_of(object), object.clone());
            }
        }
        found
    }

    /// Which of the kinds are served here.
    pub fn kinds(&self, without: &[String]) -> String {
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

    /// Does what a step of a case says.
    pub fn act(&self, action: &Action) -> Result<String, String> {
        let patch_of = |patch: &Value| patch.to_string();
        match action {
            Action::Apply(objects) => objects.iter().try_fold(String::new(), |_, object| {
                let file = std::env::temp_dir()
                    .join(format!("pointsman-case-{}.json", std::process::id()));
                std::fs::write(&file, object.to_string()).expect("as the test has it");
                self.cluster.try_kubectl(&[
                    "apply",
                    "--server-side",
                    "-f",
                    file.to_str().expect("as the test has it"),
                ])
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
    pub fn clear(&self, namespaces: &[String], kinds: &str) {
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

    /// Status and reason of a condition of a SchedulerInstall.
    pub fn condition(&self, namespace: &str, name: &str, kind: &str) -> String {
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

    /// Writes of the operator so far, but for its Lease and its events.
    pub fn writes(&self) -> Vec<String> {
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
        self.cluster
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
}

/// An operator with any rights and flags.
pub fn operator(name: &str, kubeconfig: &Path, flags: &[&str]) -> Process {
    let mut command = Command::new(pointsman());
    command.args(["operator", "--health-probe-bind-address=0"]);
    if !flags
        .iter()
        .any(|flag| flag.starts_with("--metrics-bind-address"))
    {
        command.arg("--metrics-bind-address=0");
    }
    command.args(flags).arg("--kubeconfig").arg(kubeconfig);
    Process::start(name, command)
}

/// A SchedulerInstall `i` with all parts on; `more` takes the place of parts of its spec.
pub fn install(namespace: &str, more: &Value) -> String {
    let mut spec = json!({
        "simulatorNamespace": format!("{namespace}-m"), "epp": {"enabled": true}, "gateway": {"enabled": true},
        "routing": {"enabled": true}, "destinationRule": {"enabled": true}, "envoyFilter": {"enabled": true},
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    json!({
        "apiVersion": "sim.llm-d.io/v1alpha1", "kind": "SchedulerInstall",
        "metadata": {"name": "i", "namespace": namespace}, "spec": spec,
    })
    .to_string()
}
