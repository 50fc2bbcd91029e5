//! One object that should stand in the cluster, and to whom it says it belongs.

use serde_json::{Map, Value, json};

use crate::crd::API_VERSION;
use crate::kinds::Kind;
use crate::spec::meta::Identity;

/// The label by which the operator finds what it made.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Its value, which is also the field manager's name.
pub const MANAGER: &str = "pointsman-operator";
/// The name of the `SchedulerInstall` that an object belongs to.
pub const INSTALL_LABEL: &str = "sim.llm-d.io/schedulerInstall";
/// The namespace of that `SchedulerInstall`.
pub const INSTALL_NAMESPACE_LABEL: &str = "sim.llm-d.io/schedulerNamespace";
/// The name of the `SimulatorDeployment` that an object belongs to.
pub const SIMULATOR_LABEL: &str = "sim.llm-d.io/simulatorDeployment";

/// One object that should stand in the cluster.
#[derive(Clone, Debug)]
pub struct Child {
    /// Its kind.
    pub kind: &'static Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The object: all that is asked for, and nothing else.
    pub value: Value,
    /// What a reader of the rendered object should know.
    pub note: Option<&'static str>,
}

impl Child {
    /// An object of this metadata and body.
    pub(crate) fn new(
        kind: &'static Kind,
        namespace: &str,
        name: &str,
        metadata: Value,
        body: Value,
    ) -> Self {
        let mut value = json!({
            "apiVersion": kind.api_version(),
            "kind": kind.kind,
            "metadata": metadata,
        });
        if let (Value::Object(value), Value::Object(body)) = (&mut value, body) {
            value.extend(body);
        }
        Self {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            value,
            note: None,
        }
    }
}

/// Which of the two kinds of custom resource something belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// A `SchedulerInstall`.
    Install,
    /// A `SimulatorDeployment`.
    Simulator,
}

impl Owner {
    /// The kind's name.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Install => "SchedulerInstall",
            Self::Simulator => "SimulatorDeployment",
        }
    }

    /// The kind's name in paths.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Install => "schedulerinstalls",
            Self::Simulator => "simulatordeployments",
        }
    }

    /// The labels by which what belongs to this one is found again.
    pub fn labels(self, id: &Identity) -> Vec<(&'static str, String)> {
        match self {
            Self::Install => vec![
                (INSTALL_LABEL, id.name.clone()),
                (INSTALL_NAMESPACE_LABEL, id.namespace.clone()),
            ],
            Self::Simulator => vec![(SIMULATOR_LABEL, id.name.clone())],
        }
    }

    /// Who this label says an object belongs to.
    pub fn of_labels(labels: &Value, namespace: &str) -> Option<(Self, String, String)> {
        let text = |key: &str| labels[key].as_str().map(str::to_owned);
        if let (Some(name), Some(namespace)) = (text(INSTALL_LABEL), text(INSTALL_NAMESPACE_LABEL))
        {
            return Some((Self::Install, namespace, name));
        }
        text(SIMULATOR_LABEL).map(|name| (Self::Simulator, namespace.to_owned(), name))
    }
}

/// Makes the objects of one custom resource.
pub(crate) struct Maker<'a> {
    owner: Owner,
    id: &'a Identity,
    made: Vec<Child>,
}

impl<'a> Maker<'a> {
    pub(crate) fn new(owner: Owner, id: &'a Identity) -> Self {
        Self {
            owner,
            id,
            made: Vec::new(),
        }
    }

    pub(crate) fn done(self) -> Vec<Child> {
        self.made
    }

    /// Adds an object that goes with the custom resource by owner reference, or by labels where that is in another
    /// namespace, which owner references cannot cross.
    pub(crate) fn owned(
        &mut self,
        kind: &'static Kind,
        namespace: &str,
        name: &str,
        labels: &[(&str, &str)],
        body: Value,
    ) {
        let owned = namespace == self.id.namespace;
        self.add(kind, namespace, name, labels, body, owned);
    }

    /// Adds an object that belongs to the custom resource by labels alone.
    pub(crate) fn labelled(
        &mut self,
        kind: &'static Kind,
        namespace: &str,
        name: &str,
        body: Value,
    ) {
        self.add(kind, namespace, name, &[], body, false);
    }

    /// The same with labels of the object's own.
    pub(crate) fn labelled_with(
        &mut self,
        kind: &'static Kind,
        namespace: &str,
        name: &str,
        labels: &[(&str, &str)],
        body: Value,
    ) {
        self.add(kind, namespace, name, labels, body, false);
    }

    /// Says something about the last object.
    pub(crate) fn note(&mut self, note: &'static str) {
        if let Some(last) = self.made.last_mut() {
            last.note = Some(note);
        }
    }

    fn add(
        &mut self,
        kind: &'static Kind,
        namespace: &str,
        name: &str,
        labels: &[(&str, &str)],
        body: Value,
        owned: bool,
    ) {
        let mut all = Map::new();
        let own = self.owner.labels(self.id);
        let own = own.iter().map(|(key, value)| (*key, value.as_str()));
        for (key, value) in labels
            .iter()
            .copied()
            .chain(own)
            .chain([(MANAGED_BY, MANAGER)])
        {
            all.insert(key.to_owned(), json!(value));
        }
        let mut metadata = json!({"name": name, "namespace": namespace, "labels": all});
        if owned {
            let mut reference = json!({
                "apiVersion": API_VERSION,
                "kind": self.owner.kind(),
                "name": self.id.name,
                "controller": true,
                "blockOwnerDeletion": true,
            });
            if let Some(uid) = &self.id.uid {
                reference["uid"] = json!(uid);
            }
            metadata["ownerReferences"] = json!([reference]);
        }
        self.made
            .push(Child::new(kind, namespace, name, metadata, body));
    }
}
