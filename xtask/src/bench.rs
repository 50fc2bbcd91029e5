//! `cargo xtask bench`: all benches, in the release profile, into the cache.

use anyhow::Result;

use crate::cache::Cache;
use crate::run::{cargo, pass_through};

/// Runs `cargo bench` with the given arguments, on the whole workspace if there are none.
pub(crate) fn all(arguments: &[String]) -> Result<()> {
    let cache = Cache::locate()?;
    let mut command = cargo(&cache, &["bench", "--locked"]);
    if arguments.is_empty() {
        command.args(["--workspace", "--benches"]);
    }
    pass_through(command.args(arguments))
}
