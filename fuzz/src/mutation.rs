//! New inputs out of old ones: a few random changes, some of them blind, some in the words of the format.

use pointsman_core::rng::Rng;

/// Numbers at which readers of numbers go wrong.
const NUMBERS: [&str; 16] = [
    "0",
    "-0",
    "-1",
    "1e308",
    "1e309",
    "1e-400",
    "0.1",
    "00",
    "255",
    "65536",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775808",
    "18446744073709551616",
    "1e999999999",
];
/// Bytes at which readers of text go wrong.
const BYTES: [u8; 24] = *b"\0\x01\t\n\r \"'\\/:,;{}[]-_0\x7f\x80\xc3\xff";

/// What mutations draw from.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The words of the format.
    pub words: &'a [&'a str],
    /// Another input.
    pub other: &'a [u8],
    /// Longest input that is made, in bytes.
    pub longest: usize,
}

/// Changes `input` in 1 to 16 places.
pub fn mutate(input: &mut Vec<u8>, source: &Source<'_>, rng: &mut Rng) {
    for _ in 0..1 << rng.below(5) {
        change(input, source, rng);
    }
    input.truncate(source.longest);
}

fn change(input: &mut Vec<u8>, source: &Source<'_>, rng: &mut Rng) {
    let at = rng.below(input.len() + 1);
    let inside = at < input.len();
    match rng.below(14) {
        0 if inside => input[at] ^= 1 << rng.below(8),
        1 if inside => input[at] = BYTES[rng.below(BYTES.len())],
        2 => insert(input, at, &[BYTES[rng.below(BYTES.len())]], source),
        3 if inside => {
            input.drain(part(at, input.len(), rng));
        }
        // What is there, a second time, or many times over: depth and length.
        4 if inside => {
            let piece = input[part(at, input.len(), rng)].to_vec();
            insert(input, at, &piece, source);
        }
        5 if inside => {
            let piece = input[part(at, input.len().min(at + 8), rng)].to_vec();
            insert(input, at, &piece.repeat(2 << rng.below(8)), source);
        }
        6 if inside => {
            let from = part(at, input.len(), rng);
            let to = rng.below(input.len() - from.len() + 1);
            input.copy_within(from, to);
        }
        7..=8 if !source.words.is_empty() => {
            let word = source.words[rng.below(source.words.len())];
            insert(input, at, word.as_bytes(), source);
        }
        9 if inside && !source.words.is_empty() => {
            let word = source.words[rng.below(source.words.len())];
            input.splice(part(at, input.len(), rng), word.bytes());
        }
        10 => number(input, at, rng),
        11 if !source.other.is_empty() => {
            let from = rng.below(source.other.len());
            let piece = &source.other[part(from, source.other.len(), rng)];
            insert(input, at, piece, source);
        }
        // The beginning of one and the end of another.
        12 if !source.other.is_empty() => {
            input.truncate(at);
            input.extend_from_slice(&source.other[rng.below(source.other.len())..]);
        }
        13 if inside => {
            let pairs: [&[u8]; 4] = [b"[]", b"{}", b"\"\"", b"\r\n"];
            let pair = pairs[rng.below(pairs.len())];
            let end = part(at, input.len(), rng).end;
            insert(input, end, &pair[1..], source);
            insert(input, at, &pair[..1], source);
        }
        _ => insert(input, at, &[rng.next_u64() as u8], source),
    }
}

/// A part that begins at `at`: mostly a few bytes, sometimes up to the end.
fn part(at: usize, end: usize, rng: &mut Rng) -> std::ops::Range<usize> {
    let left = end - at;
    let most = left.min(1 << (1 + rng.below(10)));
    at..at + 1 + rng.below(most)
}

fn insert(input: &mut Vec<u8>, at: usize, piece: &[u8], source: &Source<'_>) {
    if input.len() + piece.len() <= source.longest {
        input.splice(at..at, piece.iter().copied());
    }
}

/// Replaces the next run of digits after `at`.
fn number(input: &mut Vec<u8>, at: usize, rng: &mut Rng) {
    let Some(skipped) = input[at..].iter().position(u8::is_ascii_digit) else {
        return;
    };
    let start = at + skipped;
    let digits = input[start..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let number = NUMBERS[rng.below(NUMBERS.len())];
    input.splice(start..start + digits, number.bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_follow_from_the_seed_and_stay_in_bounds() {
        let source = Source {
            words: &["word"],
            other: b"other input",
            longest: 64,
        };
        let all = |seed| {
            let mut rng = Rng::from_seed(seed);
            let mut input = b"{\"a\":1}".to_vec();
            let mut seen = Vec::new();
            for _ in 0..3000 {
                mutate(&mut input, &source, &mut rng);
                assert!(input.len() <= 64);
                seen.push(input.clone());
            }
            seen
        };
        assert_eq!(all(1), all(1));
        assert_ne!(all(1), all(2));
    }
}
