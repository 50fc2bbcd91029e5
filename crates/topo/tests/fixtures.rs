//! Whole scans of the constructed topologies: what is found in each, and what the pictures look like.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pointsman_topo::figure::figure;
use pointsman_topo::report::{Confidence, Fabric, Grade, Node, Platform, Report};
use pointsman_topo::scan::scan;
use pointsman_topo::sources::{NodeSources, Sources, Text};
use pointsman_topo::{gather, picture, svg};
use proptest::prelude::*;

fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

#[track_caller]
fn of(name: &str) -> Report {
    let report = scan(&gather::folder(&place(name)));
    let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems, Vec::<String>::new(), "{name}");
    report
}

#[track_caller]
fn labels(node: &Node, backend: &str, speed: Option<&str>, domain: &str) {
    let mut expected = BTreeMap::from([
        ("llm-d.ai/kv-backend".to_owned(), backend.to_owned()),
        ("llm-d.ai/kv-domain".to_owned(), domain.to_owned()),
    ]);
    if let Some(speed) = speed {
        expected.insert("llm-d.ai/kv-link-gb-per-s".to_owned(), speed.to_owned());
    }
    assert_eq!(node.derived_labels, expected, "{}", node.name);
}

#[test]
fn the_labs_workers_are_what_the_lab_says() {
    for (name, confidence) in [
        ("lab", Confidence::High),
        ("lab-labels", Confidence::Medium),
    ] {
        let report = of(name);
        assert_eq!(report.platform.value, Platform::Openshift);
        let [a, b] = report.nodes.as_slice() else {
            panic!("two nodes in {name}");
        };
        assert_eq!((a.gpu.count, b.gpu.count), (2, 2));
        assert_eq!(a.nvlink.groups, [[0, 1]]);
        assert_eq!(a.nvlink.pairs[0].gb_per_s, 600.0);
        assert_eq!(a.nvlink.confidence, confidence);
        assert!(b.nvlink.pairs.is_empty());
        assert_eq!((a.rdma.fabric, b.rdma.fabric), (Fabric::None, Fabric::None));
        labels(a, "nvlink", Some("600"), "worker-A");
        labels(b, "fs", None, "worker-B");
        let places: Vec<_> = report
            .placements
            .iter()
            .map(|p| (p.grade, p.backend, p.same_node, p.nodes.join("+")))
            .collect();
        assert_eq!(
            places,
            [
                (Grade::Good, "nvlink", true, "worker-A".to_owned()),
                (Grade::Fair, "fs", true, "worker-B".to_owned()),
                (Grade::Poor, "fs", false, "worker-A+worker-B".to_owned()),
            ]
        );
    }
}

#[test]
fn the_labs_picture_is_the_labs_picture() {
    let drawn = picture::text(&figure(&of("lab")));
    let expected = "\
+------------------------------------------------------------------------------+
| OpenShift: 2 nodes, 2 with GPUs                                              |
+------------------------------------------------------------------------------+
| worker-A                                                                     |
|  +------------------------------------------------------------------------+  |
|  | +----------------+       NVLink       +----------------+               |  |
|  | | GPU0: H100-NVL | <----------------> | GPU1: H100-NVL |               |  |
|  | +----------------+     (600 GB/s)     +----------------+               |  |
|  +------------------------------------------------------------------------+  |
|                  /\\                       /\\                                 |
|                  ||  Inter-node Ethernet  ||                                 |
|                  ||                       ||                                 |
|                  \\/                       \\/                                 |
| worker-B                                                                     |
|  +------------------------------------------------------------------------+  |
|  | +-----------------+  CPU / PCIe / FS   +-----------------+             |  |
|  | | GPU0: H100-PCIe | <----------------> | GPU1: H100-PCIe |             |  |
|  | +-----------------+                    +-----------------+             |  |
|  +------------------------------------------------------------------------+  |
+------------------------------------------------------------------------------+
";
    assert_eq!(drawn, expected, "\n{drawn}");
}

