//! Chromium: the one that is installed, else Debian's package.
//!
//! Nothing is kept in the cache but a note of which one it is: a browser comes from the system's own packages.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::Cache;
use crate::run::captured;
use crate::setup::Counterpart;

/// The browser's place in the list.
pub(crate) const COUNTERPART: Counterpart = Counterpart {
    name: "chromium",
    variable: "POINTSMAN_CHROMIUM",
    what: "Chromium",
    prepare,
};

/// Names under which it is looked for.
const NAMES: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
];

const HOW: &str = "the tests of the live page need Chromium: install it (Debian: apt-get install chromium) or name \
    the program by POINTSMAN_CHROMIUM";

fn prepare(cache: &Cache) -> Result<PathBuf> {
    let program = match std::env::var_os("POINTSMAN_CHROMIUM").filter(|value| !value.is_empty()) {
        Some(named) => {
            let named = PathBuf::from(named);
            if !named.is_file() {
                bail!("POINTSMAN_CHROMIUM={} is no file; {HOW}", named.display());
            }
            named
        }
        None => match found() {
            Some(program) => program,
            None => install()?,
        },
    };
    let version = captured(Command::new(&program).arg("--version")).context(HOW)?;
    let recipe = format!("{}\n{version}", program.display());
    if !cache.is_made_from("chromium", &recipe) {
        std::fs::create_dir_all(cache.folder("chromium"))?;
        cache.seal("chromium", &recipe)?;
    }
    Ok(program)
}

/// The first of the names that is a program on the PATH.
fn found() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    NAMES
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|file| file.is_file())
}

/// Installs Debian's package; only root can.
fn install() -> Result<PathBuf> {
    let root = captured(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if !root || !Path::new("/usr/bin/apt-get").is_file() {
        bail!("{HOW}");
    }
    println!("xtask: installing Debian's chromium");
    let apt = |arguments: &[&str]| {
        captured(
            Command::new("apt-get")
                .args(arguments)
                .env("DEBIAN_FRONTEND", "noninteractive"),
        )
    };
    apt(&["update"]).context(HOW)?;
    apt(&["install", "-y", "--no-install-recommends", "chromium"]).context(HOW)?;
    found().context(HOW)
}
