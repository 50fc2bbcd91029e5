//! A random (version 4) UUID in the two forms that a request needs: 32 digits within the engines' id, with dashes for the client.
//!
//! Written digit by digit: the formatting machinery costs more than all the rest of an id.

use http::HeaderValue;
use pointsman_core::rng::Rng;

const DIGITS: &[u8; 16] = b"0123456789abcdef";
const DASHES_BEFORE: [usize; 4] = [8, 12, 16, 20];

/// 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unique([u8; 32]);

impl Unique {
    /// The next one of a generator.
    pub fn draw(rng: &mut Rng) -> Self {
        let high = rng.next_u64() & 0xffff_ffff_ffff_0fff | 0x4000;
        let low = rng.next_u64() & 0x3fff_ffff_ffff_ffff | 0x8000_0000_0000_0000;
        let bits = u128::from(high) << 64 | u128::from(low);
        let mut digits = [0; 32];
        for (index, digit) in digits.iter_mut().enumerate() {
            *digit = DIGITS[(bits >> (124 - 4 * index) & 15) as usize];
        }
        Self(digits)
    }

    /// The digits alone.
    pub fn hex(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hexadecimal digits are text")
    }

    /// The usual form with dashes.
    pub fn dashed(&self) -> String {
        let mut text = String::with_capacity(36);
        for (index, digit) in self.0.iter().enumerate() {
            if DASHES_BEFORE.contains(&index) {
                text.push('-');
            }
            text.push(char::from(*digit));
        }
        text
    }

    /// The usual form as a header's value.
    pub fn uuid(&self) -> HeaderValue {
        HeaderValue::from_maybe_shared(bytes::Bytes::from(self.dashed()))
            .expect("digits and dashes are a header value")
    }

    /// The first 64 bits as a number, for engines that want one.
    pub fn number(&self) -> u64 {
        self.0[..16].iter().fold(0, |number, digit| {
            number << 4 | u64::from(char::from(*digit).to_digit(16).unwrap_or_default())
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn both_forms_are_one_version_4_uuid() {
        let mut rng = Rng::from_seed(7);
        for _ in 0..100 {
            let unique = Unique::draw(&mut rng);
            let uuid = unique.uuid();
            let uuid = uuid.to_str().unwrap();
            assert_eq!(uuid.replace('-', ""), unique.hex());
            assert_eq!(unique.dashed(), uuid);
            assert_eq!(format!("{:016x}", unique.number()), &unique.hex()[..16]);
            let lengths: Vec<_> = uuid.split('-').map(str::len).collect();
            assert_eq!(lengths, [8, 4, 4, 4, 12]);
            assert_eq!(&uuid[14..15], "4");
            assert!("89ab".contains(&uuid[19..20]));
            assert!(
                uuid.bytes()
                    .all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
            );
        }
        assert_ne!(Unique::draw(&mut rng), Unique::draw(&mut rng));
    }
}
