//! A newcomer's walk through `docs/quick-start.md`, command by command, in an empty folder.
//!
//! Every `$` line of a console block is run as it stands, with the ports replaced by free ones. Every line that the
//! page shows as output must come out, apart from numbers, ids, blanks and which of the two pairs it was.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use pointsman_tests::binary::{pointsman, workspace};
use pointsman_tests::http::Request;
use pointsman_tests::patience::until;
use pointsman_tests::port;
use pointsman_tests::process::Process;
use pointsman_tests::scratch::Scratch;

/// Commands that run until they are ended, by their beginning.
const SERVERS: [&str; 3] = ["pointsman up", "pointsman sim", "pointsman gateway"];

/// A command of the page and the output that it shows.
#[derive(Debug, Default)]
struct Step {
    command: String,
    shown: Vec<String>,
}

#[test]
fn every_command_of_the_quick_start_does_what_the_page_shows() {
    let page = std::fs::read_to_string(workspace().join("docs/quick-start.md")).unwrap();
    let steps = steps(&page);
    assert!(steps.len() >= 16, "{} commands", steps.len());
    let mut walk = Walk::begin();
    for step in &steps {
        walk.take(step);
    }
    assert_eq!(walk.servers_started, 4);
}

/// The commands of all console blocks. A command goes on over following lines while a here-document is open.
fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let (mut inside, mut open) = (false, false);
    for line in page.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside && !open) {
            open = command.ends_with("<<'END'");
            steps.push(Step {
                command: command.to_owned(),
                shown: Vec::new(),
            });
        } else if inside && let Some(step) = steps.last_mut() {
            if open {
                step.command.push('\n');
                step.command.push_str(line);
                open = line != "END";
            } else if !line.trim().is_empty() {
                step.shown.push(line.to_owned());
            }
        }
    }
    steps
}

/// Where the newcomer is.
struct Walk {
    scratch: Scratch,
    ports: BTreeMap<&'static str, u16>,
    lab: Option<Process>,
    sims: Vec<Process>,
    servers_started: usize,
}

impl Walk {
    fn begin() -> Self {
        let ports = ["8080", "9090", "8001", "8002"].map(|shown| (shown, port::free().port()));
        Self {
            scratch: Scratch::new("quick-start"),
            ports: ports.into_iter().collect(),
            lab: None,
            sims: Vec::new(),
            servers_started: 0,
        }
    }

    fn take(&mut self, step: &Step) {
        if step.command.starts_with("cargo build") {
            // Built already; what matters is that the page's path is where such a build puts it.
            assert_eq!(step.command, "cargo build --release");
            return;
        }
        if step.command.starts_with("export PATH") {
            assert!(step.command.contains("$PWD/target/release:"));
            return;
        }
        let command = self.with_ports(&step.command);
        let server = SERVERS.iter().any(|server| command.starts_with(server));
        let said = if server {
            self.serve(&command, step)
        } else {
            self.run(&command)
        };
        let said: Vec<String> = said.lines().map(plain).collect();
        for line in &step.shown {
            let wanted = plain(line);
            assert!(
                said.iter().any(|line| line.contains(&wanted)),
                "'{}' does not show '{line}' (looked for '{wanted}') but\n{}",
                step.command,
                said.join("\n")
            );
        }
    }

    fn with_ports(&self, command: &str) -> String {
        self.ports
            .iter()
            .fold(command.to_owned(), |text, (shown, port)| {
                text.replace(shown, &port.to_string())
            })
    }

    fn shell(&self, command: &str) -> Command {
        let folder = pointsman().parent().unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("bash");
        shell
            .args(["-c", command])
            .current_dir(self.scratch.path())
            .env("PATH", format!("{}:{path}", folder.display()));
        let at = |shown: &str| format!("127.0.0.1:{}", self.ports[shown]);
        // The simulators say on the command line where they listen.
        if !command.contains("pointsman sim") {
            shell.env("POINTSMAN_TARGET", at("8080"));
            shell.env("POINTSMAN_LISTEN", at("8080"));
            shell.env("POINTSMAN_ADMIN", at("9090"));
        }
        shell
    }

    fn run(&self, command: &str) -> String {
        let output = self.shell(command).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}\n{said}\n{errors}");
        said
    }

    /// Starts a server in a terminal of its own and waits until it serves and has said what the page shows.
    fn serve(&mut self, command: &str, step: &Step) -> String {
        self.servers_started += 1;
        let sim = command.starts_with("pointsman sim");
        if !sim {
            // The page has the reader end the lab with Ctrl-C before the gateway takes its ports.
            self.lab = None;
        }
        let process = Process::start(command, self.shell(&format!("exec {command}")));
        if sim {
            self.sims.push(process);
            return String::new();
        }
        let admin = ([127, 0, 0, 1], self.ports["9090"]).into();
        until(&format!("{command} to be ready"), || {
            let request = Request::get("/readyz").patience(Duration::from_secs(5));
            let ready = request.send(admin).is_ok_and(|r| r.status == 200);
            let told = process.lines().len() >= step.shown.len();
            (ready && told).then_some(())
        });
        let said = process.lines().join("\n");
        self.lab = Some(process);
        said
    }
}

/// A line without what differs from run to run: numbers and ids, blanks, and which pair it was.
fn plain(line: &str) -> String {
    let words = line.split_whitespace().map(|word| {
        let word = word.replace("p2p", "@").replace(":14579", "");
        let word: String = word.replace("-fs", "-@").replace("nvlink", "@");
        let id =
            |part: &str| part.len() >= 4 && part.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
        let parts: Vec<String> = word
            .split_inclusive(|c: char| !c.is_ascii_alphanumeric() && c != '-')
            .map(|part| {
                let end = part.trim_end_matches(|c: char| !c.is_ascii_alphanumeric() && c != '-');
                let rest = &part[end.len()..];
                let digits =
                    !end.is_empty() && end.chars().all(|c| c.is_ascii_digit() || "+-".contains(c));
                if digits || id(end) {
                    format!("#{rest}")
                } else {
                    part.to_owned()
                }
            })
            .collect();
        parts.concat()
    });
    words.collect::<Vec<_>>().join(" ")
}
