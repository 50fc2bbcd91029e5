//! Whose an object in the cluster is.

use serde_json::Value;

use crate::crd::GROUP;
use crate::desired::child::Owner;
use crate::operate::store::CustomKey;
use crate::spec::meta::Identity;

/// Whose an object is, seen from one custom resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Its own.
    Mine,
    /// Nobody's: it may be taken over, as the original operator does.
    Nobodys,
    /// Another's: which custom resource that is, if one, and in words.
    Others(Option<CustomKey>, String),
}

/// Reads owner reference and labels. `exists` says whether a custom resource is still there: what a deleted one left
/// behind is nobody's.
pub(crate) fn claim(
    object: &Value,
    owner: Owner,
    id: &Identity,
    exists: impl Fn(Owner, &str, &str) -> bool,
) -> Claim {
    let meta = &object["metadata"];
    let namespace = meta["namespace"].as_str().unwrap_or_default();
    let references = meta["ownerReferences"].as_array().into_iter().flatten();
    if let Some(controller) = references.clone().find(|one| one["controller"] == true) {
        if controller["uid"].as_str() == id.uid.as_deref() {
            return Claim::Mine;
        }
        let word = |key: &str| controller[key].as_str().unwrap_or_default();
        let ours = word("apiVersion").starts_with(GROUP);
        // A resource that was deleted and made again has another uid; the collector is about to take the object.
        if !(ours
            && word("kind") == owner.kind()
            && word("name") == id.name
            && namespace == id.namespace)
        {
            let kinds = [Owner::Install, Owner::Simulator];
            let other = kinds
                .into_iter()
                .find(|one| ours && one.kind() == word("kind"))
                .map(|owner| CustomKey {
                    owner,
                    namespace: namespace.to_owned(),
                    name: word("name").to_owned(),
                });
            let whose = format!("{} {namespace}/{}", word("kind"), word("name"));
            return Claim::Others(other, whose);
        }
    }
    match Owner::of_labels(&meta["labels"], namespace) {
        None => Claim::Nobodys,
        Some((other, other_namespace, name)) => {
            if other == owner && other_namespace == id.namespace && name == id.name {
                Claim::Mine
            } else if exists(other, &other_namespace, &name) {
                let key = CustomKey {
                    owner: other,
                    namespace: other_namespace,
                    name,
                };
                let whose = key.words();
                Claim::Others(Some(key), whose)
            } else {
                Claim::Nobodys
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn seen(metadata: Value, exists: bool) -> Claim {
        let id = Identity {
            namespace: "s".to_owned(),
            name: "i".to_owned(),
            uid: Some("u1".to_owned()),
        };
        claim(
            &json!({"metadata": metadata}),
            Owner::Install,
            &id,
            |_, _, _| exists,
        )
    }

    #[test]
    fn owner_references_and_labels_say_whose_an_object_is() {
        let labels = |name: &str| json!({"sim.llm-d.io/schedulerInstall": name, "sim.llm-d.io/schedulerNamespace": "s"});
        assert_eq!(seen(json!({}), true), Claim::Nobodys);
        assert_eq!(seen(json!({"labels": labels("i")}), true), Claim::Mine);
        assert_eq!(
            seen(json!({"labels": labels("other")}), true),
            Claim::Others(
                Some(CustomKey {
                    owner: Owner::Install,
                    namespace: "s".to_owned(),
                    name: "other".to_owned(),
                }),
                "SchedulerInstall s/other".to_owned()
            )
        );
        assert_eq!(
            seen(json!({"labels": labels("other")}), false),
            Claim::Nobodys
        );
        let owned = |uid: &str| json!({"ownerReferences": [{"controller": true, "uid": uid, "kind": "X", "name": "x"}]});
        assert_eq!(seen(owned("u1"), true), Claim::Mine);
        assert!(matches!(seen(owned("u2"), true), Claim::Others(None, _)));
    }
}
