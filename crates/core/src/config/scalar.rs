//! What a plain scalar says by itself: nothing, a truth value, a number, or text.
//!
//! The rules are those of YAML 1.2, except that whole numbers with a leading zero are left open: some readers take
//! `012` for ten. Where a truth value is wanted, the words of YAML 1.1 (`yes`, `off`, …) are taken too, as the
//! reference takes them.

use serde_json::{Number, Value};

use crate::config::tree::Scalar;

/// What a plain scalar says.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Plain {
    /// Nothing: empty, `~` or `null`.
    Nothing,
    /// `true` or `false`.
    Truth(bool),
    /// A whole number.
    Integer(i128),
    /// Another number.
    Number(f64),
    /// Infinite, or no number at all.
    NotFinite,
    /// Digits with a leading zero.
    Ambiguous,
    /// Text.
    Text,
}

impl Scalar {
    /// What the scalar says; a quoted one is text.
    pub fn as_plain(&self) -> Plain {
        if self.plain {
            Self::plainly(&self.text)
        } else {
            Plain::Text
        }
    }

    /// What `text` says when it stands without quotes.
    pub fn plainly(text: &str) -> Plain {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Plain::Nothing,
            "true" | "True" | "TRUE" => return Plain::Truth(true),
            "false" | "False" | "FALSE" => return Plain::Truth(false),
            ".nan" | ".NaN" | ".NAN" => return Plain::NotFinite,
            _ => {}
        }
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
            return Plain::NotFinite;
        }
        for (prefix, radix) in [("0x", 16), ("0o", 8)] {
            if let Some(digits) = text.strip_prefix(prefix)
                && let Ok(number) = i128::from_str_radix(digits, radix)
            {
                return Plain::Integer(number);
            }
        }
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if digits(unsigned) {
            return match text.parse() {
                _ if unsigned.len() > 1 && unsigned.starts_with('0') => Plain::Ambiguous,
                Ok(number) => Plain::Integer(number),
                Err(_) => Plain::NotFinite,
            };
        }
        // Rust also reads words such as `infinity`, which YAML takes for text.
        let looks_like_a_number = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            && unsigned
                .bytes()
                .all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
        match text.parse::<f64>() {
            Ok(number) if looks_like_a_number && number.is_finite() => Plain::Number(number),
            Ok(_) if looks_like_a_number => Plain::NotFinite,
            _ => Plain::Text,
        }
    }
}

impl Plain {
    /// The whole number, if it is one of 64 bits.
    pub fn integer(self) -> Option<Value> {
        let number = match self {
            Self::Integer(number) => number,
            Self::Number(number) if number.fract() == 0.0 && number.abs() < 9e15 => number as i128,
            _ => return None,
        };
        Number::from_i128(number).map(Value::Number)
    }

    /// The number, whole or not.
    pub fn number(self) -> Option<Value> {
        match self {
            Self::Number(number) => Number::from_f64(number).map(Value::Number),
            Self::Integer(_) => self.integer(),
            _ => None,
        }
    }
}

/// What `text` says where a truth value is wanted.
pub fn truth_of(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" => Some(true),
        "false" | "no" | "off" | "n" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_say_what_yaml_says() {
        for (text, expected) in [
            ("", Plain::Nothing),
            ("~", Plain::Nothing),
            ("True", Plain::Truth(true)),
            ("no", Plain::Text),
            ("12", Plain::Integer(12)),
            ("-3", Plain::Integer(-3)),
            ("0", Plain::Integer(0)),
            ("012", Plain::Ambiguous),
            ("0o17", Plain::Integer(15)),
            ("0xff", Plain::Integer(255)),
            ("1.5", Plain::Number(1.5)),
            (".5", Plain::Number(0.5)),
            ("1e3", Plain::Number(1000.0)),
            ("-.inf", Plain::NotFinite),
            (".nan", Plain::NotFinite),
            ("nan", Plain::Text),
            ("infinity", Plain::Text),
            ("1.2.3", Plain::Text),
            ("10.0.0.7", Plain::Text),
            ("2m", Plain::Text),
            ("2026-11-21", Plain::Text),
        ] {
            assert_eq!(Scalar::plainly(text), expected, "{text}");
        }
    }
}
