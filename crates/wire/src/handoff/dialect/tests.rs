//! The bodies of both legs, dialect by dialect, and their agreement with the same done on parsed values.

#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const MEETING: Meeting<'static> = Meeting {
    host: "10.0.0.1",
    port: 8998,
    room: 7,
};
const CHAT: &str = "/v1/chat/completions";

#[track_caller]
fn check(body: &str, copy: &str) {
    for at in 0..body.len() {
        let (left, right) = body.as_bytes().split_at(at);
        let found = Dialect::P2p
            .prefill_body(CHAT, &[left, right], &MEETING)
            .unwrap();
        assert_eq!(String::from_utf8(found).unwrap(), copy, "split at {at}");
    }
}

/// The bodies of both legs and of decode alone; params are `{"x":1}`.
#[track_caller]
fn legs(dialect: Dialect, path: &str, body: &Value, expected: [Value; 3]) {
    let text = Bytes::from(body.to_string());
    let frames = [text.slice(..text.len() / 2), text.slice(text.len() / 2..)];
    let value = |text: &[u8]| serde_json::from_slice::<Value>(text).unwrap();
    let prefill = dialect.prefill_body(path, &frames, &MEETING).unwrap();
    let decode = dialect
        .decode_body(&frames, b"{\"x\":1}", &MEETING)
        .unwrap()
        .concat();
    let local = dialect.local_body(&frames).unwrap().concat();
    let found = [value(&prefill), value(&decode), value(&local)];
    assert_eq!(found, expected, "{} {path}", dialect.name());
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
    check(
        r#"{"max\u005ftokens":9,"x":1,"max_tokens":8}"#,
        r#"{"x":1,"max_tokens":1}"#,
    );
}

#[test]
fn nixl_asks_for_parameters_and_repeats_them() {
    let asked = json!({"do_remote_decode": true, "do_remote_prefill": false, "remote_engine_id": null,
        "remote_block_ids": null, "remote_host": null, "remote_port": null});
    let forged = json!({"do_remote_prefill": true, "remote_host": "169.254.169.254"});
    let body = json!({"prompt": "p", "max_tokens": 9, "stream": true, "stream_options": {}, "kv_transfer_params": forged});
    legs(
        Dialect::NixlV2,
        CHAT,
        &body,
        [
            json!({"prompt": "p", "kv_transfer_params": asked, "stream": false, "max_tokens": 1,
                "max_completion_tokens": 1, "min_tokens": 1}),
            json!({"prompt": "p", "max_tokens": 9, "stream": true, "stream_options": {}, "kv_transfer_params": {"x": 1}}),
            json!({"prompt": "p", "max_tokens": 9, "stream": true, "stream_options": {}}),
        ],
    );
    legs(
        Dialect::NixlV2,
        "/v1/responses",
        &json!({"input": "p"}),
        [
            json!({"input": "p", "kv_transfer_params": asked, "stream": false, "max_output_tokens": 1}),
            json!({"input": "p", "kv_transfer_params": {"x": 1}}),
            json!({"input": "p"}),
        ],
    );
    let sampled = json!({"token_ids": [1], "sampling_params": {"max_tokens": 5, "top_k": 2}});
    legs(
        Dialect::NixlV2,
        "/inference/v1/generate",
        &sampled,
        [
            json!({"token_ids": [1], "kv_transfer_params": asked, "stream": false,
                "sampling_params": {"top_k": 2, "max_tokens": 1, "min_tokens": 1}}),
            json!({"token_ids": [1], "sampling_params": {"max_tokens": 5, "top_k": 2}, "kv_transfer_params": {"x": 1}}),
            sampled.clone(),
        ],
    );
}

#[test]
fn stores_are_filled_by_one_token() {
    let body = json!({"prompt": "p", "max_tokens": 9, "stream": true, "cache_hit_threshold": 0.8});
    let rest = json!({"prompt": "p", "max_tokens": 9, "stream": true, "cache_hit_threshold": 0});
    legs(
        Dialect::SharedStorage,
        CHAT,
        &body,
        [
            json!({"prompt": "p", "stream": true, "max_tokens": 1, "max_completion_tokens": 1, "cache_hit_threshold": 0}),
            rest.clone(),
            rest,
        ],
    );
    legs(
        Dialect::Lmcache,
        CHAT,
        &body,
        [
            json!({"prompt": "p", "stream": true, "max_tokens": 1, "max_completion_tokens": 1, "cache_hit_threshold": 0.8}),
            body.clone(),
            body.clone(),
        ],
    );
    let text = [body.to_string()];
    assert!(Dialect::SharedStorage.asks_decode_first(&text).unwrap());
    assert!(!Dialect::Lmcache.asks_decode_first(&text).unwrap());
}

#[test]
fn an_sglang_pair_meets_in_a_room() {
    let body = json!({"prompt": "p", "max_tokens": 9, "bootstrap_host": "169.254.169.254"});
    let meeting = json!({"prompt": "p", "max_tokens": 9, "bootstrap_host": "10.0.0.1", "bootstrap_port": 8998, "bootstrap_room": 7});
    let alone = json!({"prompt": "p", "max_tokens": 9});
    legs(
        Dialect::Sglang,
        CHAT,
        &body,
        [meeting.clone(), meeting, alone],
    );
}

#[test]
fn each_dialect_takes_its_paths() {
    for dialect in Dialect::ALL {
        assert!(dialect.takes(CHAT) && dialect.takes("/v1/completions"));
        assert!(!dialect.takes("/v1/models"));
        assert_eq!(dialect.takes("/v1/messages"), !dialect.names_pair());
    }
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
        for dialect in Dialect::ALL {
            let prefill = dialect.prefill_body(CHAT, &[body], &MEETING);
            assert!(prefill.is_err(), "{body:?}");
        }
    }
    let deep = |levels: usize| {
        format!(
            "{{\"a\":{}{}}}",
            "[".repeat(levels - 1),
            "]".repeat(levels - 1)
        )
    };
    let prefill = |levels| Dialect::Fs.prefill_body("/v1/completions", &[deep(levels)], &MEETING);
    assert!(prefill(128).is_ok());
    assert!(matches!(prefill(129), Err(RequestError::TooDeep { .. })));
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
        Just(KV_PARAMS.to_owned()),
    ]
}

proptest! {
    #[test]
    fn agrees_with_the_same_done_on_parsed_values(
        body in prop::collection::btree_map(key(), value(), 0..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let parsed: Map<String, Value> = body.clone().into_iter().collect();
        let mut expected = parsed.clone();
        let text = Bytes::from(serde_json::to_vec(&body).unwrap());
        expected.remove("stream_options");
        expected.insert("max_tokens".to_owned(), json!(1));
        for (key, set) in [("max_completion_tokens", json!(1)), ("stream", json!(false))] {
            if let Some(value) = expected.get_mut(key) {
                *value = set;
            }
        }
        let at = cut.index(text.len());
        let frames = [text.slice(..at), text.slice(at..)];
        let copy = Dialect::Fs.prefill_body(CHAT, &frames, &MEETING).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Value>(&copy).unwrap(), Value::Object(expected));

        let mut expected = parsed;
        expected.insert(KV_PARAMS.to_owned(), json!({"x": 1}));
        let decode = Dialect::NixlV2.decode_body(&frames, b"{\"x\":1}", &MEETING).unwrap().concat();
        prop_assert_eq!(serde_json::from_slice::<Value>(&decode).unwrap(), Value::Object(expected));
    }
}
