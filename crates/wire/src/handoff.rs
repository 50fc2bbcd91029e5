//! What a P/D proxy writes: the id that both legs of a request share, and the body of the prefill leg.
//!
//! Id: `___prefill_addr_{P}___decode_addr_{D}_{32 hex}`. The engines put `cmpl-` or `chatcmpl-` in front and may put more behind; the
//! p2p connector reads the two addresses out of it, and people read there which pair served them.
//!
//! Prefill body: the client's object with one token to make and nothing to stream. All other members keep their bytes and their order;
//! the members that are set come last, because of two equal keys the last one counts.

use crate::json::scanner::{Kind, Scanner};
use crate::request::error::RequestError;

const PREFILL: &str = "___prefill_addr_";
const DECODE: &str = "___decode_addr_";
const HEX_LEN: usize = 32;

/// The parts of an id that names a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairId<'a> {
    /// Name or address of the prefill engine.
    pub prefill: &'a str,
    /// Name or address of the decode engine.
    pub decode: &'a str,
    /// 32 hexadecimal digits that make the id unique.
    pub unique: &'a str,
}

/// The id of a request on both of its legs; `uuid_hex` is a UUID as 32 hexadecimal digits.
pub fn internal_id(prefill: &str, decode: &str, uuid_hex: &str) -> String {
    [PREFILL, prefill, DECODE, decode, "_", uuid_hex].concat()
}

/// Reads an id back, with whatever an engine put in front of it or behind it. `None` if it is not one.
pub fn parse_internal_id(id: &str) -> Option<PairId<'_>> {
    let (_, rest) = id.split_once(PREFILL)?;
    let (prefill, rest) = rest.split_once(DECODE)?;
    let (at, unique) = rest.rmatch_indices('_').find_map(|(at, _)| {
        let unique = rest.get(at + 1..at + 1 + HEX_LEN)?;
        unique
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit())
            .then_some((at, unique))
    })?;
    Some(PairId {
        prefill,
        decode: &rest[..at],
        unique,
    })
}

