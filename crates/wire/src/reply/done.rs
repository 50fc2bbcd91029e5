//! The end of an OpenAI event stream: a line that is `data: [DONE]` and nothing else. Lines end with LF, CR or both.

use memchr::memmem::Finder;
use std::sync::LazyLock;

static FIND_DONE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"[DONE]"));

/// Watches the lines of a stream. Of a line that a chunk leaves unfinished only the first bytes
/// are kept: enough to tell the end line from any other.
#[derive(Clone, Debug, Default)]
pub struct DoneWatch {
    line: [u8; 16],
    /// Bytes of the unfinished line; beyond the array they are only counted.
    len: usize,
}

impl DoneWatch {
    /// Shows the next bytes; whether the end line was completed in them.
    pub fn chunk(&mut self, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        if self.len > 0 {
            let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) else {
                self.push(bytes);
                return false;
            };
            self.push(&bytes[..end]);
            if self.is_done() {
                return true;
            }
            rest = &bytes[end + 1..];
        }
        if FIND_DONE.find_iter(rest).any(|at| stands_alone(rest, at)) {
            return true;
        }
        let unfinished = memchr::memrchr2(b'\n', b'\r', rest).map_or(0, |end| end + 1);
        self.len = 0;
        self.push(&rest[unfinished..]);
        false
    }

    /// Whether the unfinished line is the end line, if the stream ends here.
    pub fn is_done(&self) -> bool {
        let Some(line) = self.line.get(..self.len) else {
            return false;
        };
        matches!(line, b"data: [DONE]" | b"data:[DONE]")
    }

    fn push(&mut self, bytes: &[u8]) {
        for (slot, &byte) in self.line.iter_mut().skip(self.len).zip(bytes) {
            *slot = byte;
        }
        self.len += bytes.len();
    }
}

/// Whether the mark at `at` is the whole data of a finished line. Looks only at its neighbours:
/// a line full of marks must not cost more than another.
fn stands_alone(text: &[u8], at: usize) -> bool {
    let (before, after) = (&text[..at], &text[at + b"[DONE]".len()..]);
    let before = before.strip_suffix(b" ").unwrap_or(before);
    let Some(before) = before.strip_suffix(b"data:") else {
        return false;
    };
    matches!(before.last(), None | Some(b'\n' | b'\r'))
        && matches!(after.first(), Some(b'\n' | b'\r'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(stream: &str, expected: bool) {
        for size in 1..=stream.len() {
            let mut watch = DoneWatch::default();
            let mut done = false;
            for chunk in stream.as_bytes().chunks(size) {
                done |= watch.chunk(chunk);
            }
            assert_eq!(done || watch.is_done(), expected, "{stream:?} by {size}");
        }
    }

    #[test]
    fn only_the_end_line_ends() {
        check("data: {}\n\ndata: [DONE]\n\n", true);
        check("data: [DONE]", true);
        check("data:[DONE]\r\n\r\n", true);
        check("data: {}\r\n\r\ndata: [DONE]\r\n: bye\r\n", true);
        check("data: {\"c\":\"data: [DONE]\"}\n\n", false);
        check("data: [DONE] x\n", false);
        check("data: {}[DONE]\n", false);
        check(": data: [DONE]\n", false);
        check("[DONE]\n", false);
        check("data: [DONE\n]\n", false);
        check("data: {}\n\n", false);
        check("x\rdata: [DONE]\n", true);
        check("\rdata:[DONE]\r", true);
        check("data: [DONE] \n\n", false);
    }
}
