//! What a person sees: aligned tables, faults one per line, colour only on a terminal.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};

use anyhow::anyhow;
use pointsman_core::config::fault::{Fault, Severity};

/// Writes to the standard output. A reader that went away ends no server.
pub(crate) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes to the standard error. A reader that went away ends no server.
pub(crate) fn complain(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// What was asked for makes no sense, whatever files and servers say: the process ends with 2.
#[derive(Debug)]
pub(crate) struct WrongUsage(String);

impl std::fmt::Display for WrongUsage {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for WrongUsage {}

/// An error that is one of usage.
pub(crate) fn wrong_usage(why: impl Into<anyhow::Error>) -> anyhow::Error {
    WrongUsage(format!("{:#}", why.into())).into()
}

/// An aligned table: two spaces before each row and between columns, headings in small capitals where colour is on.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>], colour: bool) -> String {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count());
        cells
            .chain([headings[column].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let mut out = String::new();
    let mut line = |cells: Vec<&str>, dim: bool| {
        let mut text = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            let _ = write!(text, "  {cell:<width$}");
        }
        let text = text.trim_end();
        let _ = if dim && colour {
            writeln!(out, "\x1b[2m{text}\x1b[0m")
        } else {
            writeln!(out, "{text}")
        };
    };
    line(headings.to_vec(), true);
    for row in rows {
        line(row.iter().map(String::as_str).collect(), false);
    }
    out
}

/// Whether the standard output is a terminal that shows colour.
pub(crate) fn stdout_has_colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// One error out of all faults of a file, a line for each.
pub(crate) fn refused(what: &str, faults: &[Fault]) -> anyhow::Error {
    let errors: Vec<&Fault> = faults
        .iter()
        .filter(|f| f.severity == Severity::Error)
        .collect();
    let lines: String = errors.iter().map(|fault| format!("\n  {fault}")).collect();
    let noun = if errors.len() == 1 {
        "problem"
    } else {
        "problems"
    };
    anyhow!("{what} is refused, {} {noun}:{lines}", errors.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![
            vec!["a".to_owned(), "1".to_owned()],
            vec!["longer".to_owned(), "22".to_owned()],
        ];
        assert_eq!(
            table(&["NAME", "N"], &rows, false),
            "  NAME    N\n  a       1\n  longer  22\n"
        );
    }
}
