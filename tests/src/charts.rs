//! What Helm makes of the charts, and the plain manifests, as objects.

use std::process::Command;

use serde_json::Value;

use crate::binary::{helm, workspace};

/// Kubernetes objects in the order of their file.
pub struct Objects(Vec<Value>);

/// Renders a chart as the release `pool` in the namespace `models`; on refusal, what Helm says.
///
/// # Errors
/// What Helm says.
///
/// # Panics
/// When Helm does not start or prints no YAML.
#[track_caller]
pub fn render(chart: &str, flags: &[&str]) -> Result<Objects, String> {
    let output = Command::new(helm())
        .args(["template", "pool"])
        .arg(workspace().join("deploy/charts").join(chart))
        .args(["--namespace", "models"])
        .args(flags)
        .current_dir(workspace().join("tests/charts"))
        .output()
        .expect("helm starts");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(Objects::read(&String::from_utf8_lossy(&output.stdout)))
}

impl Objects {
    /// Those of a file with several documents.
    ///
    /// # Panics
    /// When it is no YAML.
    #[track_caller]
    pub fn read(text: &str) -> Self {
        let documents: Vec<Value> = serde_saphyr::from_multiple(text)
            .unwrap_or_else(|error| panic!("no YAML: {error}\n{text}"));
        Self(documents.into_iter().filter(|it| !it.is_null()).collect())
    }

    /// All of them.
    pub fn all(&self) -> &[Value] {
        &self.0
    }

    /// `Kind/name` of each, sorted.
    pub fn names(&self) -> Vec<String> {
        let name = |it: &Value| format!("{}/{}", text(&it["kind"]), text(&it["metadata"]["name"]));
        let mut names: Vec<String> = self.0.iter().map(name).collect();
        names.sort();
        names
    }

    /// The one of this kind and name.
    ///
    /// # Panics
    /// When there is none, or several.
    #[track_caller]
    pub fn get(&self, kind: &str, name: &str) -> &Value {
        let mut found = self
            .0
            .iter()
            .filter(|it| it["kind"] == kind && it["metadata"]["name"] == name);
        match (found.next(), found.next()) {
            (Some(only), None) => only,
            _ => panic!("no or several {kind}/{name} among {:?}", self.names()),
        }
    }

    /// The container `epp` of the Deployment `name`.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn picker(&self, name: &str) -> &Value {
        let containers = &self.get("Deployment", name)["spec"]["template"]["spec"]["containers"];
        let containers = containers.as_array().expect("a pod has containers");
        let picker = containers.iter().find(|it| it["name"] == "epp");
        picker.expect("a container is called epp")
    }

    /// What the picker of the Deployment `name` is called with.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn arguments(&self, name: &str) -> Vec<String> {
        let arguments = self.picker(name)["args"].as_array();
        let arguments = arguments.expect("the picker has arguments");
        arguments.iter().map(|it| text(it).to_owned()).collect()
    }

    /// The files of the ConfigMap `name`.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn files(&self, name: &str) -> Vec<(String, String)> {
        let data = self.get("ConfigMap", name)["data"].as_object();
        let data = data.expect("a ConfigMap has data");
        data.iter()
            .map(|(file, it)| (file.clone(), text(it).to_owned()))
            .collect()
    }

    /// One of these files.
    ///
    /// # Panics
    /// When it is not there.
    #[track_caller]
    pub fn file(&self, name: &str, file: &str) -> String {
        let mut files = self.files(name).into_iter();
        let found = files.find(|(it, _)| it == file);
        found.unwrap_or_else(|| panic!("{name} has no {file}")).1
    }
}

/// A string, empty for anything else.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
