//! Words for the log.

use std::sync::Arc;

/// How much a message matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What goes on.
    Info,
    /// What goes wrong.
    Error,
}

impl Level {
    /// As log lines name it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Error => "error",
        }
    }
}

/// Where words for the log go.
pub type Tell = Arc<dyn Fn(Level, &str) + Send + Sync>;
