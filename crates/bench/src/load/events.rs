//! The events of a stream, read as they come: which of them carry a token, what `usage` tells, and how it ended.
//!
//! Lines end in LF or CRLF, the space behind `data:` may be missing, and comments may stand between them. No event is
//! parsed: inside a JSON text every quote is escaped, so a key in quotes is always a key or a whole value.

use std::sync::LazyLock;

use memchr::memchr;
use memchr::memmem::Finder;

/// Longest line that is held together when it comes in pieces; the rest of a longer one is not looked at.
const LONGEST: usize = 1 << 20;

/// What ends keys whose texts are tokens: `text` and `content`, also `reasoning_content`; then those of the rest.
static KEYS: LazyLock<[Finder<'static>; 4]> =
    LazyLock::new(|| ["content\"", "\"text\"", "\"reasoning\"", "\"arguments\""].map(Finder::new));
static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(USAGE_KEY));
const USAGE_KEY: &str = "\"completion_tokens\"";

/// The events so far.
#[derive(Default)]
pub(crate) struct Events {
    /// Those that carried a token.
    pub(crate) tokens: u64,
    /// The tokens that the stream tells itself.
    pub(crate) usage: Option<u64>,
    /// Whether one told of an error.
    pub(crate) told_error: bool,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    end: End,
}

/// Whether the last that came was the end.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum End {
    #[default]
    Not,
    /// The line of `[DONE]` has come, but not the empty line behind it.
    Told,
    Reached,
}

impl Events {
    pub(crate) fn take(&mut self, mut piece: &[u8]) {
        while let Some(at) = memchr(b'\n', piece) {
            let line = &piece[..at];
            piece = &piece[at + 1..];
            if self.line.is_empty() {
                self.line(line);
                continue;
            }
            let mut whole = std::mem::take(&mut self.line);
            keep(&mut whole, line);
            self.line(&whole);
            whole.clear();
            self.line = whole;
        }
        keep(&mut self.line, piece);
    }

    /// Whether `[DONE]` came last.
    pub(crate) fn ended_in_done(&self) -> bool {
        self.end == End::Reached && self.line.is_empty()
    }

    fn line(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            if self.end == End::Told {
                self.end = End::Reached;
            }
            return;
        }
        let Some(data) = line.strip_prefix(b"data:") else {
            return;
        };
        let data = data.strip_prefix(b" ").unwrap_or(data);
        if data == b"[DONE]" {
            self.end = End::Told;
            return;
        }
        self.end = End::Not;
        if KEYS.iter().any(|key| has_text(data, key)) {
            self.tokens += 1;
        } else if says_error(data) {
            self.told_error = true;
        }
        if let Some(tokens) = usage(data) {
            self.usage = Some(tokens);
        }
    }
}

fn keep(line: &mut Vec<u8>, piece: &[u8]) {
    let room = LONGEST.saturating_sub(line.len());
    line.extend_from_slice(&piece[..room.min(piece.len())]);
}

/// What stands behind the colon that follows a key.
fn value(behind: &[u8]) -> Option<&[u8]> {
    let value = behind.trim_ascii_start().strip_prefix(b":")?;
    Some(value.trim_ascii_start())
}

/// Whether a key has a text with something in it.
fn has_text(data: &[u8], key: &Finder<'_>) -> bool {
    let length = key.needle().len();
    let mut found = key.find_iter(data);
    found.any(|at| {
        let text = value(&data[at + length..]).and_then(|value| value.strip_prefix(b"\""));
        text.is_some_and(|text| !text.starts_with(b"\""))
    })
}

/// Whether an event is `{"error": …}`.
fn says_error(data: &[u8]) -> bool {
    let inside = data.trim_ascii_start().strip_prefix(b"{");
    let key = inside.and_then(|inside| inside.trim_ascii_start().strip_prefix(b"\"error\""));
    key.and_then(value)
        .is_some_and(|value| !value.starts_with(b"null"))
}

/// The last number of tokens that `data` tells.
fn usage(data: &[u8]) -> Option<u64> {
    let mut told = None;
    for at in USAGE.find_iter(data) {
        told = value(&data[at + USAGE_KEY.len()..])
            .and_then(number)
            .or(told);
    }
    told
}

fn number(value: &[u8]) -> Option<u64> {
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit());
    std::str::from_utf8(&value[..digits.count()])
        .ok()?
        .parse()
        .ok()
}

/// The number of tokens that an answer tells which comes whole, in pieces.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) tokens: Option<u64>,
    /// The last bytes: a key and its number may come in two pieces.
    tail: Vec<u8>,
}

/// Bytes that hold the key and its number, with the room that some leave between them.
const SPAN: usize = USAGE_KEY.len() + 24;

