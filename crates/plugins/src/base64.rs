//! Base64 with the usual alphabet and padding (RFC 4648 §4): names of endpoints in a header, vectors in an answer.

/// Longest name that is decoded.
pub(crate) const LONGEST: usize = 512;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends `bytes` in base64.
pub fn encode(bytes: &[u8], out: &mut String) {
    for part in bytes.chunks(3) {
        let byte = |at: usize| u32::from(part.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            if at <= part.len() {
                let letter = bits >> (18 - 6 * at) & 63;
                out.push(char::from(ALPHABET[letter as usize]));
            } else {
                out.push('=');
            }
        }
    }
}

/// The text that was encoded, if it is one and not longer than `buffer`.
pub(crate) fn decode<'b>(text: &str, buffer: &'b mut [u8]) -> Option<&'b str> {
    let text = text.as_bytes();
    if text.is_empty() || !text.len().is_multiple_of(4) {
        return None;
    }
    let padding = text
        .iter()
        .rev()
        .take_while(|&&letter| letter == b'=')
        .count();
    if padding > 2 {
        return None;
    }
    let letters = &text[..text.len() - padding];
    let (mut bits, mut count, mut length) = (0_u32, 0, 0);
    for letter in letters {
        let value = ALPHABET.iter().position(|known| known == letter)?;
        bits = bits << 6 | value as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            *buffer.get_mut(length)? = (bits >> count) as u8;
            length += 1;
        }
    }
    // Left-over bits of a proper encoding are zero.
    if bits & ((1 << count) - 1) != 0 {
        return None;
    }
    std::str::from_utf8(&buffer[..length]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_vectors_of_the_standard() {
        for (text, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
            ("default/worker-0", "ZGVmYXVsdC93b3JrZXItMA=="),
        ] {
            let mut out = String::new();
            encode(text.as_bytes(), &mut out);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn what_is_no_base64_is_nobody() {
        for bad in [
            "", "Zg", "Zg=", "Z===", "====", "Zh==", "Z g=", "Zm9v\n", "_w==", "/w==",
        ] {
            assert_eq!(decode(bad, &mut [0; LONGEST]), None, "{bad:?}");
        }
        assert_eq!(
            decode("Zm9vYmFy", &mut [0; 5]),
            None,
            "too long for the buffer"
        );
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(text in ".{1,60}") {
            let mut out = String::new();
            encode(text.as_bytes(), &mut out);
            let mut buffer = [0; LONGEST];
            prop_assert_eq!(decode(&out, &mut buffer), Some(text.as_str()));
        }
    }
}
