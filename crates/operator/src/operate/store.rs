//! What is known of the cluster: custom resources and the objects that belong to them, as last seen.
//!
//! Watches write here, and so do our own writes, so that what was just written is not taken for missing until the watch
//! says so. The newer resource version wins.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use serde_json::Value;

use crate::desired::child::Owner;
use crate::kinds::Kind;

/// Which custom resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CustomKey {
    pub(crate) owner: Owner,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl CustomKey {
    /// As `Kind namespace/name`.
    pub(crate) fn words(&self) -> String {
        format!("{} {}/{}", self.owner.kind(), self.namespace, self.name)
    }
}

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectKey {
    pub(crate) kind: &'static Kind,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// The store.
#[derive(Default)]
pub(crate) struct Store {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    custom: BTreeMap<CustomKey, Value>,
    objects: BTreeMap<ObjectKey, Value>,
    /// Kinds and namespaces whose watch has told all there is; the empty namespace is all of them.
    told: BTreeSet<(&'static Kind, String)>,
}

/// The resource version as a number: since Kubernetes 1.35 it is promised to be one that grows.
fn version(object: &Value) -> u128 {
    let text = object["metadata"]["resourceVersion"].as_str();
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Whether `new` may take the place of `old`.
fn is_newer(old: Option<&Value>, new: &Value) -> bool {
    old.is_none_or(|old| version(new) >= version(old))
}

impl Store {
    pub(crate) fn put_custom(&self, key: CustomKey, object: Value) {
        let mut inner = self.inner.lock();
        if is_newer(inner.custom.get(&key), &object) {
            inner.custom.insert(key, object);
        }
    }

    pub(crate) fn drop_custom(&self, key: &CustomKey) {
        self.inner.lock().custom.remove(key);
    }

    pub(crate) fn custom(&self, key: &CustomKey) -> Option<Value> {
        self.inner.lock().custom.get(key).cloned()
    }

    pub(crate) fn custom_keys(&self) -> Vec<CustomKey> {
        self.inner.lock().custom.keys().cloned().collect()
    }

    /// Puts an object in, and says what stood there.
    pub(crate) fn put(&self, key: ObjectKey, object: Value) -> Option<Value> {
        let mut inner = self.inner.lock();
        if is_newer(inner.objects.get(&key), &object) {
            inner.objects.insert(key, object)
        } else {
            None
        }
    }

    /// Takes an object out, unless a newer one stands there.
    pub(crate) fn remove(&self, key: &ObjectKey, last: Option<&Value>) -> Option<Value> {
        let mut inner = self.inner.lock();
        let keep = last.is_some_and(|last| !is_newer(inner.objects.get(key), last));
        if keep {
            None
        } else {
            inner.objects.remove(key)
        }
    }

    pub(crate) fn object(&self, key: &ObjectKey) -> Option<Value> {
        self.inner.lock().objects.get(key).cloned()
    }

    /// All objects for which `is` holds. It must not ask the store, which is locked meanwhile.
    pub(crate) fn objects(
        &self,
        is: impl Fn(&ObjectKey, &Value) -> bool,
    ) -> Vec<(ObjectKey, Value)> {
        let inner = self.inner.lock();
        inner
            .objects
            .iter()
            .filter(|(key, object)| is(key, object))
            .map(|(key, object)| (key.clone(), object.clone()))
            .collect()
    }

    /// The keys of all objects of a kind in a namespace (all of them when empty).
    pub(crate) fn keys_of(&self, kind: &'static Kind, namespace: &str) -> Vec<ObjectKey> {
        let inner = self.inner.lock();
        let keys = inner.objects.keys();
        keys.filter(|key| key.kind == kind && (namespace.is_empty() || key.namespace == namespace))
            .cloned()
            .collect()
    }

    pub(crate) fn set_told(&self, kind: &'static Kind, namespace: &str, told: bool) {
        let mut inner = self.inner.lock();
        let place = (kind, namespace.to_owned());
        if told {
            inner.told.insert(place);
        } else {
            inner.told.remove(&place);
        }
    }

    /// Whether a kind's watch has told all there is in a namespace.
    pub(crate) fn is_told(&self, kind: &'static Kind, namespace: &str) -> bool {
        let inner = self.inner.lock();
        [String::new(), namespace.to_owned()]
            .into_iter()
            .any(|place| inner.told.contains(&(kind, place)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::SERVICE;
    use serde_json::json;

    #[test]
    fn the_newer_version_wins_whoever_comes_last() {
        let store = Store::default();
        let key = ObjectKey {
            kind: &SERVICE,
            namespace: "n".to_owned(),
            name: "s".to_owned(),
        };
        let at = |version: &str| json!({"metadata": {"resourceVersion": version}});
        store.put(key.clone(), at("10"));
        store.put(key.clone(), at("9"));
        assert_eq!(store.object(&key), Some(at("10")));
        assert_eq!(store.remove(&key, Some(&at("9"))), None);
        assert_eq!(store.object(&key), Some(at("10")));
        store.remove(&key, Some(&at("11")));
        assert_eq!(store.object(&key), None);
    }
}
