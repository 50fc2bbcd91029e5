//! gRPC's framing: a flag, a length of four bytes, a message; and the messages that go out, ready to be sent.
//!
//! A message that lies whole in the bytes at hand is a slice of them. A large body goes out as it came in, between the
//! few bytes that stand before and after it.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

use crate::extproc::frame_fault::FrameFault;
use crate::extproc::gzip::unpack;

/// Flag and length.
const PREFIX: usize = 5;

/// Room for a message in pieces at its beginning, whatever length it announces.
const FIRST_ROOM: usize = 256 << 10;

/// A body from this size on is not copied.
const LARGE: usize = 4096;

/// Messages out of a stream of bytes cut anywhere.
#[derive(Debug)]
pub struct Deframer {
    most: usize,
    gzip: bool,
    /// What came and was not taken; one piece as a rule.
    whole: Bytes,
    /// A message that came in several pieces, up to `wanted` bytes.
    part: BytesMut,
    wanted: usize,
}

impl Deframer {
    /// Takes messages of up to `most` bytes; compressed ones when the stream announced `gzip`.
    pub fn new(most: usize, gzip: bool) -> Self {
        Self {
            most,
            gzip,
            whole: Bytes::new(),
            part: BytesMut::new(),
            wanted: 0,
        }
    }

    /// Adds bytes. Take all messages out before adding more.
    pub fn feed(&mut self, bytes: Bytes) {
        if self.whole.is_empty() {
            self.whole = bytes;
        } else {
            let mut joined = BytesMut::with_capacity(self.whole.len() + bytes.len());
            joined.put(std::mem::take(&mut self.whole));
            joined.put(bytes);
            self.whole = joined.freeze();
        }
    }

    /// Whether a message has begun and is not whole.
    pub fn is_amid(&self) -> bool {
        self.wanted > 0 || !self.whole.is_empty()
    }

    /// The next message, if it is whole.
    ///
    /// # Errors
    /// The stream cannot be read on.
    pub fn take(&mut self) -> Result<Option<Bytes>, FrameFault> {
        if self.wanted == 0 {
            let Some(head) = self.whole.first_chunk::<PREFIX>() else {
                return Ok(None);
            };
            let size = Self::size(head);
            self.check(head[0], size)?;
            if self.whole.len() >= PREFIX + size {
                let packed = self.whole[0] == 1;
                self.whole.advance(PREFIX);
                let message = self.whole.split_to(size);
                return self.unpacked(packed, message).map(Some);
            }
            self.wanted = PREFIX + size;
            self.part.reserve(self.wanted.min(FIRST_ROOM));
        }
        let missing = self.wanted - self.part.len();
        let taken = missing.min(self.whole.len());
        self.part.put(self.whole.split_to(taken));
        if taken < missing {
            return Ok(None);
        }
        self.wanted = 0;
        let mut message = std::mem::take(&mut self.part).freeze();
        let packed = message[0] == 1;
        message.advance(PREFIX);
        self.unpacked(packed, message).map(Some)
    }

    fn size(head: &[u8; PREFIX]) -> usize {
        u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize
    }

    fn check(&self, flag: u8, size: usize) -> Result<(), FrameFault> {
        match flag {
            1 if !self.gzip => Err(FrameFault::Compressed),
            0 | 1 if size > self.most => Err(FrameFault::TooLarge {
                size,
                most: self.most,
            }),
            0 | 1 => Ok(()),
            flag => Err(FrameFault::Flag(flag)),
        }
    }

    fn unpacked(&self, packed: bool, message: Bytes) -> Result<Bytes, FrameFault> {
        if packed {
            unpack(&message, self.most)
        } else {
            Ok(message)
        }
    }
}

/// Messages on their way out, as pieces to be sent in order.
#[derive(Debug, Default)]
pub struct Outbox {
    pieces: VecDeque<Bytes>,
    open: BytesMut,
}

impl Outbox {
    /// Adds a message.
    pub fn message(&mut self, message: &impl Message) {
        let size = message.encoded_len();
        self.open.reserve(PREFIX + size);
        self.open.put_u8(0);
        self.open.put_u32(size as u32);
        // A `BytesMut` grows, so there is always room.
        let _ = message.encode(&mut self.open);
    }

    /// Adds the answer that sends on a piece of a body, which may lie in several parts: `BodyResponse` of this field number
    /// in a `ProcessingResponse`.
    pub fn piece(&mut self, field: u8, parts: &[Bytes], end_of_stream: bool) {
        // Four messages, one in the other: body_mutation(3), in it streamed_response(3), in it body(1) and end_of_stream(2).
        let tail: &[u8] = if end_of_stream { &[0x10, 1] } else { &[] };
        let body: usize = parts.iter().map(Bytes::len).sum();
        let bytes = match body {
            0 => 0,
            len => 1 + varint_len(len) + len,
        };
        let streamed = bytes + tail.len();
        let mutation = 1 + varint_len(streamed) + streamed;
        let common = 1 + varint_len(mutation) + mutation;
        let part = 1 + varint_len(common) + common;
        let size = 1 + varint_len(part) + part;
        self.open.reserve(PREFIX + size.min(LARGE));
        self.open.put_u8(0);
        self.open.put_u32(size as u32);
        for (tag, len) in [
            (field << 3 | 2, part),
            (0x0a, common),
            (0x1a, mutation),
            (0x1a, streamed),
        ] {
            self.open.put_u8(tag);
            put_varint(&mut self.open, len);
        }
        if body > 0 {
            self.open.put_u8(0x0a);
            put_varint(&mut self.open, body);
        }
        for part in parts {
            if part.len() < LARGE {
                self.open.put_slice(part);
            } else {
                // Never an empty piece: it would become an empty DATA frame, of which peers count and cut off the many.
                if !self.open.is_empty() {
                    self.pieces.push_back(self.open.split().freeze());
                }
                self.pieces.push_back(part.clone());
            }
        }
        self.open.put_slice(tail);
    }

