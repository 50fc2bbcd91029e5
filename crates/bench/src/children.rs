//! Child processes of a benchmark: started on a CPU of their own, waited for, ended with their handle.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::load::probe;
use crate::roles::ROLE;

/// A program to start.
#[derive(Debug, Clone)]
pub struct Launch {
    /// What messages call it.
    pub name: String,
    /// The file to run.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Environment to add.
    pub env: Vec<(OsString, OsString)>,
    /// The CPU to bind it to, if any.
    pub cpu: Option<usize>,
}

impl Launch {
    /// A program with its arguments, not bound to a CPU.
    pub fn new<A: Into<OsString>>(
        name: &str,
        program: impl Into<PathBuf>,
        args: impl IntoIterator<Item = A>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            cpu: None,
        }
    }

    /// The running program again, in another role; see [`crate::roles`].
    pub fn role<A: Into<OsString>>(
        name: &str,
        args: impl IntoIterator<Item = A>,
    ) -> io::Result<Self> {
        let role = [OsString::from(ROLE)].into_iter();
        let args = role.chain(args.into_iter().map(Into::into));
        Ok(Self::new(name, std::env::current_exe()?, args))
    }

    /// The command as one would type it.
    #[must_use]
    pub fn command_line(&self) -> String {
        let mut line = self.program.display().to_string();
        for arg in &self.args {
            line.push(' ');
            line.push_str(&arg.to_string_lossy());
        }
        line
    }
}

/// A child process; dropping it kills it.
#[derive(Debug)]
pub struct Child {
    name: String,
    process: std::process::Child,
    stderr: PathBuf,
    command_line: String,
}

/// Tells the error files of one process's children apart.
static NEXT: AtomicU64 = AtomicU64::new(0);

impl Child {
    /// Starts a program through the launcher role of the running one. Its standard output is thrown away, its standard
    /// error kept.
    pub fn start(launch: &Launch) -> anyhow::Result<Self> {
        // Only a number that is never handed out twice is asked for, no order with other memory.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let file = format!("pointsman-bench-{}-{number}.err", std::process::id());
        let stderr = std::env::temp_dir().join(file);
        let log = fs::File::create(&stderr)
            .with_context(|| format!("cannot write {}", stderr.display()))?;
        let cpu = launch
            .cpu
            .map_or_else(|| "any".to_owned(), |cpu| cpu.to_string());
        let process = Command::new(std::env::current_exe()?)
            .args([ROLE, "pin", &cpu])
            .arg(&launch.program)
            .args(&launch.args)
            .envs(launch.env.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", launch.name))?;
        Ok(Self {
            name: launch.name.clone(),
            process,
            stderr,
            command_line: launch.command_line(),
        })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Waits until a completion request to `target` is answered with 200. When the child ends before, or the time is
    /// over, the error holds what it wrote to its standard error.
    pub async fn ready(
        &mut self,
        target: SocketAddr,
        model: &str,
        limit: Duration,
    ) -> anyhow::Result<()> {
        let until = Instant::now() + limit;
        let mut last = String::from("nothing tried");
        while Instant::now() < until {
            if let Some(status) = self.process.try_wait()? {
                bail!(
                    "{} ended before it was ready ({status})\n{}",
                    self.name,
                    self.said()
                );
            }
            match tokio::time::timeout(Duration::from_secs(2), probe(target, model)).await {
                Ok(Ok((200, _))) => return Ok(()),
                Ok(Ok((status, body))) => {
                    last = format!("status {status}: {}", String::from_utf8_lossy(&body));
                }
                Ok(Err(error)) => last = error.to_string(),
                Err(_) => last = String::from("no answer within 2 s"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!(
            "{} at {target} was not ready within {limit:?} (last: {last})\n{}",
            self.name,
            self.said()
        )
    }

    /// Its command and what it wrote to its standard error, for a message.
    #[must_use]
    pub fn said(&self) -> String {
        let text = fs::read(&self.stderr).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let text = text.trim_end();
        let text = if text.is_empty() { "(nothing)" } else { text };
        format!(
            "  command: {}\n  its standard error: {text}",
            self.command_line
        )
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill and nothing to say.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_file(&self.stderr);
    }
}

/// The first of `count` consecutive loopback ports that are free now, below the range that outgoing connections use.
pub fn free_ports(count: u16) -> anyhow::Result<u16> {
    let mut first = 18_100u16;
    while first < 30_000 {
        let taken = (first..first + count)
            .rev()
            .find(|port| TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], *port))).is_err());
        match taken {
            None => return Ok(first),
            Some(port) => first = port + 1,
        }
    }
    bail!("no {count} consecutive free ports between 18100 and 30000 on 127.0.0.1")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ports_are_free_and_consecutive() {
        let first = free_ports(3).unwrap();
        let held = TcpListener::bind(("127.0.0.1", first + 1)).unwrap();
        assert!(free_ports(3).unwrap() > held.local_addr().unwrap().port());
    }

    #[test]
    fn command_line_is_what_one_would_type() {
        let launch = Launch::new("x", "/bin/x", ["--listen", ":1"]);
        assert_eq!(launch.command_line(), "/bin/x --listen :1");
    }
}
