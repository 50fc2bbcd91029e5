//! What a scan found, as it is written to JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::problem::Problem;
use crate::sysfs::{Layer, Nic, NumaNode, RdmaPort};

/// Version of the JSON.
pub const SCHEMA_VERSION: u32 = 1;

/// How sure a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// Nothing points to it.
    None,
    /// A sign that often misleads.
    Low,
    /// Follows from something that is usually so.
    Medium,
    /// Was read where it is decided.
    High,
}

/// A finding, what it rests on and how sure it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found<T> {
    /// What was found.
    pub value: T,
    /// What it rests on.
    pub method: String,
    /// How sure it is.
    pub confidence: Confidence,
}

impl<T> Found<T> {
    pub(crate) fn new(value: T, confidence: Confidence, method: impl Into<String>) -> Self {
        Self {
            value,
            method: method.into(),
            confidence,
        }
    }
}

/// Who runs the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    /// OpenShift.
    Openshift,
    /// CoreWeave.
    Coreweave,
    /// Google Kubernetes Engine.
    Gke,
    /// Amazon EKS.
    Eks,
    /// Azure Kubernetes Service.
    Aks,
    /// Some other Kubernetes.
    Kubernetes,
    /// No cluster: a machine looked at by itself.
    Machine,
}

impl Platform {
    /// Its name for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Openshift => "OpenShift",
            Self::Coreweave => "CoreWeave",
            Self::Gke => "GKE",
            Self::Eks => "EKS",
            Self::Aks => "AKS",
            Self::Kubernetes => "Kubernetes",
            Self::Machine => "machine",
        }
    }
}

/// One GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gpu {
    /// Its number on the node.
    pub index: u32,
    /// Its product.
    pub name: String,
    /// Its UUID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Its PCI address.
    #[serde(rename = "busId", skip_serializing_if = "Option::is_none")]
    pub bus_id: Option<String>,
    /// Its memory in MiB.
    #[serde(rename = "memoryMib", skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u64>,
    /// Its NUMA node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numa: Option<u32>,
}

/// Two GPUs with NVLink between them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NvPair {
    /// The smaller number.
    pub a: u32,
    /// The larger number.
    pub b: u32,
    /// Bonded links.
    pub links: u32,
    /// GB/s of them together, both directions.
    #[serde(rename = "gbPerS")]
    pub gb_per_s: f64,
}

/// NVLink of a node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NvLink {
    /// Linked pairs.
    pub pairs: Vec<NvPair>,
    /// Sets of GPUs that reach one another over NVLink, each of at least two.
    pub groups: Vec<Vec<u32>>,
    /// The domain of several nodes that share one NVLink fabric.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// What this rests on.
    pub method: String,
    /// How sure it is.
    pub confidence: Confidence,
}

impl NvLink {
    /// The slowest pair of a group; 0 where there is none.
    #[must_use]
    pub fn slowest(&self, group: &[u32]) -> f64 {
        let inside = self
            .pairs
            .iter()
            .filter(|pair| group.contains(&pair.a) && group.contains(&pair.b));
        let slowest = inside
            .map(|pair| pair.gb_per_s)
            .fold(f64::INFINITY, f64::min);
        if slowest.is_finite() { slowest } else { 0.0 }
    }

    /// Whether every two GPUs of the group are linked directly.
    #[must_use]
    pub fn is_full(&self, group: &[u32]) -> bool {
        let inside = self
            .pairs
            .iter()
            .filter(|pair| group.contains(&pair.a) && group.contains(&pair.b));
        inside.count() == group.len() * group.len().saturating_sub(1) / 2
    }
}

/// What carries RDMA, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fabric {
    /// There is none.
    None,
    /// The hardware is there, and nothing says that pods can have it.
    Capable,
    /// RDMA of an unknown kind.
    Unknown,
    /// Amazon's EFA.
    Efa,
    /// RoCE.
    Roce,
    /// InfiniBand.
    Infiniband,
}

impl Fabric {
    /// Its name for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Capable => "capable, not available",
            Self::Unknown => "RDMA",
            Self::Efa => "EFA",
            Self::Roce => "RoCE",
            Self::Infiniband => "InfiniBand",
        }
    }

    /// Whether KV caches can travel over it.
    #[must_use]
    pub fn is_usable(self) -> bool {
        self >= Self::Unknown
    }
}

impl From<Layer> for Fabric {
    fn from(layer: Layer) -> Self {
        match layer {
            Layer::Infiniband => Self::Infiniband,
            Layer::Roce => Self::Roce,
        }
    }
}

/// RDMA of a node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rdma {
    /// Its kind.
    pub fabric: Fabric,
    /// Gbit/s of the fastest port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gbps: Option<f64>,
    /// Allocatable resources by which pods ask for it.
    pub resources: BTreeMap<String, u64>,
    /// Ports seen on the node itself.
    pub ports: Vec<RdmaPort>,
    /// What this rests on.
    pub method: String,
    /// How sure it is.
    pub confidence: Confidence,
}

/// The GPUs of a node in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GpuSummary {
    /// Product, as reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// How many there are.
    pub count: u32,
    /// What this rests on.
    pub method: String,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its GPUs in short.
    pub gpu: GpuSummary,
    /// Its GPUs one by one, where they were looked at.
    pub gpus: Vec<Gpu>,
    /// Its NVLink.
    pub nvlink: NvLink,
    /// Its RDMA.
    pub rdma: Rdma,
    /// Its network cards.
    pub nics: Vec<Nic>,
    /// Whether a Mellanox card is in it.
    pub mellanox: bool,
    /// Its NUMA nodes.
    pub numa: Vec<NumaNode>,
    /// The topology block: nodes of one block are near one another.
    pub block: Option<Found<String>>,
    /// Its zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Its rack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rack: Option<String>,
    /// Labels that follow.
    #[serde(rename = "derivedLabels")]
    pub derived_labels: BTreeMap<String, String>,
}

/// How good a placement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// The transfer costs next to nothing.
    Good,
    /// It works; the transfer shows in the time to the first token.
    Fair,
    /// It works, and is slow.
    Poor,
}

/// A way to place a prefill server and its decode server.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Placement {
    /// How good it is.
    pub grade: Grade,
    /// How the KV cache moves: `nvlink`, `rdma` or `fs`.
    pub backend: &'static str,
    /// The nodes it is possible on: both servers on one of them where `same_node`, else on any two.
    pub nodes: Vec<String>,
    /// Whether both servers must be on one node.
    #[serde(rename = "sameNode")]
    pub same_node: bool,
    /// Sets of GPUs of a node to choose both from; empty: any.
    #[serde(rename = "gpuGroups", skip_serializing_if = "Vec::is_empty")]
    pub gpu_groups: Vec<Vec<u32>>,
    /// GB/s between the two, where it is known.
    #[serde(rename = "gbPerS", skip_serializing_if = "Option::is_none")]
    pub gb_per_s: Option<f64>,
    /// Why.
    pub why: String,
}

/// The whole report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Version of this JSON.
    #[serde(rename = "schemaVersion")]
    pub schema_version: u32,
    /// Who runs the nodes.
    pub platform: Found<Platform>,
    /// The nodes, by name.
    pub nodes: Vec<Node>,
    /// Where prefill and decode can go, the best first.
    pub placements: Vec<Placement>,
    /// What could not be read.
    pub problems: Vec<Problem>,
}
