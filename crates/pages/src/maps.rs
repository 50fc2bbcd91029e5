//! Reads `/proc/PID/smaps`: proc_pid_smaps(5).

/// One mapping of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mapping<'a> {
    /// Its first address.
    pub(crate) start: usize,
    /// The address after its last one.
    pub(crate) end: usize,
    /// Whether the process may write there.
    pub(crate) is_writable: bool,
    /// The file; empty for memory without one.
    pub(crate) path: &'a str,
    /// What of it is resident.
    pub(crate) resident_kib: u64,
    /// What of it, resident or swapped out, is no longer as in the file, or is locked in memory. Pages that are only
    /// not written to disk yet ("dirty", as in a program just built) are as in the file.
    pub(crate) changed_kib: u64,
}

/// The mappings in the order of the text; lines that are none are passed over.
pub(crate) fn mappings(smaps: &str) -> impl Iterator<Item = Mapping<'_>> {
    let mut lines = smaps.lines().peekable();
    std::iter::from_fn(move || {
        let mut mapping = lines.by_ref().find_map(head)?;
        while let Some(line) = lines.next_if(|line| head(line).is_none()) {
            let mut words = line.split_ascii_whitespace();
            let (name, kib) = (
                words.next(),
                words.next().and_then(|kib| kib.parse::<u64>().ok()),
            );
            match (name, kib) {
                (Some("Rss:"), Some(kib)) => mapping.resident_kib = kib,
                (Some("Anonymous:" | "Swap:" | "Locked:"), Some(kib)) => {
                    mapping.changed_kib += kib;
                }
                _ => {}
            }
        }
        Some(mapping)
    })
}

/// The line that opens a mapping: `start-end perms offset device inode path`.
fn head(line: &str) -> Option<Mapping<'_>> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    let (start, end) = (address(start)?, address(end)?);
    let (permissions, _) = rest.split_once(' ')?;
    // Offset, device and inode hold no slash but the path begins with one.
    let path = rest.find('/').map_or("", |at| &rest[at..]);
    Some(Mapping {
        start,
        end,
        is_writable: permissions.contains('w'),
        path,
        resident_kib: 0,
        changed_kib: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
55d0c0a00000-55d0c0fbf000 r--p 00000000 fe:00 1311 /opt/a name/pointsman
Size:               5884 kB
Rss:                2224 kB
Private_Dirty:      2224 kB
Anonymous:             0 kB
Locked:                0 kB
VmFlags: rd mr mw me
55d0c2400000-55d0c24a6000 r--p 01abd000 fe:00 1311 /opt/a name/pointsman
Rss:                 656 kB
Private_Dirty:       656 kB
Anonymous:           656 kB
7f0000000000-7f0000400000 rw-p 00000000 00:00 0
Rss:                5144 kB
";

    #[test]
    fn mappings_are_read_with_what_the_kernel_says_of_them() {
        let found: Vec<_> = mappings(SMAPS).collect();
        assert_eq!(found.len(), 3);
        assert_eq!(
            found[0],
            Mapping {
                start: 0x55d0_c0a0_0000,
                end: 0x55d0_c0fb_f000,
                is_writable: false,
                path: "/opt/a name/pointsman",
                resident_kib: 2224,
                changed_kib: 0,
            }
        );
        assert_eq!(found[1].changed_kib, 656);
        assert!(found[2].is_writable);
        assert_eq!((found[2].path, found[2].resident_kib), ("", 5144));
    }

    #[test]
    fn other_text_holds_no_mapping() {
        assert_eq!(mappings("").count(), 0);
        assert_eq!(mappings("Rss: 12 kB\nx-y r--p\n\u{e9}-1\n").count(), 0);
    }
}
