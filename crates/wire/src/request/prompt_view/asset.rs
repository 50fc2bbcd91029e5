//! What stands for an image, a video or a recording: the lower half of XXH64 of its URL (or of its data and
//! format), as four bytes, once for each token that the engine is expected to spend on it. It begins at a multiple of
//! four bytes.
//!
//! | part | tokens |
//! |---|---|
//! | image | as the rules say, by the size out of an inline PNG, GIF or JPEG, if there is one |
//! | video | as the rules say |
//! | audio | 14 + 12.5 per second; the length of an inline WAV, of other data at 16,000 bytes a second, else 10 s |
//!
//! The rules (`core/model/assets.rs`) are the reference's defaults unless the plan or the request says otherwise.

use std::ops::ControlFlow;

use xxhash_rust::xxh64::Xxh64;

use crate::json::text::Str;
use crate::request::prompt_view::outlet::{Flow, Outlet, Sink};
use crate::request::prompt_view::string::text;

const AUDIO_OVERHEAD: u64 = 14;
const AUDIO_TOKENS_PER_SECOND: f64 = 12.5;
const AUDIO_BYTES_PER_SECOND: f64 = 16_000.0;
const AUDIO_SECONDS: f64 = 10.0;
/// Bytes of inline data that are looked at for its size.
const HEAD: usize = 64 * 1024;
/// Most tokens for one part: more than any model takes, whatever size a picture claims.
const MOST_TOKENS: u64 = 1 << 20;

/// An image that is referred to or inline.
pub(crate) fn image<F: AsRef<[u8]>>(
    frames: &[F],
    url: Option<&Str<'_>>,
    out: &mut Outlet<'_>,
) -> Flow {
    let seen = look(frames, [url, None])?;
    let size = seen.payload("data:image/").and_then(|payload| {
        let (width, height) = picture_size(&decoded(payload, HEAD))?;
        (width > 0 && height > 0).then_some((width, height))
    });
    put(seen.hash, out.rules.image.tokens(size), out)
}

/// A video that is referred to.
pub(crate) fn video<F: AsRef<[u8]>>(
    frames: &[F],
    url: Option<&Str<'_>>,
    out: &mut Outlet<'_>,
) -> Flow {
    let seen = look(frames, [url, None])?;
    put(seen.hash, out.rules.video.tokens(), out)
}

/// A recording that is referred to.
pub(crate) fn audio<F: AsRef<[u8]>>(
    frames: &[F],
    url: Option<&Str<'_>>,
    out: &mut Outlet<'_>,
) -> Flow {
    let seen = look(frames, [url, None])?;
    put(seen.hash, spoken(AUDIO_SECONDS), out)
}

/// A recording inside the body.
pub(crate) fn recording<F: AsRef<[u8]>>(
    frames: &[F],
    data: Option<&Str<'_>>,
    format: Option<&Str<'_>>,
    out: &mut Outlet<'_>,
) -> Flow {
    let seen = look(frames, [data, format])?;
    let payload = seen.payload("data:").unwrap_or(&seen.head);
    let prefix = seen.head.len() - payload.len();
    let bytes = (seen.first_len - prefix - seen.padding) * 3 / 4;
    let seconds = if bytes == 0 {
        AUDIO_SECONDS
    } else {
        wav_seconds(&decoded(payload, 1024), bytes as u64)
            .unwrap_or(bytes as f64 / AUDIO_BYTES_PER_SECOND)
    };
    put(seen.hash, spoken(seconds), out)
}

fn spoken(seconds: f64) -> u64 {
    AUDIO_OVERHEAD + (AUDIO_TOKENS_PER_SECOND * seconds) as u64
}

/// Writes the words that stand for a part.
fn put(hash: u64, tokens: u64, out: &mut Outlet<'_>) -> Flow {
    out.asset();
    let misaligned = out.written() % 4;
    if misaligned > 0 {
        out.run(&[0; 4][misaligned..])?;
    }
    let word = (hash as u32).to_le_bytes();
    let words: [u8; 64] = std::array::from_fn(|at| word[at % 4]);
    let mut left = tokens.clamp(1, MOST_TOKENS) as usize * 4;
    while left > 0 {
        let part = left.min(words.len());
        out.run(&words[..part])?;
        left -= part;
    }
    Flow::Continue(())
}

/// What was seen of a part's texts.
struct Seen {
    hash: u64,
    /// The beginning of the first text.
    head: Vec<u8>,
    /// Bytes of the first text.
    first_len: usize,
    /// `=` at its end.
    padding: usize,
}

impl Seen {
    /// What follows `base64,` in a text that begins so.
    fn payload(&self, begins: &str) -> Option<&[u8]> {
        const MARK: &[u8] = b"base64,";
        if !self.head.starts_with(begins.as_bytes()) {
            return None;
        }
        let at = memchr::memmem::find(&self.head, MARK)?;
        Some(&self.head[at + MARK.len()..])
    }
}

