//! Generated documents: written by the tests that check them, so that what is checked is what is written.
//!
//! A test whose name contains `generated` compares a document with what the code says; with
//! `POINTSMAN_GENERATE=1` in its environment it writes the document instead.

use anyhow::Result;

use crate::cache::Cache;
use crate::run::{cargo, pass_through};

/// The commands that compare the documents with the code. The plugin pages are the only ones today.
pub(crate) const CHECK: &[&[&str]] =
    &[&["test", "--quiet", "--locked", "--workspace", "generated"]];

/// Writes all of them.
pub(crate) fn rewrite() -> Result<()> {
    let cache = Cache::locate()?;
    for arguments in CHECK {
        pass_through(cargo(&cache, arguments).env("POINTSMAN_GENERATE", "1"))?;
    }
    println!("xtask: generated documents written");
    Ok(())
}