    /// The next piece to send.
    pub fn take(&mut self) -> Option<Bytes> {
        self.pieces
            .pop_front()
            .or_else(|| (!self.open.is_empty()).then(|| self.open.split().freeze()))
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.open.is_empty()
    }
}

fn varint_len(number: usize) -> usize {
    (usize::BITS as usize - (number | 1).leading_zeros() as usize).div_ceil(7)
}

fn put_varint(out: &mut BytesMut, mut number: usize) {
    while number >= 0x80 {
        out.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::extproc::frame_fault::Code;
    use crate::extproc::messages::{
        BodyMutation, CommonResponse, HttpBody, Mutation, PartResponse, ProcessingResponse,
        Response,
    };

    fn all(outbox: &mut Outbox) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some(piece) = outbox.take() {
            bytes.extend_from_slice(&piece);
        }
        bytes
    }

    #[test]
    fn no_piece_is_empty_however_a_body_lies() {
        let large = Bytes::from(vec![b'x'; LARGE]);
        let small = Bytes::from_static(b"y");
        for parts in [
            vec![large.clone(); 3],
            vec![small.clone(), large.clone(), large.clone(), small.clone()],
            vec![large.clone(), small.clone(), large.clone()],
            vec![Bytes::new(), large.clone(), Bytes::new()],
        ] {
            let mut out = Outbox::default();
            out.piece(1, &parts, true);
            let mut sent = 0;
            while let Some(piece) = out.take() {
                assert!(
                    !piece.is_empty(),
                    "{:?}",
                    parts.iter().map(Bytes::len).collect::<Vec<_>>()
                );
                sent += piece.len();
            }
            assert!(sent > parts.iter().map(Bytes::len).sum::<usize>());
        }
    }

    #[test]
    fn a_piece_of_a_body_is_what_the_message_would_be() {
        for size in [0, 1, 100, 127, 128, 4000, 4096, 62_000] {
            for end_of_stream in [false, true] {
                let body = Bytes::from(vec![b'x'; size]);
                let streamed = HttpBody {
                    body: body.clone(),
                    end_of_stream,
                };
                let message = ProcessingResponse {
                    response: Some(Response::RequestBody(PartResponse {
                        response: Some(CommonResponse {
                            body_mutation: Some(BodyMutation {
                                mutation: Some(Mutation::Streamed(streamed)),
                            }),
                            ..CommonResponse::default()
                        }),
                    })),
                    ..ProcessingResponse::default()
                };
                let (mut as_message, mut as_piece) = (Outbox::default(), Outbox::default());
                as_message.message(&message);
                as_piece.piece(
                    3,
                    &[body.slice(..size / 3), body.slice(size / 3..)],
                    end_of_stream,
                );
                assert_eq!(all(&mut as_message), all(&mut as_piece), "{size}");
            }
        }
    }

    #[test]
    fn messages_come_out_whole_however_they_are_cut() {
        let mut stream = Vec::new();
        let messages = ["", "a", "hello", &"x".repeat(1000)];
        for message in messages {
            stream.push(0);
            stream.extend_from_slice(&(message.len() as u32).to_be_bytes());
            stream.extend_from_slice(message.as_bytes());
        }
        for size in (1..20).chain([100, 999, stream.len()]) {
            let mut deframer = Deframer::new(1000, false);
            let mut found = Vec::new();
            for piece in stream.chunks(size) {
                deframer.feed(Bytes::copy_from_slice(piece));
                while let Some(message) = deframer.take().unwrap() {
                    found.push(message);
                }
            }
            assert_eq!(found, messages, "by {size}");
            assert!(!deframer.is_amid());
        }
    }

    #[test]
    fn what_cannot_be_read_has_its_code() {
        let check = |bytes: &[u8], gzip, code| {
            let mut deframer = Deframer::new(10, gzip);
            deframer.feed(Bytes::copy_from_slice(bytes));
            assert_eq!(deframer.take().unwrap_err().code(), code);
        };
        check(&[0, 0, 0, 0, 11], false, Code::ResourceExhausted);
        check(&[1, 0, 0, 0, 1, 0], false, Code::Unimplemented);
        check(&[1, 0, 0, 0, 1, 0], true, Code::Internal);
        check(&[9, 0, 0, 0, 1, 0], true, Code::Internal);
    }
}
