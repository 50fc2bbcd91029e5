//! Istio's names of clusters as HTTP/2 authorities.
//!
//! Envoy calls a gRPC service by the name of its cluster, and Istio's clusters are called `outbound|9002||epp.pool.svc`. The
//! bar is no character of an authority, so the parser resets such a request before anybody sees it. Where the options say
//! so, each bar of an authority is turned into a plus on the way to the parser. In HPACK both are as long, plain and in
//! Huffman's code, so nothing else moves: neither the frame's length nor the table of fields that later requests refer to.
//!
//! Heads are looked at whole; one that has come in part waits for its rest.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The preface of a connection, the head of a frame, and the frame that opens a request.
const PREFACE: usize = 24;
const FRAME_HEAD: usize = 9;
const HEADERS: u8 = 1;
const PADDED: u8 = 8;
const PRIORITY: u8 = 32;
/// The largest head that is waited for; the parser takes none that is larger.
const LARGEST: usize = 64 << 10;
/// `:authority` in HPACK's static table.
const AUTHORITY: usize = 1;
/// Huffman's codes of `|` and `+`, and their length.
const BAR: u32 = 0x7fc;
const PLUS: u32 = 0x7fb;
const BAR_BITS: usize = 11;
/// Lengths of Huffman's codes with the last code of each; longer ones are of no character that stands in a name.
const CODES: [(usize, u32); 10] = [
    (5, 0x09),
    (6, 0x2d),
    (7, 0x7b),
    (8, 0xfd),
    (10, 0x3fc),
    (11, BAR),
    (12, 0xffb),
    (13, 0x1ffd),
    (14, 0x3ffd),
    (15, 0x7ffe),
];

/// A client's connection whose authorities the parser can read.
#[derive(Debug)]
pub struct Readable<T> {
    inner: T,
    /// Where the bytes are, if they are looked at.
    walk: Option<Walk>,
    /// The beginning of a head.
    held: Vec<u8>,
    /// Bytes that may pass and have not been taken.
    ready: Vec<u8>,
    taken: usize,
}

impl<T> Readable<T> {
    /// Looks at what comes out of `inner` if `wanted`.
    pub fn new(inner: T, wanted: bool) -> Self {
        Self {
            inner,
            walk: wanted.then_some(Walk { left: PREFACE }),
            held: Vec::new(),
            ready: Vec::new(),
            taken: 0,
        }
    }

