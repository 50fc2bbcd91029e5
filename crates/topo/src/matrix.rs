//! The topology matrix of a node, as `nvidia-smi topo -m` prints it.
//!
//! The tool separates cells by tabs; pasted copies have spaces instead. Headings may be underlined by escape sequences.

use std::collections::BTreeMap;

use crate::problem::{Notes, Problem, quoted};
use crate::sources::Text;

/// How two devices reach one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Path {
    /// Through so many bonded NVLinks.
    NvLink(u32),
    /// Through at most one PCIe bridge (`PIX`).
    Switch,
    /// Through several PCIe bridges, not the host bridge (`PXB`).
    Switches,
    /// Through a PCIe host bridge (`PHB`).
    HostBridge,
    /// Between host bridges of one NUMA node (`NODE`).
    Node,
    /// Between NUMA nodes (`SYS`).
    System,
}

impl Path {
    fn read(cell: &str) -> Option<Self> {
        Some(match cell {
            "PIX" => Self::Switch,
            "PXB" => Self::Switches,
            "PHB" => Self::HostBridge,
            "NODE" => Self::Node,
            // SOC is what old drivers call it.
            "SYS" | "SOC" => Self::System,
            other => Self::NvLink(other.strip_prefix("NV")?.parse().ok().filter(|n| *n > 0)?),
        })
    }
}

/// The matrix, read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matrix {
    /// GPUs in it, in order.
    pub gpus: Vec<u32>,
    /// Paths between GPUs, the smaller number first.
    pub between: BTreeMap<(u32, u32), Path>,
    /// Paths from GPUs to network cards, the cards by their system name where the legend tells it.
    pub to_nic: BTreeMap<(u32, String), Path>,
    /// CPUs near each GPU.
    pub cpus: BTreeMap<u32, String>,
    /// NUMA node of each GPU.
    pub numa: BTreeMap<u32, u32>,
}

/// The cells of a line.
fn cells(line: &str) -> Vec<&str> {
    if line.contains('\t') {
        line.split('\t').map(str::trim).collect()
    } else {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        // The heading begins with an empty cell.
        if line.starts_with(' ') {
            words.insert(0, "");
        }
        words
    }
}

/// The text without escape sequences.
fn plain(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        if c == '\u{1b}' {
            for c in rest.by_ref() {
                if c.is_ascii_alphabetic() {
                    break;
                }
            }
        } else {
            out.push(c);
        }
    }
    out
}

fn gpu_number(name: &str) -> Option<u32> {
    name.strip_prefix("GPU")?.parse().ok()
}

/// Reads the matrix. What makes no sense is left out and named.
#[must_use]
pub fn read(source: &Text) -> (Matrix, Vec<Problem>) {
    let mut notes = Notes::new(&source.name);
    let mut matrix = Matrix::default();
    let mut lines = (1..).zip(source.text.lines().map(plain));
    let Some((at, heading)) = lines.find(|(_, line)| {
        cells(line)
            .get(1)
            .is_some_and(|cell| gpu_number(cell).is_some())
    }) else {
        if !source.text.trim().is_empty() {
            let first = source.text.lines().find(|line| !line.trim().is_empty());
            notes.error(Some(1), format!(
                "no heading with GPU0 found, the text begins with {}; use the output of nvidia-smi topo -m",
                quoted(first.unwrap_or_default().trim())
            ));
        }
        return (matrix, notes.done());
    };
    let heading = cells(&heading);
    let devices: Vec<&str> = heading[1..]
        .iter()
        .copied()
        .take_while(|cell| {
            !cell.is_empty() && !cell.starts_with("CPU") && !cell.starts_with("NUMA")
        })
        .collect();
    let gpus: Vec<u32> = devices.iter().filter_map(|name| gpu_number(name)).collect();
    let mut seen: BTreeMap<(u32, u32), (Path, usize)> = BTreeMap::new();
    let mut nics: Vec<(u32, String, Path)> = Vec::new();
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    let mut rows = Vec::new();
    for (number, line) in lines {
        let cells = cells(&line);
        let name = cells.first().copied().unwrap_or_default();
        if let Some((nic, system)) = legend(&line) {
            names.insert(nic.to_owned(), system.to_owned());
        }
        // Rows of network cards repeat what the rows of the GPUs say.
        let Some(gpu) = gpu_number(name) else {
            continue;
        };
        if !gpus.contains(&gpu) || rows.contains(&gpu) {
            notes.warn(
                Some(number),
                format!("a row for GPU{gpu}, which the heading in line {at} does not have once"),
            );
            continue;
        }
        rows.push(gpu);
        for (column, device) in devices.iter().enumerate() {
            let cell = cells.get(column + 1).copied().unwrap_or_default();
            if gpu_number(device) == Some(gpu) || cell == "N/A" {
                continue;
            }
            let Some(path) = Path::read(cell) else {
                notes.warn(
                    Some(number),
                    format!(
                        "GPU{gpu} to {device} says {}; expected NV#, PIX, PXB, PHB, NODE or SYS",
                        quoted(cell)
                    ),
                );
                continue;
            };
            match gpu_number(device) {
                None => nics.push((gpu, (*device).to_owned(), path)),
                Some(other) => {
                    let pair = (gpu.min(other), gpu.max(other));
                    match seen.get(&pair) {
                        Some((known, line)) if *known != path => notes.warn(Some(number), format!(
                            "GPU{gpu} to GPU{other} says {cell} here and something else in line {line}; the first counts"
                        )),
                        Some(_) => {}
                        None => {
                            seen.insert(pair, (path, number));
                        }
                    }
                }
            }
        }
        let affinity = |offset: usize| {
            let cell = cells.get(devices.len() + offset).copied();
            cell.filter(|cell| !cell.is_empty() && *cell != "N/A")
        };
        if let Some(cpus) = affinity(1) {
            matrix.cpus.insert(gpu, cpus.to_owned());
        }
        // Several nodes ("0-1"): the first stands for all.
        let numa = affinity(2).and_then(|cell| cell.split(['-', ',']).next()?.parse().ok());
        if let Some(numa) = numa {
            matrix.numa.insert(gpu, numa);
        }
    }
    for gpu in gpus.iter().filter(|gpu| !rows.contains(gpu)) {
        notes.warn(
            Some(at),
            format!("GPU{gpu} is in the heading and has no row"),
        );
    }
    matrix.gpus = rows;
    matrix.gpus.sort_unstable();
    matrix.between = seen
        .into_iter()
        .map(|(pair, (path, _))| (pair, path))
        .collect();
    matrix.to_nic = nics
        .into_iter()
        .map(|(gpu, nic, path)| ((gpu, names.get(&nic).cloned().unwrap_or(nic)), path))
        .collect();
    (matrix, notes.done())
}

