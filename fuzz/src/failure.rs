//! Failing inputs on disk: `failures/<target>-<hash>`, and the input under way, which outlives a process that dies on it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xxhash_rust::xxh64::xxh64;

use crate::corpus::workspace;

/// The folder of failing inputs; git ignores it.
pub fn folder() -> PathBuf {
    workspace().join("fuzz/failures")
}

/// Keeps a failing input.
///
/// # Errors
/// It cannot be written.
pub fn keep(target: &str, input: &[u8]) -> Result<PathBuf> {
    let folder = folder();
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let path = folder.join(format!("{target}-{:016x}", xxh64(input, 0)));
    fs::write(&path, input).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

/// The command that runs a kept input once more.
pub fn command(target: &str, path: &Path) -> String {
    let path = path.strip_prefix(workspace()).unwrap_or(path);
    format!(
        "cargo run -p pointsman-fuzz -- --target {target} --input {}",
        path.display()
    )
}

/// The input under way, in a file: a stack that overflows or memory that runs out cannot be caught, but what did it
/// can be read after the process is gone.
#[derive(Debug)]
pub struct UnderWay {
    file: File,
    path: PathBuf,
}

impl UnderWay {
    /// Opens the file of a target. If an earlier process died with it, what it died of is kept and returned.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn open(target: &str) -> Result<(Self, Option<PathBuf>)> {
        fs::create_dir_all(folder())?;
        let path = folder().join(format!("{target}.under-way"));
        let died = match fs::read(&path) {
            Ok(input) => Some(keep(target, &input)?),
            Err(_) => None,
        };
        let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        Ok((Self { file, path }, died))
    }

    /// Notes the next input. The file is cut first, so that it never holds two inputs mixed.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn note(&self, input: &[u8]) -> Result<()> {
        self.file.set_len(0)?;
        self.file.write_all_at(input, 0)?;
        Ok(())
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The end of a run: nothing died.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn close(self) -> Result<()> {
        fs::remove_file(&self.path)?;
        Ok(())
    }
}
