//! Usage, id and end of an answer, seen in its bytes as they pass.
//!
//! The door forwards a chunk first and shows it here afterwards; nothing is held back, joined or
//! changed. A chunk of a stream that says nothing of interest costs two substring searches.
//!
//! - **usage**: the last `"usage": {…}` object. A quote inside a JSON string is always escaped, so
//!   the key cannot be faked by generated text. `null` is passed over; an object whose counts are
//!   missing, negative, fractional, huge or of a wrong type makes the usage unknown.
//! - **done**: the line `data: [DONE]` of an event stream.
//! - **id**: the field `id` of the first object (or of the `response` object inside it).
//!
//! What is split between chunks is carried over within fixed bounds (4 KiB of usage, 8 KiB of head, 16 bytes
//! of an unfinished line); what is larger is given up, never an error. A key `usage` that is
//! written with escapes is not seen.

pub mod done;
pub mod grpc;
pub mod id;
pub mod look;
pub mod usage;

use crate::reply::done::DoneWatch;
use crate::reply::grpc::GrpcWatch;
use crate::reply::id::first_id;
use crate::reply::look::Look;
use crate::reply::usage::{KEY, usage_at};
use crate::request::vllm_grpc::Call;
use memchr::memmem::Finder;
use pointsman_core::exchange::event::Usage;
use std::sync::LazyLock;

/// Bytes of a usage object that may be carried from chunk to chunk.
const CARRY: usize = 4096;

/// Bytes at the start of the answer in which its id is looked for.
const HEAD: usize = 8192;

static FIND_KEY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(KEY));

/// What an answer said about itself.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ReplyFacts {
    /// The last usage that was reported, if it was believable.
    pub usage: Option<Usage>,
    /// Whether an event stream came to its `data: [DONE]`.
    pub done_seen: bool,
    /// The id of the answer, at most 512 bytes long.
    pub id: Option<String>,
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Events,
    Grpc,
    Opaque,
}

/// Watches one answer.
#[derive(Debug)]
pub struct ReplyScanner {
    form: Form,
    facts: ReplyFacts,
    /// The start of the answer, as long as its id is looked for and was not in the first chunk.
    head: Vec<u8>,
    head_open: bool,
    /// From a `"usage"` (or a beginning of it) at the end of a chunk, until its object is whole.
    carry: Vec<u8>,
    done: DoneWatch,
    grpc: Option<GrpcWatch>,
}

impl ReplyScanner {
    /// A scanner for an answer with this `content-type`. One that names no event stream is looked through as JSON, whatever
    /// it is called, but for sound and pictures: engines do not always say what they send.
    pub fn new(content_type: &str) -> Self {
        let media = content_type.split(';').next().unwrap_or_default().trim();
        let kind = media.split('/').next().unwrap_or_default();
        let is_seen_or_heard = ["audio", "image", "video"]
            .iter()
            .any(|opaque| kind.eq_ignore_ascii_case(opaque));
        let form = if media.eq_ignore_ascii_case("text/event-stream") {
            Form::Events
        } else if is_seen_or_heard {
            Form::Opaque
        } else {
            Form::Json
        };
        Self {
            form,
            facts: ReplyFacts::default(),
            head: Vec::new(),
            head_open: form != Form::Opaque,
            carry: Vec::new(),
            done: DoneWatch::default(),
            grpc: None,
        }
    }

    /// A scanner for the answer of a call over gRPC.
    pub fn grpc(call: Call) -> Self {
        Self {
            form: Form::Grpc,
            grpc: Some(GrpcWatch::new(call)),
            ..Self::new("")
        }
    }

    /// Whether the answer is an event stream.
    pub fn is_event_stream(&self) -> bool {
        self.form == Form::Events
    }

    /// Shows the next bytes of the answer, cut anywhere.
    pub fn chunk(&mut self, bytes: &[u8]) {
        if self.form == Form::Opaque || bytes.is_empty() {
            return;
        }
        if let Some(grpc) = &mut self.grpc {
            self.facts.usage = grpc.chunk(bytes).or(self.facts.usage);
            return;
        }
        if self.head_open {
            self.look_for_id(bytes);
        }
        self.look_for_usage(bytes);
        if self.form == Form::Events && !self.facts.done_seen {
            self.facts.done_seen = self.done.chunk(bytes);
        }
    }