#[test]
fn eight_gpus_behind_a_switch_are_one_group() {
    let report = of("h100-nvswitch");
    assert_eq!(report.platform.value, Platform::Machine);
    let node = &report.nodes[0];
    assert_eq!(node.name, "h100-nvswitch");
    assert_eq!(node.nvlink.groups, [[0, 1, 2, 3, 4, 5, 6, 7]]);
    assert_eq!(node.nvlink.pairs.len(), 28);
    assert!(node.nvlink.is_full(&node.nvlink.groups[0]));
    assert_eq!(node.nvlink.slowest(&node.nvlink.groups[0]), 900.0);
    assert_eq!(
        (node.rdma.fabric, node.rdma.gbps, node.rdma.ports.len()),
        (Fabric::Infiniband, Some(400.0), 8)
    );
    assert_eq!(node.gpus[0].numa, Some(0));
    assert_eq!(node.gpus[7].numa, Some(1));
    assert_eq!(node.numa.len(), 2);
    assert!(node.mellanox);
    labels(node, "nvlink", Some("900"), "h100-nvswitch");
    let drawn = picture::text(&figure(&report));
    assert!(
        drawn.contains("NVLink GPU0-7, all to all, 900 GB/s"),
        "{drawn}"
    );
}

#[test]
fn gke_blocks_and_networks_are_understood() {
    let report = of("gke-a3");
    assert_eq!(report.platform.value, Platform::Gke);
    let [one, two, ultra] = report.nodes.as_slice() else {
        panic!("three nodes");
    };
    let block = |node: &Node| node.block.clone().map(|b| (b.value, b.confidence));
    assert_eq!(block(one), Some(("sub-1".to_owned(), Confidence::High)));
    assert_eq!(block(two), block(one));
    assert_eq!(
        (one.rdma.fabric, ultra.rdma.fabric),
        (Fabric::None, Fabric::Roce)
    );
    assert_eq!(ultra.rdma.resources.len(), 8);
    assert_eq!(ultra.nvlink.pairs[0].gb_per_s, 900.0);
    assert_eq!(ultra.zone.as_deref(), Some("us-central1-a"));
    labels(ultra, "nvlink", Some("900"), "gke-a3-ultra-0");
}

#[test]
fn coreweave_leaf_groups_make_blocks() {
    let report = of("coreweave-ib");
    assert_eq!(report.platform.value, Platform::Coreweave);
    assert_eq!(report.platform.confidence, Confidence::High);
    let rdma: Vec<_> = report
        .placements
        .iter()
        .filter(|p| p.backend == "rdma")
        .collect();
    assert_eq!(rdma.len(), 2);
    assert_eq!(
        (rdma[0].grade, rdma[0].nodes.join("+"), rdma[0].gb_per_s),
        (Grade::Good, "g0a1b2c+g0a1b2d".to_owned(), Some(50.0))
    );
    assert_eq!((rdma[1].grade, rdma[1].nodes.len()), (Grade::Fair, 3));
    assert_eq!(report.nodes[0].rdma.fabric, Fabric::Infiniband);
    assert_eq!(report.nodes[0].rdma.resources["rdma/ib"], 1000);
    assert_eq!(report.nodes[0].rack.as_deref(), Some("12"));
    assert!(
        report.placements.iter().all(|p| p.backend != "fs"),
        "no Ethernet needed"
    );
}

#[test]
fn without_gpus_nothing_is_placed_and_nothing_labelled() {
    let report = of("cpu-only");
    assert_eq!(report.placements, []);
    assert!(
        report
            .nodes
            .iter()
            .all(|node| node.derived_labels.is_empty() && node.gpu.count == 0)
    );
    assert!(picture::text(&figure(&report)).contains("no GPU"));
}

#[test]
fn what_is_saved_is_read_back() {
    for name in ["lab", "coreweave-ib", "cpu-only"] {
        let sources = gather::folder(&place(name));
        let folder =
            std::env::temp_dir().join(format!("pointsman-topo-{}-{name}", std::process::id()));
        gather::save(&sources, &folder).unwrap();
        let again = scan(&gather::folder(&folder));
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(again, scan(&sources), "{name}");
    }
}

#[test]
fn a_folder_without_anything_is_an_error() {
    for path in [place("nowhere"), place("lab/nodes/worker-A/sys")] {
        let report = scan(&gather::folder(&path));
        assert_eq!(
            (report.nodes.len(), report.problems.len()),
            (0, 1),
            "{report:?}"
        );
    }
}

/// Every line of a picture is as wide as the first.
#[track_caller]
fn check_aligned(drawn: &str) {
    let widths: Vec<usize> = drawn.lines().map(|line| line.chars().count()).collect();
    assert!(widths.iter().all(|width| *width == widths[0]), "{drawn}");
}

