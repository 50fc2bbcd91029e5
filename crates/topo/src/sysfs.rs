//! What the files of `/sys` say about GPUs, network cards, RDMA devices and NUMA nodes.
//!
//! The input is a map from paths below `/sys` to contents; only these files are looked at:
//! `class/infiniband/<dev>/device/{numa_node,vendor}`, `class/infiniband/<dev>/ports/<n>/{link_layer,rate,state}`,
//! `class/net/<dev>/{speed,operstate}`, `class/net/<dev>/device/{vendor,numa_node}`,
//! `bus/pci/devices/<address>/{vendor,class,numa_node}` and `devices/system/node/node<n>/cpulist`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::problem::{Notes, Problem, quoted};

/// A network card that is a PCI device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Nic {
    /// Its name, such as `eth0`.
    pub name: String,
    /// Who made it.
    pub vendor: String,
    /// Speed in Mbit/s; absent while the link is down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mbps: Option<u32>,
    /// Whether the link is up.
    pub up: bool,
    /// The NUMA node it hangs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numa: Option<u32>,
}

/// One port of an RDMA device.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RdmaPort {
    /// The device, such as `mlx5_0`.
    pub device: String,
    /// The port's number.
    pub port: u32,
    /// What carries it.
    pub layer: Layer,
    /// Speed in Gbit/s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gbps: Option<f64>,
    /// Whether it is active.
    pub active: bool,
    /// The NUMA node of the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numa: Option<u32>,
}

/// What carries RDMA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// InfiniBand.
    Infiniband,
    /// RDMA over converged Ethernet.
    Roce,
}

/// A NUMA node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NumaNode {
    /// Its number.
    pub id: u32,
    /// Its CPUs, as a list of ranges.
    pub cpus: String,
}

/// What `/sys` says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Hardware {
    /// Network cards.
    pub nics: Vec<Nic>,
    /// Ports of RDMA devices.
    pub rdma: Vec<RdmaPort>,
    /// NUMA nodes.
    pub numa: Vec<NumaNode>,
    /// NUMA node of each NVIDIA GPU, by PCI address in small letters.
    pub gpus: BTreeMap<String, Option<u32>>,
}

const NVIDIA: &str = "0x10de";

/// Reads the files; `name` is where they came from.
#[must_use]
pub fn read(name: &str, files: &BTreeMap<String, String>) -> (Hardware, Vec<Problem>) {
    let mut reader = Reader {
        files,
        root: name,
        problems: Vec::new(),
    };
    let hardware = Hardware {
        nics: reader.nics(),
        rdma: reader.rdma(),
        numa: reader.numa_nodes(),
        gpus: reader.gpus(),
    };
    (hardware, reader.problems)
}

/// The address of a PCI device as `/sys` writes it: the tool pads the domain to eight digits.
#[must_use]
pub fn pci_address(text: &str) -> String {
    let small = text.to_ascii_lowercase();
    match small.split_once(':') {
        Some((domain, rest)) if domain.len() == 8 && domain.starts_with("0000") => {
            format!("{}:{rest}", &domain[4..])
        }
        _ => small,
    }
}