impl Told {
    pub(crate) fn take(&mut self, piece: &[u8]) {
        if !self.tail.is_empty() {
            self.tail.extend_from_slice(&piece[..piece.len().min(SPAN)]);
            self.tokens = usage(&self.tail).or(self.tokens);
        }
        if piece.len() >= SPAN || self.tail.is_empty() {
            self.tokens = usage(piece).or(self.tokens);
            self.tail.clear();
            self.tail
                .extend_from_slice(&piece[piece.len().saturating_sub(SPAN)..]);
        } else {
            let over = self.tail.len().saturating_sub(SPAN);
            self.tail.drain(..over);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(pieces: &[&[u8]]) -> Events {
        let mut events = Events::default();
        pieces.iter().for_each(|piece| events.take(piece));
        events
    }

    #[track_caller]
    fn check(text: &str, tokens: u64, ended_in_done: bool) {
        for cut in 0..=text.len() {
            let (one, two) = text.as_bytes().split_at(cut);
            let events = read(&[one, two]);
            assert_eq!(
                (events.tokens, events.ended_in_done()),
                (tokens, ended_in_done),
                "{text:?} cut at {cut}"
            );
        }
    }

    const TOKEN: &str = r#"{"choices":[{"text":"a"}]}"#;

    #[test]
    fn lines_of_every_form_are_read() {
        check(&format!("data: {TOKEN}\n\n"), 1, false);
        check(
            &format!("data: {TOKEN}\n\ndata: {TOKEN}\n\ndata: [DONE]\n\n"),
            2,
            true,
        );
        check(
            &format!("data:{TOKEN}\r\n\r\ndata:{TOKEN}\r\n\r\ndata: [DONE]\r\n\r\n"),
            2,
            true,
        );
        check(
            &format!(": ping\n\ndata: {TOKEN}\n\n: \"text\":\"b\"\n\ndata:[DONE]\n\n: bye\n\n"),
            1,
            true,
        );
        check("data: [DONE]\n", 0, false);
        check("data: [DONE]\n\nx", 0, false);
        check(&format!("data: [DONE]\n\ndata: {TOKEN}\n\n"), 1, false);
    }

    #[test]
    fn only_events_with_text_are_tokens() {
        for (event, tokens) in [
            (
                r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#,
                0,
            ),
            (r#"{"choices":[{"delta":{"role":"assistant"}}]}"#, 0),
            (
                r#"{"choices":[{"delta":{"content":null},"finish_reason":"stop"}]}"#,
                0,
            ),
            (r#"{"choices":[{"text":"","finish_reason":"length"}]}"#, 0),
            (r#"{"choices":[],"usage":{"completion_tokens":8}}"#, 0),
            (r#"{"choices":[{"delta":{"content":"\""}}]}"#, 1),
            (r#"{"choices": [{"delta": {"content": "a"}}]}"#, 1),
            (r#"{"choices":[{"delta":{"reasoning_content":"a"}}]}"#, 1),
            (
                r#"{"choices":[{"delta":{"content":"","reasoning":"a"}}]}"#,
                1,
            ),
            (
                r#"{"choices":[{"delta":{"content":null,"tool_calls":[{"function":{"arguments":"{"}}]}}]}"#,
                1,
            ),
            (
                r#"{"choices":[{"delta":{"content":"table of content"}}]}"#,
                1,
            ),
        ] {
            let events = read(&[format!("data: {event}\n\n").as_bytes()]);
            assert_eq!(events.tokens, tokens, "{event}");
        }
        let told = read(&[b"data: {\"choices\":[{\"text\":\"a\"}],\"usage\":{\"completion_tokens\":1}}\n\ndata: {\"choices\":[],\"usage\":{\"completion_tokens\":12}}\n\n"]);
        assert_eq!((told.tokens, told.usage), (1, Some(12)));
    }

    #[test]
    fn an_error_is_told_from_a_token_that_talks_of_one() {
        let told = |text: &str| read(&[text.as_bytes()]).told_error;
        assert!(told("data: {\"error\":{\"message\":\"x\"}}\n\n"));
        assert!(told("data:{ \"error\": {\"message\": \"x\"}}\r\n\r\n"));
        assert!(!told("data: {\"text\":\"data: {\\\"error\\\"\"}\n\n"));
    }

    proptest! {
        #[test]
        fn any_split_reads_the_same(
            lines in proptest::collection::vec("(data: ?\\{\"(text|content|error)\": ?\"?a?\"?\\}|data: \\[DONE\\]|: c|)\r?\n", 0..8),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..5),
        ) {
            let text = lines.concat().into_bytes();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            at.extend([0, text.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|w| &text[w[0]..w[1]]).collect();
            let (whole, split) = (read(&[&text]), read(&pieces));
            prop_assert_eq!(
                (whole.tokens, whole.told_error, whole.ended_in_done()),
                (split.tokens, split.told_error, split.ended_in_done())
            );
        }
    }
}
