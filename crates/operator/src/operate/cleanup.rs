//! What happens when a custom resource is deleted, or an object is no longer asked for.

use serde_json::{Value, json};

use crate::desired::child::{INSTALL_LABEL, INSTALL_NAMESPACE_LABEL, MANAGED_BY, SIMULATOR_LABEL};
use crate::operate::api::{Failure, Server, resource};
use crate::operate::claim::Claim;
use crate::operate::store::{ObjectKey, Store};

/// Holds a deleted custom resource until its objects are gone.
pub(crate) const FINALIZER: &str = "sim.llm-d.io/cleanup";
/// With the value `true`: the objects stay when the custom resource is deleted.
pub(crate) const ORPHAN: &str = "sim.llm-d.io/orphan";

/// Whether the objects stay.
pub(crate) fn keeps_children(custom: &Value) -> bool {
    custom["metadata"]["annotations"][ORPHAN] == "true"
}

/// Whether this finalizer is set.
pub(crate) fn has_finalizer(custom: &Value) -> bool {
    let all = custom["metadata"]["finalizers"]
        .as_array()
        .into_iter()
        .flatten();
    all.into_iter().any(|one| one == FINALIZER)
}

/// The patch that sets or takes away the finalizer, for exactly this version.
pub(crate) fn finalizer_patch(custom: &Value, set: bool) -> Value {
    let mut all: Vec<Value> = custom["metadata"]["finalizers"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    all.retain(|one| one != FINALIZER);
    if set {
        all.push(json!(FINALIZER));
    }
    json!({"metadata": {
        "finalizers": all,
        "resourceVersion": custom["metadata"]["resourceVersion"],
    }})
}

/// Deletes an object if it is still this custom resource's. Says whether there was anything to delete.
pub(crate) async fn delete(
    server: &Server,
    store: &Store,
    key: &ObjectKey,
    is_mine: impl Fn(&Value) -> Claim,
) -> Result<bool, Failure> {
    let live = match store.object(key) {
        Some(live) => Some(live),
        None if store.is_told(key.kind, &key.namespace) => None,
        None => server.get(key.kind, &key.namespace, &key.name).await?,
    };
    let Some(live) = live else { return Ok(false) };
    if is_mine(&live) != Claim::Mine || !live["metadata"]["deletionTimestamp"].is_null() {
        return Ok(false);
    }
    let uid = live["metadata"]["uid"].as_str();
    server
        .delete(key.kind, &key.namespace, &key.name, uid)
        .await?;
    store.remove(key, Some(&live));
    Ok(true)
}

/// Lets go of an object: nothing in it says any more whose it was.
pub(crate) async fn release(
    server: &Server,
    key: &ObjectKey,
    live: &Value,
    uid: Option<&str>,
) -> Result<(), Failure> {
    let references = live["metadata"]["ownerReferences"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let others: Vec<Value> = references
        .into_iter()
        .filter(|one| one["uid"].as_str() != uid)
        .collect();
    let labels = [
        MANAGED_BY,
        INSTALL_LABEL,
        INSTALL_NAMESPACE_LABEL,
        SIMULATOR_LABEL,
    ];
    let labels: serde_json::Map<String, Value> = labels
        .iter()
        .map(|label| ((*label).to_owned(), Value::Null))
        .collect();
    let patch = json!({"metadata": {"ownerReferences": others, "labels": labels}});
    server
        .merge(&resource(key.kind), &key.namespace, &key.name, &patch)
        .await?;
    Ok(())
}
