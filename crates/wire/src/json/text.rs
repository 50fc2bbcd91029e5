//! String contents: escapes undone, and keys compared without undoing them where they have none.

use crate::json::cursor::gather;
use std::borrow::Cow;
use std::ops::Range;

/// A string that was read: where its content lies, without the quotes and with its escapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Str<'a> {
    /// Absolute range of the content.
    pub range: Range<usize>,
    /// Whether the content has escapes.
    pub escaped: bool,
    /// The content if it lies in one frame.
    pub slice: Option<&'a [u8]>,
}

impl Str<'_> {
    /// A content that was read before, of which only the place is known.
    pub(crate) const fn at(range: Range<usize>, escaped: bool) -> Self {
        Self {
            range,
            escaped,
            slice: None,
        }
    }
}

/// Longest raw key that can still be one of ours: six bytes (`\u0061`) for each of 32 letters.
const LONGEST_KEY: usize = 6 * 32;

/// A key as the reader compares it: its text without escapes, or nothing if it is too long to be
/// any key that is looked for.
pub(crate) fn key<'a, F: AsRef<[u8]>>(frames: &'a [F], read: &Str<'a>) -> Cow<'a, [u8]> {
    match read.slice {
        Some(slice) if !read.escaped => Cow::Borrowed(slice),
        _ if read.range.len() > LONGEST_KEY => Cow::Borrowed(b""),
        _ => match text(frames, read) {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        },
    }
}

/// The text of a string that the scanner has validated: borrowed if it lies in one frame and has
/// no escapes, else built. A surrogate without its partner becomes U+FFFD, as in Go.
pub(crate) fn text<'a, F: AsRef<[u8]>>(frames: &'a [F], read: &Str<'a>) -> Cow<'a, str> {
    let raw = match read.slice {
        Some(slice) => Cow::Borrowed(slice),
        None => gather(frames, &read.range),
    };
    if read.escaped {
        return Cow::Owned(unescape(&raw));
    }
    match raw {
        Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
        Cow::Owned(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Cow::Owned(text),
            Err(error) => Cow::Owned(String::from_utf8_lossy(error.as_bytes()).into_owned()),
        },
    }
}

/// Undoes the escapes of a validated string content; what is not a whole escape stays as it is.
fn unescape(raw: &[u8]) -> String {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        let letter = rest.get(at + 1).copied().unwrap_or(b'\\');
        rest = rest.get(at + 2..).unwrap_or_default();
        match letter {
            b'b' => out.push(0x08),
            b'f' => out.push(0x0c),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'u' => {
                let character = unit(&mut rest);
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            other => out.push(other),
        }
    }
    out.extend_from_slice(rest);
    match String::from_utf8(out) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
}

/// The character whose four hex digits stand at the front, with the partner of a surrogate.
fn unit(rest: &mut &[u8]) -> char {
    let Some(first) = hex(rest) else {
        return char::REPLACEMENT_CHARACTER;
    };
    *rest = &rest[4..];
    if let Some(character) = char::from_u32(first) {
        return character;
    }
    let high = (0xD800..0xDC00).contains(&first);
    let partner = rest.strip_prefix(b"\\u").and_then(hex);
    match partner {
        Some(low @ 0xDC00..0xE000) if high => {
            *rest = &rest[6..];
            let scalar = 0x10000 + ((first - 0xD800) << 10) + (low - 0xDC00);
            char::from_u32(scalar).unwrap_or(char::REPLACEMENT_CHARACTER)
        }
        _ => char::REPLACEMENT_CHARACTER,
    }
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.get(..4)?.iter().try_fold(0, |value, &digit| {
        Some(value << 4 | char::from(digit).to_digit(16)?)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::json::scanner::Scanner;

    #[track_caller]
    fn check(quoted: &str, expected: &str) {
        for size in [1, 2, 7, 1000] {
            let frames: Vec<&[u8]> = quoted.as_bytes().chunks(size).collect();
            let read = Scanner::new(&frames).string().unwrap();
            assert_eq!(text(&frames, &read), expected);
        }
    }

    #[test]
    fn escapes_are_undone() {
        check(r#""""#, "");
        check(r#""plain é""#, "plain é");
        check(r#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t");
        check(r#""a\u00e9\u6f22z""#, "aé漢z");
        check(r#""\ud83d\ude00""#, "😀");
        check(r#""\ud83d""#, "\u{fffd}");
        check(r#""\ud83dx\ude00""#, "\u{fffd}x\u{fffd}");
        check(r#""\ude00\ud83d\u0041""#, "\u{fffd}\u{fffd}A");
    }

    #[test]
    fn keys_compare_without_their_escapes() {
        let quoted = r#""mod\u0065l""#;
        let frames = [quoted.as_bytes()];
        let read = Scanner::new(&frames).string().unwrap();
        assert_eq!(key(&frames, &read).as_ref(), b"model");
    }
}
