//! The text of a string in the body, escapes undone on the way; and written again as Go's encoder writes it.

use crate::json::cursor::{Pieces, pieces};
use crate::json::text::Str;
use crate::request::prompt_view::outlet::{Flow, Outlet, Sink};

/// Hands the text of a string to `sink`. A surrogate without its partner becomes U+FFFD, as in Go.
pub(crate) fn text<F: AsRef<[u8]>>(frames: &[F], whole: &Str<'_>, sink: &mut impl Sink) -> Flow {
    // Looking for its place costs a step per frame, which only a string that lies across frames is worth.
    let (rest, more) = match whole.slice {
        Some(slice) => (slice, pieces(&[], &(0..0))),
        None => (&[][..], pieces(frames, &whole.range)),
    };
    if !whole.escaped {
        if !rest.is_empty() {
            sink.run(rest)?;
        }
        for piece in more {
            sink.run(piece)?;
        }
        return Flow::Continue(());
    }
    let mut raw = Raw { rest, more };
    while raw.fill() {
        // Most escapes are two bytes in one piece.
        if let [b'\\', letter, rest @ ..] = raw.rest
            && let Some(character) = short(*letter)
        {
            raw.rest = rest;
            sink.scalar(character)?;
            continue;
        }
        match memchr::memchr(b'\\', raw.rest) {
            Some(0) => {
                raw.byte();
                sink.scalar(raw.escape())?;
            }
            Some(at) => {
                sink.run(&raw.rest[..at])?;
                raw.rest = &raw.rest[at..];
            }
            None => sink.run(std::mem::take(&mut raw.rest))?,
        }
    }
    Flow::Continue(())
}

/// The character of an escape of one letter.
fn short(letter: u8) -> Option<char> {
    Some(match letter {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return None,
        // The quote, the slash and the backslash stand for themselves.
        other => char::from(other),
    })
}

/// What is left of a string's content.
struct Raw<'a, F> {
    rest: &'a [u8],
    more: Pieces<'a, F>,
}

impl<F> Clone for Raw<'_, F> {
    fn clone(&self) -> Self {
        Self {
            rest: self.rest,
            more: self.more.clone(),
        }
    }
}

impl<F: AsRef<[u8]>> Raw<'_, F> {
    /// Steps into the next piece if this one is through; whether anything is left.
    fn fill(&mut self) -> bool {
        if self.rest.is_empty() {
            self.rest = self.more.next().unwrap_or_default();
        }
        !self.rest.is_empty()
    }

    fn byte(&mut self) -> Option<u8> {
        self.fill();
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    /// The character of the escape behind the backslash.
    fn escape(&mut self) -> char {
        match self.byte() {
            Some(b'u') => self.unit(),
            letter => letter
                .and_then(short)
                .unwrap_or(char::REPLACEMENT_CHARACTER),
        }
    }

    /// The character of four hex digits, with the partner of a surrogate.
    fn unit(&mut self) -> char {
        let Some(first) = self.hex() else {
            return char::REPLACEMENT_CHARACTER;
        };
        if let Some(character) = char::from_u32(first) {
            return character;
        }
        let mut ahead = self.clone();
        let marked = ahead.byte() == Some(b'\\') && ahead.byte() == Some(b'u');
        let partner = if marked { ahead.hex() } else { None };
        match partner {
            Some(low @ 0xDC00..0xE000) if (0xD800..0xDC00).contains(&first) => {
                *self = ahead;
                let scalar = 0x1_0000 + ((first - 0xD800) << 10) + (low - 0xDC00);
                char::from_u32(scalar).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            _ => char::REPLACEMENT_CHARACTER,
        }
    }

    fn hex(&mut self) -> Option<u32> {
        let mut value = 0;
        for _ in 0..4 {
            value = value << 4 | char::from(self.byte()?).to_digit(16)?;
        }
        Some(value)
    }
}

/// Writes a string as Go's encoder does, quotes included; see [`text`] for the arguments.
pub(crate) fn quoted<F: AsRef<[u8]>>(frames: &[F], whole: &Str<'_>, out: &mut Outlet<'_>) -> Flow {
    out.run(b"\"")?;
    let mut go = GoString {
        out,
        cut: [0; 3],
        cut_len: 0,
    };
    text(frames, whole, &mut go)?;
    go.release()?;
    out.run(b"\"")
}

/// Escapes text as Go does: `<`, `>`, `&`, U+2028 and U+2029 as `\u....`, besides what JSON asks for.
struct GoString<'o, 't> {
    out: &'o mut Outlet<'t>,
    /// The start of a character that may be U+2028, cut by the end of a frame.
    cut: [u8; 3],
    cut_len: usize,
}

impl GoString<'_, '_> {
    /// Lets go of the cut character: it is whole and none of ours, or the text ends.
    fn release(&mut self) -> Flow {
        let len = std::mem::take(&mut self.cut_len);
        self.out.run(&self.cut[..len])
    }

    fn separator(&mut self, last: u8) -> Flow {
        self.out
            .run(if last == 0xA8 { b"\\u2028" } else { b"\\u2029" })
    }

    /// Completes a cut character with the bytes that follow; what is left of them.
    fn complete<'b>(&mut self, mut bytes: &'b [u8]) -> std::ops::ControlFlow<(), &'b [u8]> {
        while self.cut_len < 3 {
            let Some((&byte, rest)) = bytes.split_first() else {
                return std::ops::ControlFlow::Continue(bytes);
            };
            self.cut[self.cut_len] = byte;
            self.cut_len += 1;
            bytes = rest;
        }
        if let [0xE2, 0x80, last @ (0xA8 | 0xA9)] = self.cut {
            self.cut_len = 0;
            self.separator(last)?;
        } else {
            self.release()?;
        }
        std::ops::ControlFlow::Continue(bytes)
    }
}

