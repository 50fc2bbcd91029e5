//! What is wrong with a configuration: every fault has a place, what was found and what would be right.

use std::fmt;

/// How serious a finding is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is accepted; the finding is told.
    Warning,
    /// Nothing is wrong; told to those who ask.
    Note,
}

/// A place in a text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Place {
    /// Line, counted from 1.
    pub line: u32,
    /// Column in characters, counted from 1.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// How serious it is.
    pub severity: Severity,
    /// Path of the field, such as `plugins[1].parameters.weight`; empty for the whole file.
    pub path: String,
    /// What was found and what would be right.
    pub message: String,
    /// Where it stands in the text, if it stands in one.
    pub place: Option<Place>,
    /// Whether the field's name is meant and not its value.
    pub on_name: bool,
}

impl Fault {
    fn new(severity: Severity, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity,
            path: path.into(),
            message: message.into(),
            place: None,
            on_name: false,
        }
    }

    /// A finding that refuses the configuration.
    pub fn error(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, path, message)
    }

    /// A finding that is told and no more.
    pub fn warning(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, path, message)
    }

    /// A finding for those who ask.
    pub fn note(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Note, path, message)
    }

    /// The same finding, about the field's name and not its value.
    #[must_use]
    pub fn on_name(mut self) -> Self {
        self.on_name = true;
        self
    }

    /// The same finding at a place in the text.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }
}

/// Whether some finding refuses the configuration.
pub fn refuses(faults: &[Fault]) -> bool {
    faults.iter().any(|f| f.severity == Severity::Error)
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A sentence that begins with the path says it once.
        let rest = self.message.strip_prefix(&self.path);
        if self.path.is_empty() || rest.is_some_and(|rest| rest.starts_with(' ')) {
            return f.write_str(&self.message);
        }
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// `; did you mean 'x'?` where a known word is near enough, else nothing.
pub fn hint<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    did_you_mean(found, known).map_or_else(String::new, |near| format!("; did you mean '{near}'?"))
}

/// The known word nearest to `found`, if one is near enough to be meant.
pub fn did_you_mean<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A word of one letter is near to every other.
    let limit = (found.len() / 3).max(2).min(found.len().saturating_sub(1));
    known
        .into_iter()
        .map(|word| (distance(found, word), word))
        .filter(|&(d, _)| d <= limit)
        .min_by_key(|&(d, _)| d)
        .map(|(_, word)| word)
}

/// Edit distance (insertions, deletions, substitutions) over characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_word_and_nonsense_finds_none() {
        let known = ["max-score-picker", "random-picker", "active-request-scorer"];
        assert_eq!(
            did_you_mean("max-scorer-picker", known),
            Some("max-score-picker")
        );
        assert_eq!(did_you_mean("zzz", known), None);
        assert_eq!(did_you_mean("q", ["p"]), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
