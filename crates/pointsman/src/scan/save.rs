//! Where a scan is kept.

use std::path::Path;

use anyhow::Context as _;
use pointsman_topo::gather;
use pointsman_topo::sources::Sources;

/// The name of the report in a folder of sources.
const REPORT: &str = "report.json";

/// Writes the report to a file that ends in `.json`, and else all sources and the report to a folder, for `--input`.
pub(crate) fn save(path: &Path, sources: &Sources, report: &str) -> anyhow::Result<()> {
    if path
        .extension()
        .is_some_and(|extension| extension == "json")
    {
        return file(path, report);
    }
    std::fs::create_dir_all(path).with_context(|| {
        format!(
            "{} cannot be made a folder; name one, or a file that ends in .json",
            path.display()
        )
    })?;
    gather::save(sources, path).context("the scan cannot be saved")?;
    file(&path.join(REPORT), report)
}

/// Writes one file.
pub(crate) fn file(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
}
