//! The body of an answer while it comes in.
//!
//! It is never stored: its bytes are counted, the events of a stream are read line by line for the tokens that they
//! carry, and whole answers are searched for the number that their `usage` tells.

use crate::chunks::Chunks;
use crate::head::Framing;
use crate::load::answer::{Failure, KEPT};
use crate::load::events::{Events, Told};

/// A body while it comes in.
pub(crate) struct Body {
    rest: Rest,
    pub(crate) bytes: u64,
    /// The first bytes, at most [`KEPT`].
    pub(crate) beginning: Vec<u8>,
    /// The events of a stream; `None` for an answer that comes whole.
    pub(crate) events: Option<Events>,
    usage: Told,
}

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
            bytes: 0,
            beginning: Vec::new(),
            events: stream.then(Events::default),
            usage: Told::default(),
        }
    }

    pub(crate) fn done(&self) -> bool {
        match &self.rest {
            Rest::Length(left) => *left == 0,
            Rest::Chunked(chunks) => chunks.done(),
            Rest::UntilClose => false,
        }
    }

    /// Whether nothing is missing: a stream ends in `[DONE]`.
    pub(crate) fn complete(&self) -> bool {
        self.events.as_ref().is_none_or(Events::ended_in_done)
    }

    /// Events so far that carried a token.
    pub(crate) fn arrived(&self) -> u64 {
        self.events.as_ref().map_or(0, |events| events.tokens)
    }

    /// The tokens of the answer as it tells them itself.
    pub(crate) fn usage(&self) -> Option<u64> {
        match &self.events {
            Some(events) => events.usage,
            None => self.usage.tokens,
        }
    }

    pub(crate) fn take(&mut self, input: &[u8]) -> Result<(), Failure> {
        let Self {
            rest,
            bytes,
            beginning,
            events,
            usage,
        } = self;
        let mut payload = |piece: &[u8]| {
            *bytes += piece.len() as u64;
            let room = KEPT - beginning.len();
            beginning.extend_from_slice(&piece[..room.min(piece.len())]);
            match events {
                Some(events) => events.take(piece),
                None => usage.take(piece),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_whole_answer_tells_its_tokens() {
        let text = "{\"choices\":[{\"text\":\"\\\"completion_tokens\\\": 7\"}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\": 128,\"completion_tokens_details\":null}}";
        for cut in 0..text.len() {
            let mut body = Body::new(Framing::Length(text.len() as u64), 200, false);
            body.take(&text.as_bytes()[..cut]).unwrap();
            body.take(&text.as_bytes()[cut..]).unwrap();
            assert!(body.done() && body.complete());
            assert_eq!(body.usage(), Some(128), "{cut}");
        }
        let mut body = Body::new(Framing::Length(2), 200, false);
        body.take(b"{}").unwrap();
        assert_eq!((body.usage(), body.arrived()), (None, 0));
    }

    #[test]
    fn more_than_the_answer_is_an_error() {
        let mut body = Body::new(Framing::Length(2), 200, false);
        assert!(body.take(b"abc").is_err());
    }
}
