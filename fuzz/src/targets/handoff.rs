//! Bodies of the two legs of a handoff: good JSON out of good JSON, with exactly the members that the dialect sets.

use bytes::Bytes;
use pointsman_wire::handoff::dialect::{Dialect, Meeting};
use pointsman_wire::handoff::threshold;
use pointsman_wire::json::fault::MAX_DEPTH;
use serde_json::{Map, Value, json};

use crate::cuts::{Way, cut, whole};
use crate::shape::Shape;
use crate::target::Target;
use crate::targets::json::{depth, is_json, occurrences, value};

/// The target.
pub const TARGET: Target = Target {
    name: "handoff",
    what: "bodies rewritten for prefill and decode, in every dialect",
    run,
    words: &[
        "\"max_tokens\":",
        "\"max_completion_tokens\":7",
        "\"min_tokens\":2",
        "\"stream\":true",
        "\"stream_options\":{}",
        "\"max_output_tokens\":9",
        "\"sampling_params\":{\"max_tokens\":3}",
        "\"kv_transfer_params\":{\"remote_host\":\"evil\"}",
        "\"cache_hit_threshold\":0.5",
        "\"bootstrap_host\":\"evil\"",
        "\"bootstrap_port\":1",
        "\"bootstrap_room\":[]",
        "\"\\u006dax_tokens\":1",
        "\"model\":\"m\"",
        ",",
        "{}",
        " \n",
        "null",
        "\\ud800",
        "{\"a\":1}",
        "[1]",
    ],
    also: &["crates/wire/corpus/request/good"],
};

const PATHS: [&str; 3] = [
    "/v1/chat/completions",
    "/v1/responses",
    "/inference/v1/generate",
];
const MEETING: Meeting<'static> = Meeting {
    host: "10.0.0.1\"\\",
    port: 8998,
    room: u64::MAX,
};
const PARAMS: &[u8] = b"{\"remote_host\":\"10.0.0.2\"}";

/// Members that a client must not decide.
const SET: [&str; 5] = [
    "kv_transfer_params",
    "bootstrap_host",
    "bootstrap_port",
    "bootstrap_room",
    threshold::FIELD,
];

fn run(input: &[u8]) -> u64 {
    let mut shape = Shape::default();
    let frames = whole(input);
    let in_parts = cut(input, Way::Odd);
    let first = input.iter().find(|byte| !byte.is_ascii_whitespace());
    let good = first == Some(&b'{') && is_json(input) && depth(input) <= MAX_DEPTH;
    for dialect in Dialect::ALL {
        for path in PATHS {
            let body = dialect.prefill_body(path, &frames, &MEETING);
            assert_eq!(
                body,
                dialect.prefill_body(path, &in_parts, &MEETING),
                "the frames matter"
            );
            assert_eq!(body.is_ok(), good, "{}: {body:?}", dialect.name());
            let Ok(body) = body else { continue };
            assert!(
                is_json(&body),
                "{}: no JSON: {}",
                dialect.name(),
                shown(&body)
            );
            if let (Some(Value::Object(old)), Some(Value::Object(new))) =
                (value(input), value(&body))
            {
                prefill(dialect, path, &old, &new, &body);
                shape.size(old.len());
                shape.size(new.len());
            }
        }
        let asks = dialect.asks_decode_first(&frames);
        assert_eq!(
            asks,
            dialect.asks_decode_first(&in_parts),
            "the frames matter"
        );
        let joined = |frames: Vec<Bytes>| frames.concat();
        let decode = dialect.decode_body(&frames, PARAMS, &MEETING).map(joined);
        let local = dialect.local_body(&frames).map(joined);
        let same =
            |other: &Result<Vec<u8>, _>, cut: Result<Vec<Bytes>, _>| *other == cut.map(joined);
        assert!(
            same(&decode, dialect.decode_body(&in_parts, PARAMS, &MEETING)),
            "the frames matter to decode"
        );
        assert!(
            same(&local, dialect.local_body(&in_parts)),
            "the frames matter to decode alone"
        );
        for (body, what) in [(decode, "decode"), (local, "local")] {
            let Ok(body) = body else {
                assert!(!good, "{}: {what} is refused", dialect.name());
                continue;
            };
            if !good {
                assert_eq!(
                    body,
                    input,
                    "{}: {what} changes what it cannot read",
                    dialect.name()
                );
                continue;
            }
            assert!(
                is_json(&body),
                "{}: {what} is no JSON: {}",
                dialect.name(),
                shown(&body)
            );
            if let (Some(Value::Object(old)), Some(Value::Object(new))) =
                (value(input), value(&body))
            {
                later(dialect, what, &old, &new, &body);
            }
        }
        shape.number(u64::from(asks == Ok(true)));
    }
    shape.number(u64::from(good));
    shape.done()
}

