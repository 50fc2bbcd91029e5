//! What a run on demand found, check by check, and the page that it leaves.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;

/// One thing that has to hold.
pub struct Check {
    /// What it is.
    pub what: String,
    /// What was found.
    pub found: String,
    /// Whether that is as it has to be.
    pub good: bool,
}

/// What one part of a run found.
pub struct Part {
    title: &'static str,
    about: String,
    checks: Vec<Check>,
}

impl Part {
    /// A part that has found nothing yet; `about` says what is real in it and what is not.
    pub fn new(title: &'static str, about: impl Into<String>) -> Self {
        Self {
            title,
            about: about.into(),
            checks: Vec::new(),
        }
    }

    /// Does the part. One that breaks off has what it found so far, and one miss more.
    pub fn done(mut self, work: impl FnOnce(&mut Self)) -> Self {
        let ended = catch_unwind(AssertUnwindSafe(|| work(&mut self)));
        if let Err(payload) = ended {
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or_else(|| payload.downcast_ref::<&str>().map(|it| (*it).to_owned()));
            let text = text.unwrap_or_else(|| "a panic without words".to_owned());
            let first = text.lines().next().unwrap_or_default();
            self.check(
                "the part runs to its end",
                format!("broken off: {first}"),
                false,
            );
        }
        self
    }

    /// Notes one check, and says it on the terminal.
    pub fn check(&mut self, what: impl Into<String>, found: impl Into<String>, good: bool) {
        let (what, found) = (what.into(), found.into());
        println!("{}: {what}: {found}", if good { "good" } else { "MISS" });
        self.checks.push(Check { what, found, good });
    }

    /// The same for a number that has to be another.
    pub fn equal(&mut self, what: impl Into<String>, found: usize, wanted: usize) {
        self.check(what, format!("{found} of {wanted}"), found == wanted);
    }

    /// Whether all is as it has to be.
    pub fn is_good(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|check| check.good)
    }

    /// The part's section of the page.
    pub fn section(&self) -> String {
        let mut text = format!(
            "## {}\n\n{}\n\n| what | found | |\n|---|---|---|\n",
            self.title, self.about
        );
        for check in &self.checks {
            let word = if check.good { "good" } else { "**miss**" };
            let found = check.found.replace('|', "\\|");
            let _ = writeln!(text, "| {} | {found} | {word} |", check.what);
        }
        text
    }
}

/// What a program says its version is: the last word of the line that `--version` prints.
pub fn version(program: &Path) -> String {
    let output = Command::new(program).arg("--version").output();
    let text = output.map(|it| String::from_utf8_lossy(&it.stdout).into_owned());
    let text = text.unwrap_or_default();
    let word = text.split_whitespace().next_back();
    word.unwrap_or("unknown").to_owned()
}
