//! Where a prefill server and its decode server can go, how their KV cache then moves, and why.

use std::collections::BTreeMap;

use crate::links::short_name;
use crate::report::{Confidence, Fabric, Grade, Node, Placement};

/// The placements that nodes permit, the best first. Nodes that are alike share one.
pub(crate) fn of(nodes: &[Node]) -> Vec<Placement> {
    let with_gpus: Vec<&Node> = nodes.iter().filter(|node| node.gpu.count > 0).collect();
    let mut found = Vec::new();
    found.extend(nvlink_in_node(&with_gpus));
    found.extend(nvlink_across(&with_gpus));
    found.extend(pcie_in_node(&with_gpus));
    found.extend(rdma(&with_gpus));
    found.extend(ethernet(&with_gpus));
    found.sort_by(|one, other| {
        let speed = |placement: &Placement| placement.gb_per_s.unwrap_or(0.0);
        one.grade
            .cmp(&other.grade)
            .then(speed(other).total_cmp(&speed(one)))
    });
    found
}

fn names(nodes: &[&Node]) -> Vec<String> {
    nodes.iter().map(|node| node.name.clone()).collect()
}

fn product(node: &Node) -> String {
    short_name(node.gpu.product.as_deref().unwrap_or_default())
}

/// Nodes that agree in `key`, in its order.
fn alike<'a, K: Ord>(
    nodes: &[&'a Node],
    key: impl Fn(&'a Node) -> Option<K>,
) -> BTreeMap<K, Vec<&'a Node>> {
    let mut sets: BTreeMap<K, Vec<&Node>> = BTreeMap::new();
    for node in nodes {
        if let Some(key) = key(node) {
            sets.entry(key).or_default().push(node);
        }
    }
    sets
}

/// What nodes with NVLink agree in: product, sets of linked GPUs, and how sure they are.
type Linked = (String, Vec<Vec<u32>>, Confidence);

fn nvlink_in_node(nodes: &[&Node]) -> Vec<Placement> {
    let sets = alike(nodes, |node| {
        let link = &node.nvlink;
        (!link.groups.is_empty()).then(|| (product(node), link.groups.clone(), link.confidence))
    });
    let placement = |(key, nodes): (Linked, Vec<&Node>)| {
        let (product, groups, confidence) = key;
        let link = &nodes[0].nvlink;
        let slowest = groups
            .iter()
            .map(|group| link.slowest(group))
            .fold(f64::INFINITY, f64::min);
        let full = groups.iter().all(|group| link.is_full(group));
        let mut why =
            format!("NVLink joins the {product} GPUs of the node: the cache goes from GPU to GPU");
        if !full {
            why.push_str("; not every two of them are linked directly, choose a linked pair");
        }
        if confidence < Confidence::High {
            why.push_str(". Known from the product's name only: nvidia-smi topo -m on the node would prove it");
        }
        Placement {
            grade: Grade::Good,
            backend: "nvlink",
            nodes: names(&nodes),
            same_node: true,
            gpu_groups: groups,
            gb_per_s: Some(slowest).filter(|speed| speed.is_finite() && *speed > 0.0),
            why,
        }
    };
    sets.into_iter().map(placement).collect()
}

fn nvlink_across(nodes: &[&Node]) -> Vec<Placement> {
    let sets = alike(nodes, |node| node.nvlink.domain.as_deref());
    let spanning = sets.into_iter().filter(|(_, nodes)| nodes.len() > 1);
    let placement = |(domain, nodes): (&str, Vec<&Node>)| {
        let speeds = nodes
            .iter()
            .flat_map(|node| node.nvlink.pairs.iter().map(|pair| pair.gb_per_s));
        let slowest = speeds.fold(f64::INFINITY, f64::min);
        Placement {
            grade: Grade::Good,
            backend: "nvlink",
            nodes: names(&nodes),
            same_node: false,
            gpu_groups: Vec::new(),
            gb_per_s: Some(slowest).filter(|speed| speed.is_finite()),
            why: format!("the nodes share the NVLink domain {domain}"),
        }
    };
    spanning.map(placement).collect()
}

