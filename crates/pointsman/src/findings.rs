//! How findings about a file look: `file:line:column: path: what, remedy`, with the line and a caret where asked for.

use std::fmt::Write as _;

use anyhow::anyhow;
use pointsman_core::config::fault::{Fault, Severity};

/// Widest line of a file that is shown, in characters.
const WIDEST: usize = 160;

/// One finding on a line of its own, without a line break.
pub(crate) fn line_of(file: &str, fault: &Fault) -> String {
    match fault.place {
        Some(place) => format!("{file}:{place}: {fault}"),
        None => format!("{file}: {fault}"),
    }
}

/// A finding with the line it is about and a caret below its place.
pub(crate) fn with_caret(file: &str, text: &str, fault: &Fault) -> String {
    let mut out = line_of(file, fault);
    let Some(place) = fault.place else { return out };
    let Some(line) = text.lines().nth(place.line as usize - 1) else {
        return out;
    };
    let column = place.column as usize - 1;
    // A file in one line would fill the screen, so only the part around the place is shown.
    let from = column.saturating_sub(WIDEST / 2);
    let shown: String = line
        .chars()
        .skip(from)
        .take(WIDEST)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if shown.trim().is_empty() {
        return out;
    }
    let number = place.line.to_string();
    let gap = " ".repeat(number.len());
    let before = " ".repeat(column - from);
    let _ = write!(out, "\n    {number} | {shown}\n    {gap} | {before}^");
    out
}

/// One error out of all that refuses a file.
pub(crate) fn refusal(file: &str, text: &str, faults: &[Fault]) -> anyhow::Error {
    let errors: Vec<&Fault> = faults
        .iter()
        .filter(|f| f.severity == Severity::Error)
        .collect();
    let noun = if errors.len() == 1 {
        "problem"
    } else {
        "problems"
    };
    let mut out = format!("{file} is refused, {} {noun}:", errors.len());
    for fault in errors {
        let _ = write!(out, "\n  {}", with_caret(file, text, fault));
    }
    anyhow!(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_core::config::fault::Place;

    #[test]
    fn the_caret_stands_below_its_place() {
        let place = Place { line: 2, column: 6 };
        let fault = Fault::error("a.b", "needs text").at(place);
        let shown = with_caret("f.yaml", "a:\n  b: [1]\n", &fault);
        let expected = "f.yaml:2:6: a.b: needs text\n    2 |   b: [1]\n      |      ^";
        assert_eq!(shown, expected);
        let long = format!("{}x{}", "-".repeat(500), "-".repeat(500));
        let place = Place {
            line: 1,
            column: 501,
        };
        let shown = with_caret("f", &long, &Fault::error("", "here").at(place));
        let lines: Vec<&str> = shown.lines().collect();
        let caret = lines[2].find('^');
        assert_eq!(lines[1].find('x'), caret);
        assert!(lines[1].len() < 200);
    }

    #[test]
    fn a_refusal_counts_errors_only() {
        let faults = [Fault::error("a", "wrong"), Fault::warning("b", "odd")];
        let shown = refusal("f", "", &faults).to_string();
        assert_eq!(shown, "f is refused, 1 problem:\n  f: a: wrong");
    }
}
