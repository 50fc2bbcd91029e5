//! Processes to watch, by id or by name.

use std::fs;
use std::io::{self, ErrorKind};

/// A process and what the report calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// Its name in the report.
    pub name: String,
    /// Its id.
    pub pid: u32,
}

/// Reads `NAME=PID`, `NAME=PROGRAM` or `PROGRAM`, and finds the process.
///
/// # Errors
/// One sentence: nothing is called so, several things are, or `/proc` cannot be read.
pub fn find(text: &str) -> Result<Watched, String> {
    let (name, wanted) = text.split_once('=').unwrap_or((text, text));
    if name.is_empty() || wanted.is_empty() {
        return Err(format!(
            "--process {text}: write NAME=PID or the name of a program"
        ));
    }
    let pid = match wanted.parse::<u32>() {
        Ok(pid) => pid,
        Err(_) => by_program(wanted).map_err(|why| format!("--process {text}: {why}"))?,
    };
    match fs::read(format!("/proc/{pid}/stat")) {
        Ok(_) => Ok(Watched {
            name: name.to_owned(),
            pid,
        }),
        Err(error) => Err(format!("--process {text}: {}", unreadable(pid, &error))),
    }
}

/// Why a process cannot be watched, and what to do.
#[must_use]
pub fn unreadable(pid: u32, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => format!("there is no process {pid}"),
        ErrorKind::PermissionDenied => format!(
            "/proc/{pid} may not be read: {error}; run as the user of that process, or leave --process out"
        ),
        _ => format!("/proc/{pid} cannot be read: {error}"),
    }
}

fn by_program(program: &str) -> Result<u32, String> {
    let listed =
        fs::read_dir("/proc").map_err(|error| format!("/proc cannot be listed: {error}"))?;
    let own = std::process::id();
    let mut found: Vec<u32> = listed
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != own && is_called(*pid, program))
        .collect();
    found.sort_unstable();
    match found.as_slice() {
        [pid] => Ok(*pid),
        [] => Err(format!("no process is called {program}")),
        several => {
            let shown: Vec<String> = several.iter().take(8).map(ToString::to_string).collect();
            Err(format!(
                "{} processes are called {program} ({}); name one by its id",
                several.len(),
                shown.join(", ")
            ))
        }
    }
}

/// Whether the file name of its first argument is this.
fn is_called(pid: u32, program: &str) -> bool {
    let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else {
        return false;
    };
    let first = line.split(|byte| *byte == 0).next().unwrap_or_default();
    let file = first
        .rsplit(|byte| *byte == b'/')
        .next()
        .unwrap_or_default();
    file == program.as_bytes()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn processes_are_found_or_a_sentence_says_why_not() {
        let own = std::process::id();
        assert_eq!(
            find(&format!("me={own}")).map(|found| found.name),
            Ok("me".to_owned())
        );
        let says = |text: &str, words: &str| {
            let told = find(text).map(|_| ()).expect_err("it is refused");
            assert!(told.contains(words), "{told}");
        };
        says("x=4294967295", "there is no process 4294967295");
        says(
            "no-such-program-here",
            "no process is called no-such-program-here",
        );
        says("=7", "write NAME=PID");
        let denied = io::Error::from(ErrorKind::PermissionDenied);
        assert!(unreadable(7, &denied).contains("/proc/7 may not be read"));
    }
}
