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
            fix: fix.into(),
        });
    }
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
