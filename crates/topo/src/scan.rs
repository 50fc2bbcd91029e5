//! The join: texts in, report out.

use std::collections::{BTreeMap, BTreeSet};

use crate::gpus::GpuRow;
use crate::labels;
use crate::links::{Implied, gbps_of, implied, implied_on_gke, nvlink_gb_per_s};
use crate::matrix::{self, Matrix, Path};
use crate::nodes::{self, ClusterNode, GPU};
use crate::placement;
use crate::report::{
    Confidence, Fabric, Found, Gpu, GpuSummary, Node, NvLink, NvPair, Platform, Rdma, Report,
    SCHEMA_VERSION,
};
use crate::sources::{NodeSources, Sources};
use crate::sysfs::{self, Hardware, pci_address};

/// Reads all texts and says what follows from them.
#[must_use]
pub fn scan(sources: &Sources) -> Report {
    let mut problems = sources.problems.clone();
    let mut listed = Vec::new();
    if let Some(text) = &sources.cluster {
        let (nodes, wrong) = nodes::read(text);
        problems.extend(wrong);
        listed = nodes;
    }
    let platform = platform(sources.cluster.is_some(), &listed);
    let mut known: BTreeMap<&str, (Option<&ClusterNode>, Option<&NodeSources>)> = BTreeMap::new();
    for node in &listed {
        known.entry(&node.name).or_default().0 = Some(node);
    }
    for node in &sources.nodes {
        known.entry(&node.name).or_default().1 = Some(node);
    }
    let mut found = Vec::new();
    for (name, (listed, local)) in known {
        let local = local.map(|local| {
            let (local, wrong) = Local::read(local);
            problems.extend(wrong);
            local
        });
        found.push(node(name, listed, local));
    }
    label(&mut found, sources.cluster.is_some());
    Report {
        schema_version: SCHEMA_VERSION,
        platform,
        placements: placement::of(&found),
        nodes: found,
        problems,
    }
}

/// What was read on the node itself.
#[derive(Default)]
struct Local {
    gpus: Vec<GpuRow>,
    matrix: Option<Matrix>,
    hardware: Hardware,
}

impl Local {
    fn read(sources: &NodeSources) -> (Self, Vec<crate::problem::Problem>) {
        let mut problems = Vec::new();
        let mut local = Self::default();
        if let Some(text) = &sources.gpus {
            let (gpus, wrong) = crate::gpus::read(text);
            problems.extend(wrong);
            local.gpus = gpus;
        }
        if let Some(text) = &sources.matrix {
            let (matrix, wrong) = matrix::read(text);
            problems.extend(wrong);
            local.matrix = Some(matrix).filter(|matrix| !matrix.gpus.is_empty());
        }
        let (hardware, wrong) = sysfs::read(&sources.sys_name, &sources.sys);
        problems.extend(wrong);
        local.hardware = hardware;
        (local, problems)
    }
}

/// A platform, how sure its sign is, and the label keys that are the sign.
type Sign<'a> = (Platform, Confidence, &'a dyn Fn(&str) -> bool);

fn platform(cluster: bool, nodes: &[ClusterNode]) -> Found<Platform> {
    if !cluster {
        return Found::new(
            Platform::Machine,
            Confidence::High,
            "no list of nodes, only machines",
        );
    }
    let by_label = |wanted: &dyn Fn(&str) -> bool| {
        let mut keys = nodes.iter().flat_map(|node| node.labels.keys());
        keys.find(|key| wanted(key)).cloned()
    };
    let domain = |key: &str| key.split('/').next().unwrap_or_default().to_owned();
    let signs: [Sign<'_>; 6] = [
        (Platform::Openshift, Confidence::High, &|key| {
            key == "node.openshift.io/os_id"
        }),
        (Platform::Coreweave, Confidence::High, &|key| {
            domain(key).ends_with(".coreweave.cloud")
        }),
        (Platform::Gke, Confidence::High, &|key| {
            key.starts_with("cloud.google.com/gke-")
        }),
        (Platform::Eks, Confidence::High, &|key| {
            domain(key) == "eks.amazonaws.com"
        }),
        (Platform::Aks, Confidence::High, &|key| {
            domain(key) == "kubernetes.azure.com"
        }),
        // Its device plugin is used elsewhere too.
        (Platform::Coreweave, Confidence::Medium, &|key| {
            key == "gpu.nvidia.com/class"
        }),
    ];
    for (platform, confidence, sign) in signs {
        if let Some(key) = by_label(sign) {
            return Found::new(platform, confidence, format!("label {key}"));
        }
    }
    Found::new(
        Platform::Kubernetes,
        Confidence::Low,
        "no label of a known platform",
    )
}

