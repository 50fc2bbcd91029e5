//! `cargo xtask test --istio`: the picker behind the real Istio; on demand, since building Istio takes minutes.
//!
//! The run itself is `tests/src/bin/behind_istio.rs`. It gets a network namespace of its own, so that pods can have addresses
//! as in a cluster and nothing listens outside.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cache::{Cache, workspace};
use crate::run::{captured, cargo, pass_through};
use crate::setup;

/// Brings up the loopback device with addresses for gateway, picker and model servers, then becomes the run.
const INSIDE: &str = "ip link set lo up && for i in 1 2 3 4 5 6 7 8; do ip addr add 10.244.9.$i/32 dev lo || exit 1; done; exec \"$0\"";

/// Prepares all that it takes, runs it, and leaves `docs/evidence/istio.md`.
pub(crate) fn run() -> Result<()> {
    let cache = Cache::locate()?;
    let variables = setup::variables(&cache)?;
    let istio = setup::istio::prepare(&cache).context("set up Istio")?;
    pass_through(&mut cargo(
        &cache,
        &[
            "build",
            "--quiet",
            "--locked",
            "-p",
            "pointsman",
            "-p",
            "pointsman-tests",
            "--bins",
        ],
    ))?;
    let built = cache.target().join("debug");
    let mut command = Command::new("unshare");
    command
        .arg(namespace()?)
        .args(["--", "sh", "-c", INSIDE])
        .arg(built.join("behind_istio"))
        .current_dir(workspace())
        .stdin(Stdio::null())
        .envs(variables)
        .env("POINTSMAN_BIN", built.join("pointsman"))
        .env("POINTSMAN_ISTIO", istio)
        .env("POINTSMAN_ISTIO_VERSION", setup::istio::VERSION);
    pass_through(&mut command).context("the picker behind Istio failed")
}

/// How to get a network namespace: as root directly, else with a user namespace around it.
fn namespace() -> Result<&'static str> {
    for flag in ["-n", "-rn"] {
        let mut probe = Command::new("unshare");
        probe.args([flag, "--", "ip", "link", "set", "lo", "up"]);
        if captured(&mut probe).is_ok() {
            return Ok(flag);
        }
    }
    bail!(
        "no network namespace can be made: install util-linux and iproute2 (`unshare`, `ip`), and run as root or where users may make namespaces (sysctl kernel.unprivileged_userns_clone=1)"
    )
}
