//! A child process whose output is collected and which never outlives its test.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};

use crate::patience::until;

/// Where a line came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// A running child. Dropping it kills it; in a failing test its last lines are shown.
pub struct Process {
    name: String,
    child: Child,
    lines: Arc<Mutex<Vec<(Stream, String)>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts the command, without the settings of this test run in its environment.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn start(name: &str, mut command: Command) -> Self {
        let ours = std::env::vars_os().map(|(key, _)| key);
        for key in ours.filter(|key| key.to_string_lossy().starts_with("POINTSMAN_")) {
            command.env_remove(key);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("start {name} ({command:?}): {error}"));
        let lines = Arc::default();
        let out = child.stdout.take().expect("stdout is piped");
        let err = child.stderr.take().expect("stderr is piped");
        let readers = vec![
            collect(out, Stream::Out, &lines),
            collect(err, Stream::Err, &lines),
        ];
        Self {
            name: name.to_owned(),
            child,
            lines,
            readers,
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All lines so far, of both streams, in the order they were read.
    pub fn lines(&self) -> Vec<String> {
        self.lock().iter().map(|(_, line)| line.clone()).collect()
    }

    /// All lines so far of one stream.
    pub fn lines_of(&self, stream: Stream) -> Vec<String> {
        self.lock()
            .iter()
            .filter(|(from, _)| *from == stream)
            .map(|(_, line)| line.clone())
            .collect()
    }

    /// Waits for a line that `find` accepts.
    ///
    /// # Panics
    /// When none comes.
    #[track_caller]
    pub fn wait_line<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        until(&format!("{what} from {}", self.name), || {
            self.lock().iter().find_map(|(_, line)| find(line))
        })
    }

    /// Resident memory in bytes.
    ///
    /// # Panics
    /// When it has ended.
    #[track_caller]
    pub fn resident(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{path} of {}: {error}", self.name));
        let mut words = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap_or_else(|| panic!("{} has ended", self.name))
            .split_whitespace();
        let kib = words.next().and_then(|word| word.parse::<u64>().ok());
        kib.expect("VmRSS is a number of KiB") * 1024
    }

    /// Ctrl-C.
    pub fn interrupt(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::INT)
            .unwrap_or_else(|error| panic!("interrupt {}: {error}", self.name));
    }

    /// Asks it to end, as a supervisor does.
    pub fn terminate(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM)
            .unwrap_or_else(|error| panic!("terminate {}: {error}", self.name));
    }

    /// The exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Waits for the end; all output has been collected when this returns.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn wait_end(&mut self) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        let status = until(&what, || self.ended());
        for reader in self.readers.drain(..) {
            // A reader ends at the end of its stream and cannot panic before.
            let _ = reader.join();
        }
        status
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Stream, String)>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; then both calls fail and nothing is left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let lines = self.lines();
            let shown = &lines[lines.len().saturating_sub(60)..];
            eprintln!(
                "--- last lines of {} ---\n{}\n---",
                self.name,
                shown.join("\n")
            );
        }
    }
}

fn collect(
    from: impl Read + Send + 'static,
    stream: Stream,
    into: &Arc<Mutex<Vec<(Stream, String)>>>,
) -> JoinHandle<()> {
    let into = Arc::clone(into);
    std::thread::spawn(move || {
        let mut reader = BufReader::new(from);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            into.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((stream, text));
            line.clear();
        }
    })
}
