//! Recorded cases of the operator: how they are read, what they expect of us, and how objects are compared.
//!
//! The format is described in `tests/golden/operator/README.md`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::binary::workspace;

/// A case as recorded.
pub struct Case {
    /// Its name.
    pub name: String,
    folder: PathBuf,
    told: Value,
}

/// One step of a case.
#[derive(Debug)]
pub enum Action {
    /// These objects are applied.
    Apply(Vec<Value>),
    /// An object is patched.
    Patch(Target, Value),
    /// An object is deleted.
    Delete(Target),
}

/// Which object a step is about.
#[derive(Debug)]
pub struct Target {
    /// The kind in lower case.
    pub kind: String,
    /// Where it is.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What the objects should be after a step.
pub struct Expected {
    /// Objects that must be there, each with all these fields.
    pub objects: BTreeMap<String, Value>,
    /// Objects that may be there besides.
    pub may: Vec<String>,
    /// What `Ready` must say, of which custom resource, and why.
    pub ready: Vec<Ready>,
    /// Whether only the existence of objects counts.
    pub only_existence: bool,
    /// Whether the API server may have refused the custom resource.
    pub may_be_refused: bool,
}

/// What `Ready` must say.
#[derive(Debug)]
pub struct Ready {
    /// Of which custom resource, as `Kind/namespace/name`; none means the only one.
    pub object: Option<String>,
    /// `True` or `False`.
    pub status: String,
    /// Why, where that is said.
    pub reason: Option<String>,
}

/// The cases of the project, and those of the folder that `POINTSMAN_OPERATOR_CASES` names.
///
/// # Panics
/// A folder cannot be read or holds no case.
pub fn all() -> Vec<Case> {
    let mut cases = read_folder(&workspace().join("tests/golden/operator"));
    if let Some(more) = std::env::var_os("POINTSMAN_OPERATOR_CASES") {
        cases.extend(read_folder(Path::new(&more)));
    }
    cases
}

/// The cases of a folder.
///
/// # Panics
/// It cannot be read or holds no case.
pub fn read_folder(folder: &Path) -> Vec<Case> {
    let shown = folder.display();
    let entries = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("the folder of cases {shown} cannot be read: {error}"));
    let mut cases: Vec<Case> = entries
        .map(|entry| {
            entry
                .unwrap_or_else(|error| panic!("{shown}: {error}"))
                .path()
        })
        .filter(|path| path.join("case.yaml").is_file())
        .map(|folder| {
            let told = documents(&folder.join("case.yaml")).remove(0);
            let name = folder
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            Case {
                name: name.unwrap_or_default(),
                folder,
                told,
            }
        })
        .collect();
    assert!(!cases.is_empty(), "there is no case in {shown}");
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

/// All documents of a file.
///
/// # Panics
/// It cannot be read, or is no YAML.
pub fn documents(path: &Path) -> Vec<Value> {
    let text =
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let read: Vec<Value> = serde_saphyr::from_multiple(&text)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    read.into_iter()
        .filter(|document| !document.is_null())
        .collect()
}

impl Case {
    /// How many steps it has.
    pub fn steps(&self) -> usize {
        self.told["steps"].as_array().map_or(0, Vec::len)
    }

    /// The namespaces that it needs.
    pub fn namespaces(&self) -> Vec<String> {
        words(&self.told["namespaces"])
    }

    /// Parts of a cluster that it needs beside the API server.
    pub fn needs(&self) -> Vec<String> {
        words(&self.told["needs"])
    }

    /// API groups that are not served in it.
    pub fn without(&self) -> Vec<String> {
        words(&self.told["withoutCRDs"])
    }

    fn step(&self, number: usize) -> &Value {
        &self.told["steps"][number]
    }

    /// What the API server said when it refused the step.
    pub fn rejected(&self, number: usize) -> Option<&str> {
        self.step(number)["rejected"].as_str()
    }

    /// What happens in a step, from 0.
    ///
    /// # Panics
    /// The step is of no known form.
    pub fn action(&self, number: usize) -> Action {
        let step = self.step(number);
        let target = |told: &Value| {
            let word = |key: &str| told[key].as_str().unwrap_or_default().to_owned();
            Target {
                kind: word("kind"),
                namespace: word("namespace"),
                name: word("name"),
            }
        };
        if let Some(file) = step["apply"].as_str() {
            return Action::Apply(documents(&self.folder.join(file)));
        }
        if step["patch"].is_object() {
            assert_eq!(
                step["patch"]["type"], "merge",
                "{}: another type of patch",
                self.name
            );
            return Action::Patch(target(&step["patch"]), step["patch"]["patch"].clone());
        }
        assert!(
            step["delete"].is_object(),
            "{}: step {number} is of no known form",
            self.name
        );
        Action::Delete(target(&step["delete"]))
    }

