//! Bytes of an HTTP/2 connection: when a client is cut off does not depend on how they arrive.

use std::sync::LazyLock;
use std::time::Instant;

use pointsman_http::calm::{ALLOWANCE, Calm};

use crate::cuts::{WAYS, cut};
use crate::shape::Shape;
use crate::target::Target;

/// The target. Every frame of the input is repeated, for an allowance takes thousands to use up.
pub const TARGET: Target = Target {
    name: "http2",
    what: "frame headers of HTTP/2 connections",
    run,
    words: &[
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\0\0\0\u{4}\0\0\0\0\0",
        "\0\0\u{8}\u{6}\0\0\0\0\0",
        "\0\0\u{4}\u{3}\0\0\0\0\u{1}",
        "\0\0\0\u{9}\0\0\0\0\u{1}",
        "\0\0\0\u{9}\u{4}\0\0\0\u{1}",
        "\0\0\0\0\u{1}\0\0\0\u{1}",
        "\0\0\u{1}\u{1}\u{4}\0\0\0\u{3}",
    ],
    also: &[],
};

/// The clock stands still: with time the allowance grows.
static NOW: LazyLock<Instant> = LazyLock::new(Instant::now);

const PREFACE: usize = 24;
const REPEATED: usize = 300;
/// Repeated inputs up to this length are looked at.
const MOST: usize = 128;

fn run(input: &[u8]) -> u64 {
    let mut shape = Shape::default();
    let mut bytes = input.to_vec();
    if let Some(frames) = input.get(PREFACE..).filter(|frames| frames.len() <= MOST) {
        bytes.extend_from_slice(&frames.repeat(REPEATED));
    }
    let whole = passes([&bytes[..]].into_iter());
    for way in WAYS {
        let frames = cut(&bytes, way);
        let in_parts = passes(frames.iter().map(|frame| &frame[..]));
        assert_eq!(whole, in_parts, "the pieces matter ({way:?})");
    }
    shape.size(whole.0);
    shape.number(u64::from(whole.1.is_some()));
    shape.size(bytes.len());
    shape.done()
}

/// How many bytes pass, and what is put behind them if the client is cut off.
fn passes<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (usize, Option<Vec<u8>>) {
    let mut calm = Calm::new(ALLOWANCE, *NOW);
    let mut passed = 0;
    for piece in pieces {
        match calm.inspect(piece, *NOW) {
            Ok(()) => passed += piece.len(),
            Err(good) => {
                assert!(good <= piece.len(), "more than there is");
                let poison = calm.poison();
                assert!(
                    !poison.is_empty() && poison.len().is_multiple_of(9),
                    "no frames"
                );
                return (passed + good, Some(poison));
            }
        }
    }
    (passed, None)
}
