//! How one exchange ended: with an answer, or without one.

use std::io;
use std::time::{Duration, Instant};

/// How much of a body is kept: enough for its id, and to say what an error was.
pub(crate) const KEPT: usize = 400;

/// What an answer was.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) tokens: Tokens,
    /// Whether it came as a stream.
    pub(crate) streamed: bool,
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

/// The tokens of an answer, as they came and as it tells them.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    /// Events with a token.
    pub(crate) events: u64,
    /// Those of them that came inside the window.
    pub(crate) in_window: u64,
    /// Reads inside the window that brought something.
    pub(crate) reads: u64,
    /// Inside the window: time since the last token, and how many came then.
    pub(crate) gaps: Vec<(Duration, u64)>,
    /// What `usage` says.
    pub(crate) told: Option<u64>,
    last: Option<Instant>,
}

impl Tokens {
    /// A read brought the events of `count` tokens; `open` inside the window.
    pub(crate) fn arrived(&mut self, count: u64, now: Instant, open: bool) {
        self.events += count;
        if open {
            self.in_window += count;
            self.reads += 1;
        }
        if count > 0 {
            if let (Some(last), true) = (self.last, open) {
                self.gaps.push((now - last, count));
            }
            self.last = Some(now);
        }
    }

    /// How many there were.
    pub(crate) fn count(&self) -> u64 {
        self.told.unwrap_or(self.events)
    }

    /// How many came inside the window; the answer ended inside it when `open`. Where an answer tells another number
    /// than it has events, each event stands for as many.
    pub(crate) fn counted(&self, open: bool) -> u64 {
        match self.told {
            None => self.in_window,
            Some(told) if self.in_window == self.events => {
                if self.events > 0 || open {
                    told
                } else {
                    0
                }
            }
            Some(told) => (told as f64 * self.in_window as f64 / self.events as f64).round() as u64,
        }
    }
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
            tokens: Tokens::default(),
            streamed: true,
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
    fn what_an_answer_tells_is_shared_out_over_its_events() {
        let now = Instant::now();
        let mut tokens = Tokens::default();
        tokens.arrived(0, now, false);
        tokens.arrived(1, now, false);
        tokens.arrived(3, now + Duration::from_millis(6), true);
        assert_eq!((tokens.count(), tokens.counted(true)), (4, 3));
        assert_eq!(tokens.gaps, [(Duration::from_millis(6), 3)]);
        tokens.told = Some(8);
        assert_eq!((tokens.count(), tokens.counted(true)), (8, 6));
        let whole = Tokens {
            told: Some(5),
            ..Tokens::default()
        };
        assert_eq!((whole.counted(true), whole.counted(false)), (5, 0));
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
