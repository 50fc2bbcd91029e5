//! What another reader of JSON says of a text: the yardstick of the targets that read or write JSON.

use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

/// Whether a text is JSON in UTF-8. Nothing is said of its depth.
pub fn is_json(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

/// The value of a text, if it can be held: no half surrogates, no numbers beyond a float, depth below 128.
pub fn value(text: &[u8]) -> Option<Value> {
    serde_json::from_slice(text).ok()
}

/// The names of an object's members, in their order and as often as they occur.
pub struct Names(pub Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Names;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some((name, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                    names.push(name);
                }
                Ok(Names(names))
            }
        }
        from.deserialize_map(Members)
    }
}

/// How often an object has a member of this name; 0 if the text is none.
pub fn occurrences(text: &[u8], name: &str) -> usize {
    serde_json::from_slice::<Names>(text)
        .map_or(0, |names| names.0.iter().filter(|n| *n == name).count())
}

/// The deepest nesting of a text that is JSON.
pub fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut quoted, mut escaped) = (false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_yardstick_is_straight() {
        assert!(is_json(b" {\"a\":1e999}") && !is_json(b"{a:1}") && !is_json(b"\"\xff\""));
        assert_eq!(depth(br#"{"a":["[[[",{}]}"#), 3);
        assert_eq!(occurrences(br#"{"a":1,"b":{"a":2},"\u0061":3}"#, "a"), 2);
        assert_eq!(occurrences(b"[1]", "a"), 0);
    }
}
