//! Reports of other tools from files.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use pointsman_bench::foreign;
use pointsman_bench::results::{Results, repeated};

/// Where aiperf writes its single requests, beside its export.
const RECORDS: &str = "profile_export.jsonl";

/// Reads all files into one result.
pub(crate) fn read(files: &[PathBuf]) -> anyhow::Result<Results> {
    let mut all: Option<Results> = None;
    for file in files {
        let found = one(file)?;
        match &mut all {
            None => all = Some(found),
            Some(all) => join(all, found, file)?,
        }
    }
    let mut all = all.context("no file was named")?;
    foreign::number(&mut all.runs);
    all.spread = repeated(&all.runs);
    Ok(all)
}

fn one(file: &Path) -> anyhow::Result<Results> {
    let shown = file.display();
    let bytes = std::fs::read(file).with_context(|| format!("{shown} cannot be read"))?;
    let text = String::from_utf8_lossy(&bytes);
    let records = file.with_file_name(RECORDS);
    let records = std::fs::read(records).ok();
    let records = records.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    foreign::read(&text, records.as_deref()).map_err(|why| anyhow!("{shown} {why}"))
}

fn join(all: &mut Results, more: Results, file: &Path) -> anyhow::Result<()> {
    if all.target != more.target {
        bail!(
            "{} is about {} and the files before it about {}; import them one by one, and set them side by side with bench compare",
            file.display(),
            more.target,
            all.target
        );
    }
    let (tool, other) = (all.measured_by.take(), more.measured_by);
    all.measured_by = match (tool, other) {
        (Some(tool), Some(other)) if tool != other => Some(format!("{tool}, {other}")),
        (tool, other) => tool.or(other),
    };
    all.runs.extend(more.runs);
    Ok(())
}
