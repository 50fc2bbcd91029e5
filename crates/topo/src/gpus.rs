//! The GPUs of a node, as `nvidia-smi --query-gpu=… --format=csv` lists them.

use crate::problem::{Notes, Problem, quoted};
use crate::sources::Text;

/// One GPU.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GpuRow {
    /// Its number on the node.
    pub index: u32,
    /// Its product name.
    pub name: String,
    /// Its UUID.
    pub uuid: Option<String>,
    /// Its place on the PCI bus.
    pub bus_id: Option<String>,
    /// Its memory in MiB.
    pub memory_mib: Option<u64>,
}

/// Column names and where they stand.
struct Columns {
    index: usize,
    name: usize,
    uuid: Option<usize>,
    bus_id: Option<usize>,
    memory: Option<usize>,
}

/// Reads the table. Lines that make no sense are left out and named.
#[must_use]
pub fn read(source: &Text) -> (Vec<GpuRow>, Vec<Problem>) {
    let mut notes = Notes::new(&source.name);
    let mut rows: Vec<GpuRow> = Vec::new();
    let mut columns = None;
    for (number, line) in (1..).zip(source.text.lines()) {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        let Some(columns) = &columns else {
            if line.starts_with("No devices were found") {
                return (rows, notes.done());
            }
            match header(&cells) {
                Some(found) => columns = Some(found),
                None => {
                    notes.error(Some(number), format!(
                        "{} is no table of GPUs; use the output of nvidia-smi --query-gpu={} --format=csv, header included",
                        quoted(line), crate::sources::GPU_QUERY
                    ));
                    return (rows, notes.done());
                }
            }
            continue;
        };
        match row(columns, &cells) {
            Ok(row) if rows.iter().any(|known| known.index == row.index) => {
                notes.warn(
                    Some(number),
                    format!(
                        "GPU {} is listed a second time; the first line counts",
                        row.index
                    ),
                );
            }
            Ok(row) => rows.push(row),
            Err(why) => notes.warn(Some(number), why),
        }
    }
    if columns.is_none() && !source.text.trim().is_empty() {
        notes.error(None, "no header line found".to_owned());
    }
    rows.sort_by_key(|row| row.index);
    (rows, notes.done())
}

fn header(cells: &[&str]) -> Option<Columns> {
    // "memory.total [MiB]": the unit is no part of the name.
    let at = |name: &str| {
        cells
            .iter()
            .position(|cell| cell.split(" [").next() == Some(name))
    };
    Some(Columns {
        index: at("index")?,
        name: at("name")?,
        uuid: at("uuid"),
        bus_id: at("pci.bus_id"),
        memory: at("memory.total"),
    })
}

fn row(columns: &Columns, cells: &[&str]) -> Result<GpuRow, String> {
    let cell = |at: usize| cells.get(at).copied().filter(|cell| !cell.is_empty());
    // "[N/A]", "[Not Supported]": the driver has no value.
    let optional = |at: Option<usize>| at.and_then(cell).filter(|cell| !cell.starts_with('['));
    let index = cell(columns.index).unwrap_or_default();
    let index = index
        .parse()
        .map_err(|_| format!("{} is no GPU number; expected 0, 1, …", quoted(index)))?;
    let name = cell(columns.name).ok_or_else(|| format!("GPU {index} has no name"))?;
    let memory_mib = match optional(columns.memory) {
        None => None,
        Some(text) => {
            let digits = text.trim_end_matches("MiB").trim();
            Some(digits.parse().map_err(|_| {
                format!(
                    "{} is no size of memory; expected a number of MiB",
                    quoted(text)
                )
            })?)
        }
    };
    Ok(GpuRow {
        index,
        name: name.to_owned(),
        uuid: optional(columns.uuid).map(str::to_owned),
        bus_id: optional(columns.bus_id).map(str::to_owned),
        memory_mib,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Severity;
    use proptest::prelude::*;

    fn check(text: &str, gpus: &[(u32, &str, Option<u64>)], problems: &[&str]) {
        let (rows, found) = read(&Text::new("gpus.csv", text));
        let short: Vec<_> = rows
            .iter()
            .map(|row| (row.index, row.name.as_str(), row.memory_mib))
            .collect();
        assert_eq!(short, gpus);
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), problems.len(), "{found:?}");
        for (found, expected) in found.iter().zip(problems) {
            assert!(found.contains(expected), "{found} lacks {expected}");
        }
    }

    #[test]
    fn tables_of_the_tool_are_read() {
        check(
            "index, name, uuid, pci.bus_id, memory.total [MiB]\n0, NVIDIA H100 NVL, GPU-1, 00000000:17:00.0, 95830 MiB\n1, NVIDIA H100 NVL, GPU-2, 00000000:65:00.0, [N/A]\n",
            &[
                (0, "NVIDIA H100 NVL", Some(95830)),
                (1, "NVIDIA H100 NVL", None),
            ],
            &[],
        );
        check("No devices were found\n", &[], &[]);
        check("", &[], &[]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        check(
            "index, name\n0, A\nx, B\n0, C\n2,\n",
            &[(0, "A", None)],
            &[
                "gpus.csv:3: 'x' is no GPU number",
                "gpus.csv:4: GPU 0 is listed a second time",
                "gpus.csv:5: GPU 2 has no name",
            ],
        );
        let failed =
            "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n";
        check(failed, &[], &["gpus.csv:1: 'NVIDIA-SMI has failed"]);
        let (_, found) = read(&Text::new("f", failed));
        assert_eq!(found[0].severity, Severity::Error);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(index, name, memory.total\n)?(.{0,30}\n){0,8}") {
            let _ = read(&Text::new("f", text));
        }
    }
}
