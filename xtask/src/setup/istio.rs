//! `istio/`: Istio's control plane (pilot-discovery) and its definitions, out of the Go modules that `xtask/istio/go.mod`
//! pins. Only `cargo xtask test --istio` wants it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::{Cache, workspace};
use crate::run::{captured, pass_through};
use crate::setup::go;

/// The only version that module proxies have; a development line of 1.31.
pub(crate) const VERSION: &str = "v0.0.0-20260827124520-eed52ebb66ad";

/// The sources, as the key of what is built from them.
const SOURCES: [&str; 3] = [
    include_str!("../../istio/go.mod"),
    include_str!("../../istio/go.sum"),
    include_str!("../../istio/main.go"),
];

/// Builds it if need be; the folder with `pilot-discovery` and `crds.yaml`.
pub(crate) fn prepare(cache: &Cache) -> Result<PathBuf> {
    let recipe = SOURCES.concat();
    let folder = cache.folder("istio");
    if cache.is_made_from("istio", &recipe) && folder.join("pilot-discovery").exists() {
        return Ok(folder);
    }
    if !SOURCES[0].contains(VERSION) {
        bail!("xtask/istio/go.mod does not pin {VERSION}");
    }
    println!("xtask: building Istio's control plane, once (several minutes)");
    cache.clear("istio")?;
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let go = go::find(cache)?;
    let inside = |arguments: &[&str]| {
        let mut command = go_in_sources(&go);
        command.args(arguments);
        command
    };
    pass_through(
        inside(&["build", "-buildvcs=false", "-trimpath", "-ldflags", "-s -w", "-o"])
            .arg(folder.join("pilot-discovery"))
            .arg("."),
    )
    .context("Istio does not build: Go needs to reach its module proxy (set GOPROXY) and about 6 GB below its caches; then run it again")?;
    let module = captured(&mut inside(&[
        "list",
        "-m",
        "-f",
        "{{.Dir}}",
        "istio.io/istio",
    ]))?;
    let definitions = Path::new(module.trim()).join("manifests/charts/base/files/crd-all.gen.yaml");
    let text = fs::read_to_string(&definitions)
        .with_context(|| format!("read {}", definitions.display()))?;
    fs::write(folder.join("crds.yaml"), text)?;
    cache.seal("istio", &recipe)?;
    Ok(folder)
}

fn go_in_sources(go: &Path) -> Command {
    let mut command = Command::new(go);
    command
        .current_dir(workspace().join("xtask/istio"))
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .env("GOFLAGS", "-mod=readonly")
        .env("GOTOOLCHAIN", "local");
    command
}
