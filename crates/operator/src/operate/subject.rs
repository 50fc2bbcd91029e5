//! One custom resource that is being looked at, and what it asks for.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::desired::child::Child;
use crate::kinds::{Kind, find};
use crate::operate::store::{CustomKey, ObjectKey};
use crate::spec::meta::Identity;
use crate::spec::{install, simulator};

/// What a custom resource asks for.
pub(crate) enum Asked {
    Install(Box<install::Install>),
    Simulator(Box<simulator::Simulator>),
}

/// A custom resource that is being looked at.
pub(crate) struct Subject<'a> {
    pub(crate) key: &'a CustomKey,
    pub(crate) object: Value,
    pub(crate) id: Identity,
}

/// An object in words.
pub(crate) fn words(key: &ObjectKey) -> String {
    format!("{} {}/{}", key.kind.kind, key.namespace, key.name)
}

/// Which object this is.
pub(crate) fn key_of(child: &Child) -> ObjectKey {
    ObjectKey {
        kind: child.kind,
        namespace: child.namespace.clone(),
        name: child.name.clone(),
    }
}

/// The objects that were taken away for the spec as it still is.
pub(crate) fn pruned(custom: &Value) -> Vec<ObjectKey> {
    if custom["status"]["observedGeneration"] != custom["metadata"]["generation"] {
        return Vec::new();
    }
    let children = custom["status"]["children"].as_array();
    let gone = children
        .into_iter()
        .flatten()
        .filter(|child| child["state"] == "Pruned");
    gone.filter_map(|child| {
        let word = |key: &str| child[key].as_str().unwrap_or_default();
        Some(ObjectKey {
            kind: find(word("group"), word("kind"))?,
            namespace: word("namespace").to_owned(),
            name: word("name").to_owned(),
        })
    })
    .collect()
}

/// The objects that the status lists, with the hash of what was last asked for.
pub(crate) fn recorded(custom: &Value) -> BTreeMap<ObjectKey, String> {
    let children = custom["status"]["children"]
        .as_array()
        .into_iter()
        .flatten();
    children
        .filter_map(|child| {
            let word = |key: &str| child[key].as_str().unwrap_or_default();
            let kind: &'static Kind = find(word("group"), word("kind"))?;
            let key = ObjectKey {
                kind,
                namespace: word("namespace").to_owned(),
                name: word("name").to_owned(),
            };
            let there = !matches!(word("state"), "Skipped" | "Pruned");
            there.then(|| (key, word("hash").to_owned()))
        })
        .collect()
}
