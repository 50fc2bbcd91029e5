//! What could not be read, and where.

use std::fmt;

use serde::Serialize;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The rest of the text was read.
    Warning,
    /// The text is not what it should be, and nothing was taken from it.
    Error,
}

/// One thing that is wrong with one input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Whether anything was taken from the text.
    pub severity: Severity,
    /// The file, or the command whose output it is.
    pub file: String,
    /// Line in it, from 1; `None` where the problem has no line, as with a file that cannot be opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// What is wrong, and what would be right.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.what),
            None => write!(f, "{}: {}", self.file, self.what),
        }
    }
}

/// Problems of one file while it is read.
#[derive(Debug)]
pub(crate) struct Notes<'a> {
    file: &'a str,
    found: Vec<Problem>,
}

/// After so many problems of one file the rest is only counted: garbage must not drown the report.
const MOST: usize = 20;

impl<'a> Notes<'a> {
    pub(crate) fn new(file: &'a str) -> Self {
        Self {
            file,
            found: Vec::new(),
        }
    }

    pub(crate) fn warn(&mut self, line: Option<usize>, what: String) {
        self.push(Severity::Warning, line, what);
    }

    pub(crate) fn error(&mut self, line: Option<usize>, what: String) {
        self.push(Severity::Error, line, what);
    }

    fn push(&mut self, severity: Severity, line: Option<usize>, what: String) {
        self.found.push(Problem {
            severity,
            file: self.file.to_owned(),
            line,
            what,
        });
    }

    pub(crate) fn done(mut self) -> Vec<Problem> {
        let over = self.found.len().saturating_sub(MOST);
        if over > 0 {
            self.found.truncate(MOST);
            self.warn(
                None,
                format!("{over} further problems of this file are not listed"),
            );
        }
        self.found
    }
}

/// A stretch of foreign text as it may stand in a message: one line, not long, quoted.
pub(crate) fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(40).collect();
    let more = if text.chars().count() > 40 { "…" } else { "" };
    format!("'{}{more}'", shown.escape_debug())
}
