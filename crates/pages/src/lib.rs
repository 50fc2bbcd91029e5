//! Gives back the pages of the program that only its start needed.
//!
//! Reading arguments, configuration and certificates touches code all over a large binary, and the kernel maps some
//! sixteen pages around each that is touched. They stay in the resident set of a process that never uses them again: in
//! an idle picker that was half its memory. [`release`] takes the program's own unchanged pages out of the process; they
//! stay in the page cache, and what is used again comes back with a minor fault each (well below a microsecond).
//!
//! This crate is the one place of the workspace with an unsafe block: the call of `madvise(2)`.

mod maps;

use std::ffi::c_void;
use std::io;
use std::path::Path;

use rustix::mm::{Advice, madvise};

use crate::maps::{Mapping, mappings};

/// Takes the unchanged, read-only pages of the running program out of the resident set, and says how many KiB those
/// were.
///
/// To be called once the start is over. Does nothing where `/proc` does not tell what is mapped.
///
/// # Errors
/// `/proc/self/smaps` cannot be read, or the kernel refuses the advice.
pub fn release() -> io::Result<u64> {
    let program = std::env::current_exe()?;
    let smaps = std::fs::read_to_string("/proc/self/smaps")?;
    let mut given = 0;
    for mapping in mappings(&smaps).filter(|mapping| is_unchanged(mapping, &program)) {
        drop_pages(&mapping)?;
        given += mapping.resident_kib;
    }
    Ok(given)
}

/// Whether a mapping holds nothing but bytes of the program's file, which nobody may write.
fn is_unchanged(mapping: &Mapping<'_>, program: &Path) -> bool {
    Path::new(mapping.path) == program
        && !mapping.is_writable
        && mapping.changed_kib == 0
        && mapping.end > mapping.start
}

#[allow(unsafe_code)]
fn drop_pages(mapping: &Mapping<'_>) -> io::Result<()> {
    let start = std::ptr::with_exposed_provenance_mut::<c_void>(mapping.start);
    // SAFETY: the range is one mapping of the program's own file, private, without write permission and without a single
    // page that differs from the file (`is_unchanged`), so the same bytes are there when it is next read or executed,
    // on this thread or another. The loader is done with the program's mappings before `main`, and nothing maps, unmaps
    // or unprotects them later; a library that is loaded meanwhile has mappings of its own, which are not touched.
    unsafe { madvise(start, mapping.end - mapping.start, Advice::LinuxDontNeed) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(path: &str) -> Mapping<'_> {
        Mapping {
            start: 0x1000,
            end: 0x3000,
            is_writable: false,
            path,
            resident_kib: 8,
            changed_kib: 0,
        }
    }

    #[test]
    fn only_what_is_still_as_in_the_programs_file_is_given_back() {
        let program = Path::new("/bin/pointsman");
        assert!(is_unchanged(&mapping("/bin/pointsman"), program));
        assert!(!is_unchanged(&mapping("/lib/libc.so.6"), program));
        assert!(!is_unchanged(&mapping(""), program));
        let relocated = Mapping {
            changed_kib: 4,
            ..mapping("/bin/pointsman")
        };
        assert!(!is_unchanged(&relocated, program));
        let data = Mapping {
            is_writable: true,
            ..mapping("/bin/pointsman")
        };
        assert!(!is_unchanged(&data, program));
    }

    #[test]
    fn what_is_given_back_is_there_again_when_used() {
        let words = ["given", "back", "and", "there", "again"];
        let before = words.join(" ");
        let threads: Vec<_> = (0..4_u64)
            .map(|n| {
                std::thread::spawn(move || (0..20_000_u64).fold(n, |a, b| a.rotate_left(5) ^ b))
            })
            .collect();
        let given = release().expect("the kernel takes the advice");
        assert!(given > 0, "the pages of a running program are resident");
        assert_eq!(before, words.join(" "));
        for thread in threads {
            thread.join().expect("threads go on");
        }
    }
}
