//! How one exchange ended: with an answer, or without one.

use std::io;
use std::time::Instant;

/// What an answer was.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Whether it was all there: for a stream, with `[DONE]`.
    pub(crate) complete: bool,
    pub(crate) close: bool,
    pub(crate) endpoint: Vec<u8>,
    /// The first byte of its body, or of its head where it has none.
    pub(crate) first: Instant,
    pub(crate) last: Instant,
}

/// Why there was none.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: String,
}

impl Failure {
    pub(crate) fn timeout() -> Self {
        Self {
            kind: "timeout".to_owned(),
        }
    }

    pub(crate) fn protocol(what: &str) -> Self {
        Self {
            kind: format!("protocol: {what}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self {
            kind: error.kind().to_string(),
        }
    }
}
