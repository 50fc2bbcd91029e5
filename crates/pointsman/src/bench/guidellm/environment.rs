//! Which GuideLLM runs: one that is named, the one on PATH, or our own in a virtual environment in the user's cache.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, io};

use anyhow::{Context as _, bail};

use crate::console::complain;

/// What our own environment is made of.
const REQUIREMENTS: &str = include_str!("requirements.txt");
/// What stands in it for torch.
const TORCH: &str = include_str!("torch.py");
/// The oldest Python that the pinned packages run on.
const OLDEST_PYTHON: (u32, u32) = (3, 11);
/// The first GuideLLM with the command line that we speak.
const OLDEST: (u32, u32) = (0, 7);

/// A GuideLLM that answers.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) version: String,
}

/// The GuideLLM to use, installed if there is none.
pub(crate) fn find(named: Option<&Path>) -> anyhow::Result<Program> {
    if let Some(path) = named {
        return asked(path);
    }
    match on_path("guidellm") {
        Some(path) => asked(&path),
        None => install(),
    }
}

/// Our own one, made at the first call.
pub(crate) fn install() -> anyhow::Result<Program> {
    let cache = cache()?;
    let folder = cache.join("guidellm");
    let program = folder.join("bin/guidellm");
    let stamp = folder.join(".made-from");
    let recipe = format!("{REQUIREMENTS}\n{TORCH}");
    fs::create_dir_all(&cache)
        .with_context(|| format!("the folder {} cannot be made", cache.display()))?;
    // Two that start together make it once.
    let lock = cache.join("guidellm.lock");
    let lock =
        File::create(&lock).with_context(|| format!("{} cannot be written", lock.display()))?;
    lock.lock().context("the cache cannot be locked")?;
    if fs::read_to_string(&stamp).is_ok_and(|found| found == recipe) {
        return asked(&program);
    }
    let python = python()?;
    complain(&format!(
        "GuideLLM is not on the PATH; installing it into {} (once, about 600 MB)\n",
        folder.display()
    ));
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("{} cannot be removed", folder.display()));
        }
        _ => {}
    }
    let made = Command::new(&python)
        .args(["-m", "venv"])
        .arg(&folder)
        .output();
    told(
        made,
        "python3 cannot make a virtual environment; install its venv module (Debian: apt-get install python3-venv)",
    )?;
    let list = folder.join("requirements.txt");
    fs::write(&list, REQUIREMENTS)
        .with_context(|| format!("{} cannot be written", list.display()))?;
    let pip = Command::new(folder.join("bin/python"))
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--no-compile",
            "--requirement",
        ])
        .arg(&list)
        .output();
    told(
        pip,
        "pip cannot install GuideLLM; it needs PyPI or a mirror (PIP_INDEX_URL), or name one that is installed with --guidellm",
    )?;
    let packages = packages(&folder)?;
    fs::write(packages.join("torch.py"), TORCH)
        .with_context(|| format!("{} cannot be written", packages.display()))?;
    let found = asked(&program)?;
    fs::write(&stamp, recipe).with_context(|| format!("{} cannot be written", stamp.display()))?;
    Ok(found)
}

/// Where packages of a virtual environment are.
fn packages(folder: &Path) -> anyhow::Result<PathBuf> {
    let asked = Command::new(folder.join("bin/python"))
        .args([
            "-c",
            "import sysconfig; print(sysconfig.get_path('purelib'))",
        ])
        .output();
    Ok(PathBuf::from(
        told(asked, "the new virtual environment does not start")?.trim(),
    ))
}

/// Asks a program for its version.
fn asked(path: &Path) -> anyhow::Result<Program> {
    let shown = path.display();
    let output = Command::new(path)
        .arg("--version")
        .env("USE_TORCH", "0")
        .output();
    let output = output.with_context(|| {
        format!("{shown} does not start; name GuideLLM's program with --guidellm")
    })?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = version(&text).filter(|_| output.status.success());
    let Some((version, numbers)) = version else {
        let said = pointsman_bench::preflight::said(if text.trim().is_empty() {
            &output.stderr
        } else {
            &output.stdout
        });
        bail!(
            "{shown} does not tell its version as GuideLLM does; it said {said}; name another with --guidellm"
        );
    };
    if numbers < OLDEST {
        bail!(
            "{shown} is GuideLLM {version}, and {}.{} or newer is needed; upgrade it, or name another with --guidellm",
            OLDEST.0,
            OLDEST.1
        );
    }
    Ok(Program {
        path: path.to_owned(),
        version,
    })
}

/// `guidellm, version 0.8.1`.
fn version(text: &str) -> Option<(String, (u32, u32))> {
    let line = text.lines().find(|line| line.starts_with("guidellm"))?;
    let version = line.split_whitespace().last()?;
    Some((version.to_owned(), numbers(version)?))
}

fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// A Python that is new enough.
fn python() -> anyhow::Result<PathBuf> {
    let path = PathBuf::from("python3");
    let asked = Command::new(&path)
        .args(["-c", "import sys; print('%d.%d' % sys.version_info[:2])"])
        .output();
    let said = told(
        asked,
        "GuideLLM is not installed, and python3 to install it with is not on the PATH; install Python 3.11 or newer, or name GuideLLM's program with --guidellm",
    )?;
    if numbers(said.trim()).is_none_or(|found| found < OLDEST_PYTHON) {
        bail!(
            "python3 is {}, and GuideLLM's packages need {}.{} or newer; name an installed GuideLLM with --guidellm",
            said.trim(),
            OLDEST_PYTHON.0,
            OLDEST_PYTHON.1
        );
    }
    Ok(path)
}

/// What a program printed, or a sentence with its last lines.
fn told(output: io::Result<std::process::Output>, why: &str) -> anyhow::Result<String> {
    let output = output.map_err(|error| anyhow::anyhow!("{why}: {error}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        bail!(
            "{why}: {}",
            lines[lines.len().saturating_sub(6)..].join("\n")
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

fn cache() -> anyhow::Result<PathBuf> {
    let set = |name: &str| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("POINTSMAN_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("pointsman")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/pointsman")))
        .context("GuideLLM is not installed, and there is no place for it: set POINTSMAN_CACHE to a folder, or name its program with --guidellm")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(
            version("guidellm, version 0.8.1\n"),
            Some(("0.8.1".to_owned(), (0, 8)))
        );
        assert_eq!(
            version("warning\nguidellm version: 0.6.0\n").map(|found| found.1),
            Some((0, 6))
        );
        assert_eq!(version("hello\n"), None);
        assert!(numbers("3.9") < numbers("3.11"));
    }

    #[test]
    fn the_list_pins_every_package() {
        let packages = REQUIREMENTS.lines().filter(|line| !line.starts_with('#'));
        assert!(packages.clone().count() > 50);
        assert!(packages.into_iter().all(|line| line.contains("==")));
    }
}