/// `  NIC0: mlx5_0`
fn legend(line: &str) -> Option<(&str, &str)> {
    let (nic, name) = line.trim().split_once(": ")?;
    let digits = nic.strip_prefix("NIC")?;
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then_some((nic, name.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAIR: &str = "\t\u{1b}[4mGPU0\tGPU1\tNIC0\tCPU Affinity\tNUMA Affinity\tGPU NUMA ID\u{1b}[0m\n\
        GPU0\t X \tNV12\tNODE\t0-31,64-95\t0\t\tN/A\n\
        GPU1\tNV12\t X \tSYS\t32-63\t1\t\tN/A\n\
        NIC0\tNODE\tSYS\t X \t\t\t\t\n\nLegend:\n\n  X    = Self\n\nNIC Legend:\n\n  NIC0: mlx5_0\n";

    fn of(text: &str) -> (Matrix, Vec<String>) {
        let (matrix, problems) = read(&Text::new("topo.txt", text));
        (matrix, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn tabs_and_spaces_say_the_same() {
        let (tabs, none) = of(PAIR);
        assert_eq!(none, Vec::<String>::new());
        assert_eq!(tabs.gpus, [0, 1]);
        assert_eq!(tabs.between[&(0, 1)], Path::NvLink(12));
        assert_eq!(tabs.to_nic[&(1, "mlx5_0".to_owned())], Path::System);
        assert_eq!(tabs.cpus[&0], "0-31,64-95");
        assert_eq!(tabs.numa[&1], 1);
        let (spaces, none) = of(&PAIR.replace("\t\t", "\t").replace('\t', "    "));
        assert_eq!(none, Vec::<String>::new());
        assert_eq!(spaces, tabs);
    }

    #[test]
    fn contradictions_and_gaps_are_named() {
        let (matrix, problems) = of(&PAIR
            .replace("GPU1\tNV12", "GPU1\tPIX")
            .replace("\tNODE\t0", "\tFAST\t0"));
        assert_eq!(matrix.between[&(0, 1)], Path::NvLink(12));
        assert_eq!(
            problems,
            [
                "topo.txt:2: GPU0 to NIC0 says 'FAST'; expected NV#, PIX, PXB, PHB, NODE or SYS",
                "topo.txt:3: GPU1 to GPU0 says PIX here and something else in line 2; the first counts",
            ]
        );
        let (_, problems) = of("\tGPU0\tGPU1\tCPU Affinity\nGPU0\t X \tSYS\t0\n");
        assert_eq!(
            problems,
            ["topo.txt:1: GPU1 is in the heading and has no row"]
        );
        let (_, problems) = of("Failed to initialize NVML\n");
        assert!(
            problems[0].starts_with("topo.txt:1: no heading with GPU0 found"),
            "{problems:?}"
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(\tGPU0\tGPU1\tCPU Affinity\n)?((GPU[0-9]?|NIC0: |\u{1b}\\[4m)?(\t| |NV[0-9]{0,12}|SYS|.){0,8}\n){0,6}") {
            let _ = read(&Text::new("f", text));
        }

        #[test]
        fn what_is_printed_is_read_back(count in 1_u32..9, links in proptest::collection::vec(0_u32..19, 64)) {
            let cell = |a: u32, b: u32| match links[(a.min(b) * 8 + a.max(b)) as usize % 64] {
                _ if a == b => " X ".to_owned(),
                0 => "SYS".to_owned(),
                n => format!("NV{n}"),
            };
            let mut text: String = (0..count).map(|g| format!("\tGPU{g}")).collect();
            text.push_str("\tCPU Affinity\tNUMA Affinity\tGPU NUMA ID\n");
            for a in 0..count {
                let row: String = (0..count).map(|b| format!("\t{}", cell(a, b))).collect();
                text.push_str(&format!("GPU{a}{row}\t0-7\t0\t\tN/A\n"));
            }
            let (matrix, problems) = of(&text);
            prop_assert!(problems.is_empty(), "{problems:?}");
            for ((a, b), path) in &matrix.between {
                let expected = cell(*a, *b);
                let told = match path { Path::NvLink(n) => format!("NV{n}"), _ => "SYS".to_owned() };
                prop_assert_eq!(told, expected);
            }
            prop_assert_eq!(matrix.between.len() as u32, count * (count - 1) / 2);
        }
    }
}