    /// What was seen, at the end of the answer or wherever it broke off.
    pub fn finish(mut self) -> ReplyFacts {
        self.facts.done_seen |= self.form == Form::Events && self.done.is_done();
        self.facts
    }

    fn look_for_id(&mut self, bytes: &[u8]) {
        let found = if self.head.is_empty() {
            first_id(self.form == Form::Events, bytes)
        } else {
            self.head
                .extend_from_slice(&bytes[..bytes.len().min(HEAD - self.head.len())]);
            first_id(self.form == Form::Events, &self.head)
        };
        match found {
            Look::Found(id) => self.facts.id = Some(id),
            Look::Nothing => {}
            Look::More if self.head.is_empty() && bytes.len() < HEAD => {
                self.head.extend_from_slice(bytes);
                return;
            }
            Look::More if !self.head.is_empty() && self.head.len() < HEAD => return,
            Look::More => {}
        }
        self.head_open = false;
        self.head = Vec::new();
    }

    fn look_for_usage(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        if !self.carry.is_empty() {
            // An object that began in what was carried ends within this much, or is given up. Keys inside that object,
            // or in what turns out to be none, count as they do in one piece.
            let mut window = std::mem::take(&mut self.carry);
            let carried = window.len();
            window.extend_from_slice(&bytes[..bytes.len().min(CARRY)]);
            let Some(looked_at) = self.usages(&window, carried) else {
                return;
            };
            rest = &bytes[looked_at - carried..];
        }
        self.usages(rest, rest.len());
    }