    /// What should be there after a step, with our deviations in it.
    ///
    /// # Panics
    /// The recording names what is not there.
    pub fn expected(&self, number: usize) -> Expected {
        let deviations: Vec<&Value> = self.told["deviations"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|told| {
                told["step"]
                    .as_u64()
                    .is_none_or(|step| step == number as u64 + 1)
            })
            .collect();
        let same = deviations.iter().find_map(|told| told["sameAs"].as_str());
        let file = same.or_else(|| self.step(number)["expect"].as_str());
        let file = file.unwrap_or_else(|| panic!("{}: step {number} expects nothing", self.name));
        let mut expected = Expected {
            objects: documents(&self.folder.join(file))
                .into_iter()
                .map(|object| (id_of(&object), object))
                .collect(),
            may: Vec::new(),
            ready: Vec::new(),
            only_existence: self.told["unstable"] == true,
            may_be_refused: false,
        };
        for told in deviations {
            self.deviate(told, &mut expected);
        }
        expected
    }

    fn deviate(&self, told: &Value, expected: &mut Expected) {
        match told["absent"].as_str() {
            Some("everything") => expected.objects.clear(),
            Some("everything but the CR") => {
                expected.objects.retain(|id, _| is_custom(id));
            }
            Some(other) => panic!("{}: absent '{other}'", self.name),
            None => {
                for id in words(&told["absent"]) {
                    let was = expected.objects.remove(&id);
                    assert!(
                        was.is_some(),
                        "{}: {id} is not there to be absent",
                        self.name
                    );
                }
            }
        }
        for id in words(&told["optional"]) {
            expected.objects.remove(&id);
            expected.may.push(id);
        }
        for id in words(&told["extra"]) {
            // An extra object must be there; what is in it is ours to say.
            expected.objects.insert(id, json!({}));
        }
        if let Some(path) = told["path"].as_str() {
            let id = told["object"].as_str().unwrap_or_default();
            // A deviation of all steps says nothing about those without the object.
            let everywhere = told["step"].is_null();
            let Some(object) = expected.objects.get_mut(id) else {
                assert!(everywhere, "{}: {id} is not there to deviate", self.name);
                return;
            };
            let place = object
                .pointer_mut(&pointer(path))
                .unwrap_or_else(|| panic!("{}: {id} has no {path}", self.name));
            *place = told["ours"].clone();
        }
        if let Some(status) = told["ready"].as_str() {
            // Who comes second in a shared namespace may get what is in its own, or nothing.
            let second = told["cr"]
                .as_str()
                .and_then(|id| id.strip_prefix("SchedulerInstall/"));
            if let Some((namespace, _)) = second.and_then(|id| id.split_once('/')) {
                let own = |id: &String| !is_custom(id) && id.split('/').nth(1) == Some(namespace);
                let ids: Vec<String> = expected
                    .objects
                    .keys()
                    .filter(|id| own(id))
                    .cloned()
                    .collect();
                for id in ids {
                    expected.objects.remove(&id);
                    expected.may.push(id);
                }
            }
            expected.ready.push(Ready {
                object: told["cr"].as_str().map(str::to_owned),
                status: status.to_owned(),
                reason: told["reason"].as_str().map(str::to_owned),
            });
        }
        expected.may_be_refused |= told["mayReject"] == true;
    }
}

fn words(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items
        .filter_map(|item| item.as_str())
        .map(str::to_owned)
        .collect()
}

/// `Kind/namespace/name` of an object.
pub fn id_of(object: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let meta = &object["metadata"];
    format!(
        "{}/{}/{}",
        word(&object["kind"]),
        word(&meta["namespace"]),
        word(&meta["name"])
    )
}

/// Whether this is one of the two custom resources.
pub fn is_custom(id: &str) -> bool {
    id.starts_with("SchedulerInstall/") || id.starts_with("SimulatorDeployment/")
}

/// `a.b[0].c` as a JSON pointer.
fn pointer(path: &str) -> String {
    let path = path.replace('[', ".").replace(']', "");
    path.split('.').map(|word| format!("/{word}")).collect()
}

/// A JSON merge patch.
pub fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    let Value::Object(object) = into else { return };
    for (key, value) in patch {
        if value.is_null() {
            object.remove(key);
        } else {
            merge(object.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Fields that the API server fills in when they are left out, by the kind that has them: what is rendered offline
/// lacks them.
const SERVER_DEFAULTS: &[(&str, &str, &str)] = &[
    ("Deployment", "spec.progressDeadlineSeconds", "600"),
    ("Deployment", "spec.revisionHistoryLimit", "10"),
    (
        "Deployment",
        "spec.strategy",
        r#"{"rollingUpdate":{"maxSurge":"25%","maxUnavailable":"25%"},"type":"RollingUpdate"}"#,
    ),
    (
        "Deployment",
        "spec.template.spec.dnsPolicy",
        r#""ClusterFirst""#,
    ),
    (
        "Deployment",
        "spec.template.spec.restartPolicy",
        r#""Always""#,
    ),
    (
        "Deployment",
        "spec.template.spec.schedulerName",
        r#""default-scheduler""#,
    ),
    ("Deployment", "spec.template.spec.securityContext", "{}"),
    ("Deployment", "spec.template.spec.serviceAccount", "any"),
    (
        "Deployment",
        "spec.template.spec.terminationGracePeriodSeconds",
        "30",
    ),
    (
        "Deployment",
        "spec.template.spec.containers[0].terminationMessagePath",
        r#""/dev/termination-log""#,
    ),
    (
        "Deployment",
        "spec.template.spec.containers[0].terminationMessagePolicy",
        r#""File""#,
    ),
    (
        "Deployment",
        "spec.template.spec.containers[0].resources",
        "{}",
    ),
    (
        "Deployment",
        "spec.template.spec.containers[0].readinessProbe.httpGet.scheme",
        r#""HTTP""#,
    ),
    (
        "Deployment",
        "spec.template.spec.containers[0].startupProbe.httpGet.scheme",
        r#""HTTP""#,
    ),
    (
        "Deployment",
        "spec.template.spec.containers[0].env[0].valueFrom.fieldRef.apiVersion",
        r#""v1""#,
    ),
    (
        "Deployment",
        "spec.template.spec.containers[0].env[1].valueFrom.fieldRef.apiVersion",
        r#""v1""#,
    ),
    ("Service", "spec.clusterIP", "any"),
    ("Service", "spec.clusterIPs", "any"),
    ("Service", "spec.ipFamilies", "any"),
    ("Service", "spec.ipFamilyPolicy", "any"),
    ("Service", "spec.internalTrafficPolicy", "any"),
    ("Service", "spec.externalTrafficPolicy", "any"),
    ("Service", "spec.sessionAffinity", r#""None""#),
    ("Service", "spec.ports[0].nodePort", "any"),
    (
        "Gateway",
        "spec.listeners[0].allowedRoutes",
        r#"{"namespaces":{"from":"Same"}}"#,
    ),
];

/// Leaves out of a recorded object what the API server filled in.
pub fn without_server_defaults(object: &mut Value) {
    let kind = object["kind"].as_str().unwrap_or_default().to_owned();
    for (of, path, default) in SERVER_DEFAULTS {
        if *of != kind {
            continue;
        }
        let (parent, last) = path.rsplit_once('.').unwrap_or(("", path));
        let Some(Value::Object(parent)) = object.pointer_mut(&pointer(parent)) else {
            continue;
        };
        let is_default = parent
            .get(last)
            .map(Value::to_string)
            .is_some_and(|value| *default == "any" || value == *default);
        if is_default {
            parent.remove(last);
        }
    }
}

/// What a recorded object says and ours does not, by path. Lists must have as many entries, but for further rules of a
/// Role and further ports of a Service; run-dependent values stand for any; owner references may be missing where ours
/// finds the object by its labels.
pub fn differences(recorded: &Value, ours: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", recorded, ours, &mut found);
    found
}

fn compare(path: &str, recorded: &Value, ours: &Value, found: &mut Vec<String>) {
    match (recorded, ours) {
        (Value::Object(a), Value::Object(b)) => {
            for (key, value) in a {
                let path = format!("{path}.{key}");
                match b.get(key) {
                    Some(other) => compare(&path, value, other, found),
                    None => found.push(format!("{path} is missing, recorded: {value}")),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            let may_have_more = path == ".rules" || path == ".spec.ports";
            if a.len() != b.len() && !(may_have_more && a.len() < b.len()) {
                found.push(format!(
                    "{path} has {} entries, recorded: {}",
                    b.len(),
                    a.len()
                ));
            }
            for (index, (value, other)) in a.iter().zip(b).enumerate() {
                compare(&format!("{path}[{index}]"), value, other, found);
            }
        }
        (Value::String(word), _) if word.starts_with('<') && word.ends_with('>') => {}
        _ if recorded == ours => {}
        _ => found.push(format!("{path} is {ours}, recorded: {recorded}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_name_the_path() {
        let recorded = json!({"a": [{"b": 1}], "ip": "<clusterIP>", "gone": true});
        let ours = json!({"a": [{"b": 2, "more": 1}], "ip": "10.0.0.1"});
        assert_eq!(
            differences(&recorded, &ours),
            [
                ".a[0].b is 2, recorded: 1",
                ".gone is missing, recorded: true"
            ]
        );
    }

    #[test]
    fn patches_merge() {
        let mut object = json!({"a": {"b": 1, "c": 2}});
        merge(&mut object, &json!({"a": {"b": null, "d": 3}}));
        assert_eq!(object, json!({"a": {"c": 2, "d": 3}}));
    }

    #[test]
    fn every_recorded_case_is_read() {
        for case in all() {
            for number in 0..case.steps() {
                case.action(number);
                case.expected(number);
            }
        }
    }

    #[test]
    #[should_panic(expected = "cannot be read")]
    fn a_folder_that_is_missing_is_no_folder_without_cases() {
        read_folder(Path::new("/nowhere/cases"));
    }
}
