//! One input as frames, cut in several ways. Where it is cut follows from its bytes, so a failure comes back.

use bytes::Bytes;
use pointsman_core::rng::Rng;
use xxhash_rust::xxh64::xxh64;

/// The ways in which an input is cut.
pub const WAYS: [Way; 3] = [Way::Fine, Way::Odd, Way::Two];

/// A way of cutting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// Every byte by itself; long inputs by thirteen.
    Fine,
    /// Pieces of 1 to 40 bytes, with an empty one now and then.
    Odd,
    /// Two pieces.
    Two,
}

/// Inputs up to this length are cut into single bytes.
const SHORT: usize = 1024;

/// The input in one piece.
pub fn whole(input: &[u8]) -> Vec<Bytes> {
    vec![Bytes::copy_from_slice(input)]
}

/// The input cut in this way; joined, the frames are the input.
pub fn cut(input: &[u8], way: Way) -> Vec<Bytes> {
    let bytes = Bytes::copy_from_slice(input);
    let mut rng = Rng::from_seed(xxh64(input, way as u64));
    let mut frames = Vec::new();
    let mut start = 0;
    while start < bytes.len() {
        let left = bytes.len() - start;
        let size = match way {
            Way::Fine if bytes.len() <= SHORT => 1,
            Way::Fine => 13,
            Way::Odd => rng.below(41),
            Way::Two if start == 0 => 1 + rng.below(left),
            Way::Two => left,
        };
        let end = start + size.min(left);
        frames.push(bytes.slice(start..end));
        start = end;
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_joined_are_the_input() {
        for len in [0, 1, 2, 1000, 5000] {
            let input: Vec<u8> = (0..len).map(|n| n as u8).collect();
            for way in WAYS {
                assert_eq!(cut(&input, way).concat(), input, "{way:?}");
                assert_eq!(cut(&input, way), cut(&input, way), "{way:?}");
            }
        }
    }
}
