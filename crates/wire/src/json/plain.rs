//! How far a string runs: plain bytes, and whole characters outside ASCII.

/// Length of the run at the front in which no byte ends a string, starts an escape, is a control
/// character or lies outside ASCII. Eight bytes at a time: `lowest set bit` of [`marks`] is exact,
/// because the borrows of its subtractions start only at bytes that are marked themselves.
#[inline]
pub(crate) fn plain_run(bytes: &[u8]) -> usize {
    // Most strings are short: a key or a word ends within the first words.
    let (words, _) = bytes.as_chunks::<8>();
    let mut at = 0;
    for word in words.iter().take(2) {
        let marked = marks(u64::from_le_bytes(*word));
        if marked != 0 {
            return at + (marked.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let (blocks, _) = bytes[at..].as_chunks::<32>();
    for block in blocks {
        let (words, _) = block.as_chunks::<8>();
        let mut any = 0;
        for word in words {
            any |= marks(u64::from_le_bytes(*word));
        }
        if any != 0 {
            break;
        }
        at += 32;
    }
    let (words, tail) = bytes[at..].as_chunks::<8>();
    for word in words {
        let marked = marks(u64::from_le_bytes(*word));
        if marked != 0 {
            return at + (marked.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let special = |&byte: &u8| !(0x20..0x80).contains(&byte) || byte == b'"' || byte == b'\\';
    at + tail.iter().position(special).unwrap_or(tail.len())
}

/// Length of the run at the front of whole, valid characters outside ASCII (table 3-7 of the
/// Unicode standard).
#[inline]
pub(crate) fn characters_run(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    loop {
        rest = match rest {
            [
                0xE1..=0xEC | 0xEE | 0xEF,
                0x80..=0xBF,
                0x80..=0xBF,
                rest @ ..,
            ]
            | [0xC2..=0xDF, 0x80..=0xBF, rest @ ..]
            | [
                0xF1..=0xF3,
                0x80..=0xBF,
                0x80..=0xBF,
                0x80..=0xBF,
                rest @ ..,
            ]
            | [0xE0, 0xA0..=0xBF, 0x80..=0xBF, rest @ ..]
            | [0xED, 0x80..=0x9F, 0x80..=0xBF, rest @ ..]
            | [0xF0, 0x90..=0xBF, 0x80..=0xBF, 0x80..=0xBF, rest @ ..]
            | [0xF4, 0x80..=0x8F, 0x80..=0xBF, 0x80..=0xBF, rest @ ..] => rest,
            _ => return bytes.len() - rest.len(),
        }
    }
}

/// The high bit of each byte of `word` that is special in a string (and perhaps of bytes above the
/// lowest such byte).
#[inline]
const fn marks(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    // With bit 1 flipped, the quote (0x22) becomes 0x20 and falls below 0x21 together with the
    // control characters, while the space (0x20) becomes 0x22 and does not.
    let low = word ^ (EACH * 0x02);
    let low = low.wrapping_sub(EACH * 0x21) & !low;
    let backslash = word ^ (EACH * b'\\' as u64);
    let backslash = backslash.wrapping_sub(EACH) & !backslash;
    (low | backslash | word) & (EACH * 0x80)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_marked_as_the_grammar_says() {
        for byte in 0..=255_u8 {
            let special = !(0x20..0x80).contains(&byte) || byte == b'"' || byte == b'\\';
            for at in 0..80 {
                let mut text = [b'a'; 80];
                text[at] = byte;
                assert_eq!(
                    plain_run(&text),
                    if special { at } else { 80 },
                    "{byte:#x} at {at}"
                );
                // Its neighbours do not hide it: the ones that borrow most easily.
                for near in [0x20, 0x21, 0x23, b'[', b']', 0x7f] {
                    text[at + 1..].fill(near);
                    let expected = if special { at } else { 80 };
                    assert_eq!(
                        plain_run(&text),
                        expected,
                        "{byte:#x} at {at} before {near:#x}"
                    );
                }
            }
        }
    }

    #[test]
    fn characters_are_those_of_std() {
        for first in 0x80..=0xff_u8 {
            for second in 0..=255_u8 {
                for tail in [&b""[..], b"\x80", b"\x80\xbf", b"\xbf\x80a", b"a", b"\xc0"] {
                    let text = [&[first, second], tail].concat();
                    let valid =
                        std::str::from_utf8(&text).map_or_else(|e| e.valid_up_to(), str::len);
                    let plain = text[..valid].iter().position(u8::is_ascii).unwrap_or(valid);
                    assert_eq!(characters_run(&text), plain, "{text:x?}");
                }
            }
        }
    }
}
