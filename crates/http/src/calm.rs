//! How much work without a request an HTTP/2 client makes.
//!
//! ```text
//! allowance = min(20 000, allowance + 20 000 per second) - price of each frame
//! ```
//! | frame | price |
//! |---|---|
//! | DATA with bytes, HEADERS | 0: bounded by windows and by streams at once |
//! | WINDOW_UPDATE | 1 |
//! | SETTINGS, PING, PRIORITY, CONTINUATION, GOAWAY, an empty DATA, unknown | 20 |
//! | RST_STREAM | 100: the request before it was handled for nothing |
//!
//! So a client may reset 200 requests at once, or send a thousand pings, and as many again each second. Beyond that the connection is
//! made to fail with ENHANCE_YOUR_CALM, by frames put in the place of the client's. Only frame headers are looked at.

use std::time::Instant;

const PREFACE: usize = 24;
const FRAME_HEADER: usize = 9;
/// What a client may spend at once, and gets anew each second.
pub const ALLOWANCE: f64 = 20_000.0;
const CONTINUATION: u8 = 9;
/// HEADERS and CONTINUATION.
const END_HEADERS: u8 = 4;

/// The state between two pieces of a connection's bytes.
#[derive(Debug)]
pub struct Calm {
    /// Bytes of the preface, or of a payload, that are still to come.
    skip: usize,
    header: [u8; FRAME_HEADER],
    filled: usize,
    /// The stream whose header block has not ended.
    block: Option<[u8; 4]>,
    most: f64,
    allowance: f64,
    since: Instant,
}

impl Calm {
    /// A connection before the first byte of its preface, with this allowance (usually [`ALLOWANCE`]).
    pub fn new(most: f64, now: Instant) -> Self {
        Self {
            skip: PREFACE,
            header: [0; FRAME_HEADER],
            filled: 0,
            block: None,
            most,
            allowance: most,
            since: now,
        }
    }

    /// Looks at the next bytes; `Err` with the number of those that may pass when the allowance is used up.
    ///
    /// # Errors
    /// How many bytes come before the frame that was too much.
    pub fn inspect(&mut self, bytes: &[u8], now: Instant) -> Result<(), usize> {
        let elapsed = now.saturating_duration_since(self.since).as_secs_f64();
        self.allowance = (self.allowance + elapsed * self.most).min(self.most);
        self.since = now;
        // A header that began in an earlier piece has passed in part: then the poison comes after its frame.
        let mut at = 0;
        while at < bytes.len() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len() - at);
                self.skip -= skipped;
                at += skipped;
                continue;
            }
            if self.allowance < 0.0 && self.filled == 0 {
                return Err(at);
            }
            let taken = (FRAME_HEADER - self.filled).min(bytes.len() - at);
            self.header[self.filled..self.filled + taken].copy_from_slice(&bytes[at..at + taken]);
            self.filled += taken;
            at += taken;
            if self.filled == FRAME_HEADER {
                self.filled = 0;
                self.frame();
            }
        }
        Ok(())
    }

    fn frame(&mut self) {
        let [high, middle, low, kind, flags, stream @ ..] = self.header;
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        self.skip = length;
        let price = match kind {
            0 if length > 0 => 0,
            // An end of a body may well be empty.
            0 if flags & 1 != 0 => 0,
            1 => 0,
            8 => 1,
            3 => 100,
            _ => 20,
        };
        self.allowance -= f64::from(price);
        if matches!(kind, 1 | CONTINUATION) {
            self.block = (flags & END_HEADERS == 0).then_some(stream);
        }
    }

    /// Frames that make the parser behind this end the connection with ENHANCE_YOUR_CALM: a header block in more pieces than any needs.
    pub fn poison(&self) -> Vec<u8> {
        let stream = self.block.unwrap_or([0x7f, 0xff, 0xff, 0xff]);
        let frame = |kind| {
            let mut frame = vec![0, 0, 0, kind, 0];
            frame.extend_from_slice(&stream);
            frame
        };
        let mut poison = if self.block.is_none() {
            frame(1)
        } else {
            Vec::new()
        };
        for _ in 0..64 {
            poison.extend(frame(CONTINUATION));
        }
        poison
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;

    fn frames(kind: u8, count: usize) -> Vec<u8> {
        let mut bytes = vec![b'P'; PREFACE];
        for _ in 0..count {
            bytes.extend_from_slice(&[0, 0, 8, kind, 0, 0, 0, 0, 1]);
            bytes.extend_from_slice(&[0; 8]);
        }
        bytes
    }

    #[track_caller]
    fn check(kind: u8, allowed: usize) {
        let now = Instant::now();
        assert_eq!(
            Calm::new(ALLOWANCE, now).inspect(&frames(kind, allowed), now),
            Ok(())
        );
        let beyond = Calm::new(ALLOWANCE, now).inspect(&frames(kind, allowed + 2), now);
        assert_eq!(beyond, Err(PREFACE + (allowed + 1) * 17));
    }

    #[test]
    fn each_kind_of_frame_has_its_price() {
        check(3, 200);
        check(6, 1000);
        check(4, 1000);
        check(8, 20_000);
        let now = Instant::now();
        assert_eq!(
            Calm::new(ALLOWANCE, now).inspect(&frames(0, 100_000), now),
            Ok(())
        );
    }

    #[test]
    fn time_brings_the_allowance_back_and_cuts_do_not_matter() {
        let now = Instant::now();
        let mut calm = Calm::new(ALLOWANCE, now);
        for piece in frames(3, 200).chunks(5) {
            assert_eq!(calm.inspect(piece, now), Ok(()));
        }
        let later = now + Duration::from_secs(1);
        assert_eq!(calm.inspect(&frames(3, 200)[PREFACE..], later), Ok(()));
        let mut total = 0;
        for piece in frames(3, 3)[PREFACE..].chunks(4) {
            match calm.inspect(piece, later) {
                Ok(()) => total += piece.len(),
                Err(at) => {
                    total += at;
                    break;
                }
            }
        }
        assert_eq!(total, 17, "one was too much, none after it passes");
    }
}