fn node(name: &str, listed: Option<&ClusterNode>, local: Option<Local>) -> Node {
    let nobody = ClusterNode::default();
    let listed = listed.unwrap_or(&nobody);
    let local = local.unwrap_or_default();
    let gpu = gpu_summary(listed, &local);
    let nvlink = nvlink(listed, &local, &gpu);
    let rdma = rdma(listed, &local.hardware);
    let block = block(listed);
    let mellanox = listed.label("feature.node.kubernetes.io/pci-15b3.present") == Some("true")
        || local
            .hardware
            .nics
            .iter()
            .any(|nic| nic.vendor == "Mellanox");
    let first = |keys: &[&str]| {
        keys.iter()
            .find_map(|key| listed.label(key))
            .map(str::to_owned)
    };
    let gpus = gpus(&local);
    Node {
        name: name.to_owned(),
        gpus,
        gpu,
        nvlink,
        rdma,
        nics: local.hardware.nics,
        mellanox,
        numa: local.hardware.numa,
        block,
        zone: first(ZONES),
        rack: first(RACKS),
        derived_labels: BTreeMap::new(),
    }
}

/// Gives all nodes their labels. Between nodes a cache moves over RDMA only where two have the same fabric; of one machine
/// alone nobody knows what stands beside it, so there the card counts.
fn label(nodes: &mut [Node], cluster: bool) {
    let whole = cluster || nodes.len() > 1;
    let fabrics: Vec<Fabric> = nodes
        .iter()
        .filter(|node| node.gpu.count > 0)
        .map(|node| node.rdma.fabric)
        .collect();
    for node in nodes {
        let own = node.rdma.fabric;
        let others = fabrics.iter().filter(|fabric| **fabric == own).count();
        let peers = own.is_usable() && (!whole || others > 1);
        node.derived_labels = labels::of(node, peers);
    }
}

const ZONES: &[&str] = &[
    "topology.kubernetes.io/zone",
    "topology.gke.io/zone",
    "failure-domain.beta.kubernetes.io/zone",
];
const RACKS: &[&str] = &["topology.kubernetes.io/rack", "node.coreweave.cloud/rack"];

fn gpu_summary(listed: &ClusterNode, local: &Local) -> GpuSummary {
    let labelled = [
        "nvidia.com/gpu.product",
        "gpu.nvidia.com/model",
        "gpu.nvidia.com/class",
        "cloud.google.com/gke-accelerator",
    ];
    let product = local.gpus.first().map(|gpu| gpu.name.clone());
    let product = product.or_else(|| {
        labelled
            .iter()
            .find_map(|key| listed.label(key))
            .map(str::to_owned)
    });
    let small = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let counted = |key: &str| listed.label(key).and_then(|text| text.parse::<u32>().ok());
    let ways = [
        (small(local.gpus.len()), "nvidia-smi"),
        (
            small(local.matrix.as_ref().map_or(0, |matrix| matrix.gpus.len())),
            "nvidia-smi topo -m",
        ),
        (
            u32::try_from(listed.amount(GPU)).unwrap_or(u32::MAX),
            "allocatable nvidia.com/gpu",
        ),
        (small(local.hardware.gpus.len()), "PCI devices"),
        (
            counted("nvidia.com/gpu.count").unwrap_or(0),
            "label nvidia.com/gpu.count",
        ),
        (
            counted("gpu.nvidia.com/count").unwrap_or(0),
            "label gpu.nvidia.com/count",
        ),
    ];
    // A label may have been left by a machine of the past or by hand: a count of hardware comes first.
    let found = ways.iter().find(|(count, _)| *count > 0);
    let (count, method) = found.copied().unwrap_or((0, "no sign of a GPU"));
    GpuSummary {
        product: product.filter(|_| count > 0),
        count: count.min(MOST_GPUS),
        method: method.to_owned(),
    }
}

/// No machine has more; a label that says so is mistaken, and pairs grow with the square.
const MOST_GPUS: u32 = 128;

