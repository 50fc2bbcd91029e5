//! What a picture of a report shows, before it is lines of text or shapes.

use crate::links::short_name;
use crate::report::{Node, Report};

/// A picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    /// What it is of.
    pub title: String,
    /// The nodes; alike ones share a card when there are many.
    pub cards: Vec<Card>,
    /// What joins a card with the next, one fewer than there are cards.
    pub between: Vec<Join>,
}

/// A node, or several that look the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Its name, and how many more there are.
    pub title: String,
    /// The GPUs' captions.
    pub gpus: Vec<String>,
    /// What joins two GPUs, where there are exactly two.
    pub pair: Option<Join>,
    /// What joins sets of GPUs, a line each.
    pub notes: Vec<String>,
}

/// A link and its speed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// What it is.
    pub what: String,
    /// How fast it is; empty where that is not known.
    pub speed: String,
    /// Whether a KV cache goes over it without the CPU.
    pub direct: bool,
}

/// Up to so many nodes each have a card of their own.
const FEW: usize = 8;

/// Lays the report out.
#[must_use]
pub fn figure(report: &Report) -> Figure {
    let mut nodes: Vec<&Node> = report.nodes.iter().collect();
    nodes.sort_by_key(|node| (node.gpu.count == 0, block(node), &node.name));
    let mut sets: Vec<Vec<&Node>> = Vec::new();
    for node in &nodes {
        let same = |set: &&mut Vec<&Node>| nodes.len() > FEW && shape(set[0]) == shape(node);
        match sets.iter_mut().find(same) {
            Some(set) => set.push(node),
            None => sets.push(vec![node]),
        }
    }
    let with_gpus = nodes.iter().filter(|node| node.gpu.count > 0).count();
    let title = format!(
        "{}: {} {}, {with_gpus} with GPUs",
        report.platform.value.title(),
        nodes.len(),
        if nodes.len() == 1 { "node" } else { "nodes" },
    );
    let between = sets
        .windows(2)
        .map(|two| join(two[0][0], two[1][0]))
        .collect();
    Figure {
        title,
        cards: sets.iter().map(|set| card(set)).collect(),
        between,
    }
}

fn block(node: &Node) -> &str {
    node.block.as_ref().map_or("", |block| block.value.as_str())
}

/// What must be equal for two nodes to share a card.
fn shape(node: &Node) -> (Option<&str>, u32, &[Vec<u32>], &str, &str) {
    (
        node.gpu.product.as_deref(),
        node.gpu.count,
        &node.nvlink.groups,
        node.rdma.fabric.title(),
        block(node),
    )
}

fn speed(gb_per_s: f64) -> String {
    if gb_per_s > 0.0 {
        format!("{gb_per_s:.0} GB/s")
    } else {
        String::new()
    }
}

fn card(set: &[&Node]) -> Card {
    let node = set[0];
    let name = short_name(node.gpu.product.as_deref().unwrap_or_default());
    let numbers: Vec<u32> = if node.gpus.is_empty() {
        (0..node.gpu.count).collect()
    } else {
        node.gpus.iter().map(|gpu| gpu.index).collect()
    };
    let mut title = node.name.clone();
    if set.len() > 1 {
        title.push_str(&format!(" and {} alike", set.len() - 1));
    }
    let mut notes = Vec::new();
    let pair = match numbers.as_slice() {
        [_, _] => Some(match node.nvlink.groups.first() {
            Some(group) => Join {
                what: "NVLink".to_owned(),
                speed: speed(node.nvlink.slowest(group)),
                direct: true,
            },
            None => Join {
                what: "CPU / PCIe / FS".to_owned(),
                speed: String::new(),
                direct: false,
            },
        }),
        [] => {
            notes.push("no GPU".to_owned());
            None
        }
        [_] => None,
        _ => {
            for group in &node.nvlink.groups {
                let way = if node.nvlink.is_full(group) {
                    "all to all"
                } else {
                    "not every two"
                };
                notes.push(format!(
                    "NVLink {}, {way}, {}",
                    range(group),
                    speed(node.nvlink.slowest(group))
                ));
            }
            if node.nvlink.groups.is_empty() {
                notes.push("no NVLink: CPU / PCIe / FS".to_owned());
            }
            None
        }
    };
    if node.rdma.fabric.is_usable() {
        let rate = node
            .rdma
            .gbps
            .map(|gbps| format!(", {gbps:.0} Gbit/s"))
            .unwrap_or_default();
        notes.push(format!("{}{rate}", node.rdma.fabric.title()));
    }
    if let Some(block) = &node.block {
        notes.push(format!("block {}", block.value));
    }
    Card {
        title,
        gpus: numbers
            .iter()
            .map(|number| format!("GPU{number}: {name}"))
            .collect(),
        pair,
        notes,
    }
}

/// `GPU0-7`, or `GPU0,2`.
pub(crate) fn range(group: &[u32]) -> String {
    let (Some(first), Some(last)) = (group.first(), group.last()) else {
        return String::new();
    };
    if (last - first) as usize + 1 == group.len() && group.len() > 2 {
        return format!("GPU{first}-{last}");
    }
    let numbers: Vec<String> = group.iter().map(ToString::to_string).collect();
    format!("GPU{}", numbers.join(","))
}

fn join(one: &Node, other: &Node) -> Join {
    let (a, b) = (one.rdma.fabric, other.rdma.fabric);
    if a == b && a.is_usable() {
        let slower = match (one.rdma.gbps, other.rdma.gbps) {
            (Some(a), Some(b)) => speed(a.min(b) / 8.0),
            _ => String::new(),
        };
        return Join {
            what: format!("Inter-node {}", a.title()),
            speed: slower,
            direct: true,
        };
    }
    Join {
        what: "Inter-node Ethernet".to_owned(),
        speed: String::new(),
        direct: false,
    }
}