struct Reader<'a> {
    files: &'a BTreeMap<String, String>,
    root: &'a str,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    /// The names that stand behind `folder`.
    fn entries(&self, folder: &str) -> BTreeSet<&'a str> {
        let behind = self.files.range(folder.to_owned()..);
        behind
            .map_while(|(path, _)| path.strip_prefix(folder))
            .filter_map(|rest| rest.split('/').next())
            .filter(|name| !name.is_empty())
            .collect()
    }

    fn text(&self, path: &str) -> Option<&'a str> {
        self.files.get(path).map(|text| text.trim())
    }

    fn wrong(&mut self, path: &str, what: String) {
        let file = format!("{}/{path}", self.root);
        let mut notes = Notes::new(&file);
        notes.warn(Some(1), what);
        self.problems.extend(notes.done());
    }

    /// The NUMA node of a device; the kernel says -1 where there is none.
    fn numa(&mut self, device: &str) -> Option<u32> {
        let path = format!("{device}/numa_node");
        let text = self.text(&path)?;
        match text.parse::<i32>() {
            Ok(number) => u32::try_from(number).ok(),
            Err(_) => {
                self.wrong(
                    &path,
                    format!("{} is no NUMA node; expected a number", quoted(text)),
                );
                None
            }
        }
    }

    fn nics(&mut self) -> Vec<Nic> {
        let mut found = Vec::new();
        for name in self.entries("class/net/") {
            let folder = format!("class/net/{name}");
            // Without a PCI device behind it, it is virtual.
            let Some(vendor) = self.text(&format!("{folder}/device/vendor")) else {
                continue;
            };
            let path = format!("{folder}/speed");
            let mbps = match self.text(&path).map(|text| (text, text.parse::<i64>())) {
                None => None,
                Some((_, Ok(mbps))) => u32::try_from(mbps).ok().filter(|mbps| *mbps > 0),
                Some((text, Err(_))) => {
                    self.wrong(
                        &path,
                        format!("{} is no speed; expected a number of Mbit/s", quoted(text)),
                    );
                    None
                }
            };
            found.push(Nic {
                name: name.to_owned(),
                vendor: vendor_name(vendor),
                mbps,
                up: self.text(&format!("{folder}/operstate")) == Some("up"),
                numa: self.numa(&format!("{folder}/device")),
            });
        }
        found
    }

    fn rdma(&mut self) -> Vec<RdmaPort> {
        let mut found = Vec::new();
        for device in self.entries("class/infiniband/") {
            let folder = format!("class/infiniband/{device}");
            let numa = self.numa(&format!("{folder}/device"));
            for port in self.entries(&format!("{folder}/ports/")) {
                let at = format!("{folder}/ports/{port}");
                let Ok(number) = port.parse() else {
                    self.wrong(&at, "is no port; expected a number".to_owned());
                    continue;
                };
                let path = format!("{at}/link_layer");
                let layer = match self.text(&path) {
                    Some("InfiniBand") => Layer::Infiniband,
                    Some("Ethernet") => Layer::Roce,
                    other => {
                        let told = quoted(other.unwrap_or_default());
                        self.wrong(
                            &path,
                            format!("{told} is no link layer; expected InfiniBand or Ethernet"),
                        );
                        continue;
                    }
                };
                let path = format!("{at}/rate");
                let gbps = match self.text(&path) {
                    None => None,
                    // "400 Gb/sec (4X NDR)"
                    Some(text) => match rate(text) {
                        Some(rate) => Some(rate),
                        _ => {
                            self.wrong(
                                &path,
                                format!(
                                    "{} is no rate; expected a text as 400 Gb/sec (4X NDR)",
                                    quoted(text)
                                ),
                            );
                            None
                        }
                    },
                };
                let path = format!("{at}/state");
                let active = match self.text(&path).map(|text| (text, state(text))) {
                    None => false,
                    Some((_, Some(name))) => name == "ACTIVE",
                    Some((text, None)) => {
                        self.wrong(
                            &path,
                            format!("{} is no state; expected a text as 4: ACTIVE", quoted(text)),
                        );
                        false
                    }
                };
                found.push(RdmaPort {
                    device: device.to_owned(),
                    port: number,
                    layer,
                    gbps,
                    active,
                    numa,
                });
            }
        }
        found
    }

    fn numa_nodes(&mut self) -> Vec<NumaNode> {
        let mut found = Vec::new();
        for name in self.entries("devices/system/node/") {
            let Some(id) = name.strip_prefix("node").and_then(|id| id.parse().ok()) else {
                continue;
            };
            let cpus = self.text(&format!("devices/system/node/{name}/cpulist"));
            found.push(NumaNode {
                id,
                cpus: cpus.unwrap_or_default().to_owned(),
            });
        }
        found.sort_by_key(|node| node.id);
        found
    }

    fn gpus(&mut self) -> BTreeMap<String, Option<u32>> {
        let mut found = BTreeMap::new();
        for address in self.entries("bus/pci/devices/") {
            let folder = format!("bus/pci/devices/{address}");
            let class = self.text(&format!("{folder}/class")).unwrap_or_default();
            // 0x0300 is a VGA and 0x0302 a 3D controller.
            let shows = class.starts_with("0x0300") || class.starts_with("0x0302");
            if shows && self.text(&format!("{folder}/vendor")) == Some(NVIDIA) {
                let numa = self.numa(&folder);
                found.insert(address.to_ascii_lowercase(), numa);
            }
        }
        found
    }
}

/// The number in a text as `400 Gb/sec (4X NDR)`.
fn rate(text: &str) -> Option<f64> {
    let mut words = text.split(' ');
    let rate: f64 = words.next()?.parse().ok()?;
    let known = words.next() == Some("Gb/sec") && rate.is_finite() && rate >= 0.0;
    known.then_some(rate)
}

/// The states that the kernel gives to a port.
const STATES: [&str; 6] = ["NOP", "DOWN", "INIT", "ARMED", "ACTIVE", "ACTIVE_DEFER"];

/// The name in a text as `4: ACTIVE`.
fn state(text: &str) -> Option<&str> {
    let (number, name) = text.split_once(": ")?;
    (number.parse::<u8>().is_ok() && STATES.contains(&name)).then_some(name)
}