fn gpus(local: &Local) -> Vec<Gpu> {
    let none = Matrix::default();
    let matrix = local.matrix.as_ref().unwrap_or(&none);
    let of_bus = |bus: &Option<String>| {
        let address = pci_address(bus.as_deref()?);
        local.hardware.gpus.get(&address).copied().flatten()
    };
    let rows = local.gpus.iter().map(|row| Gpu {
        index: row.index,
        name: row.name.clone(),
        uuid: row.uuid.clone(),
        numa: matrix
            .numa
            .get(&row.index)
            .copied()
            .or_else(|| of_bus(&row.bus_id)),
        bus_id: row.bus_id.clone(),
        memory_mib: row.memory_mib,
    });
    rows.collect()
}

fn nvlink(listed: &ClusterNode, local: &Local, gpu: &GpuSummary) -> NvLink {
    let product = gpu.product.as_deref().unwrap_or_default();
    let pair = |a: u32, b: u32, links: u32| NvPair {
        a,
        b,
        links,
        gb_per_s: f64::from(links) * nvlink_gb_per_s(product),
    };
    let domain = ["nvidia.com/gpu.clique", "ds.coreweave.com/nvlink.domain"];
    let domain = domain
        .iter()
        .find_map(|key| listed.label(key))
        .map(str::to_owned);
    let of = |pairs: Vec<NvPair>, method: String, confidence: Confidence| NvLink {
        groups: groups(&pairs),
        domain: domain.clone().filter(|_| !pairs.is_empty()),
        pairs,
        method,
        confidence,
    };
    if let Some(matrix) = &local.matrix {
        let pairs = matrix
            .between
            .iter()
            .filter_map(|((a, b), path)| match path {
                Path::NvLink(links) => Some(pair(*a, *b, *links)),
                _ => None,
            });
        return of(
            pairs.collect(),
            "nvidia-smi topo -m".to_owned(),
            Confidence::High,
        );
    }
    if gpu.count < 2 {
        return of(
            Vec::new(),
            "fewer than two GPUs".to_owned(),
            Confidence::High,
        );
    }
    let accelerator = listed
        .label("cloud.google.com/gke-accelerator")
        .unwrap_or_default();
    let class = listed.label("gpu.nvidia.com/class").unwrap_or_default();
    let (kind, sign) = match (implied(product), implied_on_gke(accelerator)) {
        (Implied::Nothing, Implied::Nothing) if class.contains("NVLINK") => {
            (Implied::All(12), class)
        }
        (Implied::Nothing, kind @ Implied::All(_)) => (kind, accelerator),
        (kind, _) => (kind, product),
    };
    let pairs: Vec<NvPair> = match kind {
        Implied::Nothing => Vec::new(),
        Implied::All(links) => (0..gpu.count)
            .flat_map(|a| (a + 1..gpu.count).map(move |b| (a, b)))
            .map(|(a, b)| pair(a, b, links))
            .collect(),
        Implied::Pairs(links) => (0..gpu.count / 2)
            .map(|n| pair(2 * n, 2 * n + 1, links))
            .collect(),
    };
    if pairs.is_empty() {
        return of(
            pairs,
            "nothing points to NVLink; nvidia-smi topo -m on the node would tell".to_owned(),
            Confidence::Low,
        );
    }
    let method =
        format!("product {sign} is made with it; nvidia-smi topo -m on the node would prove it");
    of(pairs, method, Confidence::Medium)
}

/// Sets of GPUs that reach one another.
fn groups(pairs: &[NvPair]) -> Vec<Vec<u32>> {
    let mut groups: Vec<BTreeSet<u32>> = Vec::new();
    for pair in pairs {
        let (touched, mut others): (Vec<_>, Vec<_>) = groups
            .into_iter()
            .partition(|group| group.contains(&pair.a) || group.contains(&pair.b));
        let mut joined: BTreeSet<u32> = touched.into_iter().flatten().collect();
        joined.extend([pair.a, pair.b]);
        others.push(joined);
        groups = others;
    }
    let mut groups: Vec<Vec<u32>> = groups
        .into_iter()
        .map(|group| group.into_iter().collect())
        .collect();
    groups.sort();
    groups
}

