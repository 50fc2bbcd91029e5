//! `k8s/`: a Kubernetes control plane for tests, built from the Go modules that `xtask/k8s/go.mod` pins.
//!
//! One executable under several names (API server, etcd, controller manager, scheduler, kubectl, and `fakelet`, which
//! stands in for the kubelets). `KUBEBUILDER_ASSETS` is taken as it is when it holds what the tests start.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::{Cache, workspace};
use crate::run::{captured, pass_through};
use crate::setup::{Counterpart, go};

/// What the API server says of itself; `go.mod` pins the same.
const VERSION: &str = "1.35.4";

/// The sources, as the key of what is built from them.
const SOURCES: [(&str, &str); 5] = [
    ("go.mod", include_str!("../../k8s/go.mod")),
    ("go.sum", include_str!("../../k8s/go.sum")),
    ("main.go", include_str!("../../k8s/main.go")),
    ("fakelet.go", include_str!("../../k8s/fakelet.go")),
    ("signingkey.go", include_str!("../../k8s/signingkey.go")),
];

/// Names the executable is linked under.
const PROGRAMS: [&str; 7] = [
    "kube-apiserver",
    "etcd",
    "kubectl",
    "kube-controller-manager",
    "kube-scheduler",
    "fakelet",
    "signingkey",
];

/// The control plane's place in the list.
pub(crate) const COUNTERPART: Counterpart = Counterpart {
    name: "k8s",
    variable: "POINTSMAN_K8S",
    what: "the Kubernetes control plane",
    prepare,
};

fn prepare(cache: &Cache) -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("KUBEBUILDER_ASSETS").filter(|value| !value.is_empty()) {
        return as_named(PathBuf::from(named));
    }
    let folder = cache.folder("k8s");
    let recipe = recipe();
    if cache.is_made_from("k8s", &recipe) && folder.join("kube-apiserver").exists() {
        return Ok(folder);
    }
    let go = go::find(cache)?;
    println!(
        "xtask: building kube-apiserver {VERSION}, etcd, kubectl and controllers, once (several minutes)"
    );
    cache.clear("k8s")?;
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    build(&go, &folder.join("controlplane"))?;
    for program in PROGRAMS {
        symlink("controlplane", folder.join(program))
            .with_context(|| format!("link {program} in {}", folder.display()))?;
    }
    let version = captured(Command::new(folder.join("kube-apiserver")).arg("--version"))?;
    if !version.contains(VERSION) {
        bail!("kube-apiserver says '{}', not {VERSION}", version.trim());
    }
    cache.seal("k8s", &recipe)?;
    Ok(folder)
}

/// A folder of the user's own.
fn as_named(folder: PathBuf) -> Result<PathBuf> {
    let missing: Vec<&str> = PROGRAMS[..3]
        .iter()
        .copied()
        .filter(|program| !folder.join(program).is_file())
        .collect();
    if !missing.is_empty() {
        bail!(
            "KUBEBUILDER_ASSETS={} lacks {}: add them, or unset the variable and `cargo xtask setup` builds them",
            folder.display(),
            missing.join(", ")
        );
    }
    Ok(folder)
}

/// Everything that decides what the executable is.
fn recipe() -> String {
    SOURCES
        .iter()
        .map(|(name, text)| format!("== {name}\n{text}"))
        .collect()
}

fn build(go: &Path, into: &Path) -> Result<()> {
    let mut flags = "-s -w".to_owned();
    let minor = VERSION.split('.').nth(1).unwrap_or_default();
    for package in ["component-base", "client-go/pkg"] {
        let package = format!("k8s.io/{package}/version");
        for (name, value) in [
            ("gitVersion", format!("v{VERSION}")),
            ("gitMajor", "1".to_owned()),
            ("gitMinor", minor.to_owned()),
            ("gitTreeState", "archive".to_owned()),
        ] {
            flags.push_str(&format!(" -X {package}.{name}={value}"));
        }
    }
    pass_through(
        Command::new(go)
            .args(["build", "-buildvcs=false", "-trimpath", "-ldflags", &flags, "-o"])
            .arg(into)
            .arg(".")
            .current_dir(workspace().join("xtask/k8s"))
            .env("CGO_ENABLED", "0")
            .env("GOWORK", "off")
            .env("GOFLAGS", "-mod=readonly")
            .env("GOTOOLCHAIN", "local"),
    )
    .context("the control plane does not build: Go needs to reach its module proxy (set GOPROXY) and about 6 GB below its caches; then run `cargo xtask setup` again, or set KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver and kubectl")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_that_the_modules_pin() {
        assert!(
            SOURCES[0]
                .1
                .contains(&format!("k8s.io/kubernetes v{VERSION}\n"))
        );
    }
}