    fn deliver(&mut self, buf: &mut ReadBuf<'_>) {
        let rest = &self.ready[self.taken..];
        let len = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..len]);
        self.taken += len;
        if self.taken == self.ready.len() {
            self.ready = Vec::new();
            self.taken = 0;
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Readable<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some(walk) = &mut this.walk else {
            return Pin::new(&mut this.inner).poll_read(cx, buf);
        };
        loop {
            if this.taken < this.ready.len() {
                this.deliver(buf);
                return Poll::Ready(Ok(()));
            }
            let before = buf.filled().len();
            ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
            let came = &mut buf.filled_mut()[before..];
            if came.is_empty() {
                // The end, maybe in the middle of a head: that is the parser's to judge.
                this.ready = std::mem::take(&mut this.held);
                if this.ready.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            if this.held.is_empty() {
                let pass = walk.pass(came);
                this.held.extend_from_slice(&came[pass..]);
                buf.set_filled(before + pass);
                if pass > 0 {
                    return Poll::Ready(Ok(()));
                }
            } else {
                this.held.extend_from_slice(came);
                buf.set_filled(before);
                let pass = walk.pass(&mut this.held);
                let rest = this.held.split_off(pass);
                this.ready = std::mem::replace(&mut this.held, rest);
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Readable<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }
}

/// Steps from frame to frame.
#[derive(Debug)]
struct Walk {
    /// Bytes that are not looked at, up to the next frame.
    left: usize,
}

impl Walk {
    /// Mends the heads in `bytes`; how many bytes may pass, which is all of them but the beginning of a head.
    fn pass(&mut self, bytes: &mut [u8]) -> usize {
        let mut at = 0;
        loop {
            let step = self.left.min(bytes.len() - at);
            at += step;
            self.left -= step;
            let Some(head) = bytes.get(at..at + FRAME_HEAD) else {
                return at;
            };
            let len = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let (kind, flags) = (head[3], head[4]);
            if kind != HEADERS || len > LARGEST {
                self.left = FRAME_HEAD + len;
                continue;
            }
            let Some(payload) = bytes.get_mut(at + FRAME_HEAD..at + FRAME_HEAD + len) else {
                return at;
            };
            if let Some(fields) = fields(payload, flags) {
                // What cannot be read any further is the parser's to judge.
                let _ = mend(&mut payload[fields]);
            }
            at += FRAME_HEAD + len;
        }
    }
}

/// Where the fields lie in the payload of a HEADERS frame.
fn fields(payload: &[u8], flags: u8) -> Option<Range<usize>> {
    let padded = flags & PADDED != 0;
    let padding = match padded {
        true => usize::from(*payload.first()?),
        false => 0,
    };
    let priority = if flags & PRIORITY != 0 { 5 } else { 0 };
    let start = usize::from(padded) + priority;
    let end = payload.len().checked_sub(padding)?;
    (start <= end).then_some(start..end)
}

/// Mends the authority among the fields; nothing when they end in the middle of one.
fn mend(fields: &mut [u8]) -> Option<()> {
    let mut at = 0;
    while at < fields.len() {
        let first = fields[at];
        let prefix = match first {
            0x80.. => 7,
            0x40..=0x7f => 6,
            0x20..=0x3f => 5,
            _ => 4,
        };
        let name = integer(fields, &mut at, prefix)?;
        if (0x20..0x40).contains(&first) || first >= 0x80 {
            continue;
        }
        if name == 0 {
            string(fields, &mut at)?;
        }
        let (huffman, value) = string(fields, &mut at)?;
        match (name, huffman) {
            (AUTHORITY, false) => {
                for byte in fields[value].iter_mut().filter(|byte| **byte == b'|') {
                    *byte = b'+';
                }
            }
            (AUTHORITY, true) => mend_huffman(&mut fields[value]),
            _ => {}
        }
    }
    Some(())
}

/// A number whose first byte has `prefix` bits for it.
fn integer(bytes: &[u8], at: &mut usize, prefix: u32) -> Option<usize> {
    let most = (1_usize << prefix) - 1;
    let mut number = usize::from(*bytes.get(*at)?) & most;
    *at += 1;
    if number < most {
        return Some(number);
    }
    for shift in [0, 7, 14] {
        let byte = usize::from(*bytes.get(*at)?);
        *at += 1;
        number += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Whether a string is in Huffman's code, and where it lies.
fn string(bytes: &[u8], at: &mut usize) -> Option<(bool, Range<usize>)> {
    let huffman = *bytes.get(*at)? & 0x80 != 0;
    let len = integer(bytes, at, 7)?;
    let range = *at..at.checked_add(len).filter(|end| *end <= bytes.len())?;
    *at = range.end;
    Some((huffman, range))
}

fn mend_huffman(bytes: &mut [u8]) {
    let total = bytes.len() * 8;
    let mut at = 0;
    loop {
        let code = CODES.iter().find_map(|(bits, last)| {
            let code = (at + bits <= total).then(|| read(bytes, at, *bits))?;
            (code <= *last).then_some((*bits, code))
        });
        let Some((bits, code)) = code else { return };
        if (bits, code) == (BAR_BITS, BAR) {
            write(bytes, at, bits, PLUS);
        }
        at += bits;
    }
}

fn read(bytes: &[u8], at: usize, bits: usize) -> u32 {
    (at..at + bits).fold(0, |code, bit| {
        code << 1 | u32::from(bytes[bit / 8] >> (7 - bit % 8) & 1)
    })
}

fn write(bytes: &mut [u8], at: usize, bits: usize, code: u32) {
    for (bit, place) in (at..at + bits).enumerate() {
        let mask = 0x80 >> (place % 8);
        match code >> (bits - 1 - bit) & 1 {
            1 => bytes[place / 8] |= mask,
            _ => bytes[place / 8] &= !mask,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::AsyncReadExt;

    /// Codes of a few characters, out of the table of RFC 7541.
    fn huffman(text: &str) -> Vec<u8> {
        let mut bits = String::new();
        for byte in text.bytes() {
            bits += match byte {
                b'0' => "00000",
                b'2' => "00010",
                b'9' => "011111",
                b'.' => "010111",
                b'e' => "00101",
                b'o' => "00111",
                b'p' => "101011",
                b't' => "01001",
                b'u' => "101101",
                b'|' => "11111111100",
                b'+' => "11111111011",
                b'!' => "1111111000",
                _ => panic!("no code for {byte}"),
            };
        }
        while !bits.len().is_multiple_of(8) {
            bits.push('1');
        }
        let byte = |at: usize| u8::from_str_radix(&bits[at * 8..at * 8 + 8], 2).expect("bits");
        (0..bits.len() / 8).map(byte).collect()
    }

    fn literal(value: &[u8], code: u8) -> Vec<u8> {
        let len = u8::try_from(value.len()).expect("short");
        [&[0x41, code | len], value].concat()
    }

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let len = u8::try_from(payload.len()).expect("short");
        [&[0, 0, len, kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// A connection: settings, a request with such an authority, data with bars in it, a request that refers back.
    fn connection(authority: &[u8]) -> Vec<u8> {
        let mut head = vec![0x83, 0x3f, 0xe1, 0x1f, 0x86];
        head.extend([0x40, 1, b'x', 3, b'a', b'|', b'b']);
        head.extend(authority);
        head.extend([0x04, 2, b'/', b'|', 0xbe]);
        let padded = [&[2, 0, 0, 0, 0, 9][..], &head, &[0, 0]].concat();
        [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            frame(4, 0, &[0, 3, 0, 0, 0, 100]),
            frame(HEADERS, PADDED | PRIORITY | 4, &padded),
            frame(0, 0, b"a|b"),
            frame(HEADERS, 5, &[0x83, 0xbe]),
        ]
        .concat()
    }

    /// What comes through when the bytes come in such pieces.
    fn through(bytes: &[u8], pieces: &[usize], wanted: bool) -> Vec<u8> {
        let mut script = tokio_test(bytes, pieces);
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.expect("a runtime").block_on(async {
            let mut out = Vec::new();
            let mut link = Readable::new(&mut script, wanted);
            link.read_to_end(&mut out).await.expect("no error");
            out
        })
    }

    /// A reader that gives these pieces, the last one again and again.
    fn tokio_test(bytes: &[u8], pieces: &[usize]) -> Pieces {
        Pieces {
            bytes: bytes.to_vec(),
            at: 0,
            pieces: pieces.to_vec(),
            next: 0,
        }
    }

    struct Pieces {
        bytes: Vec<u8>,
        at: usize,
        pieces: Vec<usize>,
        next: usize,
    }

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let piece = self.pieces[self.next % self.pieces.len()];
            self.next += 1;
            let end = (self.at + piece.min(buf.remaining())).min(self.bytes.len());
            buf.put_slice(&self.bytes[self.at..end]);
            self.at = end;
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn bars_of_an_authority_become_pluses_and_nothing_else_changes() {
        let name = "out|9002||epp.t";
        let mended = "out+9002++epp.t";
        let plain = |text: &str| literal(text.as_bytes(), 0);
        let coded = |text: &str| literal(&huffman(text), 0x80);
        for (before, after) in [
            (plain(name), plain(mended)),
            (coded(name), coded(mended)),
            (coded("e!|!"), coded("e!+!")),
        ] {
            assert_eq!(before.len(), after.len());
            let given = connection(&before);
            assert_eq!(through(&given, &[4096], true), connection(&after));
            assert_eq!(through(&given, &[4096], false), given);
        }
    }

    #[test]
    fn what_ends_in_the_middle_comes_through_as_it_is() {
        let given = connection(&literal(b"a|b", 0));
        for end in 0..40 {
            let cut = &given[..end];
            assert_eq!(through(cut, &[7], true).len(), end);
        }
        // Lengths that lead out of the frame.
        for fields in [
            &[0x41, 0x7f, 0xff, 0xff][..],
            &[0x41, 5, b'|'],
            &[0xff, 0xff, 0xff, 0xff, 0xff],
        ] {
            let bytes = [&given[..24], &frame(HEADERS, 4, fields)].concat();
            assert_eq!(through(&bytes, &[100], true), bytes);
        }
        let bytes = [
            &given[..24],
            &frame(HEADERS, PADDED | 4, &[200, 0x41, 1, b'|']),
        ]
        .concat();
        assert_eq!(through(&bytes, &[100], true), bytes);
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(pieces in prop::collection::vec(1_usize..40, 1..20)) {
            let given = connection(&literal(&huffman("out|9002||epp"), 0x80));
            let expected = connection(&literal(&huffman("out+9002++epp"), 0x80));
            prop_assert_eq!(through(&given, &pieces, true), expected);
        }

        #[test]
        fn any_bytes_come_through_in_their_number(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let out = through(&bytes, &[33], true);
            prop_assert_eq!(out.len(), bytes.len());
        }
    }
}