fn vendor_name(id: &str) -> String {
    match id {
        "0x15b3" => "Mellanox",
        "0x8086" => "Intel",
        "0x14e4" => "Broadcom",
        "0x1d0f" => "Amazon",
        "0x1ae0" => "Google",
        "0x1af4" => "virtio",
        "0x1414" => "Microsoft",
        NVIDIA => "NVIDIA",
        other => other,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn files(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn devices_are_found_by_their_files() {
        let (hardware, problems) = read(
            "sys",
            &files(&[
                ("class/infiniband/mlx5_0/device/numa_node", "1\n"),
                ("class/infiniband/mlx5_0/ports/1/link_layer", "InfiniBand\n"),
                (
                    "class/infiniband/mlx5_0/ports/1/rate",
                    "400 Gb/sec (4X NDR)\n",
                ),
                ("class/infiniband/mlx5_0/ports/1/state", "4: ACTIVE\n"),
                ("class/net/eth0/device/vendor", "0x15b3\n"),
                ("class/net/eth0/device/numa_node", "-1\n"),
                ("class/net/eth0/speed", "25000\n"),
                ("class/net/eth0/operstate", "up\n"),
                ("class/net/lo/operstate", "unknown\n"),
                ("bus/pci/devices/0000:17:00.0/class", "0x030200\n"),
                ("bus/pci/devices/0000:17:00.0/vendor", "0x10de\n"),
                ("bus/pci/devices/0000:17:00.0/numa_node", "0\n"),
                ("devices/system/node/node0/cpulist", "0-15\n"),
            ]),
        );
        assert_eq!(problems, []);
        assert_eq!(hardware.rdma.len(), 1);
        let port = &hardware.rdma[0];
        assert_eq!(
            (port.layer, port.gbps, port.active, port.numa),
            (Layer::Infiniband, Some(400.0), true, Some(1))
        );
        assert_eq!(hardware.nics.len(), 1);
        assert_eq!(
            (hardware.nics[0].mbps, hardware.nics[0].numa),
            (Some(25000), None)
        );
        assert_eq!(hardware.gpus["0000:17:00.0"], Some(0));
        assert_eq!(
            hardware.numa,
            [NumaNode {
                id: 0,
                cpus: "0-15".to_owned()
            }]
        );
    }

    #[test]
    fn what_is_wrong_is_named_by_its_file() {
        let (hardware, problems) = read(
            "n/sys",
            &files(&[
                ("class/infiniband/a/ports/1/link_layer", "Token Ring"),
                ("class/infiniband/b/ports/1/link_layer", "Ethernet"),
                ("class/infiniband/b/ports/1/rate", "fast"),
                ("class/infiniband/b/ports/1/state", "INACTIVE"),
                ("class/infiniband/c/ports/1/link_layer", "InfiniBand"),
                ("class/infiniband/c/ports/1/rate", "400 furlongs"),
                ("class/infiniband/c/ports/1/state", "1: DOWN"),
                ("class/net/eth0/device/vendor", "0x8086"),
                ("class/net/eth0/speed", "?"),
            ]),
        );
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(hardware.rdma.len(), 2);
        assert!(hardware.rdma.iter().all(|port| !port.active));
        assert_eq!(
            problems,
            [
                "n/sys/class/net/eth0/speed:1: '?' is no speed; expected a number of Mbit/s",
                "n/sys/class/infiniband/a/ports/1/link_layer:1: 'Token Ring' is no link layer; expected InfiniBand or Ethernet",
                "n/sys/class/infiniband/b/ports/1/rate:1: 'fast' is no rate; expected a text as 400 Gb/sec (4X NDR)",
                "n/sys/class/infiniband/b/ports/1/state:1: 'INACTIVE' is no state; expected a text as 4: ACTIVE",
                "n/sys/class/infiniband/c/ports/1/rate:1: '400 furlongs' is no rate; expected a text as 400 Gb/sec (4X NDR)",
            ]
        );
    }

    #[test]
    fn addresses_of_both_spellings_are_one() {
        assert_eq!(pci_address("00000000:17:00.0"), "0000:17:00.0");
        assert_eq!(pci_address("0000:C1:00.0"), "0000:c1:00.0");
    }

    proptest! {
        #[test]
        fn no_files_make_it_panic(found in proptest::collection::btree_map(
            "(class/(infiniband|net)/[a-z]{0,3}/(ports/)?[0-9a-z/]{0,12}|devices/system/node/node.{0,3}|.{0,20})", ".{0,12}", 0..12,
        )) {
            let _ = read("sys", &found);
        }

        #[test]
        fn no_address_makes_it_panic(text in ".{0,20}") {
            let _ = pci_address(&text);
        }
    }
}
