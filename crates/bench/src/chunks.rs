//! The chunked transfer coding, taken apart as it arrives.
//!
//! `size` hex digits, line end, that many bytes, line end, ... until a chunk of size 0; then trailer lines and an empty
//! line. Payload is handed out as slices of what was fed in: nothing is copied and nothing is kept. Extensions and
//! trailers are skipped.

/// Where the decoder stands between two feeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the digits of a size; `seen` is false before the first digit.
    Size { value: u64, seen: bool },
    /// Behind the digits, up to the line feed.
    Extension { value: u64 },
    /// In the payload of a chunk.
    Payload { left: u64 },
    /// Behind the payload, up to the line feed.
    PayloadEnd,
    /// In the trailer; `empty` while the line has no characters.
    Trailer { empty: bool },
    /// All read.
    Done,
}

/// A decoder for one body.
#[derive(Debug, Clone)]
pub struct Chunks {
    state: State,
}

/// The bytes were not a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl Default for Chunks {
    fn default() -> Self {
        Self::new()
    }
}

impl Chunks {
    /// A decoder before the first byte of the body.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: State::Size {
                value: 0,
                seen: false,
            },
        }
    }

    /// Whether the whole body has been read.
    #[must_use]
    pub fn done(&self) -> bool {
        self.state == State::Done
    }

    /// Reads on in `input`, hands each stretch of payload to `payload` and returns how many bytes it took: all of
    /// them, or those up to the end of the body.
    pub fn feed(
        &mut self,
        input: &[u8],
        mut payload: impl FnMut(&[u8]),
    ) -> Result<usize, Malformed> {
        let mut at = 0;
        while at < input.len() {
            match self.state {
                State::Size { value, seen } => {
                    let byte = input[at];
                    self.state = match (char::from(byte).to_digit(16), byte) {
                        (Some(digit), _) if value < 1 << 56 => State::Size {
                            value: value * 16 + u64::from(digit),
                            seen: true,
                        },
                        (None, b'\n') if seen => after_size(value),
                        (None, b'\r' | b';' | b' ' | b'\t') if seen => State::Extension { value },
                        _ => return Err(Malformed),
                    };
                    at += 1;
                }
                State::Extension { value } => {
                    if input[at] == b'\n' {
                        self.state = after_size(value);
                    }
                    at += 1;
                }
                State::Payload { left } => {
                    let here = usize::try_from(left)
                        .unwrap_or(usize::MAX)
                        .min(input.len() - at);
                    payload(&input[at..at + here]);
                    at += here;
                    let left = left - here as u64;
                    self.state = if left == 0 {
                        State::PayloadEnd
                    } else {
                        State::Payload { left }
                    };
                }
                State::PayloadEnd => {
                    self.state = match input[at] {
                        b'\n' => State::Size {
                            value: 0,
                            seen: false,
                        },
                        b'\r' => State::PayloadEnd,
                        _ => return Err(Malformed),
                    };
                    at += 1;
                }
                State::Trailer { empty } => {
                    self.state = match input[at] {
                        b'\n' if empty => State::Done,
                        b'\n' => State::Trailer { empty: true },
                        b'\r' => State::Trailer { empty },
                        _ => State::Trailer { empty: false },
                    };
                    at += 1;
                }
                State::Done => break,
            }
        }
        Ok(at)
    }
}

fn after_size(value: u64) -> State {
    if value == 0 {
        State::Trailer { empty: true }
    } else {
        State::Payload { left: value }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn decode(pieces: &[&[u8]]) -> Result<(Vec<u8>, bool), Malformed> {
        let mut chunks = Chunks::new();
        let mut out = Vec::new();
        for piece in pieces {
            chunks.feed(piece, |bytes| out.extend_from_slice(bytes))?;
        }
        Ok((out, chunks.done()))
    }

    #[track_caller]
    fn check(input: &str, expected: &str, done: bool) {
        assert_eq!(
            decode(&[input.as_bytes()]).unwrap(),
            (expected.as_bytes().to_vec(), done)
        );
    }

    #[test]
    fn takes_bodies_apart() {
        check("0\r\n\r\n", "", true);
        check("5\r\nhello\r\n0\r\n\r\n", "hello", true);
        check(
            "5;x=y\r\nhello\r\n1\r\n!\r\n0\r\na: b\r\n\r\n",
            "hello!",
            true,
        );
        check("A\r\n0123456789\r\n", "0123456789", false);
        check("5\r\nhel", "hel", false);
    }

    #[test]
    fn refuses_what_is_not_chunked() {
        for input in ["hello", "\r\n", "5\r\nhelloX", "fffffffffffffffff\r\n"] {
            assert_eq!(decode(&[input.as_bytes()]), Err(Malformed), "{input:?}");
        }
    }

    #[test]
    fn stops_at_the_end_of_the_body() {
        let mut chunks = Chunks::new();
        let taken = chunks.feed(b"0\r\n\r\nHTTP/1.1", |_| ()).unwrap();
        assert_eq!(taken, 5);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_payload(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut wire = Vec::new();
            for part in &parts {
                wire.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                wire.extend_from_slice(part);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len())).collect();
            at.extend([0, wire.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|w| &wire[w[0]..w[1]]).collect();
            prop_assert_eq!(decode(&pieces).unwrap(), (parts.concat(), true));
        }
    }
}
