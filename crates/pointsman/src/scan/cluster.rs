//! The API server as a source of a scan, and as the place where labels go.

use std::path::Path;

use pointsman_cluster::{connect, connect_to, label_node, list_nodes, managed_nodes};
use pointsman_topo::report::Report;
use pointsman_topo::sources::{Sources, Text};

/// Who the labels belong to at the API server.
pub(crate) const MANAGER: &str = "pointsman-scan";

/// The nodes that the API server lists.
pub(crate) async fn read(kubeconfig: Option<&Path>) -> anyhow::Result<Sources> {
    let client = client(kubeconfig).await?;
    let list = list_nodes(&client).await?;
    Ok(sources(&list))
}

/// The list as a text like any other, so that it can be saved and read again.
fn sources(list: &serde_json::Value) -> Sources {
    Sources {
        cluster: Some(Text::new(
            "the API server's list of nodes",
            format!("{list:#}\n"),
        )),
        ..Sources::default()
    }
}

/// Gives the derived labels to the nodes that have any, takes those of an earlier scan from nodes that have none any more,
/// and says of how many each was.
pub(crate) async fn label(
    kubeconfig: Option<&Path>,
    report: &Report,
) -> anyhow::Result<(usize, usize)> {
    let client = client(kubeconfig).await?;
    let (with, without): (Vec<_>, Vec<_>) = report
        .nodes
        .iter()
        .partition(|node| !node.derived_labels.is_empty());
    for node in &with {
        label_node(&client, MANAGER, &node.name, &node.derived_labels).await?;
    }
    if without.is_empty() {
        return Ok((with.len(), 0));
    }
    let ours = managed_nodes(&client, MANAGER).await?;
    let stale = without.iter().filter(|node| ours.contains(&node.name));
    let mut taken = 0;
    for node in stale {
        label_node(&client, MANAGER, &node.name, &node.derived_labels).await?;
        taken += 1;
    }
    Ok((with.len(), taken))
}

async fn client(kubeconfig: Option<&Path>) -> anyhow::Result<pointsman_cluster::Client> {
    Ok(match kubeconfig {
        Some(path) => connect_to(path).await?,
        None => connect().await?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_topo::scan::scan;
    use serde_json::json;

    #[test]
    fn a_list_of_the_api_server_is_scanned_as_a_file_is() {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [{
            "metadata": {"name": "worker-A", "labels": {"nvidia.com/gpu.product": "NVIDIA-H100-NVL"}},
            "status": {"allocatable": {"nvidia.com/gpu": "2"}},
        }]});
        let report = scan(&sources(&list));
        assert_eq!(report.problems, []);
        assert_eq!(
            report.nodes[0].derived_labels["llm-d.ai/kv-backend"],
            "nvlink"
        );
    }
}
