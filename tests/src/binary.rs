//! Where the things under test are: the workspace, the built `pointsman`, the prepared Python, Envoy, Helm and Kubernetes.
//!
//! `cargo xtask test` names them by `POINTSMAN_BIN`, `POINTSMAN_PY`, `POINTSMAN_ENVOY`, `POINTSMAN_HELM` and `POINTSMAN_K8S`; without these the
//! binary is built at its first use and the others are looked for in the cache. A missing one is a failure, never a skip.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs};

/// The root of the clone.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests lie in the workspace")
}

/// A cargo command in the workspace, without a network.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(workspace());
    // What cargo says of the package that it runs; build scripts that look at it would run again.
    let told = env::vars_os().map(|(name, _)| name);
    for name in told.filter(|name| {
        let name = name.to_string_lossy();
        name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
    }) {
        command.env_remove(name);
    }
    command
}

/// The `pointsman` binary, built if need be.
///
/// # Panics
/// When it cannot be built, or `POINTSMAN_BIN` names no file.
pub fn pointsman() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match env::var_os("POINTSMAN_BIN") {
        Some(path) => {
            let path = PathBuf::from(path);
            assert!(
                path.is_file(),
                "POINTSMAN_BIN={} is no file; unset it and the tests build one",
                path.display()
            );
            path
        }
        None => build(),
    })
}

fn build() -> PathBuf {
    let output = cargo(&[
        "build",
        "--quiet",
        "--package",
        "pointsman",
        "--bin",
        "pointsman",
        "--message-format=json",
    ])
    .output()
    .expect("cargo starts");
    assert!(
        output.status.success(),
        "pointsman does not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let messages = String::from_utf8_lossy(&output.stdout);
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next_back()
        .expect("cargo names the executable it built")
}

/// The Python that has the `openai` client.
///
/// # Panics
/// When it has not been prepared.
pub fn python() -> PathBuf {
    prepared("POINTSMAN_PY", "py/bin/python").unwrap_or_else(|| {
        panic!("the Python with the openai client is missing: run `cargo xtask setup` once")
    })
}

/// The real Envoy.
///
/// # Panics
/// When it has not been prepared.
pub fn envoy() -> PathBuf {
    prepared("POINTSMAN_ENVOY", "envoy/envoy").unwrap_or_else(|| {
        panic!(
            "Envoy is missing: run `cargo xtask setup` once, or set POINTSMAN_ENVOY to its binary"
        )
    })
}

/// Helm.
///
/// # Panics
/// When it has not been prepared.
pub fn helm() -> PathBuf {
    prepared("POINTSMAN_HELM", "helm/helm").unwrap_or_else(|| {
        panic!("Helm is missing: run `cargo xtask setup` once, or set POINTSMAN_HELM to its binary")
    })
}

/// The check of dashboards and alert rules.
///
/// # Panics
/// When it has not been prepared.
pub fn dashes() -> PathBuf {
    prepared("POINTSMAN_DASHES", "dashes/dashes").unwrap_or_else(|| {
        panic!("the schema check of dashboards is missing: run `cargo xtask setup` once")
    })
}

/// GuideLLM.
///
/// # Panics
/// When it has not been prepared.
pub fn guidellm() -> PathBuf {
    prepared("POINTSMAN_GUIDELLM", "guidellm/bin/guidellm")
        .unwrap_or_else(|| panic!("GuideLLM is missing: run `cargo xtask setup` once"))
}

/// The folder with the programs of a Kubernetes control plane.
///
/// # Panics
/// When it has not been prepared.
pub fn kubernetes() -> PathBuf {
    let found =
        prepared("POINTSMAN_K8S", "k8s").filter(|folder| folder.join("kube-apiserver").is_file());
    found.unwrap_or_else(|| {
        panic!("the Kubernetes control plane is missing: run `cargo xtask setup` once, or set POINTSMAN_K8S to a folder with etcd, kube-apiserver and kubectl")
    })
}

/// A prepared counterpart: what its variable names, else its place in the cache.
fn prepared(variable: &str, place: &str) -> Option<PathBuf> {
    let set = |name: &str| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let path = set(variable).or_else(|| {
        let cache = set("POINTSMAN_CACHE")
            .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("pointsman")))
            .or_else(|| set("HOME").map(|home| home.join(".cache/pointsman")))?;
        Some(cache.join(place))
    })?;
    fs::metadata(&path).is_ok().then_some(path)
}
