//! Bytes of an HTTP/1.1 connection: what passes does not depend on how they arrive, and the parser behind reads every
//! head that passes as we do.

use pointsman_http::framing::Framing;
use pointsman_http::head::HeadLimits;
use pointsman_http::offence::Offence;

use crate::cuts::{WAYS, cut};
use crate::shape::Shape;
use crate::target::Target;

/// The target.
pub const TARGET: Target = Target {
    name: "http1",
    what: "HTTP/1.1 connections: heads, lengths, chunks, trailers",
    run,
    words: &[
        "GET / HTTP/1.1\r\n",
        "POST /v1/completions HTTP/1.1\r\n",
        "HTTP/1.0",
        "Host: a\r\n",
        "Content-Length: 5\r\n",
        "Content-Length: 0\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "\r\n\r\n",
        "\n\n",
        "\r\n ",
        "\r",
        "\0",
        "0\r\n\r\n",
        "5\r\nhello\r\n",
        "0;x=y\r\n",
        "ffffffffffff\r\n",
        "http://a",
        "https://A:1/",
        "CONNECT ",
        "Expect: 100-continue\r\n",
        "Connection: keep-alive, close\r\n",
        "x_y: 1\r\n",
        "\t",
        " ",
        "\u{b}",
        "chunked, chunked",
        "+5",
        "0x5",
        "Upgrade: h2c\r\n",
        "[::1]:8",
    ],
    also: &[],
};

const LIMITS: HeadLimits = HeadLimits {
    bytes: 1024,
    line: 512,
    fields: 16,
};

fn run(input: &[u8]) -> u64 {
    let mut shape = Shape::default();
    let (passed, offence) = passes([input].into_iter());
    for way in WAYS {
        let frames = cut(input, way);
        let in_parts = passes(frames.iter().map(|frame| &frame[..]));
        assert_eq!((passed, offence), in_parts, "the pieces matter ({way:?})");
    }
    let heads = compared(&input[..passed]);
    shape.word(offence.map_or("", |offence| offence.text));
    shape.size(heads);
    shape.size(passed);
    shape.done()
}

/// How many bytes pass, and what ends it. Holds bytes back as a guarded connection does.
fn passes<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (usize, Option<Offence>) {
    let mut framing = Framing::new(LIMITS);
    let (mut held, mut seen, mut passed) = (Vec::new(), 0, 0);
    for piece in pieces {
        held.extend_from_slice(piece);
        let step = framing.inspect(&held[seen..]);
        assert!(
            step.pass <= step.seen && seen + step.seen <= held.len(),
            "more than there is"
        );
        if step.pass > 0 {
            let pass = seen + step.pass;
            passed += pass;
            held.drain(..pass);
            seen = step.seen - step.pass;
        } else {
            seen += step.seen;
        }
        assert!(
            held.len() <= LIMITS.bytes.max(8192) + piece.len(),
            "more is held than a head may have"
        );
        if step.offence.is_some() {
            return (passed, step.offence);
        }
    }
    (passed, None)
}

/// Goes through bytes that pass, head by head, and shows each head to the parser behind. How many there were.
fn compared(mut bytes: &[u8]) -> usize {
    let mut framing = Framing::new(LIMITS);
    let mut heads = 0;
    while !bytes.is_empty() {
        let opaque = usize::try_from(framing.opaque())
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        if opaque > 0 {
            framing.skip(opaque as u64);
            bytes = &bytes[opaque..];
            continue;
        }
        let in_head = framing.is_in_head();
        let mut len = 0;
        loop {
            let end = bytes[len..].iter().position(|byte| *byte == b'\n');
            let Some(end) = end else {
                // What passes at the end of the input may be part of a chunk's frame.
                assert!(!in_head, "half a head passes");
                return heads;
            };
            let step = framing.inspect(&bytes[len..=len + end]);
            assert_eq!(step.offence, None, "what passed is refused");
            len += end + 1;
            if step.pass > 0 || !in_head {
                break;
            }
        }
        let (head, rest) = bytes.split_at(len);
        if in_head && head != b"\r\n" {
            heads += 1;
            same_reading(head, &framing);
        }
        bytes = rest;
    }
    heads
}

/// The parser behind takes the head whole and finds the same length in it.
#[track_caller]
fn same_reading(head: &[u8], framing: &Framing) {
    let mut room = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut room);
    let status = request.parse(head);
    assert_eq!(
        status,
        Ok(httparse::Status::Complete(head.len())),
        "read otherwise: {:?}",
        String::from_utf8_lossy(head)
    );
    let values = |name: &str| {
        let of = request
            .headers
            .iter()
            .filter(|header| header.name.eq_ignore_ascii_case(name));
        of.map(|header| header.value.trim_ascii())
            .collect::<Vec<_>>()
    };
    let lengths = values("content-length");
    let codings = values("transfer-encoding");
    assert!(lengths.len() + codings.len() <= 1, "two framings");
    if let [length] = lengths[..] {
        let length: u64 = std::str::from_utf8(length)
            .ok()
            .and_then(|text| text.parse().ok())
            .expect("a number, since the head passed");
        assert_eq!(framing.opaque(), length, "another length");
        assert_eq!(framing.is_in_head(), length == 0);
    } else {
        assert_eq!(framing.is_in_head(), codings.is_empty(), "another framing");
    }
}
