//! The texts that a scan reads, wherever they came from, and how they lie in a folder.
//!
//! ```text
//! DIR/nodes.json               kubectl get nodes -o json
//! DIR/nodes/<node>/gpus.csv    nvidia-smi --query-gpu=index,name,uuid,pci.bus_id,memory.total --format=csv
//! DIR/nodes/<node>/topo.txt    nvidia-smi topo -m
//! DIR/nodes/<node>/sys/…       files of /sys: class/infiniband, class/net, bus/pci/devices, devices/system/node
//! ```

use std::collections::BTreeMap;

use crate::problem::Problem;

/// The columns that are asked of `nvidia-smi`.
pub const GPU_QUERY: &str = "index,name,uuid,pci.bus_id,memory.total";
/// Name of the file with the list of nodes.
pub const NODES: &str = "nodes.json";
/// Name of the file with the GPUs of one node.
pub const GPUS: &str = "gpus.csv";
/// Name of the file with the topology matrix of one node.
pub const MATRIX: &str = "topo.txt";
/// Name of the folder with a node's part of `/sys`.
pub const SYS: &str = "sys";

/// One text and the name under which problems call it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Text {
    /// A path, or a command.
    pub name: String,
    /// What it says.
    pub text: String,
}

impl Text {
    /// A text with a name.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
        }
    }
}

/// What was read on one node itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeSources {
    /// The node's name.
    pub name: String,
    /// The GPUs; `None`: there was no such text.
    pub gpus: Option<Text>,
    /// The topology matrix.
    pub matrix: Option<Text>,
    /// Where the files of `/sys` came from.
    pub sys_name: String,
    /// Files of `/sys` by their path below it.
    pub sys: BTreeMap<String, String>,
}

/// All texts of one scan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sources {
    /// The nodes as the API server lists them.
    pub cluster: Option<Text>,
    /// What was read on nodes.
    pub nodes: Vec<NodeSources>,
    /// What could not be read at all.
    pub problems: Vec<Problem>,
}

impl Sources {
    /// Every text by its path in a folder, so that a scan can be repeated from there.
    #[must_use]
    pub fn files(&self) -> BTreeMap<String, &str> {
        let mut files = BTreeMap::new();
        if let Some(text) = &self.cluster {
            files.insert(NODES.to_owned(), text.text.as_str());
        }
        for node in &self.nodes {
            let folder = format!("nodes/{}", node.name);
            for (name, text) in [(GPUS, &node.gpus), (MATRIX, &node.matrix)] {
                if let Some(text) = text {
                    files.insert(format!("{folder}/{name}"), text.text.as_str());
                }
            }
            for (path, text) in &node.sys {
                files.insert(format!("{folder}/{SYS}/{path}"), text.as_str());
            }
        }
        files
    }
}