impl Sink for GoString<'_, '_> {
    fn run(&mut self, mut bytes: &[u8]) -> Flow {
        if self.cut_len > 0 {
            bytes = self.complete(bytes)?;
        }
        // Where the next byte of each kind is; looked for again only when it was passed.
        let mut from = 0;
        let mut angle = memchr::memchr3(b'<', b'>', b'&', bytes);
        let mut separator = memchr::memchr(0xE2, bytes);
        loop {
            let at = match (angle, separator) {
                (Some(a), Some(b)) => a.min(b),
                (a, b) => match a.or(b) {
                    Some(at) => at,
                    None => return self.out.run(&bytes[from..]),
                },
            };
            if Some(at) == angle {
                self.out.run(&bytes[from..at])?;
                self.out.run(match bytes[at] {
                    b'<' => b"\\u003c",
                    b'>' => b"\\u003e",
                    _ => b"\\u0026",
                })?;
                from = at + 1;
                angle = memchr::memchr3(b'<', b'>', b'&', &bytes[from..]).map(|next| next + from);
                continue;
            }
            let next = match &bytes[at..] {
                [0xE2, 0x80, last @ (0xA8 | 0xA9), ..] => {
                    self.out.run(&bytes[from..at])?;
                    self.separator(*last)?;
                    from = at + 3;
                    from
                }
                [_, _, _, ..] => at + 3,
                cut => {
                    self.out.run(&bytes[from..at])?;
                    self.cut[..cut.len()].copy_from_slice(cut);
                    self.cut_len = cut.len();
                    return Flow::Continue(());
                }
            };
            separator = memchr::memchr(0xE2, &bytes[next..]).map(|at| at + next);
        }
    }

    fn scalar(&mut self, character: char) -> Flow {
        match character {
            '"' => self.out.run(b"\\\""),
            '\\' => self.out.run(b"\\\\"),
            '\u{8}' => self.out.run(b"\\b"),
            '\u{c}' => self.out.run(b"\\f"),
            '\n' => self.out.run(b"\\n"),
            '\r' => self.out.run(b"\\r"),
            '\t' => self.out.run(b"\\t"),
            '\0'..' ' => {
                let digit = |n: u32| char::from_digit(n, 16).map_or(b'0', |digit| digit as u8);
                let code = u32::from(character);
                let escape = [b'\\', b'u', b'0', b'0', digit(code >> 4), digit(code & 15)];
                self.out.run(&escape)
            }
            other => self.run(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}