#[test]
fn pictures_of_all_fixtures_are_aligned_and_well_formed() {
    for name in [
        "lab",
        "lab-labels",
        "h100-nvswitch",
        "gke-a3",
        "coreweave-ib",
        "cpu-only",
    ] {
        let figure = figure(&of(name));
        check_aligned(&picture::text(&figure));
        let drawn = svg::svg(&figure);
        assert_eq!(
            drawn.matches("<text").count(),
            drawn.matches("</text>").count()
        );
        assert_eq!(
            drawn.matches(r#"class="gpu""#).count(),
            figure.cards.iter().map(|c| c.gpus.len()).sum::<usize>()
        );
    }
}

#[test]
fn a_thousand_equal_nodes_share_one_card() {
    let node = |n: usize| {
        format!(
            r#"{{"metadata":{{"name":"n{n:04}","labels":{{"nvidia.com/gpu.product":"NVIDIA-H100-80GB-HBM3"}}}},"status":{{"allocatable":{{"nvidia.com/gpu":"8"}}}}}}"#
        )
    };
    let nodes: Vec<String> = (0..1000).map(node).collect();
    let sources = Sources {
        cluster: Some(Text::new("nodes.json", format!("[{}]", nodes.join(",")))),
        ..Sources::default()
    };
    let report = scan(&sources);
    let figure = figure(&report);
    assert_eq!(figure.cards.len(), 1);
    assert_eq!(figure.cards[0].title, "n0000 and 999 alike");
    assert_eq!(report.placements[0].nodes.len(), 1000);
}

proptest! {
    /// Whatever the texts say, a report comes of it, it can be drawn, and labels are values that a server takes.
    #[test]
    fn garbage_gives_a_report(
        cluster in "(\\[\\{\"metadata\":\\{\"name\":\"[a-z<&]{1,3}\",\"labels\":\\{\"nvidia.com/gpu.(product|count)\":\"[^\"\\\\]{0,8}\"\\}\\},\"status\":\\{\"allocatable\":\\{\"(nvidia.com/gpu|rdma/ib)\":\"[0-9k]{0,12}\"\\}\\}\\}\\]|.{0,40})",
        gpus in "(index, name\n)?([0-9]{0,11}, ?.{0,6}\n){0,4}",
        matrix in "(\tGPU0\tGPU[1-9]\n)?(GPU[0-3](\t(X|NV[0-9]{1,10}|SYS|.)){0,4}\n){0,4}",
    ) {
        let sources = Sources {
            cluster: Some(Text::new("nodes.json", cluster)),
            nodes: vec![NodeSources {
                name: "n".to_owned(),
                gpus: Some(Text::new("gpus.csv", gpus)),
                matrix: Some(Text::new("topo.txt", matrix)),
                ..NodeSources::default()
            }],
            problems: Vec::new(),
        };
        let report = scan(&sources);
        let figure = figure(&report);
        check_aligned(&picture::text(&figure));
        let _ = svg::svg(&figure);
        for node in &report.nodes {
            for value in node.derived_labels.values() {
                prop_assert!(value.len() <= 63 && !value.contains(char::is_whitespace));
            }
        }
    }
}

#[test]
fn rdma_is_a_way_only_where_two_nodes_have_it() {
    let nodes = |count: usize| {
        let items: Vec<serde_json::Value> = (0..count)
            .map(|at| {
                serde_json::json!({
                    "metadata": {"name": format!("n{at}"), "labels": {"nvidia.com/gpu.product": "NVIDIA-L40S"}},
                    "status": {"allocatable": {"nvidia.com/gpu": "2", "rdma/ib": "1"}},
                })
            })
            .collect();
        scan(&Sources {
            cluster: Some(Text::new(
                "nodes.json",
                serde_json::json!(items).to_string(),
            )),
            ..Sources::default()
        })
    };
    let alone = nodes(1);
    assert!(alone.nodes[0].rdma.fabric.is_usable());
    labels(&alone.nodes[0], "fs", None, "n0");
    assert!(alone.placements.iter().all(|one| one.backend == "fs"));
    let two = nodes(2);
    labels(&two.nodes[0], "rdma", None, "n0");
    assert!(two.placements.iter().any(|one| one.backend == "rdma"));
}
