//! GuideLLM as a child process: what it is told, what it says, and how it ends.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::bench::session::told_to_end;
use crate::console::complain;

/// How often it is looked after.
const LOOK: Duration = Duration::from_millis(100);
/// Time for its start and end, beyond twice what it is asked for: it starts a process per core, each of which loads
/// much, and a machine may be busy.
const PATIENCE: Duration = Duration::from_secs(900);
/// Longest silence beyond the time it is asked to load for. It tells of its progress every ten seconds; now and then its
/// processes wait for each other for ever when they start on a machine that is busy.
const SILENCE: Duration = Duration::from_secs(120);
/// Time to end by itself after an interrupt.
const FAREWELL: Duration = Duration::from_secs(10);
/// Lines of its last words.
const LAST_WORDS: usize = 8;
/// Most processes that send requests, as GuideLLM itself would have it.
const WORKERS: usize = 10;

/// How it ended, where it did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Well,
    /// Somebody wanted it so, and how.
    Told(&'static str),
    /// It said nothing any more for far too long, and was stopped.
    Stuck,
}

/// Its whole process group, which ends with us.
struct Group(Child);

impl Group {
    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended in between.
            let _ = kill_process_group(pid, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.0.wait();
    }
}

/// Runs it to its end; `span` is the time that it is asked to load for.
pub(super) async fn run(
    program: &Path,
    arguments: &[String],
    authority: &str,
    folder: &Path,
    span: Duration,
) -> anyhow::Result<Ended> {
    let log = folder.join("guidellm.log");
    let out = File::create(&log).with_context(|| format!("{} cannot be written", log.display()))?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null());
    command
        .stdout(out.try_clone()?)
        .stderr(out)
        .process_group(0);
    surroundings(&mut command, authority, folder);
    let shown = program.display();
    let child = command
        .spawn()
        .with_context(|| format!("{shown} does not start"))?;
    let mut group = Group(child);
    let mut said = Said::new(&log)?;
    let limits = (Instant::now() + span * 2 + PATIENCE, span + SILENCE);
    let status = tokio::select! {
        status = looked_after(&mut group, &mut said, limits) => status?,
        why = told_to_end() => {
            group.signal(Signal::INT);
            let _ = looked_after(&mut group, &mut said, (Instant::now() + FAREWELL, FAREWELL)).await;
            return Ok(Ended::Told(why));
        }
    };
    let Some(status) = status else {
        if said.since.elapsed() > span + SILENCE {
            return Ok(Ended::Stuck);
        }
        bail!(
            "GuideLLM was still at work {:?} after it should have ended, and was stopped; the last that it said:\n{}",
            PATIENCE,
            said.last_words()
        );
    };
    if !status.success() {
        bail!(
            "GuideLLM failed ({status}); the last that it said:\n{}",
            said.last_words()
        );
    }
    Ok(Ended::Well)
}

/// Everything that it may look for outside, answered from inside: no hub, no proxies on the way to the target.
fn surroundings(command: &mut Command, authority: &str, folder: &Path) {
    for (name, value) in [
        ("HF_HUB_OFFLINE", "1"),
        ("HF_HUB_DISABLE_TELEMETRY", "1"),
        ("TRANSFORMERS_VERBOSITY", "error"),
        ("USE_TORCH", "0"),
        ("PYTHONUNBUFFERED", "1"),
    ] {
        command.env(name, value);
    }
    command.env("HF_HOME", folder.join("hub"));
    let host = authority
        .rsplit_once(':')
        .map_or(authority, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    command.env("NO_PROXY", host).env("no_proxy", host);
    if std::env::var_os("GUIDELLM__MAX_WORKER_PROCESSES").is_none() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        command.env(
            "GUIDELLM__MAX_WORKER_PROCESSES",
            cores.min(WORKERS).to_string(),
        );
    }
}

/// Waits for its end and passes its progress on; `None` when the time is over.
async fn looked_after(
    group: &mut Group,
    said: &mut Said,
    (limit, silence): (Instant, Duration),
) -> anyhow::Result<Option<ExitStatus>> {
    loop {
        let ended = group
            .0
            .try_wait()
            .context("GuideLLM cannot be waited for")?;
        said.pass_on();
        if ended.is_some() || Instant::now() > limit || said.since.elapsed() > silence {
            return Ok(ended);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What it writes.
struct Said {
    file: File,
    open: String,
    last: Vec<String>,
    /// When it last said something.
    since: Instant,
}

impl Said {
    fn new(log: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            file: File::open(log).with_context(|| format!("{} cannot be read", log.display()))?,
            open: String::new(),
            last: Vec::new(),
            since: Instant::now(),
        })
    }

    /// Reads what is new, and tells progress.
    fn pass_on(&mut self) {
        let mut bytes = Vec::new();
        // The file grows behind us; what cannot be read now is read the next time.
        let _ = self.file.read_to_end(&mut bytes);
        if !bytes.is_empty() {
            self.since = Instant::now();
        }
        self.open.push_str(&String::from_utf8_lossy(&bytes));
        while let Some(end) = self.open.find('\n') {
            let line: String = self.open.drain(..=end).collect();
            let line = line.trim();
            if let Some(progress) = progress(line) {
                complain(&format!("GuideLLM: {progress}\n"));
            }
            if !line.is_empty() {
                self.last.push(line.to_owned());
                let over = self.last.len().saturating_sub(LAST_WORDS);
                self.last.drain(..over);
            }
        }
    }

    fn last_words(&self) -> String {
        let mut words: Vec<&str> = self.last.iter().map(String::as_str).collect();
        words.extend(Some(self.open.trim()).filter(|rest| !rest.is_empty()));
        if words.is_empty() {
            return "  (nothing)".to_owned();
        }
        words
            .iter()
            .map(|line| format!("  {line}"))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// What a line of its log says of a benchmark under way.
fn progress(line: &str) -> Option<&str> {
    let (_, told) = line.split_once(" - ")?;
    told.starts_with("Benchmark ").then_some(told)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn silence_ends_the_wait() {
        let log = std::env::temp_dir().join(format!("pointsman-silent-{}", std::process::id()));
        File::create(&log).unwrap();
        let mut command = Command::new("sleep");
        let child = command.arg("1000").process_group(0).spawn().unwrap();
        let (mut group, mut said) = (Group(child), Said::new(&log).unwrap());
        let far = Instant::now() + PATIENCE;
        let ended = looked_after(&mut group, &mut said, (far, Duration::from_millis(1))).await;
        assert_eq!(ended.unwrap(), None);
        std::fs::remove_file(&log).unwrap();
    }

    #[test]
    fn progress_is_told_and_the_rest_is_not() {
        let line = "26-11-28 20:16:27|INFO     |guidellm.benchmark.progress:_log_update:420 - Benchmark 2 (concurrent@4): active | elapsed=10.0s";
        assert_eq!(
            progress(line),
            Some("Benchmark 2 (concurrent@4): active | elapsed=10.0s")
        );
        assert_eq!(
            progress("26-11-28|INFO|x:run:116 - Starting benchmark"),
            None
        );
        assert_eq!(progress("Benchmark"), None);
    }
}
