//! The grammar of an HTTP/1.1 request head, line by line, stricter than the parser behind it.
//!
//! Whatever another server on the way might read differently is refused here: two lengths, a length beside a transfer coding, codings
//! other than `chunked`, folded lines, bare line feeds, spaces where none belong, control bytes, names with `_` (which CGI-like servers
//! take for `-`), a missing or ambiguous host. A head that passes has one reading, and [`Reading`] says which bytes follow it. It knows
//! nothing of routes or of what headers mean.

use crate::offence::Offence;

/// Bounds of a request head.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes of the whole head.
    pub bytes: usize,
    /// Bytes of one line of it.
    pub line: usize,
    /// Header fields.
    pub fields: usize,
}

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// So many bytes of body.
    Length(u64),
    /// A chunked body.
    Chunked,
}

/// A head of which some lines have been read.
#[derive(Debug, Default)]
pub struct Head {
    begun: bool,
    http11: bool,
    /// The authority of a target in absolute form, in lower case.
    authority: Option<Box<[u8]>>,
    hosts: u32,
    length: Option<u64>,
    chunked: bool,
    fields: usize,
    bytes: usize,
}

/// Longer than any method that is registered.
const LONGEST_METHOD: usize = 32;
/// More digits than any length that is served.
const LONGEST_LENGTH: usize = 18;

impl Head {
    /// Whether its request line has come.
    pub fn is_begun(&self) -> bool {
        self.begun
    }

    /// Takes the next line, with its line end. `Some` when it was the empty line that ends the head.
    ///
    /// # Errors
    /// The first [`Offence`].
    pub fn line(&mut self, line: &[u8], limits: &HeadLimits) -> Result<Option<Reading>, Offence> {
        self.bytes += line.len();
        if self.bytes > limits.bytes {
            return Err(Offence::large("the request head is too large"));
        }
        let text = unended(line)?;
        if !self.begun {
            // An empty line before a request is left over from the body before it.
            if !text.is_empty() {
                self.begun = true;
                self.request_line(text)?;
            } else if self.bytes > 4 {
                return Err(Offence::bad("more than two empty lines before a request"));
            }
            return Ok(None);
        }
        if text.is_empty() {
            return self.end().map(Some);
        }
        self.fields += 1;
        if self.fields > limits.fields {
            return Err(Offence::large("the request has too many header fields"));
        }
        self.field(text)?;
        Ok(None)
    }

    fn request_line(&mut self, line: &[u8]) -> Result<(), Offence> {
        let form = Offence::bad("the request line is not METHOD target HTTP/1.1");
        let mut words = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(form);
        };
        // The first letter keeps `-` free for the request that stands for a refused one.
        let good = method.first().is_some_and(u8::is_ascii_alphabetic)
            && method.len() <= LONGEST_METHOD
            && method.iter().all(|byte| is_token(*byte));
        if !good {
            return Err(Offence::bad(
                "the request's method is malformed or too long",
            ));
        }
        self.http11 = match version {
            b"HTTP/1.1" => true,
            b"HTTP/1.0" => false,
            _ => return Err(Offence::bad("the request's version is neither 1.1 nor 1.0")),
        };
        if method == b"CONNECT" {
            return Err(Offence::bad("CONNECT is refused: this server is no tunnel"));
        }
        self.target(method, target)
    }

    fn target(&mut self, method: &[u8], target: &[u8]) -> Result<(), Offence> {
        let bad = Offence::bad("the request target is malformed");
        if target.iter().any(|byte| !is_target(*byte)) {
            return Err(bad);
        }
        if target.first() == Some(&b'/') || (target == b"*" && method == b"OPTIONS") {
            return Ok(());
        }
        let rest = [&b"http://"[..], b"https://"]
            .into_iter()
            .find_map(|scheme| strip_prefix_ignoring_case(target, scheme))
            .ok_or(bad)?;
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?'));
        let authority = &rest[..end.unwrap_or(rest.len())];
        if !is_host(authority) {
            return Err(bad);
        }
        self.authority = Some(authority.to_ascii_lowercase().into());
        Ok(())
    }

    fn field(&mut self, line: &[u8]) -> Result<(), Offence> {
        let (name, value) = field(line)?;
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                self.hosts += 1;
                if self.hosts > 1 {
                    return Err(Offence::bad("the request has more than one Host"));
                }
                if !is_host(value) {
                    return Err(Offence::bad("the request's Host is malformed"));
                }
                if let Some(authority) = &self.authority
                    && !authority.eq_ignore_ascii_case(value)
                {
                    return Err(Offence::bad("the request's Host is not that of its target"));
                }
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let good = !value.is_empty()
                    && value.len() <= LONGEST_LENGTH
                    && value.iter().all(u8::is_ascii_digit);
                if !good || self.length.is_some() {
                    return Err(Offence::bad("Content-Length must be one decimal number"));
                }
                let digit = |sum, byte: &u8| sum * 10 + u64::from(byte - b'0');
                self.length = Some(value.iter().fold(0, digit));
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Offence::bad(
                        "the only Transfer-Encoding taken is chunked, once",
                    ));
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&self) -> Result<Reading, Offence> {
        if self.http11 && self.hosts == 0 {
            return Err(Offence::bad("the request has no Host"));
        }
        match (self.length, self.chunked) {
            (Some(_), true) => Err(Offence::bad(
                "the request has both Content-Length and Transfer-Encoding",
            )),
            (None, true) if !self.http11 => {
                Err(Offence::bad("HTTP/1.0 knows no Transfer-Encoding"))
            }
            (None, true) => Ok(Reading::Chunked),
            (length, false) => Ok(Reading::Length(length.unwrap_or(0))),
        }
    }
}

