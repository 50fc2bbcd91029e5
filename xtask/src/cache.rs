//! Where prepared things live: `${POINTSMAN_CACHE:-$XDG_CACHE_HOME/pointsman}`, by default `~/.cache/pointsman`.
//!
//! One folder per counterpart (`target/`, `py/`, later `envoy/`, `k8s/`, …), each with a stamp that names
//! what it was made from; a folder whose stamp does not match is made anew. Nothing here is ever inside
//! the clone, so a clone can be deleted and laid again at no cost.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result};

/// The cache's root folder.
pub(crate) struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Finds the folder from the environment and creates it.
    pub(crate) fn locate() -> Result<Self> {
        let set = |name: &str| {
            env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let root = set("POINTSMAN_CACHE")
            .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("pointsman")))
            .or_else(|| set("HOME").map(|home| home.join(".cache/pointsman")))
            .context("no place for the cache: set POINTSMAN_CACHE to a folder")?;
        fs::create_dir_all(&root)
            .with_context(|| format!("create the cache folder {}", root.display()))?;
        let root = root
            .canonicalize()
            .with_context(|| format!("resolve {}", root.display()))?;
        Ok(Self { root })
    }

    /// The root folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Cargo's target directory for everything that xtask builds.
    pub(crate) fn target(&self) -> PathBuf {
        self.root.join("target")
    }

    /// The folder of one counterpart.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Whether the folder of `name` was completed from exactly `recipe`.
    pub(crate) fn is_made_from(&self, name: &str, recipe: &str) -> bool {
        fs::read_to_string(self.stamp(name)).is_ok_and(|found| found == recipe)
    }

    /// Removes what an earlier or interrupted setup left of `name`.
    pub(crate) fn clear(&self, name: &str) -> Result<()> {
        let folder = self.folder(name);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("remove {}", folder.display()))
            }
            _ => Ok(()),
        }
    }

    /// Marks the folder of `name` as complete.
    pub(crate) fn seal(&self, name: &str, recipe: &str) -> Result<()> {
        let stamp = self.stamp(name);
        fs::write(&stamp, recipe).with_context(|| format!("write {}", stamp.display()))
    }

    fn stamp(&self, name: &str) -> PathBuf {
        self.folder(name).join(".made-from")
    }
}

/// The clone that this xtask was built from.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the workspace")
}