    /// Looks at the keys, or beginnings of one, before `until`, and gives how far it got: `until`, or the end of a key
    /// that lies across it. `None` when the text ends too soon; then it is carried.
    fn usages(&mut self, text: &[u8], until: usize) -> Option<usize> {
        let mut from = 0;
        while let Some(at) = FIND_KEY.find(&text[from..]).filter(|at| from + at < until) {
            let object = &text[from + at..];
            match usage_at(&object[..object.len().min(CARRY)], self.facts.usage) {
                Look::Found(usage) => self.facts.usage = usage,
                Look::Nothing => {}
                Look::More if object.len() < CARRY => {
                    self.carry.extend_from_slice(object);
                    return None;
                }
                Look::More => {}
            }
            from += at + KEY.len();
        }
        let rest = &text[from..];
        let begun = (1..KEY.len())
            .rev()
            .find(|&n| rest.ends_with(&KEY[..n]) && text.len() - n < until);
        if let Some(n) = begun {
            self.carry.extend_from_slice(&KEY[..n]);
            return None;
        }
        Some(from.max(until))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const EVENTS: &str = "text/event-stream; charset=utf-8";

    fn scan(content_type: &str, answer: &[u8], size: usize) -> ReplyFacts {
        let mut scanner = ReplyScanner::new(content_type);
        answer.chunks(size).for_each(|chunk| scanner.chunk(chunk));
        scanner.finish()
    }

    #[track_caller]
    fn check(content_type: &str, answer: &str, expected: (Option<(u32, u32)>, bool, Option<&str>)) {
        for size in (1..=answer.len().min(300)).chain([answer.len()]) {
            let facts = scan(content_type, answer.as_bytes(), size);
            let usage = facts
                .usage
                .map(|usage| (usage.prompt_tokens, usage.completion_tokens));
            assert_eq!(
                (usage, facts.done_seen, facts.id.as_deref()),
                expected,
                "by {size}"
            );
        }
    }

    #[test]
    fn keys_within_what_was_carried_count() {
        let usage = |prompt| Some((prompt, 2));
        let object = r#"{"prompt_tokens":1,"completion_tokens":2}"#;
        let json = |text: String, expected| check("application/json", &text, expected);
        json(
            format!(r#"{{"usage":{{"usage":{object}}}}}"#),
            (usage(1), false, None),
        );
        json(
            format!(r#"{{"usage":"usage":{object}}}"#),
            (usage(1), false, None),
        );
        json(
            format!(r#"{{"usage":{{"a":[}},"usage":{object}}}"#),
            (usage(1), false, None),
        );
        json(format!(r#""usage"usage":{object}}}"#), (None, false, None));
    }

    #[test]
    fn a_plain_answer() {
        let answer = r#"{"id":"cmpl-1","choices":[{"text":"say \"usage\": {\"prompt_tokens\":9,\"completion_tokens\":9}"}],"usage":{"prompt_tokens":5,"completion_tokens":3}}"#;
        check(
            "application/json",
            answer,
            (Some((5, 3)), false, Some("cmpl-1")),
        );
        // Whoever does not say that it is JSON is read all the same.
        for kind in ["", "text/plain", "application/problem+json"] {
            check(kind, answer, (Some((5, 3)), false, Some("cmpl-1")));
        }
        check("image/png", answer, (None, false, None));
        check(
            "application/json",
            r#"{"id":"x"}"#,
            (None, false, Some("x")),
        );
        check(
            "application/json",
            "<html>\"usage\":</html>",
            (None, false, None),
        );
    }

    #[test]
    fn a_stream() {
        let stream = "data: {\"id\":\"chatcmpl-1\",\"usage\":null}\n\n\
             : ping\n\n\
             data: {\"id\":\"other\",\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1}}\n\n\
             data: {\"choices\":[],\"usage\" : {\"prompt_tokens\":5,\"completion_tokens\":2}}\n\n\
             data: {\"usage\":null}\n\n\
             data: [DONE]\n\n";
        let expected = (Some((5, 2)), true, Some("chatcmpl-1"));
        check(EVENTS, stream, expected);
        check(EVENTS, &stream.replace('\n', "\r\n"), expected);
        check(
            EVENTS,
            &stream.replace("data: [DONE]\n\n", ""),
            (expected.0, false, expected.2),
        );
        // What is not believable makes the usage unknown, even after one that was.
        let lie = "\"prompt_tokens\":\"5\",\"completion_tokens\":2";
        let stream = stream.replace("\"prompt_tokens\":5,\"completion_tokens\":2", lie);
        check(EVENTS, &stream, (None, true, expected.2));
    }

    #[test]
    fn a_stream_of_messages_tells_its_usage_in_two_parts() {
        let stream = "event: message_start\n\
             data: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"usage\":{\"input_tokens\":25,\"cache_read_input_tokens\":16,\"output_tokens\":1}}}\n\n\
             event: message_delta\n\
             data: {\"type\":\"message_delta\",\"delta\":{},\"usage\":{\"output_tokens\":15}}\n\n\
             data: {\"type\":\"message_stop\"}\n\n";
        for size in 1..stream.len() {
            let facts = scan(EVENTS, stream.as_bytes(), size);
            let usage = Usage {
                prompt_tokens: 25,
                completion_tokens: 15,
                cached_tokens: Some(16),
            };
            assert_eq!(facts.usage, Some(usage), "by {size}");
        }
        // What was generated alone is no usage.
        let delta = "data: {\"usage\":{\"output_tokens\":15}}\n\n";
        assert_eq!(scan(EVENTS, delta.as_bytes(), 7).usage, None);
    }

    #[test]
    fn long_lines_and_late_usage() {
        let text = "x\\\"usage\\\" [DONE] \\n".repeat(60_000);
        let stream = format!(
            "event: response.completed\ndata: {{\"response\":{{\"id\":\"resp_1\",\"output\":\"{text}\",\
             \"usage\":{{\"input_tokens\":7,\"output_tokens\":4,\"input_tokens_details\":{{\"cached_tokens\":2}}}}}}}}\n\ndata: [DONE]\n\n"
        );
        assert!(stream.len() > 1_000_000);
        for size in [997, 4096, 65_536, stream.len()] {
            let facts = scan(EVENTS, stream.as_bytes(), size);
            let usage = Usage {
                prompt_tokens: 7,
                completion_tokens: 4,
                cached_tokens: Some(2),
            };
            assert_eq!(facts.usage, Some(usage));
            assert!(facts.done_seen);
            assert_eq!(facts.id.as_deref(), Some("resp_1"));
        }
    }

    #[test]
    fn what_is_carried_is_bounded() {
        let mut scanner = ReplyScanner::new("application/json");
        scanner.chunk(b"{\"a\":\"");
        for _ in 0..1000 {
            scanner.chunk(&[b'y'; 100]);
            assert!(scanner.head.capacity() <= 2 * HEAD);
        }
        assert!(!scanner.head_open && scanner.head.capacity() == 0);
        scanner.chunk(b"\",\"usage\":{\"a\":\"");
        for _ in 0..1000 {
            scanner.chunk(&[b'z'; 100]);
            assert!(scanner.carry.len() <= CARRY);
        }
        scanner.chunk(b"\"},\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}");
        assert_eq!(scanner.finish().usage.unwrap().completion_tokens, 2);
    }
}
