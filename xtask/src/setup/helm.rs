//! `helm/`: Helm out of its Go module, in the pinned version.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use crate::cache::Cache;
use crate::run::captured;
use crate::setup::{Counterpart, go};

/// What is built.
const MODULE: &str = "helm.sh/helm/v3/cmd/helm";
const VERSION: &str = "v3.22.0";

/// A build by hand knows neither its own version nor that of Kubernetes, for which charts ask.
const FLAGS: &str = "-s -w -X helm.sh/helm/v3/internal/version.version=v3.22.0 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=35";

/// Helm's place in the list.
pub(crate) const COUNTERPART: Counterpart = Counterpart {
    name: "helm",
    variable: "POINTSMAN_HELM",
    what: "Helm",
    prepare,
};

fn prepare(cache: &Cache) -> Result<PathBuf> {
    let recipe = format!("{MODULE}@{VERSION}\n{FLAGS}\n");
    let folder = cache.folder("helm");
    let binary = folder.join("helm");
    if cache.is_made_from("helm", &recipe) && binary.exists() {
        return Ok(binary);
    }
    cache.clear("helm")?;
    go::install(cache, &format!("{MODULE}@{VERSION}"), &folder, FLAGS)?;
    let version = captured(Command::new(&binary).args(["version", "--short"]))?;
    if !version.starts_with(VERSION) {
        bail!("Helm says '{}', not {VERSION}", version.trim());
    }
    cache.seal("helm", &recipe)?;
    Ok(binary)
}
