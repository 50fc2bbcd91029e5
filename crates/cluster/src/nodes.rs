//! Nodes: the list of them, and labels that are ours.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::watch::chain;

/// Nodes asked for at once.
const PAGE: u32 = 500;

/// Why nodes cannot be listed or labelled.
#[derive(Debug, thiserror::Error)]
pub enum NodesError {
    /// The list was refused or broke off.
    #[error("nodes cannot be listed: {0}; it takes the verb list on nodes")]
    List(String),
    /// A label was refused.
    #[error("node {node} cannot be labelled: {why}; it takes the verb patch on nodes")]
    Label {
        /// Which node.
        node: String,
        /// Why.
        why: String,
    },
    /// The list is not what the API promises.
    #[error("the list of nodes cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// All nodes, as `kubectl get nodes -o json` shows them: a `List` of `Node` objects.
///
/// # Errors
/// The API server refuses or cannot be reached.
pub async fn list_nodes(client: &Client) -> Result<Value, NodesError> {
    let api: Api<Node> = Api::all(client.clone());
    let mut items = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = api.list(&page).await.map_err(refused)?;
        let more = list.metadata.continue_.filter(|token| !token.is_empty());
        for mut node in list.items {
            // Thousands of lines a node that nobody reads.
            node.managed_fields_mut().clear();
            items.push(serde_json::to_value(node)?);
        }
        match more {
            Some(token) => page = ListParams::default().limit(PAGE).continue_token(&token),
            None => return Ok(json!({"apiVersion": "v1", "kind": "List", "items": items})),
        }
    }
}

/// Makes these labels of a node ours, by server-side apply: labels that `manager` set before and that are no longer
/// among them go, those of others stay. A label that somebody else manages is taken over.
///
/// # Errors
/// The API server refuses or cannot be reached.
pub async fn label_node(
    client: &Client,
    manager: &str,
    node: &str,
    labels: &BTreeMap<String, String>,
) -> Result<(), NodesError> {
    let api: Api<Node> = Api::all(client.clone());
    let object = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node, "labels": labels},
    });
    let how = PatchParams::apply(manager).force();
    let done = api.patch(node, &how, &Patch::Apply(&object)).await;
    done.map(|_| ()).map_err(|error| NodesError::Label {
        node: node.to_owned(),
        why: chain(&error),
    })
}

fn refused(error: kube::Error) -> NodesError {
    NodesError::List(chain(&error))
}

/// The nodes of which `manager` manages a label.
///
/// # Errors
/// The API server refuses or cannot be reached.
pub async fn managed_nodes(client: &Client, manager: &str) -> Result<BTreeSet<String>, NodesError> {
    let api: Api<Node> = Api::all(client.clone());
    let mut found = BTreeSet::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = api.list_metadata(&page).await.map_err(refused)?;
        for node in &list.items {
            let mut fields = node.managed_fields().iter();
            let labels = |fields: &Value| fields["f:metadata"]["f:labels"].is_object();
            if fields.any(|one| {
                one.manager.as_deref() == Some(manager)
                    && one
                        .fields_v1
                        .as_ref()
                        .is_some_and(|fields| labels(&fields.0))
            }) {
                found.insert(node.name_any());
            }
        }
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = ListParams::default().limit(PAGE).continue_token(&token),
            None => return Ok(found),
        }
    }
}