fn shown(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}

type Object = Map<String, Value>;

#[track_caller]
fn is(body: &[u8], new: &Object, name: &str, value: Value) {
    assert_eq!(new.get(name), Some(&value), "{name} in {}", shown(body));
    assert_eq!(occurrences(body, name), 1, "{name} in {}", shown(body));
}

#[track_caller]
fn kept(old: &Object, new: &Object, but: &[&str]) {
    for (name, value) in old.iter().filter(|(name, _)| !but.contains(&name.as_str())) {
        assert_eq!(new.get(name), Some(value), "{name} is not kept");
    }
}

/// What the prefill leg gets.
fn prefill(dialect: Dialect, path: &str, old: &Object, new: &Object, body: &[u8]) {
    const LIMITS: [&str; 8] = [
        "max_tokens",
        "max_completion_tokens",
        "min_tokens",
        "max_output_tokens",
        "sampling_params",
        "stream",
        "stream_options",
        "model ",
    ];
    kept(old, new, &[&LIMITS[..], &SET[..]].concat());
    match dialect {
        Dialect::P2p | Dialect::Fs => {
            is(body, new, "max_tokens", json!(1));
            assert!(!new.contains_key("stream_options"));
            assert_ne!(new.get("stream"), Some(&json!(true)));
        }
        Dialect::NixlV2 => {
            is(body, new, "stream", json!(false));
            assert_eq!(occurrences(body, "kv_transfer_params"), 1);
            assert_eq!(new["kv_transfer_params"]["remote_host"], Value::Null);
        }
        Dialect::SharedStorage => is(body, new, threshold::FIELD, json!(0)),
        Dialect::Lmcache => {}
        Dialect::Sglang => meets(body, new),
    }
    if matches!(
        dialect,
        Dialect::NixlV2 | Dialect::SharedStorage | Dialect::Lmcache
    ) {
        match path {
            "/v1/responses" => is(body, new, "max_output_tokens", json!(1)),
            "/inference/v1/generate" => assert_eq!(new["sampling_params"]["max_tokens"], json!(1)),
            _ => is(body, new, "max_tokens", json!(1)),
        }
    }
}

fn meets(body: &[u8], new: &Object) {
    is(body, new, "bootstrap_host", json!(MEETING.host));
    is(body, new, "bootstrap_port", json!(MEETING.port));
    is(body, new, "bootstrap_room", json!(MEETING.room));
}

/// What decode gets, after a prefill or alone.
fn later(dialect: Dialect, what: &str, old: &Object, new: &Object, body: &[u8]) {
    kept(old, new, &SET);
    match (dialect, what) {
        (Dialect::P2p | Dialect::Fs | Dialect::Lmcache, _) => assert_eq!(old, new),
        (Dialect::NixlV2, "decode") => is(
            body,
            new,
            "kv_transfer_params",
            json!({"remote_host": "10.0.0.2"}),
        ),
        (Dialect::NixlV2, _) => assert!(!new.contains_key("kv_transfer_params")),
        (Dialect::SharedStorage, _) => is(body, new, threshold::FIELD, json!(0)),
        (Dialect::Sglang, "decode") => meets(body, new),
        (Dialect::Sglang, _) => assert!(!new.contains_key("bootstrap_host")),
    }
}
