//! Validates a JSON text (RFC 8259) in one pass and walks what the reader asks for.
//!
//! Containers are kept as one bit per level (object or list), so nesting costs neither stack nor
//! heap. Strings are skipped eight bytes at a time up to the first byte that means something.
//! A lone surrogate in an escape passes, as it does in Go and Python; bytes that are not UTF-8,
//! and more than [`MAX_DEPTH`] levels, do not. Numbers are checked by grammar, not by size.

use crate::json::cursor::{Cursor, gather};
use crate::json::fault::{JsonFault, JsonFaultKind, MAX_DEPTH};
use crate::json::plain::{characters_run, plain_run};
use crate::json::text::{self, Str};
use std::borrow::Cow;
use std::ops::Range;

/// What a value is, seen from its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `{…}`
    Object,
    /// `[…]`
    List,
    /// `"…"`
    Str,
    /// A number.
    Number,
    /// `true` or `false`.
    Bool,
    /// `null`
    Null,
}

impl Kind {
    /// The kind with its article, as messages name it.
    pub const fn described(self) -> &'static str {
        match self {
            Self::Object => "an object",
            Self::List => "a list",
            Self::Str => "a string",
            Self::Number => "a number",
            Self::Bool => "true or false",
            Self::Null => "null",
        }
    }
}

/// Reads one JSON text from front to back.
#[derive(Debug)]
pub struct Scanner<'a, F> {
    cursor: Cursor<'a, F>,
    /// Containers that are open.
    depth: usize,
    /// Bit `n` is set if the container at level `n` is an object.
    objects: u128,
}

impl<F> Clone for Scanner<'_, F> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

type Read<T> = Result<T, JsonFault>;

impl<'a, F: AsRef<[u8]>> Scanner<'a, F> {
    /// A scanner at the start of the text that the frames make together.
    pub fn new(frames: &'a [F]) -> Self {
        Self {
            cursor: Cursor::new(frames),
            depth: 0,
            objects: 0,
        }
    }

    /// A scanner in front of a value that was read before, at its absolute offset.
    pub(crate) fn at(frames: &'a [F], offset: usize) -> Self {
        Self {
            cursor: Cursor::at(frames, offset),
            depth: 0,
            objects: 0,
        }
    }

    /// Steps over white space; the offset of what follows.
    pub fn offset(&mut self) -> usize {
        self.peek();
        self.cursor.offset()
    }

    /// The offset right behind what was read last.
    pub const fn position(&self) -> usize {
        self.cursor.offset()
    }

    /// Whether nothing but white space is left.
    pub fn at_end(&mut self) -> bool {
        self.peek().is_none()
    }

