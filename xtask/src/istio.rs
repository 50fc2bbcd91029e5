//! `cargo xtask test --istio`: the picker and the whole lab behind the real Istio; on demand, since building Istio takes minutes.
//!
//! The run itself is `tests/src/bin/behind_istio`. It gets a network namespace of its own, so that pods can have addresses as in
//! a cluster and nothing listens outside, and a file of hosts of its own, so that Services can have names.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cache::{Cache, workspace};
use crate::run::{captured, cargo, pass_through};
use crate::setup;

/// Brings up the loopback device, puts a file that the run may write in the place of the host's names, and does the run.
const INSIDE: &str = "ip link set lo up && hosts=$(mktemp) && cat /etc/hosts > \"$hosts\" && mount --bind \"$hosts\" /etc/hosts || exit 1
POINTSMAN_ISTIO_HOSTS=\"$hosts\" \"$0\"
code=$?
rm -f \"$hosts\"
exit $code";

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
    pass_through(&mut command)
        .context("the run behind Istio failed; docs/evidence/istio.md says at what")
}

/// How to get both namespaces: as root directly, else with a user namespace around them.
fn namespace() -> Result<&'static str> {
    for flag in ["-nm", "-rnm"] {
        let mut probe = Command::new("unshare");
        probe.args([flag, "--", "ip", "link", "set", "lo", "up"]);
        if captured(&mut probe).is_ok() {
            return Ok(flag);
        }
    }
    bail!(
        "no namespace for network and mounts can be made: install util-linux and iproute2 (`unshare`, `ip`), and run as root or where users may make namespaces (sysctl kernel.unprivileged_userns_clone=1)"
    )
}