fn look<F: AsRef<[u8]>>(frames: &[F], texts: [Option<&Str<'_>>; 2]) -> ControlFlow<(), Seen> {
    struct Look {
        state: Xxh64,
        head: Vec<u8>,
        len: usize,
        padding: usize,
    }
    impl Sink for Look {
        fn run(&mut self, bytes: &[u8]) -> Flow {
            self.state.update(bytes);
            self.len += bytes.len();
            let padding = bytes.iter().rev().take_while(|&&byte| byte == b'=').count();
            self.padding = padding
                + if padding == bytes.len() {
                    self.padding
                } else {
                    0
                };
            // Four letters of base64 are three bytes; only inline data is of interest.
            let inline = self.head.len() >= 5 || self.len < 4096 || bytes.starts_with(b"data:");
            if inline && self.head.len() < HEAD / 3 * 4 {
                let room = (HEAD / 3 * 4 - self.head.len()).min(bytes.len());
                self.head.extend_from_slice(&bytes[..room]);
            }
            Flow::Continue(())
        }
    }
    let mut sink = Look {
        state: Xxh64::new(0),
        head: Vec::new(),
        len: 0,
        padding: 0,
    };
    let mut first = (0, 0, Vec::new());
    for (at, part) in texts.into_iter().enumerate() {
        if let Some(part) = part {
            text(frames, part, &mut sink)?;
        }
        if at == 0 {
            first = (sink.len, sink.padding, std::mem::take(&mut sink.head));
        }
    }
    ControlFlow::Continue(Seen {
        hash: sink.state.digest(),
        head: first.2,
        first_len: first.0,
        padding: first.1,
    })
}

/// The bytes of base64 text, up to its end, to the first letter that is none, or to `most` bytes.
fn decoded(text: &[u8], most: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity((text.len() / 4 * 3).min(most) + 3);
    let mut bits = 0_u32;
    let mut count = 0;
    for &letter in text {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'\r' | b'\n' => continue,
            _ => break,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
            if out.len() == most {
                break;
            }
        }
    }
    out
}

/// Width and height of a PNG, a GIF or a JPEG.
fn picture_size(data: &[u8]) -> Option<(u32, u32)> {
    let big = |at: usize| {
        Some(u32::from(u16::from_be_bytes(
            *data.get(at..)?.first_chunk()?,
        )))
    };
    if data.starts_with(b"\x89PNG\r\n\x1a\n") {
        let word = |at: usize| Some(u32::from_be_bytes(*data.get(at..)?.first_chunk()?));
        return Some((word(16)?, word(20)?));
    }
    if data.starts_with(b"GIF87a") || data.starts_with(b"GIF89a") {
        let word = |at: usize| {
            Some(u32::from(u16::from_le_bytes(
                *data.get(at..)?.first_chunk()?,
            )))
        };
        return Some((word(6)?, word(8)?));
    }
    if !data.starts_with(b"\xff\xd8") {
        return None;
    }
    let mut at = 2;
    loop {
        if *data.get(at)? != 0xff {
            return None;
        }
        match *data.get(at + 1)? {
            0xff => at += 1,
            // Markers that stand alone.
            0x01 | 0xd0..=0xd7 => at += 2,
            // The three kinds of frames that Go reads.
            0xc0..=0xc2 => return Some((big(at + 7)?, big(at + 5)?)),
            // The picture begins, or ends, without its size.
            0xd9 | 0xda => return None,
            _ => at += 2 + big(at + 2)? as usize,
        }
    }
}

/// The length of a WAV of `bytes` bytes, from its beginning.
fn wav_seconds(head: &[u8], bytes: u64) -> Option<f64> {
    if head.get(..4)? != b"RIFF" || head.get(8..12)? != b"WAVE" {
        return None;
    }
    let word = |at: usize| Some(u32::from_le_bytes(*head.get(at..)?.first_chunk()?));
    let mut rate = 0;
    let mut at = 12;
    loop {
        let size = word(at + 4)?;
        let body = at + 8;
        match head.get(at..at + 4)? {
            b"fmt " => rate = word(body + 8)?,
            b"data" => {
                let there = bytes.checked_sub(body as u64)?;
                // A stream may claim any size; it holds no more than came.
                let size = match u64::from(size) {
                    0 => there,
                    size => size.min(there),
                };
                return (rate > 0 && size > 0).then(|| size as f64 / f64::from(rate));
            }
            _ => {}
        }
        at = body + size as usize + size as usize % 2;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sizes_are_read_from_the_beginning_of_a_picture() {
        let png = decoded(b"iVBORw0KGgoAAAANSUhEUgAAAAoAAAAUCAYAAAC07w7bAAAA", HEAD);
        assert_eq!(picture_size(&png), Some((10, 20)));
        assert_eq!(
            picture_size(b"GIF89a\x2c\x01\xc8\x00more"),
            Some((300, 200))
        );
        let jpeg = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xff\xc0\x00\x11\x08\x01\x02\x03\x04";
        assert_eq!(picture_size(jpeg), Some((0x0304, 0x0102)));
        for end in 0..jpeg.len() {
            assert_eq!(picture_size(&jpeg[..end]), None);
        }
        assert_eq!(picture_size(b"\xff\xd8\xff\xda\x00\x04"), None);
        assert_eq!(picture_size(b"no picture"), None);
    }

    #[test]
    fn a_wav_tells_its_length() {
        let mut wav =
            b"RIFF____WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data"
                .to_vec();
        wav.extend(32_000_u32.to_le_bytes());
        assert_eq!(wav_seconds(&wav, 44 + 32_000), Some(2.0));
        assert_eq!(wav_seconds(&wav, 44 + 8_000), Some(0.5));
        assert_eq!(wav_seconds(&wav, 44), None);
        assert_eq!(wav_seconds(&wav[..30], 9_000), None);
        assert_eq!(wav_seconds(b"ID3", 9_000), None);
    }

    #[test]
    fn base64_ends_where_it_ends() {
        assert_eq!(decoded(b"aGVsbG8=", 99), b"hello");
        assert_eq!(decoded(b"aGVs\nbG8", 99), b"hello");
        assert_eq!(decoded(b"aGVsbG8=", 3), b"hel");
        assert_eq!(decoded(b"aG!", 9), b"h");
    }
}
