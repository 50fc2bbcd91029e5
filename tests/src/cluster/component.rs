//! One program of the control plane, which ends with us.
//!
//! A shared cluster lives in a static and is never dropped, and a test process may be killed. So each program runs
//! below a shell whose standard input is a pipe that we hold: when the pipe closes, the shell kills the program.

use std::fs::File;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

/// Runs the arguments as a program until it ends or standard input closes.
const SUPERVISE: &str = "\
exec 3<&0
\"$@\" 3<&- </dev/null &
child=$!
{ cat <&3 >/dev/null; kill -9 \"$child\" 2>/dev/null; } &
exec 3<&-
wait \"$child\"
";

/// Removes a folder when standard input closes, once those who write into it have ended as well.
const SWEEP: &str = "cat >/dev/null; sleep 1; rm -rf -- \"$1\"";

/// A running program.
pub(super) struct Component {
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Component {
    /// Starts it; what it prints is appended to `log`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub(super) fn start(program: &Path, arguments: &[String], log: &Path) -> Self {
        assert!(
            program.is_file(),
            "{} is missing: unset KUBEBUILDER_ASSETS and POINTSMAN_K8S and run `cargo xtask setup`, which builds it",
            program.display()
        );
        let open = || {
            let file = File::options().create(true).append(true).open(log);
            file.unwrap_or_else(|error| panic!("open {}: {error}", log.display()))
        };
        let mut shell = Command::new("sh")
            .args(["-c", SUPERVISE, "sh"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(open())
            .stderr(open())
            .spawn()
            .unwrap_or_else(|error| panic!("start {}: {error}", program.display()));
        let pipe = shell.stdin.take();
        Self { shell, pipe }
    }

    /// Whether the program has ended.
    pub(super) fn has_ended(&mut self) -> bool {
        self.shell.try_wait().is_ok_and(|status| status.is_some())
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        drop(self.pipe.take());
        // The shell ends when the program has been killed.
        let _ = self.shell.wait();
    }
}

/// Removes the state of a cluster when it is dropped or the process ends.
pub(super) struct Sweeper {
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Sweeper {
    /// For this folder.
    ///
    /// # Panics
    /// When there is no shell.
    pub(super) fn of(folder: &Path) -> Self {
        let mut shell = Command::new("sh")
            .args(["-c", SWEEP, "sh"])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell starts");
        let pipe = shell.stdin.take();
        Self { shell, pipe }
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.shell.wait();
    }
}

/// Makes the key that tokens of service accounts are signed with.
pub(super) fn make_key(programs: &Path, into: &Path) {
    let own = programs.join("signingkey");
    let mut command = if own.is_file() {
        let mut command = Command::new(own);
        command.arg(into);
        command
    } else {
        let mut command = Command::new("openssl");
        command
            .args(["genrsa", "-traditional", "-out"])
            .arg(into)
            .arg("2048");
        command
    };
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("make a key with {command:?}: {error}"));
    assert!(
        output.status.success(),
        "make a key: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
