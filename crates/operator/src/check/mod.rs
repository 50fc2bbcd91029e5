//! What is wrong with an installation, told from the objects that make it: pure, over what was read.
//!
//! [`facts`] holds what was read, [`installation`] finds in it what belongs to one pool, and the rest judges: each
//! [`Trouble`] names a cause and what mends it. Nothing here asks a server.

pub mod candidates;
pub mod facts;
pub mod installation;
pub mod interference;
pub mod labels;
pub mod page;
pub mod picker;
pub mod pool;
pub mod rights;
pub mod route;

/// What one look found: what was seen, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What was seen.
    pub detail: String,
    /// What is wrong; empty if all is well.
    pub troubles: Vec<Trouble>,
}

impl Verdict {
    /// With nothing wrong yet.
    pub fn of(detail: impl Into<String>) -> Self {
        Self {
            detail: detail.into(),
            troubles: Vec::new(),
        }
    }

    /// Adds what is wrong.
    pub fn add(&mut self, cause: impl Into<String>, fix: impl Into<String>) {
        self.troubles.push(Trouble {
            cause: cause.into(),
            fix: pasteable(&fix.into()),
        });
    }
}

/// What the commands of a fix begin with.
const COMMANDS: [&str; 4] = ["kubectl ", "timedatectl ", "pointsman ", "#"];

/// What opens the text of a command that lasts until a line of its own says [`END`].
const OPENS: &str = "<<'EOF'";
const END: &str = "EOF";

/// A fix as a shell takes it: lines that are no command, and no text given to one, become remarks.
pub fn pasteable(fix: &str) -> String {
    let mut within = false;
    let lines = fix.lines().map(|line| {
        let bare = within || line.is_empty() || COMMANDS.iter().any(|word| line.starts_with(word));
        within = match within {
            true => line != END,
            false => line.ends_with(OPENS),
        };
        match bare {
            true => line.to_owned(),
            false => format!("# {line}"),
        }
    });
    lines.collect::<Vec<String>>().join("\n")
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Why.
    pub cause: String,
    /// The command or the YAML that mends it.
    pub fix: String,
}

#[cfg(test)]
mod tests;
