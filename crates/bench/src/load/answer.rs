//! How one exchange ended: with an answer, or without one.

use std::io;
use std::time::Instant;

/// How much of a body is kept: enough for its id, and to say what an error was.
pub(crate) const KEPT: usize = 400;

/// What an answer was.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Tokens of a stream.
    pub(crate) tokens: u64,
    /// The beginning of its body, at most [`KEPT`] bytes.
    pub(crate) beginning: Vec<u8>,
    /// Whether an event of the stream told of an error.
    pub(crate) told_error: bool,
    /// Whether it was all there: for a stream, with `[DONE]`.
    pub(crate) complete: bool,
    pub(crate) close: bool,
    pub(crate) endpoint: Vec<u8>,
    /// The first byte of its body, or of its head where it has none.
    pub(crate) first: Instant,
    pub(crate) last: Instant,
}

impl Answer {
    /// Who gave it: what its header says, else the decode server that its id names, else nothing.
    pub(crate) fn origin(&self) -> &[u8] {
        if !self.endpoint.is_empty() {
            return &self.endpoint;
        }
        const MARK: &[u8] = b"___decode_addr_";
        let Some(at) = memchr::memmem::find(&self.beginning, MARK) else {
            return &[];
        };
        let rest = &self.beginning[at + MARK.len()..];
        // Behind the name stands "_" and 32 digits.
        let end = rest.iter().position(|b| matches!(b, b'_' | b'"'));
        &rest[..end.unwrap_or(0)]
    }
}

/// Why there was none.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: String,
    /// Whether the connection ended before any byte of an answer.
    pub(crate) unheard: bool,
}

impl Failure {
    pub(crate) fn timeout() -> Self {
        Self {
            kind: "timeout".to_owned(),
            unheard: false,
        }
    }

    pub(crate) fn protocol(what: &str) -> Self {
        Self {
            kind: format!("protocol: {what}"),
            unheard: false,
        }
    }

    /// The same, where nothing of an answer had come.
    pub(crate) fn unheard(self) -> Self {
        Self {
            unheard: true,
            ..self
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self {
            kind: error.kind().to_string(),
            unheard: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(endpoint: &str, beginning: &str, expected: &str) {
        let now = Instant::now();
        let answer = Answer {
            status: 200,
            tokens: 1,
            beginning: beginning.into(),
            told_error: false,
            complete: true,
            close: false,
            endpoint: endpoint.into(),
            first: now,
            last: now,
        };
        assert_eq!(String::from_utf8_lossy(answer.origin()), expected);
    }

    #[test]
    fn who_answered_is_told_by_header_or_id() {
        let id =
            "data: {\"id\":\"cmpl-___prefill_addr_p:1___decode_addr_vllm-decode-p2p:14579_0123\"";
        check("10.0.0.1:8000", id, "10.0.0.1:8000");
        check("", id, "vllm-decode-p2p:14579");
        check("", "{\"id\":\"cmpl-7\"}", "");
        check("", "___decode_addr_cut", "");
    }
}
