//! Where the requests of an HTTP/1.1 connection begin and end, and the first byte at which they stop being requests.
//!
//! ```text
//! head -- length --> body -----------------------------------------> head
//!   \---- chunked -> size -- n --> data -> after data -> size
//!                      \-- 0 --> trailers -------------------------> head
//! ```
//! Nothing is decoded or kept: the bytes pass as they are, and whoever parses them behind this comes to the same reading.

use memchr::memchr;

use crate::head::{Head, HeadLimits, Reading, field, unended};
use crate::offence::Offence;

/// Bytes of all chunk extensions of a body.
const EXTENSIONS: usize = 4096;
/// Bytes and fields of a trailer section.
const TRAILERS: HeadLimits = HeadLimits {
    bytes: 8192,
    line: 8192,
    fields: 32,
};
/// Hexadecimal digits of a chunk's size; no chunk that can be sent has more.
const SIZE_DIGITS: usize = 12;
/// The longest line of a chunk's size: digits, extensions, line end.
const SIZE_LINE: usize = SIZE_DIGITS + EXTENSIONS + 2;

#[derive(Debug)]
enum Stage {
    Head(Head),
    Body(u64),
    Size,
    Data(u64),
    AfterData,
    Trailers { bytes: usize, fields: usize },
}

/// How far some bytes were understood.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Bytes that were looked at and need not be shown again.
    pub seen: usize,
    /// Bytes that may pass: up to the end of the last whole head, or of what came of a body.
    pub pass: usize,
    /// What is wrong with the bytes after `seen`.
    pub offence: Option<Offence>,
}

/// The state between two pieces of a connection's bytes.
#[derive(Debug)]
pub struct Framing {
    limits: HeadLimits,
    stage: Stage,
    extensions: usize,
}

impl Framing {
    /// A connection before its first byte.
    pub fn new(limits: HeadLimits) -> Self {
        Self {
            limits,
            stage: Stage::Head(Head::default()),
            extensions: 0,
        }
    }

    /// Whether a head is due or being read.
    pub fn is_in_head(&self) -> bool {
        matches!(self.stage, Stage::Head(_))
    }

    /// Bytes that follow which mean nothing to the framing.
    pub fn opaque(&self) -> u64 {
        match self.stage {
            Stage::Body(left) | Stage::Data(left) => left,
            _ => 0,
        }
    }

    /// Passes over so many of the opaque bytes.
    pub fn skip(&mut self, bytes: u64) {
        match &mut self.stage {
            Stage::Body(left) if *left <= bytes => self.stage = Stage::Head(Head::default()),
            Stage::Data(left) if *left <= bytes => self.stage = Stage::AfterData,
            Stage::Body(left) | Stage::Data(left) => *left -= bytes,
            _ => {}
        }
    }

    /// Looks at the next bytes. Those after `seen` must be shown again with what comes next.
    pub fn inspect(&mut self, bytes: &[u8]) -> Step {
        let mut step = Step::default();
        while step.seen < bytes.len() {
            let rest = &bytes[step.seen..];
            let opaque = self.opaque();
            if opaque > 0 {
                let taken = usize::try_from(opaque)
                    .unwrap_or(usize::MAX)
                    .min(rest.len());
                self.skip(taken as u64);
                step.seen += taken;
                step.pass = step.seen;
                continue;
            }
            let longest = self.longest_line();
            let line = match memchr(b'\n', rest) {
                Some(at) if at < longest => &rest[..=at],
                None if rest.len() < longest => break,
                _ => {
                    step.offence = Some(self.too_long());
                    break;
                }
            };
            if let Err(offence) = self.line(line) {
                step.offence = Some(offence);
                break;
            }
            step.seen += line.len();
            if !matches!(&self.stage, Stage::Head(head) if head.is_begun()) {
                step.pass = step.seen;
            }
        }
        step
    }

    fn longest_line(&self) -> usize {
        match self.stage {
            Stage::Head(_) => self.limits.line,
            Stage::AfterData => 2,
            Stage::Trailers { .. } => TRAILERS.line,
            Stage::Size | Stage::Body(_) | Stage::Data(_) => SIZE_LINE,
        }
    }

