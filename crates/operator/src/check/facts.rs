//! What was read of a cluster: objects by kind, and what could not be read.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::kinds::Kind;

/// Pods.
pub static POD: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Pod",
    plural: "pods",
    built_in: true,
};

/// The older version of the pool.
pub static OLD_POOL: Kind = Kind {
    group: "inference.networking.x-k8s.io",
    version: "v1alpha2",
    kind: "InferencePool",
    plural: "inferencepools",
    built_in: false,
};

/// Objects by kind; kinds that are not served, and lists that were refused.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Where the API server is, as told to the user.
    pub server: String,
    /// The objects that were listed, by the kind's full name.
    pub objects: BTreeMap<String, Vec<Value>>,
    /// Full names of kinds that the API server does not know.
    pub unknown: BTreeSet<String>,
    /// Lists that were refused or failed.
    pub refused: Vec<Refused>,
    /// Full names of kinds that were asked for in all namespaces and could be read in some only.
    pub in_some: BTreeSet<String>,
    /// What the picker may do.
    pub rights: Rights,
}

/// A list that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The API group.
    pub group: String,
    /// The kind's name in paths.
    pub plural: String,
    /// `None`: in all namespaces.
    pub namespace: Option<String>,
    /// Whether the credentials do not suffice.
    pub forbidden: bool,
    /// The API server's words.
    pub message: String,
}

/// What was asked about the rights of a picker's account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Each right with whether it is held.
    pub asked: Vec<(Right, bool)>,
    /// Why nothing could be asked.
    pub untold: Option<String>,
}

/// A right that a picker needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// The account, as `namespace/name`.
    pub account: String,
    /// Where.
    pub namespace: String,
    /// The verb.
    pub verb: String,
    /// The API group.
    pub group: String,
    /// The kind's name in paths.
    pub resource: String,
}

impl Facts {
    /// Keeps what a list gave.
    pub fn keep(&mut self, kind: &Kind, objects: Vec<Value>) {
        self.objects
            .entry(kind.full_name())
            .or_default()
            .extend(objects);
    }

    /// All objects of a kind.
    pub fn all(&self, kind: &Kind) -> &[Value] {
        self.objects
            .get(&kind.full_name())
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    /// Objects of a kind in a namespace.
    pub fn within<'a>(
        &'a self,
        kind: &Kind,
        namespace: &str,
    ) -> impl Iterator<Item = &'a Value> + use<'a> {
        let namespace = namespace.to_owned();
        self.all(kind)
            .iter()
            .filter(move |object| namespace_of(object) == namespace)
    }

    /// One object.
    pub fn get(&self, kind: &Kind, namespace: &str, name: &str) -> Option<&Value> {
        self.within(kind, namespace)
            .find(|object| name_of(object) == name)
    }

    /// Keeps of a list what is not yet known.
    pub fn keep_new(&mut self, kind: &Kind, mut objects: Vec<Value>) {
        let known: BTreeSet<String> = self.all(kind).iter().map(id_of).collect();
        objects.retain(|object| !known.contains(&id_of(object)));
        self.keep(kind, objects);
    }

    /// Whether objects of this kind may exist in namespaces that could not be read.
    pub fn may_be_elsewhere(&self, kind: &Kind) -> bool {
        self.in_some.contains(&kind.full_name())
    }

    /// Whether the list of this kind in this namespace was read, so that what is not in it does not exist.
    pub fn was_read(&self, kind: &Kind, namespace: &str) -> bool {
        let refused = self.refused.iter().any(|one| {
            one.group == kind.group
                && one.plural == kind.plural
                && one.namespace.as_deref().is_none_or(|at| at == namespace)
        });
        !refused && !self.unknown.contains(&kind.full_name())
    }
}

/// An object's name.
pub fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// An object's namespace.
pub fn namespace_of(object: &Value) -> &str {
    object["metadata"]["namespace"].as_str().unwrap_or_default()
}

/// `namespace/name`.
pub fn id_of(object: &Value) -> String {
    format!("{}/{}", namespace_of(object), name_of(object))
}

/// An array's items; none where there is no array.
pub fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A text; empty where there is none.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Whether a pod runs, is ready and is not on its way out.
pub fn is_ready(pod: &Value) -> bool {
    let ready = |one: &Value| one["type"] == "Ready" && one["status"] == "True";
    pod["metadata"]["deletionTimestamp"].is_null()
        && items(&pod["status"]["conditions"]).iter().any(ready)
}

/// One condition of a list, by its type.
pub fn condition<'a>(conditions: &'a Value, kind: &str) -> Option<&'a Value> {
    items(conditions).iter().find(|one| one["type"] == kind)
}
