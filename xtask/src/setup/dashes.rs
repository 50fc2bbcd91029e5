//! `dashes/`: the check of dashboards and alert rules, built from `xtask/dashes`: Grafana's own schema, Prometheus' own
//! parser.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::cache::{Cache, workspace};
use crate::run::captured;
use crate::setup::{Counterpart, go};

/// The sources, as the key of what is built from them.
const SOURCES: [&str; 3] = [
    include_str!("../../dashes/go.mod"),
    include_str!("../../dashes/go.sum"),
    include_str!("../../dashes/main.go"),
];

/// Its place in the list.
pub(crate) const COUNTERPART: Counterpart = Counterpart {
    name: "dashes",
    variable: "POINTSMAN_DASHES",
    what: "the schema check of dashboards",
    prepare,
};

fn prepare(cache: &Cache) -> Result<PathBuf> {
    let recipe = SOURCES.concat();
    let folder = cache.folder("dashes");
    let binary = folder.join("dashes");
    if cache.is_made_from("dashes", &recipe) && binary.exists() {
        return Ok(binary);
    }
    println!("xtask: building the schema check of dashboards, once (a minute or two)");
    cache.clear("dashes")?;
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let mut command = Command::new(go::find(cache)?);
    command
        .args(["build", "-trimpath", "-mod=readonly", "-o"])
        .arg(&binary)
        .arg(".")
        .current_dir(workspace().join("xtask/dashes"))
        .env("GOTOOLCHAIN", "local")
        .env("GOWORK", "off")
        .env("GOFLAGS", "-buildvcs=false")
        .env("CGO_ENABLED", "0");
    captured(&mut command).context("Go cannot build xtask/dashes: it needs to reach a module proxy (set GOPROXY), then run `cargo xtask setup` again")?;
    cache.seal("dashes", &recipe)?;
    Ok(binary)
}
