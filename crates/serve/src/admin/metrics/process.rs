//! What the operating system counts of the process, under the names that every exporter uses. Linux only: elsewhere the
//! families are absent.

use std::fs;

use crate::admin::metrics::page::Page;
use crate::metrics::catalogue::own as family;

/// Ticks of the clock that `/proc` counts in. It has been 100 on every Linux of the last twenty years, and reading it
/// would need a call that is not safe.
const TICKS: f64 = 100.0;

/// Size of a page of memory, as on every machine this runs on.
const PAGE: f64 = 4096.0;

/// Writes the families.
pub(crate) fn write(page: &mut Page) {
    let read = |file: &str| fs::read_to_string(file).ok();
    let Some(stat) = read("/proc/self/stat").as_deref().and_then(Stat::read) else {
        return;
    };
    page.single(&family::CPU, stat.cpu);
    page.single(&family::MEMORY, stat.resident);
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        // One of them is the listing's own.
        let count = entries.count().saturating_sub(1);
        page.single(&family::DESCRIPTORS, count as f64);
    }
    let booted = read("/proc/stat").as_deref().and_then(boot_time);
    if let Some(booted) = booted {
        page.single(&family::STARTED, booted + stat.started);
    }
}

struct Stat {
    /// Seconds of CPU.
    cpu: f64,
    /// Seconds from the machine's start.
    started: f64,
    /// Bytes.
    resident: f64,
}

impl Stat {
    /// Reads `/proc/self/stat`; the process's name may hold blanks and brackets.
    fn read(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // Fields are numbered from 1 in the manual; the first one here is the third.
        let number = |n: usize| fields.get(n - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu: (number(14)? + number(15)?) / TICKS,
            started: number(22)? / TICKS,
            resident: number(24)? * PAGE,
        })
    }
}

/// The line `btime` of `/proc/stat`.
fn boot_time(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_fields_are_those_of_the_manual() {
        let text = "42 (a ) b) S 1 42 42 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 8 0 12345 99 7 18446744073709551615 1 1";
        let stat = Stat::read(text).unwrap();
        assert_eq!(
            (stat.cpu, stat.started, stat.resident),
            (3.0, 123.45, 28672.0)
        );
        assert!(Stat::read("").is_none() && Stat::read("1 (x) S").is_none());
        assert_eq!(boot_time("cpu 1 2\nbtime 1700000000\nx 1\n"), Some(1.7e9));
    }
}