    fn too_long(&self) -> Offence {
        match self.stage {
            Stage::Head(_) => Offence::large("a line of the request head is too long"),
            Stage::AfterData => Offence::bad("a chunk is longer than its size"),
            _ => Offence::bad("a chunk's extensions or trailers are too long"),
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Offence> {
        match &mut self.stage {
            Stage::Head(head) => {
                if let Some(reading) = head.line(line, &self.limits)? {
                    self.extensions = 0;
                    self.stage = match reading {
                        Reading::Length(0) => Stage::Head(Head::default()),
                        Reading::Length(length) => Stage::Body(length),
                        Reading::Chunked => Stage::Size,
                    };
                }
            }
            Stage::AfterData => {
                if line != b"\r\n" {
                    return Err(Offence::bad("a chunk does not end with its size"));
                }
                self.stage = Stage::Size;
            }
            Stage::Size => {
                let (size, extensions) = size(unended(line)?)?;
                self.extensions += extensions;
                if self.extensions > EXTENSIONS {
                    return Err(Offence::bad("the chunk extensions are too long"));
                }
                self.stage = if size == 0 {
                    Stage::Trailers {
                        bytes: 0,
                        fields: 0,
                    }
                } else {
                    Stage::Data(size)
                };
            }
            Stage::Trailers { bytes, fields } => {
                *bytes += line.len();
                *fields += 1;
                let text = unended(line)?;
                if text.is_empty() {
                    self.stage = Stage::Head(Head::default());
                } else if *bytes > TRAILERS.bytes || *fields > TRAILERS.fields {
                    return Err(Offence::bad("the trailers are too large"));
                } else {
                    trailer(text)?;
                }
            }
            Stage::Body(_) | Stage::Data(_) => {}
        }
        Ok(())
    }
}

/// A chunk's size and the length of its extensions.
fn size(line: &[u8]) -> Result<(u64, usize), Offence> {
    let end = line.iter().position(|byte| !byte.is_ascii_hexdigit());
    let (digits, extensions) = line.split_at(end.unwrap_or(line.len()));
    if digits.is_empty() || digits.len() > SIZE_DIGITS {
        return Err(Offence::bad("a chunk's size is not a hexadecimal number"));
    }
    let clean = extensions
        .iter()
        .all(|byte| *byte >= b' ' && *byte != 0x7f || *byte == b'\t');
    if !clean || !matches!(extensions.first(), None | Some(b';')) {
        return Err(Offence::bad("a chunk's size is followed by something else"));
    }
    let size = digits.iter().fold(0, |sum, byte| {
        let digit = char::from(*byte).to_digit(16).unwrap_or(0);
        sum << 4 | u64::from(digit)
    });
    Ok((size, extensions.len()))
}

/// Trailers that would change how the message is read, had they stood in the head, are refused.
fn trailer(line: &[u8]) -> Result<(), Offence> {
    const FRAMING: [&[u8]; 3] = [b"content-length", b"transfer-encoding", b"host"];
    let (name, _) = field(line)?;
    if FRAMING.iter().any(|other| name.eq_ignore_ascii_case(other)) {
        return Err(Offence::bad(
            "a trailer must not say how the request is framed",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        bytes: 32 * 1024,
        line: 8 * 1024,
        fields: 100,
    };
    const TWO: &[u8] = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n5;x=\"y\"\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n\r\nPOST http://A:1/b HTTP/1.1\r\nHOST: a:1\r\ncontent-length:  3 \r\n\r\nabcGET / HTTP/1.0\r\n\r\n";

    /// What passes when the bytes come in pieces of this size, and the offence that ends it.
    fn passes(bytes: &[u8], piece: usize) -> (usize, Option<Offence>) {
        let mut framing = Framing::new(LIMITS);
        let (mut held, mut seen, mut passed) = (Vec::new(), 0, 0);
        for piece in bytes.chunks(piece) {
            held.extend_from_slice(piece);
            let step = framing.inspect(&held[seen..]);
            if step.pass > 0 {
                let pass = seen + step.pass;
                passed += pass;
                held.drain(..pass);
                seen = step.seen - step.pass;
            } else {
                seen += step.seen;
            }
            if step.offence.is_some() {
                return (passed, step.offence);
            }
        }
        (passed, None)
    }

    #[test]
    fn good_requests_pass_whole_however_they_are_cut() {
        for piece in 1..TWO.len() {
            assert_eq!(passes(TWO, piece), (TWO.len(), None), "by {piece}");
        }
    }

    #[test]
    fn of_a_bad_head_no_byte_passes_however_it_is_cut() {
        let good = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        for bad in [
            &b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n"[..],
            b"GET / HTTP/1.1\nhost: a\n\n",
            b"GET / HTTP/1.1\r\nhost: a\r\nx_y: 1\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
        ] {
            let bytes = [good, bad].concat();
            for piece in 1..bytes.len() {
                let (passed, offence) = passes(&bytes, piece);
                assert!(offence.is_some());
                assert_eq!(passed, good.len(), "by {piece}");
            }
        }
    }

    #[test]
    fn a_line_that_never_ends_is_refused_at_its_bound() {
        let (passed, offence) = passes(&[b'a'; 9000], 100);
        assert_eq!((passed, offence.unwrap().status.as_u16()), (0, 431));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_the_same_however_they_are_cut(
            at in 0..TWO.len(), with: u8, piece in 1usize..64,
        ) {
            let mut bytes = TWO.to_vec();
            bytes[at] = with;
            let whole = passes(&bytes, bytes.len());
            proptest::prop_assert_eq!(passes(&bytes, piece), whole);
        }
    }
}
