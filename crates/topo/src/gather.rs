//! The only part that touches the system: files of a folder, `/sys`, and the output of `nvidia-smi`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{ErrorKind, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::{fs, io};

use crate::problem::{Problem, Severity};
use crate::sources::{GPU_QUERY, GPUS, MATRIX, NODES, NodeSources, SYS, Sources, Text};

/// Longest file that is read: a list of thousands of nodes has some tens of MiB.
const LONGEST: u64 = 256 << 20;
/// Files of `/sys` at most, so that no loop of links can keep us.
const MOST_FILES: usize = 20_000;

/// Everything that lies in a folder, as [`crate::sources`] describes it.
#[must_use]
pub fn folder(folder: &Path) -> Sources {
    let mut sources = Sources::default();
    let mut problems = Vec::new();
    sources.cluster = text(&folder.join(NODES), &mut problems);
    let nodes = folder.join("nodes");
    for path in entries(&nodes, &mut problems) {
        if path.is_dir() {
            sources.nodes.extend(node_folder(&path, &mut problems));
        }
    }
    // A folder with the files of one node is that node.
    sources.nodes.extend(node_folder(folder, &mut problems));
    if sources.cluster.is_none() && sources.nodes.is_empty() && problems.is_empty() {
        problems.push(problem(folder, if folder.is_dir() {
            format!("holds nothing to scan; expected {NODES}, nodes/<node>/{{{GPUS},{MATRIX},{SYS}}}, or these files of one node")
        } else {
            "is no folder".to_owned()
        }));
    }
    sources.problems = problems;
    sources
}

fn node_folder(folder: &Path, problems: &mut Vec<Problem>) -> Option<NodeSources> {
    let gpus = text(&folder.join(GPUS), problems);
    let matrix = text(&folder.join(MATRIX), problems);
    let sys = folder.join(SYS);
    if gpus.is_none() && matrix.is_none() && !sys.is_dir() {
        return None;
    }
    let name = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let name = name
        .file_name()
        .and_then(OsStr::to_str)
        .unwrap_or("node")
        .to_owned();
    Some(NodeSources {
        name,
        gpus,
        matrix,
        sys_name: sys.display().to_string(),
        sys: sysfs(&sys, problems),
    })
}

/// This machine: its `/sys` and what its `nvidia-smi` says. `sys` and `tool` stand for `/sys` and `nvidia-smi`.
#[must_use]
pub fn machine(sys: &Path, tool: &str) -> Sources {
    let mut problems = Vec::new();
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = Some(name.trim())
        .filter(|name| !name.is_empty())
        .unwrap_or("localhost")
        .to_owned();
    let files = sysfs(sys, &mut problems);
    let query = format!("--query-gpu={GPU_QUERY}");
    let gpus = output(tool, &[&query, "--format=csv"], &mut problems);
    // Without the tool there is nothing more to ask it.
    let matrix = match &gpus {
        Some(_) => output(tool, &["topo", "-m"], &mut problems),
        None => None,
    };
    Sources {
        cluster: None,
        nodes: vec![NodeSources {
            name,
            gpus,
            matrix,
            sys_name: sys.display().to_string(),
            sys: files,
        }],
        problems,
    }
}

/// Writes every text of a scan below `folder`, so that [`folder()`] finds it again.
///
/// # Errors
/// A file or folder cannot be written; the message names it.
pub fn save(sources: &Sources, folder: &Path) -> io::Result<()> {
    for (name, text) in sources.files() {
        let path = folder.join(name);
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(named)?;
        }
        fs::write(&path, text).map_err(named)?;
    }
    Ok(())
}

fn problem(path: &Path, what: String) -> Problem {
    Problem {
        severity: Severity::Error,
        file: path.display().to_string(),
        line: None,
        what,
    }
}

/// A file's text; bytes that are no UTF-8 are replaced, and the parser names what it makes no sense of.
fn text(path: &Path, problems: &mut Vec<Problem>) -> Option<Text> {
    match bounded(path) {
        Ok(text) => Some(Text::new(path.display().to_string(), text)),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => {
            problems.push(problem(path, format!("cannot be read: {error}")));
            None
        }
    }
}

fn bounded(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(LONGEST + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(io::Error::other(format!(
            "it is longer than {} MiB",
            LONGEST >> 20
        )));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What lies in a folder, by name; nothing when it is missing.
fn entries(folder: &Path, problems: &mut Vec<Problem>) -> Vec<std::path::PathBuf> {
    let listed = match fs::read_dir(folder) {
        Ok(listed) => listed,
        Err(error) => {
            if error.kind() != ErrorKind::NotFound {
                problems.push(problem(folder, format!("cannot be listed: {error}")));
            }
            return Vec::new();
        }
    };
    let mut paths: Vec<_> = listed
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .collect();
    paths.sort();
    paths
}

/// The files of `/sys` that [`crate::sysfs`] looks at.
fn sysfs(root: &Path, problems: &mut Vec<Problem>) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut take = |path: String| {
        // Files of cards that are down refuse to be read, as `speed` does: that is an answer too.
        if files.len() < MOST_FILES
            && let Ok(text) = bounded(&root.join(&path))
        {
            files.insert(path, text);
        }
    };
    let mut below = |folder: &str| -> Vec<String> {
        let paths = entries(&root.join(folder), problems);
        paths
            .iter()
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect()
    };
    for device in below("class/infiniband") {
        let at = format!("class/infiniband/{device}");
        for file in ["device/numa_node", "device/vendor"] {
            take(format!("{at}/{file}"));
        }
        for port in below(&format!("{at}/ports")) {
            for file in ["link_layer", "rate", "state"] {
                take(format!("{at}/ports/{port}/{file}"));
            }
        }
    }
    for card in below("class/net") {
        for file in ["device/vendor", "device/numa_node", "speed", "operstate"] {
            take(format!("class/net/{card}/{file}"));
        }
    }
    for device in below("bus/pci/devices") {
        for file in ["vendor", "class", "numa_node"] {
            take(format!("bus/pci/devices/{device}/{file}"));
        }
    }
    for node in below("devices/system/node") {
        if node.starts_with("node") {
            take(format!("devices/system/node/{node}/cpulist"));
        }
    }
    files
}

/// What a tool prints; `None` when it is not there. What it prints when it fails is read as well: it says why.
fn output(tool: &str, arguments: &[&str], problems: &mut Vec<Problem>) -> Option<Text> {
    let name = format!("{tool} {}", arguments.join(" "));
    let done = Command::new(tool)
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    match done {
        Ok(done) if done.status.success() => {
            Some(Text::new(name, String::from_utf8_lossy(&done.stdout)))
        }
        Ok(done) => {
            let told = [done.stdout, done.stderr].concat();
            let told = String::from_utf8_lossy(&told);
            let told = told
                .lines()
                .map(str::trim)
                .find(|line| !line.is_empty())
                .unwrap_or("nothing");
            // A machine without a GPU is no fault of the scan.
            if !told.starts_with("No devices were found") {
                problems.push(Problem {
                    severity: Severity::Warning,
                    file: name,
                    line: None,
                    what: format!("ended with {} and said: {told}", done.status),
                });
            }
            None
        }
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => {
            problems.push(Problem {
                severity: Severity::Warning,
                file: name,
                line: None,
                what: format!("cannot be run: {error}"),
            });
            None
        }
    }
}
