//! Reading files that others write: never more of them than is wanted.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use pointsman_core::config::fault::Fault;

/// The text of a file, of at most one byte more than `most`, so that whoever reads it sees that there was more.
///
/// # Errors
/// The file cannot be read, or is not UTF-8.
pub(crate) fn text_of(path: &Path, most: usize) -> Result<String, Fault> {
    let refused = |why: String| Fault::error("", format!("cannot read {}: {why}", path.display()));
    let file = File::open(path).map_err(|e| refused(e.to_string()))?;
    let mut bytes = Vec::new();
    let read = file.take(most as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|e| refused(e.to_string()))?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        // The cut may lie inside a character, and the size is what is wrong.
        Err(cut) if cut.as_bytes().len() > most => {
            Ok(String::from_utf8_lossy(cut.as_bytes()).into_owned())
        }
        Err(_) => Err(refused("it is not UTF-8 text".to_owned())),
    }
}
