//! Reports that take the place of older ones only when they are whole.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Refuses a report's name before the work, so that an hour of load is not lost to a wrong one. Nothing stays of the try.
pub(crate) fn writable(path: &Path) -> anyhow::Result<()> {
    tried(path).with_context(|| format!("{} cannot be written", path.display()))
}

fn tried(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        // Opened and not cut: what stands there stays until something better is there.
        Ok(_) => OpenOptions::new().write(true).open(path).map(|_| ()),
        Err(_) => {
            let beside = beside(path);
            fs::File::create(&beside)?;
            fs::remove_file(&beside)
        }
    }
}

/// Writes a whole report: beside its place first, then into it by one step.
pub(crate) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    put(path, text).with_context(|| format!("the report {} cannot be written", path.display()))
}

fn put(path: &Path, text: &str) -> io::Result<()> {
    // Behind a link, the file that it leads to.
    let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let before = fs::metadata(&place);
    if before.as_ref().is_ok_and(|before| !before.is_file()) {
        // A device or a pipe has no place to take.
        let mut file = OpenOptions::new().write(true).open(&place)?;
        return file.write_all(text.as_bytes()).and_then(|()| file.flush());
    }
    let beside = beside(&place);
    let Ok(mut file) = fs::File::create(&beside) else {
        // A folder that takes no new file may still have one that can be written.
        return fs::write(&place, text);
    };
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| match &before {
            Ok(before) => file.set_permissions(before.permissions()),
            Err(_) => Ok(()),
        })
        .and_then(|()| fs::rename(&beside, &place));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_report_stays_until_the_next_is_whole() {
        let folder = std::env::temp_dir().join(format!("pointsman-written-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("report.html");
        let listed = || fs::read_dir(&folder).unwrap().count();
        writable(&path).unwrap();
        assert_eq!(listed(), 0, "a try leaves nothing");
        write(&path, "old").unwrap();
        writable(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        write(&path, "new").unwrap();
        assert_eq!(
            (fs::read_to_string(&path).unwrap().as_str(), listed()),
            ("new", 1)
        );
        assert!(writable(&folder).is_err());
        assert!(writable(&folder.join("none/report.html")).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}
