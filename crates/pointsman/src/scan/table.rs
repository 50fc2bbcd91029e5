//! A scan for people: nodes, the picture, placements, and what could not be read.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use pointsman_topo::figure::figure;
use pointsman_topo::labels::KV_BACKEND;
use pointsman_topo::links::short_name;
use pointsman_topo::picture;
use pointsman_topo::report::{Grade, Node, Placement, Report};

use crate::console::table;

/// Names listed for one placement.
const NAMES: usize = 6;

/// The whole page.
pub(crate) fn page(report: &Report, colour: bool) -> String {
    let mut out = String::new();
    let platform = &report.platform;
    let _ = writeln!(out, "{} ({})\n", platform.value.title(), platform.method);
    let headings = [
        "NODE",
        "GPUS",
        "TYPE",
        "NVLINK",
        "RDMA",
        "NICS",
        "NUMA",
        "BLOCK",
        "ZONE",
        "KV-BACKEND",
    ];
    let rows: Vec<Vec<String>> = report.nodes.iter().map(row).collect();
    out.push_str(&table(&headings, &rows, colour));
    let _ = writeln!(out, "\n{}", picture::text(&figure(report)));
    out.push_str(&placements(&report.placements, colour));
    let mut doubtful: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for node in &report.nodes {
        if !node.nvlink.groups.is_empty() && node.nvlink.method.starts_with("product") {
            let alike = doubtful.entry(&node.nvlink.method).or_default();
            alike.push(&node.name);
        }
    }
    for (method, nodes) in doubtful {
        let shown = nodes.iter().take(NAMES).copied().collect::<Vec<_>>();
        let more = match nodes.len().saturating_sub(NAMES) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let _ = writeln!(out, "  note: {}{more}: NVLink: {method}", shown.join(", "));
    }
    out
}

fn dash(text: String) -> String {
    if text.is_empty() {
        "-".to_owned()
    } else {
        text
    }
}

fn row(node: &Node) -> Vec<String> {
    let groups = &node.nvlink.groups;
    let nvlink = match groups.as_slice() {
        [] => String::new(),
        [one] => format!("{} GPUs, {:.0} GB/s", one.len(), node.nvlink.slowest(one)),
        [one, ..] => format!(
            "{} x {} GPUs, {:.0} GB/s",
            groups.len(),
            one.len(),
            node.nvlink.slowest(one)
        ),
    };
    let rdma = match node.rdma.gbps {
        Some(gbps) if node.rdma.fabric.is_usable() => {
            format!("{} {gbps:.0}G", node.rdma.fabric.title())
        }
        _ => node.rdma.fabric.title().to_owned(),
    };
    let nics = match node.nics.len() {
        0 if node.mellanox => "Mellanox".to_owned(),
        0 => String::new(),
        count => {
            let fastest = node.nics.iter().filter_map(|nic| nic.mbps).max();
            let speed = fastest
                .map(|mbps| format!(" ({}G)", mbps / 1000))
                .unwrap_or_default();
            format!("{count}{speed}")
        }
    };
    let numa = if node.numa.is_empty() {
        String::new()
    } else {
        node.numa.len().to_string()
    };
    vec![
        node.name.clone(),
        node.gpu.count.to_string(),
        dash(
            node.gpu
                .product
                .as_deref()
                .map(short_name)
                .unwrap_or_default(),
        ),
        dash(nvlink),
        rdma,
        dash(nics),
        dash(numa),
        dash(
            node.block
                .as_ref()
                .map(|block| block.value.clone())
                .unwrap_or_default(),
        ),
        dash(node.zone.clone().unwrap_or_default()),
        dash(
            node.derived_labels
                .get(KV_BACKEND)
                .cloned()
                .unwrap_or_default(),
        ),
    ]
}

fn placements(placements: &[Placement], colour: bool) -> String {
    if placements.is_empty() {
        return "No node has a GPU: there is nowhere to place prefill or decode.\n".to_owned();
    }
    let rows: Vec<Vec<String>> = placements.iter().map(placement).collect();
    let mut out =
        "Where a prefill server and its decode server can go, the best first:\n\n".to_owned();
    out.push_str(&table(&["", "KV", "WHERE", "GB/S", "WHY"], &rows, colour));
    out
}

fn placement(placement: &Placement) -> Vec<String> {
    let grade = match placement.grade {
        Grade::Good => "good",
        Grade::Fair => "fair",
        Grade::Poor => "poor",
    };
    let mut names = placement
        .nodes
        .iter()
        .take(NAMES)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    let more = placement.nodes.len().saturating_sub(NAMES);
    if more > 0 {
        let _ = write!(names, " and {more} more");
    }
    let place = match (placement.same_node, placement.nodes.len()) {
        (true, 1) => format!("both on {names}"),
        (true, _) => format!("both on one of {names}"),
        (false, _) => format!("two of {names}"),
    };
    vec![
        grade.to_owned(),
        placement.backend.to_owned(),
        place,
        dash(
            placement
                .gb_per_s
                .map(|speed| format!("{speed:.0}"))
                .unwrap_or_default(),
        ),
        placement.why.clone(),
    ]
}
