//! Where inputs lie: a folder per target under `corpus/`, and the folders of other crates that a target names.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::target::Target;

/// An input and where it comes from.
#[derive(Clone, Debug)]
pub struct Input {
    /// Its file.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The root of the workspace that this crate was built from.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate lies in the workspace")
}

/// The folders of a target's inputs, its own first.
pub fn folders(target: &Target) -> Vec<PathBuf> {
    let own = workspace().join("fuzz/corpus").join(target.name);
    let also = target.also.iter().map(|folder| workspace().join(folder));
    [own].into_iter().chain(also).collect()
}

/// All inputs of a target, in the order of their folders and names.
///
/// # Errors
/// A folder cannot be read or holds no file.
pub fn inputs(target: &Target) -> Result<Vec<Input>> {
    let mut inputs = Vec::new();
    for folder in folders(target) {
        let before = inputs.len();
        let entries =
            fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?;
        let mut paths = Vec::new();
        for entry in entries {
            paths.push(entry?.path());
        }
        paths.sort();
        for path in paths.into_iter().filter(|path| path.is_file()) {
            let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            inputs.push(Input { path, bytes });
        }
        ensure!(inputs.len() > before, "{} holds no input", folder.display());
    }
    Ok(inputs)
}
