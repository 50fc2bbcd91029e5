//! Which CPU a process may run on.
//!
//! A child is started through a launcher, which binds itself to the CPU and then becomes the program, so that no thread
//! of the program ever ran elsewhere. The launcher also raises the limit of open files and asks the kernel to end the
//! program with its parent. Linux only.

use std::ffi::OsString;
use std::io;

/// The CPUs this process may use.
#[cfg(target_os = "linux")]
pub fn allowed() -> io::Result<Vec<usize>> {
    use rustix::thread::{CpuSet, sched_getaffinity};
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|cpu| set.is_set(*cpu))
        .collect())
}

/// Binds the calling thread, and the threads and processes it starts from now on, to one CPU.
#[cfg(target_os = "linux")]
pub fn pin(cpu: usize) -> io::Result<()> {
    use rustix::thread::{CpuSet, sched_setaffinity};
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).map_err(|error| {
        io::Error::new(
            io::Error::from(error).kind(),
            format!("cannot run on cpu {cpu}: {error}"),
        )
    })
}

/// Gives load and system under test a CPU each: binds this process to the load's, and raises its limit of open files.
///
/// # Errors
/// They are the same one, or one of them is not ours to use.
pub fn apart(load: usize, sut: usize) -> anyhow::Result<()> {
    let cpus = allowed()?;
    for cpu in [load, sut] {
        anyhow::ensure!(
            cpus.contains(&cpu),
            "cpu {cpu} is not among those this process may use ({cpus:?}); choose with --load-cpu and --sut-cpu"
        );
    }
    anyhow::ensure!(
        load != sut,
        "load and system under test need a cpu each; choose with --load-cpu and --sut-cpu"
    );
    pin(load)?;
    raise_file_limit();
    Ok(())
}

/// Raises the soft limit of open files to the hard one; as many as allowed are good enough.
pub fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}

/// Becomes `program`, bound to `cpu`; returns only when that fails.
#[cfg(target_os = "linux")]
pub fn become_pinned(cpu: Option<usize>, program: &OsString, args: &[OsString]) -> io::Error {
    use std::os::unix::process::CommandExt;
    if let Some(cpu) = cpu
        && let Err(error) = pin(cpu)
    {
        return error;
    }
    raise_file_limit();
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    std::process::Command::new(program).args(args).exec()
}

/// Not known here.
#[cfg(not(target_os = "linux"))]
pub fn allowed() -> io::Result<Vec<usize>> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "binding processes to a cpu needs linux",
    ))
}

/// Not possible here.
#[cfg(not(target_os = "linux"))]
pub fn pin(_cpu: usize) -> io::Result<()> {
    allowed().map(|_| ())
}

/// Becomes `program`; `cpu` is not heeded here.
#[cfg(not(target_os = "linux"))]
pub fn become_pinned(_cpu: Option<usize>, program: &OsString, args: &[OsString]) -> io::Error {
    use std::os::unix::process::CommandExt;
    raise_file_limit();
    std::process::Command::new(program).args(args).exec()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_pinned_thread_has_one_cpu() {
        let cpu = allowed().unwrap()[0];
        let seen = std::thread::spawn(move || {
            pin(cpu).unwrap();
            allowed().unwrap()
        });
        assert_eq!(seen.join().unwrap(), [cpu]);
        assert!(pin(1000).is_err());
    }
}
