//! `pointsman` as servers: the lab, a gateway, a simulated model server, a P/D proxy.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::binary::pointsman;
use crate::http::Request;
use crate::patience::until;
use crate::port;
use crate::process::Process;

/// How often a server is started with new ports when another process was quicker to take one.
const ATTEMPTS: usize = 4;

/// A gateway with its admin port: `pointsman up` or `pointsman gateway`.
pub struct Gateway {
    /// The child.
    pub process: Process,
    /// Where clients go.
    pub address: SocketAddr,
    /// Where operators look.
    pub admin: SocketAddr,
}

impl Gateway {
    /// `pointsman up` with further flags, ready to serve.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn up(flags: &[&str]) -> Self {
        Self::start("up", flags, "/readyz", |arguments| plain(&arguments))
    }

    /// `pointsman gateway` in front of the endpoints of a file, ready to serve.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn before(endpoints: &str, flags: &[&str]) -> Self {
        let flags = [&["--endpoints", endpoints], flags].concat();
        Self::start("gateway", &flags, "/readyz", |arguments| plain(&arguments))
    }

    /// The same, alive but not necessarily ready: for pools that cannot serve.
    ///
    /// # Panics
    /// When it does not come alive.
    #[track_caller]
    pub fn before_nothing(endpoints: &str, flags: &[&str]) -> Self {
        let flags = [&["--endpoints", endpoints], flags].concat();
        Self::start("gateway", &flags, "/healthz", |arguments| plain(&arguments))
    }

    /// `pointsman gateway` that finds its endpoints by its configuration, ready to serve.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn configured(config_file: &str) -> Self {
        let flags = ["--config-file", config_file];
        Self::start("gateway", &flags, "/readyz", |arguments| plain(&arguments))
    }

    /// The same as [`Gateway::before`] with at most so many open files.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn before_with_files(endpoints: &str, flags: &[&str], files: u32) -> Self {
        let flags = [&["--endpoints", endpoints], flags].concat();
        Self::start("gateway", &flags, "/readyz", |arguments| {
            limited(&arguments, files)
        })
    }

    #[track_caller]
    fn start(
        command: &str,
        flags: &[&str],
        ready: &str,
        build: impl Fn(Vec<String>) -> Command,
    ) -> Self {
        for attempt in 1..=ATTEMPTS {
            let (address, admin) = (port::free(), port::free());
            let mut arguments = vec![command.to_owned(), "--listen".into(), address.to_string()];
            arguments.extend(["--admin".into(), admin.to_string()]);
            arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
            let mut process = Process::start(command, build(arguments));
            let ended = until(&format!("{command} to answer {ready} at {admin}"), || {
                if let Some(status) = process.ended() {
                    return Some(Some(status));
                }
                let request = Request::get(ready).patience(Duration::from_secs(5));
                let good = request
                    .send(admin)
                    .is_ok_and(|response| response.status == 200);
                (good && TcpStream::connect(address).is_ok()).then_some(None)
            });
            match ended {
                None => {
                    return Self {
                        process,
                        address,
                        admin,
                    };
                }
                Some(status) => {
                    process.wait_end();
                    let taken = process.lines().iter().any(|line| line.contains("in use"));
                    let last = attempt == ATTEMPTS;
                    assert!(
                        taken && !last,
                        "{command} ended with {status}:\n{}",
                        process.lines().join("\n")
                    );
                }
            }
        }
        unreachable!("the last attempt returns or panics")
    }

    /// `GET path` on the admin port, as JSON.
    ///
    /// # Panics
    /// When the answer is not 200 with JSON.
    #[track_caller]
    pub fn admin_json(&self, path: &str) -> Value {
        let response = Request::get(path).answered(self.admin);
        assert_eq!(response.status, 200, "GET {path}: {}", response.text());
        response.json()
    }

    /// The newest receipts, newest first.
    ///
    /// # Panics
    /// When they cannot be had.
    #[track_caller]
    pub fn decisions(&self, limit: usize) -> Vec<Value> {
        let answer = self.admin_json(&format!("/debug/decisions?limit={limit}"));
        answer["decisions"]
            .as_array()
            .unwrap_or_else(|| panic!("no decisions in {answer}"))
            .clone()
    }

    /// The candidates as the admin port shows them.
    ///
    /// # Panics
    /// When they cannot be had.
    #[track_caller]
    pub fn endpoints(&self) -> Vec<Value> {
        let answer = self.admin_json("/debug/endpoints");
        answer["endpoints"]
            .as_array()
            .unwrap_or_else(|| panic!("no endpoints in {answer}"))
            .clone()
    }

    /// Waits until no candidate has a request in flight.
    ///
    /// # Panics
    /// When one keeps one.
    #[track_caller]
    pub fn wait_idle(&self) {
        until("every candidate's inFlight to be 0", || {
            let endpoints = self.endpoints();
            let idle = endpoints
                .iter()
                .all(|endpoint| endpoint["inFlight"].as_u64() == Some(0));
            idle.then_some(())
        });
    }

    /// Where a part of the lab listens, from the table printed at the start.
    ///
    /// # Panics
    /// When the table does not name it.
    #[track_caller]
    pub fn part(&self, name: &str) -> SocketAddr {
        self.process
            .wait_line(&format!("the table's row of {name}"), |line| {
                let mut words = line.split_whitespace().skip_while(|word| *word != name);
                words.find_map(|word| {
                    let address = word
                        .trim_start_matches("http://")
                        .trim_end_matches(['/', ',']);
                    address.parse().ok()
                })
            })
    }
}

