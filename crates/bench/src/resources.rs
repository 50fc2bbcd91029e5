//! CPU time and memory of another process, over exactly the window that is measured.
//!
//! CPU time is what the scheduler has booked on its threads (nanoseconds, late by at most one tick); time of threads
//! that ended inside the window is only in the coarse clock of the process, which takes over when the two drift apart.
//! The peak of memory is set back at the beginning of the window where the system permits it. Linux only: it reads
//! `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::Instant;

use serde::Serialize;

/// One tick of the coarse clocks in `/proc`; the kernel shows them in hundredths of a second to everybody.
const TICK_NANOS: u64 = 10_000_000;

/// What a process used inside a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Spent {
    /// CPU time of all its threads in nanoseconds.
    pub cpu_nanos: u64,
    /// CPU time by the length of the window: 1.0 is a whole core.
    pub cores: f64,
    /// Resident memory at the end, in MiB.
    pub resident_mib: f64,
    /// Highest resident memory in MiB: inside the window, or since its start where `peak_is_of_window` is false.
    pub peak_mib: f64,
    /// Whether the peak could be set back at the beginning.
    pub peak_is_of_window: bool,
}

/// A process that is being watched.
#[derive(Debug)]
pub struct Watch {
    pid: u32,
    threads: BTreeMap<u32, u64>,
    ticks: u64,
    reset: bool,
    since: Instant,
}

impl Watch {
    /// Begins the window of a process. Fails when there is no such process.
    pub fn begin(pid: u32) -> io::Result<Self> {
        // 5 sets the high-water mark of the resident memory to its present size.
        let reset = fs::write(format!("/proc/{pid}/clear_refs"), "5").is_ok();
        Ok(Self {
            pid,
            threads: threads(pid)?,
            ticks: ticks(pid)?,
            reset,
            since: Instant::now(),
        })
    }

    /// Ends the window. Fails when the process has ended before.
    pub fn end(&self) -> io::Result<Spent> {
        let seconds = self.since.elapsed().as_secs_f64();
        let fine = gained(&self.threads, &threads(self.pid)?);
        let coarse = ticks(self.pid)?.saturating_sub(self.ticks) * TICK_NANOS;
        let cpu_nanos = settle(fine, coarse);
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let mib = |name| field(&status, name).unwrap_or(0) as f64 / 1024.0;
        Ok(Spent {
            cpu_nanos,
            cores: cpu_nanos as f64 / 1e9 / seconds.max(f64::MIN_POSITIVE),
            resident_mib: mib("VmRSS:"),
            peak_mib: mib("VmHWM:"),
            peak_is_of_window: self.reset,
        })
    }
}

/// CPU time in nanoseconds and resident memory in MiB of a process at this moment. Fails when it has ended.
pub fn glance(pid: u32) -> io::Result<(u64, f64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let resident = field(&status, "VmRSS:").unwrap_or(0) as f64 / 1024.0;
    let fine = threads(pid)?.values().sum();
    Ok((settle(fine, ticks(pid)? * TICK_NANOS), resident))
}

/// The fine clock, unless it misses more than the coarse one may be off.
fn settle(fine: u64, coarse: u64) -> u64 {
    if coarse > fine + 5 * TICK_NANOS {
        coarse
    } else {
        fine
    }
}

/// CPU time that threads gained; one that is new gained all it has.
fn gained(before: &BTreeMap<u32, u64>, after: &BTreeMap<u32, u64>) -> u64 {
    after
        .iter()
        .map(|(thread, nanos)| nanos.saturating_sub(before.get(thread).copied().unwrap_or(0)))
        .sum()
}

/// CPU time by thread, in nanoseconds; empty where the kernel does not keep it.
fn threads(pid: u32) -> io::Result<BTreeMap<u32, u64>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let entry = entry?;
        let Some(thread) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // A thread may end between the listing and the reading.
        if let Ok(text) = fs::read_to_string(entry.path().join("schedstat"))
            && let Some(nanos) = text.split(' ').next().and_then(|word| word.parse().ok())
        {
            found.insert(thread, nanos);
        }
    }
    Ok(found)
}

/// User and system time of the process in ticks, threads that have ended among them.
fn ticks(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in brackets, may hold spaces and brackets; what follows it does not.
    let behind = text.rsplit(')').next().unwrap_or_default();
    let mut words = behind.split_ascii_whitespace().skip(11);
    let mut next = || words.next().and_then(|word| word.parse::<u64>().ok());
    match (next(), next()) {
        (Some(user), Some(system)) => Ok(user + system),
        _ => Err(io::Error::other(format!(
            "/proc/{pid}/stat is not understood"
        ))),
    }
}

/// The number behind a name in `/proc/<pid>/status`.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// CPU time of the whole machine, to tell how much of it others took.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    busy_nanos: u64,
    since: Instant,
}

impl Machine {
    /// Begins a window.
    pub fn begin() -> io::Result<Self> {
        Ok(Self {
            busy_nanos: busy()?,
            since: Instant::now(),
        })
    }

    /// The cores that processes other than `ours` took, whose CPU time together is given in nanoseconds.
    pub fn foreign_cores(&self, ours: u64) -> io::Result<f64> {
        let all = busy()?.saturating_sub(self.busy_nanos);
        let seconds = self.since.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
        Ok(all.saturating_sub(ours) as f64 / 1e9 / seconds)
    }
}

/// Time in which some CPU of the machine worked.
fn busy() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().unwrap_or_default();
    // user, nice, system, idle, iowait, irq, softirq, steal
    let sum: u64 = line
        .split_ascii_whitespace()
        .skip(1)
        .take(8)
        .enumerate()
        .filter(|(column, _)| !matches!(column, 3 | 4))
        .filter_map(|(_, word)| word.parse::<u64>().ok())
        .sum();
    Ok(sum * TICK_NANOS)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn work_is_seen_and_booked_on_the_window() {
        let watch = Watch::begin(std::process::id()).unwrap();
        let until = Instant::now() + std::time::Duration::from_millis(30);
        let mut sum = 0u64;
        while Instant::now() < until {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let spent = watch.end().unwrap();
        assert!(spent.cpu_nanos > 0, "{spent:?}");
        assert!(
            spent.resident_mib > 0.0 && spent.peak_mib >= spent.resident_mib,
            "{spent:?}"
        );
    }

    #[test]
    fn threads_that_ended_are_not_lost() {
        let before = BTreeMap::from([(1, 100), (2, 50)]);
        let after = BTreeMap::from([(1, 130), (3, 7)]);
        assert_eq!(gained(&before, &after), 37);
        assert_eq!(settle(37, 20 * TICK_NANOS), 20 * TICK_NANOS);
        assert_eq!(settle(37, 5 * TICK_NANOS), 37);
    }

    #[test]
    fn reads_the_fields_of_status() {
        assert_eq!(
            field("Name:\tx\nVmHWM:\t  2048 kB\nVmRSS:\t1024 kB\n", "VmHWM:"),
            Some(2048)
        );
        assert_eq!(field("Name:\tx\n", "VmHWM:"), None);
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        assert!(Watch::begin(u32::MAX).is_err());
    }
}