fn pcie_in_node(nodes: &[&Node]) -> Vec<Placement> {
    let sets = alike(nodes, |node| {
        (node.gpu.count > 1 && node.nvlink.groups.is_empty()).then(|| product(node))
    });
    let placement = |(product, nodes): (String, Vec<&Node>)| Placement {
        grade: Grade::Fair,
        backend: "fs",
        nodes: names(&nodes),
        same_node: true,
        gpu_groups: Vec::new(),
        gb_per_s: None,
        why: format!(
            "two {product} of one node without NVLink: the cache goes through PCIe, CPU and a shared directory, \
             as a rule at 1 to 10 GB/s"
        ),
    };
    sets.into_iter().map(placement).collect()
}

fn rdma(nodes: &[&Node]) -> Vec<Placement> {
    let mut found = Vec::new();
    let by_fabric = alike(nodes, |node| {
        node.rdma.fabric.is_usable().then_some(node.rdma.fabric)
    });
    for (fabric, nodes) in by_fabric {
        let blocks = alike(&nodes, |node| {
            node.block
                .as_ref()
                .map(|block| (block.value.as_str(), block.confidence))
        });
        for ((block, confidence), near) in &blocks {
            if near.len() < 2 {
                continue;
            }
            let grade = if fabric == Fabric::Unknown || *confidence < Confidence::Medium {
                Grade::Fair
            } else {
                Grade::Good
            };
            let why = format!(
                "{} between nodes of block {block}: the cache goes from GPU memory to GPU memory past the CPU",
                fabric.title()
            );
            found.push(across(grade, "rdma", near, slowest_rdma(near), why));
        }
        let one_block = blocks.len() == 1 && blocks.values().all(|near| near.len() == nodes.len());
        if nodes.len() > 1 && !one_block {
            let why = match blocks.len() {
                0 => format!(
                    "{} between nodes; nothing says how near they are",
                    fabric.title()
                ),
                _ => format!(
                    "{} between nodes of different blocks: more switches on the way, shared with others",
                    fabric.title()
                ),
            };
            found.push(across(
                Grade::Fair,
                "rdma",
                &nodes,
                slowest_rdma(&nodes),
                why,
            ));
        }
    }
    found
}

fn slowest_rdma(nodes: &[&Node]) -> Option<f64> {
    let speeds = nodes.iter().filter_map(|node| node.rdma.gbps);
    let slowest = speeds.fold(f64::INFINITY, f64::min) / 8.0;
    Some(slowest).filter(|speed| speed.is_finite())
}

fn ethernet(nodes: &[&Node]) -> Option<Placement> {
    let without = nodes.iter().any(|node| !node.rdma.fabric.is_usable());
    if nodes.len() < 2 || !without {
        return None;
    }
    let speed = |node: &&Node| {
        node.nics
            .iter()
            .filter(|nic| nic.up)
            .filter_map(|nic| nic.mbps)
            .max()
    };
    let speeds: Option<Vec<u32>> = nodes.iter().map(speed).collect();
    let slowest = speeds.and_then(|speeds| speeds.into_iter().min());
    let why = "between nodes over Ethernet: the cache goes through storage that both mount; NVLink does not reach from \
               node to node"
        .to_owned();
    Some(across(
        Grade::Poor,
        "fs",
        nodes,
        slowest.map(|mbps| f64::from(mbps) / 8000.0),
        why,
    ))
}

fn across(
    grade: Grade,
    backend: &'static str,
    nodes: &[&Node],
    gb_per_s: Option<f64>,
    why: String,
) -> Placement {
    Placement {
        grade,
        backend,
        nodes: names(nodes),
        same_node: false,
        gpu_groups: Vec::new(),
        gb_per_s,
        why,
    }
}