/// A line without its line end.
///
/// # Errors
/// When it does not end in CR LF, or a CR stands elsewhere.
pub fn unended(line: &[u8]) -> Result<&[u8], Offence> {
    match line.strip_suffix(b"\r\n") {
        Some(text) => Ok(text),
        None => Err(Offence::bad("a line of the request ends without CR LF")),
    }
}

/// Name and trimmed value of a header field or trailer.
///
/// # Errors
/// When it is none.
pub fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Offence> {
    let colon = line.iter().position(|byte| !is_token(*byte));
    let (name, value) = match colon {
        Some(at) if at > 0 && line[at] == b':' => (&line[..at], &line[at + 1..]),
        _ => return Err(Offence::bad("a header field's name is malformed")),
    };
    if name.contains(&b'_') {
        return Err(Offence::bad("a header field's name contains an underscore"));
    }
    // One pass without a branch per byte.
    let broken = value.iter().fold(false, |broken, &byte| {
        broken | ((byte < b' ') & (byte != b'\t')) | (byte == 0x7f)
    });
    if broken {
        return Err(Offence::bad(
            "a header field's value contains a control character",
        ));
    }
    Ok((name, trimmed(value)))
}

fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

fn strip_prefix_ignoring_case<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

const TOKEN: u8 = 1;
const TARGET: u8 = 2;
const HOST: u8 = 4;

/// What each byte may stand in (RFC 9110 §5.6.2, RFC 3986). Targets are let be what the URI parser takes, without a fragment.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let at = byte as u8;
        let alphanumeric = at.is_ascii_alphanumeric();
        let mut class = 0;
        if alphanumeric || contains(b"!#$%&'*+-.^_`|~", at) {
            class |= TOKEN;
        }
        if at > b' ' && at < 0x7f && !contains(b"\"#<>\\^`", at) {
            class |= TARGET;
        }
        if alphanumeric || contains(b"-._~:[]%", at) {
            class |= HOST;
        }
        classes[byte] = class;
        byte += 1;
    }
    classes
};

const fn contains(set: &[u8], byte: u8) -> bool {
    let mut at = 0;
    while at < set.len() {
        if set[at] == byte {
            return true;
        }
        at += 1;
    }
    false
}

fn is_token(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & TOKEN != 0
}

fn is_target(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & TARGET != 0
}

fn is_host(text: &[u8]) -> bool {
    !text.is_empty()
        && text
            .iter()
            .all(|byte| CLASSES[usize::from(*byte)] & HOST != 0)
}