    /// The kind of the value that follows.
    pub fn kind(&mut self) -> Read<Kind> {
        match self.peek() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::List),
            Some(b'"') => Ok(Kind::Str),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            _ => Err(self.expected("a value")),
        }
    }

    /// Refuses anything but white space after the value.
    pub fn end(&mut self) -> Read<()> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.fault(JsonFaultKind::TrailingText)),
        }
    }

    /// Steps into the object that follows.
    pub fn enter_object(&mut self) -> Read<()> {
        self.open(b'{', "'{'")
    }

    /// Steps into the list that follows.
    pub fn enter_list(&mut self) -> Read<()> {
        self.open(b'[', "'['")
    }

    /// The next key of the innermost object, with its value still to be read or skipped; `None`
    /// steps out of the object. `first` starts as true and is kept by the caller.
    pub fn next_key(&mut self, first: &mut bool) -> Read<Option<Str<'a>>> {
        let was_first = std::mem::replace(first, false);
        match self.peek() {
            Some(b'}') => {
                self.close();
                return Ok(None);
            }
            Some(b',') if !was_first => self.cursor.skip(1),
            _ if was_first => {}
            _ => return Err(self.expected("',' or '}'")),
        }
        self.key().map(Some)
    }

    /// Whether another element of the innermost list follows, still to be read or skipped;
    /// `false` steps out of the list. `first` starts as true and is kept by the caller.
    pub fn next_element(&mut self, first: &mut bool) -> Read<bool> {
        let was_first = std::mem::replace(first, false);
        match self.peek() {
            Some(b']') => {
                self.close();
                Ok(false)
            }
            Some(b',') if !was_first => {
                self.cursor.skip(1);
                Ok(true)
            }
            Some(_) if was_first => Ok(true),
            _ => Err(self.expected("',' or ']'")),
        }
    }

    /// Validates the value that follows, however deep, and steps over it; its absolute range.
    pub fn skip_value(&mut self) -> Read<Range<usize>> {
        let start = self.offset();
        let floor = self.depth;
        loop {
            let mut ended = true;
            match self.peek() {
                Some(b'"') => {
                    self.string()?;
                }
                Some(b'{') => {
                    self.open(b'{', "'{'")?;
                    if self.peek() == Some(b'}') {
                        self.close();
                    } else {
                        self.key()?;
                        ended = false;
                    }
                }
                Some(b'[') => {
                    self.open(b'[', "'['")?;
                    if self.peek() == Some(b']') {
                        self.close();
                    } else {
                        ended = false;
                    }
                }
                Some(b'-' | b'0'..=b'9') => {
                    self.number()?;
                }
                Some(b't') => self.word(b"true")?,
                Some(b'f') => self.word(b"false")?,
                Some(b'n') => self.word(b"null")?,
                _ => return Err(self.expected("a value")),
            }
            while ended {
                if self.depth == floor {
                    return Ok(start..self.cursor.offset());
                }
                let in_object = self.objects >> (self.depth - 1) & 1 == 1;
                match (self.peek(), in_object) {
                    (Some(b','), true) => {
                        self.cursor.skip(1);
                        self.key()?;
                        ended = false;
                    }
                    (Some(b','), false) => {
                        self.cursor.skip(1);
                        ended = false;
                    }
                    (Some(b'}'), true) | (Some(b']'), false) => self.close(),
                    (_, true) => return Err(self.expected("',' or '}'")),
                    (_, false) => return Err(self.expected("',' or ']'")),
                }
            }
        }
    }

    /// Reads the string that follows.
    #[inline]
    pub fn string(&mut self) -> Read<Str<'a>> {
        if self.peek() != Some(b'"') {
            return Err(self.expected("a string"));
        }
        self.cursor.skip(1);
        let start = self.cursor.offset();
        let rest = self.cursor.rest();
        let run = plain_run(rest);
        if rest.get(run) == Some(&b'"') {
            self.cursor.skip(run + 1);
            let range = start..start + run;
            return Ok(Str {
                range,
                escaped: false,
                slice: Some(&rest[..run]),
            });
        }
        self.cursor.skip(run);
        self.string_from(start)
    }

    /// The rest of a string that is not all plain bytes in one frame.
    fn string_from(&mut self, start: usize) -> Read<Str<'a>> {
        let mut escaped = false;
        loop {
            self.cursor.skip(plain_run(self.cursor.rest()));
            match self.cursor.peek() {
                Some(b'"') => {
                    let range = start..self.cursor.offset();
                    let slice = self.cursor.in_current(&range);
                    self.cursor.skip(1);
                    return Ok(Str {
                        range,
                        escaped,
                        slice,
                    });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(0x80..) => self.characters()?,
                Some(..0x20) => return Err(self.fault(JsonFaultKind::ControlCharacter)),
                // A new frame that begins with a plain byte.
                Some(_) => {}
                None => return Err(self.fault(JsonFaultKind::UnexpectedEnd)),
            }
        }
    }

    /// Reads the number that follows; its absolute range.
    pub fn number(&mut self) -> Read<Range<usize>> {
        self.peek();
        let start = self.cursor.offset();
        if self.cursor.peek() == Some(b'-') {
            self.cursor.skip(1);
        }
        match self.cursor.peek() {
            Some(b'0') => self.cursor.skip(1),
            Some(b'1'..=b'9') => self.digits()?,
            other => return Err(self.broken_number(other)),
        }
        if self.cursor.peek() == Some(b'.') {
            self.cursor.skip(1);
            self.digits()?;
        }
        if matches!(self.cursor.peek(), Some(b'e' | b'E')) {
            self.cursor.skip(1);
            if matches!(self.cursor.peek(), Some(b'+' | b'-')) {
                self.cursor.skip(1);
            }
            self.digits()?;
        }
        Ok(start..self.cursor.offset())
    }

    /// Reads the `true` or `false` that follows.
    pub fn boolean(&mut self) -> Read<bool> {
        let truth = self.peek() == Some(b't');
        self.word(if truth { b"true" } else { b"false" })?;
        Ok(truth)
    }

    /// The bytes of a range that was read, copied only if they lie in several frames.
    pub fn bytes(&self, range: &Range<usize>) -> Cow<'a, [u8]> {
        match self.cursor.in_current(range) {
            Some(slice) => Cow::Borrowed(slice),
            None => gather(self.cursor.frames(), range),
        }
    }

    /// The bytes of a key as readers compare it, with its escapes undone; nothing if it is too
    /// long to be any key that is looked for.
    pub fn key_bytes(&self, key: &Str<'a>) -> Cow<'a, [u8]> {
        text::key(self.cursor.frames(), key)
    }

    /// The text of a string, with its escapes undone.
    pub fn text(&self, read: &Str<'a>) -> Cow<'a, str> {
        text::text(self.cursor.frames(), read)
    }

    /// Steps over white space and shows the next byte.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = self.cursor.peek()?;
            if byte > b' ' || !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.cursor.skip(1);
        }
    }

    fn open(&mut self, bracket: u8, what: &'static str) -> Read<()> {
        if self.peek() != Some(bracket) {
            return Err(self.expected(what));
        }
        if self.depth == MAX_DEPTH {
            return Err(self.fault(JsonFaultKind::TooDeep));
        }
        let bit = 1_u128 << self.depth;
        if bracket == b'{' {
            self.objects |= bit;
        } else {
            self.objects &= !bit;
        }
        self.depth += 1;
        self.cursor.skip(1);
        Ok(())
    }

    /// Steps over the closing bracket the caller has seen.
    const fn close(&mut self) {
        self.cursor.skip(1);
        self.depth -= 1;
    }

    /// A key and the colon behind it.
    #[inline]
    fn key(&mut self) -> Read<Str<'a>> {
        if self.peek() != Some(b'"') {
            return Err(self.expected("a key in quotes"));
        }
        let key = self.string()?;
        if self.peek() != Some(b':') {
            return Err(self.expected("':'"));
        }
        self.cursor.skip(1);
        Ok(key)
    }

    fn escape(&mut self) -> Read<()> {
        let start = self.cursor.offset();
        let bad = JsonFault {
            offset: start,
            kind: JsonFaultKind::BadEscape,
        };
        self.cursor.skip(1);
        match self.cursor.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.cursor.skip(1),
            Some(b'u') => {
                self.cursor.skip(1);
                for _ in 0..4 {
                    match self.cursor.peek() {
                        Some(byte) if byte.is_ascii_hexdigit() => self.cursor.skip(1),
                        Some(_) => return Err(bad),
                        None => return Err(self.fault(JsonFaultKind::UnexpectedEnd)),
                    }
                }
            }
            Some(_) => return Err(bad),
            None => return Err(self.fault(JsonFaultKind::UnexpectedEnd)),
        }
        Ok(())
    }

    /// A run of characters outside ASCII (table 3-7 of the Unicode standard).
    fn characters(&mut self) -> Read<()> {
        while let Some(lead @ 0x80..) = self.cursor.peek() {
            let whole = characters_run(self.cursor.rest());
            if whole > 0 {
                self.cursor.skip(whole);
                continue;
            }
            // A character that is cut by the end of the frame, or none at all.
            let bad = JsonFault {
                offset: self.cursor.offset(),
                kind: JsonFaultKind::BadUtf8,
            };
            let (second, more) = match lead {
                0xC2..=0xDF => (0x80..=0xBF, 0),
                0xE0 => (0xA0..=0xBF, 1),
                0xED => (0x80..=0x9F, 1),
                0xE1..=0xEF => (0x80..=0xBF, 1),
                0xF0 => (0x90..=0xBF, 2),
                0xF1..=0xF3 => (0x80..=0xBF, 2),
                0xF4 => (0x80..=0x8F, 2),
                _ => return Err(bad),
            };
            self.cursor.skip(1);
            for n in 0..=more {
                match self.cursor.peek() {
                    Some(byte) if n == 0 && second.contains(&byte) => self.cursor.skip(1),
                    Some(0x80..=0xBF) if n > 0 => self.cursor.skip(1),
                    Some(_) => return Err(bad),
                    None => return Err(self.fault(JsonFaultKind::UnexpectedEnd)),
                }
            }
        }
        Ok(())
    }

    fn digits(&mut self) -> Read<()> {
        match self.cursor.peek() {
            Some(b'0'..=b'9') => {}
            other => return Err(self.broken_number(other)),
        }
        while let Some(b'0'..=b'9') = self.cursor.peek() {
            self.cursor.skip(1);
        }
        Ok(())
    }

    fn word(&mut self, word: &'static [u8]) -> Read<()> {
        let offset = self.cursor.offset();
        for &expected in word {
            match self.cursor.peek() {
                Some(byte) if byte == expected => self.cursor.skip(1),
                Some(_) => {
                    return Err(JsonFault {
                        offset,
                        kind: JsonFaultKind::Expected("a value"),
                    });
                }
                None => return Err(self.fault(JsonFaultKind::UnexpectedEnd)),
            }
        }
        Ok(())
    }

    fn broken_number(&self, next: Option<u8>) -> JsonFault {
        self.fault(match next {
            Some(_) => JsonFaultKind::BadNumber,
            None => JsonFaultKind::UnexpectedEnd,
        })
    }

    fn expected(&mut self, what: &'static str) -> JsonFault {
        let kind = match self.peek() {
            Some(_) => JsonFaultKind::Expected(what),
            None => JsonFaultKind::UnexpectedEnd,
        };
        self.fault(kind)
    }

    const fn fault(&self, kind: JsonFaultKind) -> JsonFault {
        JsonFault {
            offset: self.cursor.offset(),
            kind,
        }
    }
}
