//! Another model's name in a body: in a request before it goes on, in an answer as it passes.
//!
//! Only the name changes; every other byte stays what and where it was. In an answer the name is looked for as
//! `"model":"<name>"`, with one space after the colon or none. What may be the beginning of it at the end of a piece
//! waits for the next piece; everything else passes at once.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::memmem::Finder;

use crate::json::write::push_string;

/// The body in `frames` with the model's value at `at` (offsets into the whole) replaced by `model`. An empty range
/// means that there is none yet and that it may be put there.
pub fn with_model(frames: &[Bytes], at: &Range<usize>, model: &str) -> Vec<Bytes> {
    let mut value = Vec::with_capacity(model.len() + 12);
    if at.is_empty() {
        value.extend_from_slice(b"\"model\":");
    }
    push_string(&mut value, model);
    if at.is_empty() {
        value.push(b',');
    }
    let mut value = Some(Bytes::from(value));
    let mut out = Vec::with_capacity(frames.len() + 2);
    let mut offset = 0;
    let mut keep = |piece: Bytes| {
        if !piece.is_empty() {
            out.push(piece);
        }
    };
    for frame in frames {
        let end = offset + frame.len();
        keep(frame.slice(..at.start.clamp(offset, end) - offset));
        if end >= at.start
            && let Some(value) = value.take()
        {
            keep(value);
        }
        keep(frame.slice(at.end.clamp(offset, end) - offset..));
        offset = end;
    }
    out
}

/// What stands before the name in an answer.
const KEY: &[u8] = b"\"model\":";

/// Puts the client's name for a model in the place of the engine's, in an answer as it passes.
#[derive(Debug)]
pub struct Renamer {
    key: Finder<'static>,
    /// Both ways to write the member.
    members: [Vec<u8>; 2],
    /// The engine's name as it stands in JSON, and what comes in its place.
    from: Vec<u8>,
    to: Vec<u8>,
    held: Bytes,
}

impl Renamer {
    /// From the engine's name to the client's.
    pub fn new(from: &str, to: &str) -> Self {
        let quoted = |name: &str| {
            let mut quoted = Vec::with_capacity(name.len() + 2);
            push_string(&mut quoted, name);
            quoted
        };
        let from = quoted(from);
        Self {
            key: Finder::new(KEY),
            members: [&b""[..], b" "].map(|space| [KEY, space, &from].concat()),
            to: quoted(to),
            from,
            held: Bytes::new(),
        }
    }

    /// The next piece of the answer as it goes on; after the last one nothing is held back.
    pub fn pass(&mut self, piece: Bytes, last: bool) -> Bytes {
        let text = if self.held.is_empty() {
            piece
        } else {
            let mut joined = BytesMut::from(&self.held[..]);
            joined.extend_from_slice(&piece);
            joined.freeze()
        };
        let mut out: Option<BytesMut> = None;
        // Until where it is copied, and until where it is looked through.
        let (mut copied, mut seen) = (0, 0);
        while let Some(at) = self.key.find(&text[seen..]) {
            seen += at + KEY.len();
            let name = seen + usize::from(text.get(seen) == Some(&b' '));
            if text[name..].starts_with(&self.from) {
                let room = text.len() + self.to.len();
                let out = out.get_or_insert_with(|| BytesMut::with_capacity(room));
                out.extend_from_slice(&text[copied..name]);
                out.extend_from_slice(&self.to);
                seen = name + self.from.len();
                copied = seen;
            }
        }
        let keep = if last { 0 } else { self.begun(&text[copied..]) };
        let until = text.len() - keep;
        self.held = text.slice(until..);
        match out {
            None => text.slice(..until),
            Some(mut out) => {
                out.extend_from_slice(&text[copied..until]);
                out.freeze()
            }
        }
    }

    /// How many bytes at the end of `text` may be the beginning of a name's member.
    fn begun(&self, text: &[u8]) -> usize {
        let longest = |member: &[u8]| {
            (1..member.len().min(text.len() + 1))
                .rev()
                .find(|&n| text.ends_with(&member[..n]))
        };
        let begun = self.members.iter().filter_map(|member| longest(member));
        begun.max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn cut(text: &str, size: usize) -> Vec<Bytes> {
        text.as_bytes()
            .chunks(size)
            .map(Bytes::copy_from_slice)
            .collect()
    }

    #[test]
    fn only_the_value_changes_in_a_request() {
        let body = r#"{"b":12345678901234567890,"model": "old","a":1.0}"#;
        let expected = r#"{"b":12345678901234567890,"model": "n\"w","a":1.0}"#;
        let at = body.find("\"old\"").unwrap();
        for size in 1..=body.len() {
            let frames = cut(body, size);
            assert_eq!(
                with_model(&frames, &(at..at + 5), "n\"w").concat(),
                expected.as_bytes()
            );
        }
        let frames = cut(r#"{"prompt":"p"}"#, 3);
        assert_eq!(
            with_model(&frames, &(1..1), "m").concat(),
            br#"{"model":"m","prompt":"p"}"#
        );
    }

    proptest! {
        #[test]
        fn an_answer_is_renamed_however_it_is_cut(
            parts in prop::collection::vec(prop_oneof![
                Just("\"model\":\"big\""), Just("\"model\": \"big\""), Just("\"model\":\"bigger\""),
                Just("\"model\":"), Just("\"mod"), Just("x"), Just("\"model\":  \"big\""), Just("\"big\""),
            ], 0..12),
            cuts in prop::collection::vec(1usize..9, 1..40),
        ) {
            let text: String = parts.concat();
            let expected = text
                .replace("\"model\":\"big\"", "\"model\":\"mine\"")
                .replace("\"model\": \"big\"", "\"model\": \"mine\"");
            let mut renamer = Renamer::new("big", "mine");
            let (mut out, mut rest, mut sizes) = (Vec::new(), text.as_bytes(), cuts.iter().cycle());
            while !rest.is_empty() {
                let size = (*sizes.next().unwrap()).min(rest.len());
                out.extend_from_slice(&renamer.pass(Bytes::copy_from_slice(&rest[..size]), false));
                rest = &rest[size..];
            }
            out.extend_from_slice(&renamer.pass(Bytes::new(), true));
            prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn what_cannot_be_the_name_passes_at_once() {
        let mut renamer = Renamer::new("big", "mine");
        let passed = renamer.pass(Bytes::from_static(b"data: {\"choices\":[]}\n\n\"mo"), false);
        assert_eq!(passed, "data: {\"choices\":[]}\n\n");
        assert_eq!(renamer.pass(Bytes::from_static(b"re\""), false), "\"more");
        // A quote may begin it, so it waits.
        assert_eq!(renamer.pass(Bytes::new(), true), "\"");
    }
}