/// The body of the prefill leg, from the frames of the client's body.
///
/// `max_tokens` becomes 1, `max_completion_tokens` and `stream` become 1 and `false` where they are present, `stream_options` goes.
///
/// # Errors
/// When the body is empty, no JSON, nested too deep, or no object.
pub fn prefill_copy<F: AsRef<[u8]>>(frames: &[F]) -> Result<Vec<u8>, RequestError> {
    let mut scanner = Scanner::new(frames);
    if scanner.at_end() {
        return Err(RequestError::Empty);
    }
    let kind = scanner.kind()?;
    if kind != Kind::Object {
        return Err(RequestError::NotAnObject {
            found: kind.described(),
        });
    }
    let len: usize = frames.iter().map(|frame| frame.as_ref().len()).sum();
    let mut copy = Vec::with_capacity(len + 64);
    copy.push(b'{');
    let (mut completion_tokens, mut stream) = (false, false);
    // A run of neighbouring members that stay is copied as one piece, white space included.
    let mut kept: Option<std::ops::Range<usize>> = None;
    let mut first = true;
    scanner.enter_object()?;
    while let Some(key) = scanner.next_key(&mut first)? {
        let start = key.range.start - 1;
        let set = match &*scanner.key_bytes(&key) {
            b"max_tokens" | b"stream_options" => true,
            b"max_completion_tokens" => {
                completion_tokens = true;
                true
            }
            b"stream" => {
                stream = true;
                true
            }
            _ => false,
        };
        let end = scanner.skip_value()?.end;
        if !set {
            kept = Some(kept.map_or(start, |run| run.start)..end);
        } else if let Some(run) = kept.take() {
            copy.extend_from_slice(&scanner.bytes(&run));
            copy.push(b',');
        }
    }
    scanner.end()?;
    if let Some(run) = kept {
        copy.extend_from_slice(&scanner.bytes(&run));
        copy.push(b',');
    }
    copy.extend_from_slice(b"\"max_tokens\":1");
    if completion_tokens {
        copy.extend_from_slice(b",\"max_completion_tokens\":1");
    }
    if stream {
        copy.extend_from_slice(b",\"stream\":false");
    }
    copy.push(b'}');
    Ok(copy)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    #[track_caller]
    fn check(body: &str, copy: &str) {
        for at in 0..body.len() {
            let (left, right) = body.as_bytes().split_at(at);
            let found = prefill_copy(&[left, right]).unwrap();
            assert_eq!(String::from_utf8(found).unwrap(), copy, "split at {at}");
        }
    }

    #[test]
    fn only_the_four_members_change() {
        check("{}", r#"{"max_tokens":1}"#);
        check(
            " { \"model\" : \"m\" } ",
            r#"{"model" : "m","max_tokens":1}"#,
        );
        check(
            r#"{"model":"m", "max_tokens":99,"prompt":"a,}b","n":1.0e3}"#,
            r#"{"model":"m","prompt":"a,}b","n":1.0e3,"max_tokens":1}"#,
        );
        check(
            r#"{"stream":true,"stream_options":{"include_usage":true},"messages":[],"max_completion_tokens":7}"#,
            r#"{"messages":[],"max_tokens":1,"max_completion_tokens":1,"stream":false}"#,
        );
        check(
            r#"{"a":1,"b":[{"stream":true}],"c":{}}"#,
            r#"{"a":1,"b":[{"stream":true}],"c":{},"max_tokens":1}"#,
        );
    }

    #[test]
    fn keys_in_disguise_and_doubled_keys_are_found() {
        check(
            r#"{"max\u005ftokens":9,"x":1}"#,
            r#"{"x":1,"max_tokens":1}"#,
        );
        check(
            r#"{"max_tokens":9,"x":1,"max_tokens":8}"#,
            r#"{"x":1,"max_tokens":1}"#,
        );
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for body in [
            "",
            "  ",
            "[]",
            "1",
            "null",
            "{",
            "{\"a\":}",
            "{\"a\":1,}",
            "{} x",
            "{\"a\":\"\u{1}\"}",
        ] {
            assert!(prefill_copy(&[body]).is_err(), "{body:?}");
        }
        let deep = |levels: usize| {
            format!(
                "{{\"a\":{}{}}}",
                "[".repeat(levels - 1),
                "]".repeat(levels - 1)
            )
        };
        assert!(prefill_copy(&[deep(128)]).is_ok());
        assert!(matches!(
            prefill_copy(&[deep(129)]),
            Err(RequestError::TooDeep { .. })
        ));
    }

    #[test]
    fn ids_are_written_and_read() {
        let hex = "0123456789abcdef0123456789abcdef";
        let id = internal_id("vllm-prefill-p2p:14579", "vllm_decode_p2p:14579", hex);
        assert_eq!(
            id,
            format!(
                "___prefill_addr_vllm-prefill-p2p:14579___decode_addr_vllm_decode_p2p:14579_{hex}"
            )
        );
        let pair = PairId {
            prefill: "vllm-prefill-p2p:14579",
            decode: "vllm_decode_p2p:14579",
            unique: hex,
        };
        for seen in [
            id.clone(),
            format!("chatcmpl-{id}"),
            format!("cmpl-{id}-0"),
            format!("cmpl-{id}_1"),
        ] {
            assert_eq!(parse_internal_id(&seen), Some(pair), "{seen}");
        }
        for other in [
            "",
            "cmpl-1",
            "___prefill_addr_a___decode_addr_b",
            "___prefill_addr_a___decode_addr_b_0123",
        ] {
            assert_eq!(parse_internal_id(other), None, "{other}");
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-z\"\\\\{},:é😀\n]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z]{1,4}", inner, 0..4).prop_map(|map| json!(map)),
            ]
        })
    }

    fn key() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z\"é]{1,6}",
            Just("max_tokens".to_owned()),
            Just("max_completion_tokens".to_owned()),
            Just("stream".to_owned()),
            Just("stream_options".to_owned()),
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_the_same_done_on_parsed_values(
            body in prop::collection::btree_map(key(), value(), 0..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut expected: Map<String, Value> = body.clone().into_iter().collect();
            let text = serde_json::to_vec(&body).unwrap();
            expected.remove("stream_options");
            expected.insert("max_tokens".to_owned(), json!(1));
            for (key, set) in [("max_completion_tokens", json!(1)), ("stream", json!(false))] {
                if let Some(value) = expected.get_mut(key) {
                    *value = set;
                }
            }
            let (left, right) = text.split_at(cut.index(text.len()));
            let copy = prefill_copy(&[left, right]).unwrap();
            prop_assert_eq!(serde_json::from_slice::<Value>(&copy).unwrap(), Value::Object(expected));
        }
    }
}
