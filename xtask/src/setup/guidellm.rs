//! `guidellm/`: GuideLLM, installed by `pointsman bench guidellm` itself, so that what is tested is what users get.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::cache::Cache;
use crate::check::BUILD;
use crate::run::{captured, cargo, pass_through};
use crate::setup::Counterpart;

/// GuideLLM's place in the list.
pub(crate) const COUNTERPART: Counterpart = Counterpart {
    name: "guidellm",
    variable: "POINTSMAN_GUIDELLM",
    what: "GuideLLM",
    prepare,
};

fn prepare(cache: &Cache) -> Result<PathBuf> {
    // The same build as that of the tests, so that nothing is built twice.
    pass_through(&mut cargo(cache, BUILD))?;
    let printed = captured(
        Command::new(cache.target().join("debug/pointsman"))
            .args(["bench", "guidellm", "--install"])
            .env("POINTSMAN_CACHE", cache.root()),
    )
    .context("pointsman cannot install GuideLLM")?;
    Ok(PathBuf::from(printed.trim()))
}
