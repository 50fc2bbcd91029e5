//! The body of an answer while it comes in.
//!
//! It is never stored: its bytes are counted, its events are told by their empty lines, and the last bytes are kept to
//! see whether a stream ended in `[DONE]`.

use crate::chunks::Chunks;
use crate::head::Framing;
use crate::load::answer::{Failure, KEPT};

/// How a whole stream ends.
const DONE: &[u8] = b"data: [DONE]\n\n";

/// A body while it comes in.
pub(crate) struct Body {
    rest: Rest,
    pub(crate) stream: bool,
    pub(crate) bytes: u64,
    /// Events so far, `[DONE]` among them.
    pub(crate) events: u64,
    /// The first bytes, at most [`KEPT`].
    pub(crate) beginning: Vec<u8>,
    /// Whether an event told of an error.
    pub(crate) told_error: bool,
    /// The last bytes, as many as [`DONE`] has.
    tail: Vec<u8>,
}

/// How an event of a stream begins that tells of an error. Inside a token's text the quotes would be escaped.
const ERROR: &[u8] = b"data: {\"error\"";

/// What is still to come.
enum Rest {
    Length(u64),
    Chunked(Chunks),
    UntilClose,
}

impl Body {
    pub(crate) fn new(framing: Framing, status: u16, stream: bool) -> Self {
        let rest = match framing {
            _ if status == 204 || status == 304 => Rest::Length(0),
            Framing::Length(length) => Rest::Length(length),
            Framing::Chunked => Rest::Chunked(Chunks::new()),
            Framing::Unsaid => Rest::UntilClose,
        };
        Self {
            rest,
            stream,
            bytes: 0,
            events: 0,
            beginning: Vec::new(),
            told_error: false,
            tail: Vec::with_capacity(2 * DONE.len()),
        }
    }

    pub(crate) fn done(&self) -> bool {
        match &self.rest {
            Rest::Length(left) => *left == 0,
            Rest::Chunked(chunks) => chunks.done(),
            Rest::UntilClose => false,
        }
    }

    pub(crate) fn ended_in_done(&self) -> bool {
        self.tail == DONE
    }

    pub(crate) fn take(&mut self, input: &[u8]) -> Result<(), Failure> {
        let Self {
            rest,
            stream,
            bytes,
            events,
            beginning,
            told_error,
            tail,
        } = self;
        let mut payload = |piece: &[u8]| {
            *bytes += piece.len() as u64;
            let room = KEPT - beginning.len();
            beginning.extend_from_slice(&piece[..room.min(piece.len())]);
            if *stream {
                *told_error |= memchr::memmem::find(piece, ERROR).is_some();
                *events += empty_lines(tail.last().copied(), piece);
                remember(tail, piece);
            }
        };
        let taken = match rest {
            Rest::Length(left) => {
                let here = input
                    .len()
                    .min(usize::try_from(*left).unwrap_or(usize::MAX));
                payload(&input[..here]);
                *left -= here as u64;
                here
            }
            Rest::Chunked(chunks) => chunks
                .feed(input, payload)
                .map_err(|_| Failure::protocol("malformed chunks"))?,
            Rest::UntilClose => {
                payload(input);
                input.len()
            }
        };
        if taken < input.len() {
            return Err(Failure::protocol("bytes after the answer"));
        }
        Ok(())
    }
}

/// Ends of events in `piece`, which follows the byte `before`.
fn empty_lines(before: Option<u8>, piece: &[u8]) -> u64 {
    let across = before == Some(b'\n') && piece.first() == Some(&b'\n');
    memchr::memmem::find_iter(piece, b"\n\n").count() as u64 + u64::from(across)
}

/// Keeps the last bytes of what has come.
fn remember(tail: &mut Vec<u8>, piece: &[u8]) {
    let piece = &piece[piece.len().saturating_sub(DONE.len())..];
    tail.extend_from_slice(piece);
    let over = tail.len().saturating_sub(DONE.len());
    tail.drain(..over);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[track_caller]
    fn check(pieces: &[&str], events: u64, ended_in_done: bool) {
        let length = pieces.iter().map(|piece| piece.len() as u64).sum();
        let mut body = Body::new(Framing::Length(length), 200, true);
        for piece in pieces {
            body.take(piece.as_bytes()).unwrap();
        }
        assert!(body.done());
        assert_eq!((body.events, body.ended_in_done()), (events, ended_in_done));
    }

    #[test]
    fn counts_events_across_reads() {
        check(&["data: a\n\n"], 1, false);
        check(&["data: a\n\ndata: b\n\ndata: [DONE]\n\n"], 3, true);
        check(&["data: a\n", "\ndata: [DO", "NE]\n", "\n"], 2, true);
        check(&["data: [DONE]\n\n", "x"], 1, false);
    }

    #[test]
    fn an_error_is_told_from_a_token_that_talks_of_one() {
        let told = |text: &str| {
            let mut body = Body::new(Framing::Length(text.len() as u64), 200, true);
            body.take(text.as_bytes()).unwrap();
            assert_eq!(body.beginning, text.as_bytes());
            body.told_error
        };
        assert!(told("data: {\"error\":{\"message\":\"x\"}}\n\n"));
        assert!(!told("data: {\"text\":\"data: {\\\"error\\\"\"}\n\n"));
    }

    #[test]
    fn more_than_the_answer_is_an_error() {
        let mut body = Body::new(Framing::Length(2), 200, false);
        assert!(body.take(b"abc").is_err());
    }
}