/// A simulated model server in a process of its own.
pub struct Sim {
    /// The child.
    pub process: Process,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Sim {
    /// `pointsman sim` for the model, ready to serve.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn start(model: &str, flags: &[&str]) -> Self {
        let (process, address) = started("sim", |address| {
            let port = address.port().to_string();
            let mut arguments = vec![
                "sim".to_owned(),
                "--port".into(),
                port,
                "--model".into(),
                model.to_owned(),
            ];
            arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
            plain(&arguments)
        });
        until("the simulator's /health", || {
            Request::get("/health")
                .send(address)
                .is_ok_and(|response| response.status == 200)
                .then_some(())
        });
        Self { process, address }
    }
}

/// A P/D proxy in a process of its own.
pub struct Proxy {
    /// The child.
    pub process: Process,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Proxy {
    /// `pointsman proxy` with flags and environment, listening.
    ///
    /// # Panics
    /// When it does not listen.
    #[track_caller]
    pub fn start(flags: &[&str], environment: &[(&str, &str)]) -> Self {
        let (process, address) = started("proxy", |address| {
            let mut arguments = vec!["proxy".to_owned(), "--listen".into(), address.to_string()];
            arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
            let mut command = plain(&arguments);
            command.envs(environment.iter().copied());
            command
        });
        Self { process, address }
    }
}

#[track_caller]
fn started(name: &str, build: impl Fn(SocketAddr) -> Command) -> (Process, SocketAddr) {
    for _ in 1..ATTEMPTS {
        let address = port::free();
        let mut process = Process::start(name, build(address));
        let listens = until(&format!("{name} to listen at {address}"), || {
            if process.ended().is_some() {
                return Some(false);
            }
            TcpStream::connect(address).is_ok().then_some(true)
        });
        if listens {
            return (process, address);
        }
        let status = process.wait_end();
        let lines = process.lines().join("\n");
        assert!(
            lines.contains("in use"),
            "{name} ended with {status}:\n{lines}"
        );
    }
    panic!("{name} found no free port");
}

/// The binary with arguments.
pub fn plain(arguments: &[String]) -> Command {
    let mut command = Command::new(pointsman());
    command.args(arguments);
    command
}

/// The same with at most so many open files; the shell sets the limit and becomes the binary.
fn limited(arguments: &[String], files: u32) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("ulimit -n {files} && exec \"$0\" \"$@\"")])
        .arg(pointsman())
        .args(arguments);
    command
}

/// An endpoints file (file-discovery) with these names and addresses, all labelled alike.
pub fn endpoints_file(endpoints: &[(&str, SocketAddr)]) -> String {
    let rows = endpoints.iter().map(|(name, address)| {
        serde_json::json!({
            "name": name,
            "address": address.ip().to_string(),
            "port": address.port().to_string(),
            "labels": {"app": "test"},
        })
    });
    serde_json::json!({"endpoints": rows.collect::<Vec<_>>()}).to_string()
}