/// What kind of RDMA a resource's name stands for; `None`: it is no RDMA.
fn resource(name: &str) -> Option<Fabric> {
    let (domain, short) = name.split_once('/')?;
    let has = |words: &[&str]| words.iter().any(|word| short.contains(word));
    match domain {
        "rdma" if has(&["roce"]) => Some(Fabric::Roce),
        "rdma" if has(&["ib"]) => Some(Fabric::Infiniband),
        "rdma" => Some(Fabric::Unknown),
        "networking.gke.io.networks" if short.starts_with("rdma-") && !short.ends_with(".IP") => {
            Some(Fabric::Roce)
        }
        "vpc.amazonaws.com" if short == "efa" => Some(Fabric::Efa),
        "openshift.io" | "nvidia.com" if has(&["roce"]) => Some(Fabric::Roce),
        "openshift.io" | "nvidia.com" if has(&["rdma", "hostdev"]) => Some(Fabric::Unknown),
        _ => None,
    }
}

fn rdma(listed: &ClusterNode, hardware: &Hardware) -> Rdma {
    let is = |key: &str| listed.label(key) == Some("true");
    let resources: BTreeMap<String, u64> = listed
        .allocatable
        .keys()
        .filter(|name| resource(name).is_some() || name.contains("sriov"))
        .map(|name| (name.clone(), listed.amount(name)))
        .filter(|(_, amount)| *amount > 0)
        .collect();
    let active = || hardware.rdma.iter().filter(|port| port.active);
    let by_resource = resources
        .keys()
        .filter_map(|name| Some((resource(name)?, name)))
        .max();
    let by_port = active()
        .map(|port| (Fabric::from(port.layer), &port.device))
        .max();
    let speed = [
        "ib.coreweave.cloud/speed.current",
        "ib.coreweave.cloud/speed",
    ];
    let speed = speed
        .iter()
        .find_map(|key| listed.label(key))
        .and_then(gbps_of);
    let measured = active().filter_map(|port| port.gbps).fold(0.0, f64::max);
    let (fabric, confidence, method) = match (by_resource, by_port) {
        // The port knows the kind where the resource's name is silent about it.
        (Some((Fabric::Unknown, name)), Some((kind, device))) => (
            kind,
            Confidence::High,
            format!("allocatable {name}, port of {device}"),
        ),
        (Some((kind, name)), _) => (kind, Confidence::High, format!("allocatable {name}")),
        (None, Some((kind, device))) => {
            (kind, Confidence::High, format!("active port of {device}"))
        }
        (None, None) if speed.is_some() || listed.label("ib.coreweave.cloud/fabric").is_some() => (
            Fabric::Capable,
            Confidence::Medium,
            "labels of ib.coreweave.cloud, nothing allocatable".to_owned(),
        ),
        (None, None) if !hardware.rdma.is_empty() => (
            Fabric::Capable,
            Confidence::High,
            "ports in /sys, none active".to_owned(),
        ),
        (None, None) if is("feature.node.kubernetes.io/rdma.available") => (
            Fabric::Capable,
            Confidence::Medium,
            "label rdma.available, nothing allocatable".to_owned(),
        ),
        (None, None) if is("feature.node.kubernetes.io/rdma.capable") => (
            Fabric::Capable,
            Confidence::Low,
            "label rdma.capable, nothing allocatable".to_owned(),
        ),
        (None, None) => (
            Fabric::None,
            Confidence::Medium,
            "no resource, port or label of RDMA".to_owned(),
        ),
    };
    Rdma {
        fabric,
        gbps: (measured > 0.0).then_some(measured).or(speed),
        resources,
        ports: hardware.rdma.clone(),
        method,
        confidence,
    }
}

fn block(listed: &ClusterNode) -> Option<Found<String>> {
    let ways: [(&str, Confidence); 12] = [
        ("backend.coreweave.cloud/leafgroup", Confidence::High),
        ("ib.coreweave.cloud/leafgroup", Confidence::High),
        ("cloud.google.com/gce-topology-subblock", Confidence::High),
        ("cloud.google.com/gce-topology-block", Confidence::High),
        ("topology.k8s.aws/network-node-layer-3", Confidence::High),
        ("topology.kubernetes.io/rack", Confidence::High),
        ("node.coreweave.cloud/rack", Confidence::High),
        ("ib.coreweave.cloud/superpod", Confidence::Medium),
        ("ib.coreweave.cloud/fabric", Confidence::Medium),
        ("topology.kubernetes.io/zone", Confidence::Low),
        ("topology.gke.io/zone", Confidence::Low),
        ("failure-domain.beta.kubernetes.io/zone", Confidence::Low),
    ];
    ways.iter().find_map(|(key, confidence)| {
        let value = listed.label(key)?;
        Some(Found::new(
            value.to_owned(),
            *confidence,
            format!("label {key}"),
        ))
    })
}
