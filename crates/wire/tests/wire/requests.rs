//! OpenAI bodies: what is read from them, what is refused and in which words.

use bytes::Bytes;
use pointsman_wire::request::error::RequestError;
use pointsman_wire::request::openai::{ApiKind, RequestFacts, classify, read};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::borrow::Cow;

/// Cuts a text into frames of `size` bytes, with empty ones strewn in.
fn frames(text: &[u8], size: usize) -> Vec<Bytes> {
    let mut frames = vec![Bytes::new()];
    for piece in text.chunks(size) {
        frames.push(Bytes::copy_from_slice(piece));
        frames.push(Bytes::new());
    }
    frames
}

/// What was read, in one line: `model|prompt|max_tokens|stream|include_usage|cache_salt`.
fn told(facts: &RequestFacts<'_>, frames: &[Bytes]) -> String {
    let (body, spans) = (frames.concat(), facts.prompt.ranges());
    let prompt = spans.iter().flat_map(|span| body[span.clone()].to_vec());
    let prompt: Vec<u8> = prompt.collect();
    assert_eq!(prompt.len(), facts.prompt.len());
    format!(
        "{}|{}|{}|{}|{}|{}",
        facts.model,
        String::from_utf8(prompt).unwrap(),
        facts
            .max_tokens
            .map_or_else(|| "-".into(), |bound| bound.to_string()),
        facts.stream,
        facts.include_usage,
        facts.cache_salt.as_deref().unwrap_or("-"),
    )
}

#[track_caller]
fn check(kind: ApiKind, body: &str, expected: &str) {
    for size in (1..=body.len().clamp(1, 300)).chain([usize::MAX]) {
        let frames = frames(body.as_bytes(), size);
        let got = match read(kind, &frames) {
            Ok(facts) => told(&facts, &frames),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expected, "{body} by {size}");
    }
}

#[track_caller]
fn chat(body: &str, expected: &str) {
    check(ApiKind::ChatCompletions, body, expected);
}

#[track_caller]
fn completion(body: &str, expected: &str) {
    check(ApiKind::Completions, body, expected);
}

#[test]
fn paths_are_known_exactly() {
    for (kind, path) in ApiKind::ALL {
        assert_eq!(classify(path), Some(kind));
        assert_eq!(classify(&format!("{path}?x=/y")), Some(kind));
        assert_eq!(classify(&format!("{path}/")), None);
        assert_eq!(classify(&path[1..]), None);
    }
    for path in [
        "",
        "/",
        "/v1",
        "/v1/models",
        "/v2/completions",
        "/V1/completions",
        "?/v1/completions",
    ] {
        assert_eq!(classify(path), None, "{path}");
    }
}

#[test]
fn chats_are_read() {
    chat(
        r#"{"model":"m","messages":[{"role":"user","content":"Hello"}],"max_tokens":8}"#,
        r#"m|[{"role":"user","content":"Hello"}]|8|false|false|-"#,
    );
    chat(
        r#" { "messages" : [ {"content":[{"type":"text"}]} , {"content":null} , {} ] , "stream" : true , "model" : "m\u00e9\/" } "#,
        r#"mé/|[ {"content":[{"type":"text"}]} , {"content":null} , {} ]|-|true|false|-"#,
    );
    chat(
        r#"{"model":"m","messages":[{}],"stream":true,"stream_options":{"x":[],"include_usage":true},"cache_salt":"s","max_tokens":5,"max_completion_tokens":7}"#,
        "m|[{}]|7|true|true|s",
    );
    chat(
        r#"{"model":"m","messages":[{}],"max_completion_tokens":null,"max_tokens":16.0,"stream":null,"stream_options":null,"cache_salt":3}"#,
        "m|[{}]|16|false|false|-",
    );
    // The last of equal keys counts, in type too, and a key may be written with escapes.
    chat(
        r#"{"model":7,"model":"a","messages":[],"stream":"x","mod\u0065l":"b","messages":[{}],"stream":false}"#,
        "b|[{}]|-|false|false|-",
    );
    chat(
        r#"{"MODEL":"x","model":"m","messages":[{}]}"#,
        "m|[{}]|-|false|false|-",
    );
}

#[test]
fn completions_are_read() {
    completion(
        r#"{"model":"m","prompt":"a\n b","max_tokens":0}"#,
        r"m|a\n b|0|false|false|-",
    );
    completion(r#"{"model":"m","prompt":""}"#, "m||-|false|false|-");
    completion(
        r#"{"model":"m","prompt":["a","b"]}"#,
        r#"m|["a","b"]|-|false|false|-"#,
    );
    completion(
        r#"{"model":"m","prompt":[1, 4294967295]}"#,
        "m|[1, 4294967295]|-|false|false|-",
    );
    completion(
        r#"{"model":"m","prompt":[[1],[],[2,3]]}"#,
        "m|[[1],[],[2,3]]|-|false|false|-",
    );
    // A chat's word for the bound is none here.
    completion(
        r#"{"model":"m","prompt":"","max_completion_tokens":"x"}"#,
        "m||-|false|false|-",
    );
    check(
        ApiKind::Embeddings,
        r#"{"model":"m","input":"text"}"#,
        "m|text|-|false|false|-",
    );
    check(
        ApiKind::Responses,
        r#"{"input":"ask","instructions":"be ","model":"m","max_output_tokens":3}"#,
        "m|be ask|3|false|false|-",
    );
    check(
        ApiKind::Responses,
        r#"{"input":[{}],"model":"m"}"#,
        "m|[{}]|-|false|false|-",
    );
}

#[test]
fn faults_are_named() {
    let malformed = "request body is not valid JSON: ";
    chat("", "request body is empty; send a JSON object");
    chat(" \r\n", "request body is empty; send a JSON object");
    chat("hello", &format!("{malformed}expected a value at byte 0"));
    chat(
        r#"{"model":"m""#,
        &format!("{malformed}unexpected end of text at byte 12"),
    );
    chat(
        r#"{"model":"m","messages":[{}]}}"#,
        &format!("{malformed}text after the end of the value at byte 29"),
    );
    chat(
        r#"{"model":"m" "messages":[{}]}"#,
        &format!("{malformed}expected ',' or '}}' at byte 13"),
    );
    chat("[]", "request body is a list; send a JSON object");
    chat("null", "request body is null; send a JSON object");
    chat(
        "{}",
        "field 'model' is missing; send the name of a model as a string",
    );
    chat(
        r#"{"model":"m"}"#,
        "field 'messages' is missing; send a list of at least one message object",
    );
    for (value, found) in [
        ("7", "a number"),
        ("null", "null"),
        ("{}", "an object"),
        ("[\"m\"]", "a list"),
        ("true", "true or false"),
        ("\"\"", "an empty string"),
    ] {
        chat(
            &format!(r#"{{"messages":[{{}}],"model":{value}}}"#),
            &format!("field 'model' is {found}; send the name of a model as a string"),
        );
    }
    for (value, found) in [
        ("[]", "an empty list"),
        ("\"hi\"", "a string"),
        ("{}", "an object"),
        ("null", "null"),
    ] {
        chat(
            &format!(r#"{{"model":"m","messages":{value}}}"#),
            &format!("field 'messages' is {found}; send a list of at least one message object"),
        );
    }
    chat(
        r#"{"model":"m","messages":[{},"hi",{}]}"#,
        "field 'messages[1]' is a string; send a message object",
    );
    chat(
        r#"{"model":"m","messages":[{},{},{"content":5}]}"#,
        "field 'messages[2].content' is a number; send a string, null or a list of parts",
    );
    let bound = "a whole number from 0 to 4294967295";
    for (value, found) in [
        ("-1", "a negative number"),
        ("1.5", "a fraction"),
        ("4294967296", "a number that is too large"),
        ("1e999", "a number that is too large"),
        ("\"8\"", "a string"),
        ("false", "true or false"),
    ] {
        for field in ["max_tokens", "max_completion_tokens"] {
            chat(
                &format!(r#"{{"model":"m","messages":[{{}}],"{field}":{value}}}"#),
                &format!("field '{field}' is {found}; send {bound}"),
            );
        }
    }
    chat(
        r#"{"model":"m","messages":[{}],"stream":"true"}"#,
        "field 'stream' is a string; send true or false",
    );
    chat(
        r#"{"model":"m","messages":[{}],"stream":1}"#,
        "field 'stream' is a number; send true or false",
    );

    let takes = "a string, or a list of strings or of token ids";
    completion(
        r#"{"model":"m"}"#,
        &format!("field 'prompt' is missing; send {takes}"),
    );
    completion(
        r#"{"model":"m","prompt":5}"#,
        &format!("field 'prompt' is a number; send {takes}"),
    );
    completion(
        r#"{"model":"m","prompt":[]}"#,
        &format!("field 'prompt' is an empty list; send {takes}"),
    );
    completion(
        r#"{"model":"m","prompt":["a",1]}"#,
        "field 'prompt[1]' is a number; send a string like the first element",
    );
    completion(
        r#"{"model":"m","prompt":[1,-1]}"#,
        "field 'prompt[1]' is a negative number; send a token id, a whole number of at least 0",
    );
    completion(
        r#"{"model":"m","prompt":[[1],[1,2.5]]}"#,
        "field 'prompt[1][1]' is a fraction; send a token id, a whole number of at least 0",
    );
    completion(
        r#"{"model":"m","prompt":[{}]}"#,
        "field 'prompt[0]' is an object; send a string, a token id or a list of token ids",
    );
    check(
        ApiKind::Responses,
        r#"{"model":"m","input":["x"]}"#,
        "field 'input[0]' is a string; send an item object",
    );
}

#[test]
fn nesting_has_a_limit() {
    let body = |levels: usize| {
        let deep = format!("{}{}", "[".repeat(levels - 1), "]".repeat(levels - 1));
        Bytes::from(format!(r#"{{"model":"m","messages":[{{}}],"x":{deep}}}"#))
    };
    assert!(read(ApiKind::ChatCompletions, &[body(128)]).is_ok());
    let refused = read(ApiKind::ChatCompletions, &[body(129)]).unwrap_err();
    assert!(matches!(refused, RequestError::TooDeep { .. }));
    assert_eq!(
        refused.to_string(),
        "request body is nested deeper than 128 levels at byte 160"
    );
}

#[test]
fn a_plain_request_in_one_frame_is_borrowed() {
    let body = [Bytes::from_static(
        br#"{"model":"m","messages":[{"role":"user","content":"Hi"}],"cache_salt":"s"}"#,
    )];
    let facts = read(ApiKind::ChatCompletions, &body).unwrap();
    assert!(matches!(facts.model, Cow::Borrowed("m")));
    assert!(matches!(facts.cache_salt, Some(Cow::Borrowed("s"))));
    assert_eq!(&body[0][facts.model_at.clone()], b"\"m\"");
    assert_eq!(
        facts.prompt_bytes,
        r#"[{"role":"user","content":"Hi"}]"#.len()
    );
    assert_eq!(facts.prompt.ranges().len(), 1);
}

/// Values that are right or wrong for some field.
fn field_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0_u32..100).prop_map(Value::from),
        (-3_i64..0).prop_map(Value::from),
        "[a-z\"\\\\\n\u{e9}\u{1F600}]{0,6}".prop_map(Value::from),
        prop::collection::vec((0_u32..9).prop_map(Value::from), 0..3).prop_map(Value::from),
        Just(json!([{"role": "user", "content": "hi \"there\""}])),
        Just(json!([{"content": [{"type": "text"}]}, {"content": null}])),
        Just(json!([{"content": {}}])),
        Just(json!({"include_usage": true})),
    ]
}

/// Bodies with our fields in any order, some of them twice, some wrong.
fn body() -> impl Strategy<Value = String> {
    let field = prop::sample::select(vec![
        "model",
        "model",
        "messages",
        "messages",
        "prompt",
        "stream",
        "max_tokens",
        "max_completion_tokens",
        "stream_options",
        "cache_salt",
        "temperature",
    ]);
    let right = prop::bool::ANY.prop_map(|both| match both {
        true => r#""model":"m","messages":[{}],"#,
        false => "",
    });
    let escaped = prop::bool::ANY;
    (
        right,
        prop::collection::vec((field, field_value(), escaped), 1..8),
    )
        .prop_map(|(right, fields)| {
            let fields: Vec<String> = fields
                .into_iter()
                .map(|(name, value, escaped)| match escaped {
                    true => format!(
                        "\"\\u{:04x}{}\" : {value}",
                        u32::from(name.as_bytes()[0]),
                        &name[1..]
                    ),
                    false => format!("\"{name}\":{value}"),
                })
                .collect();
            format!("{{{right}{}}}", fields.join(","))
        })
}

/// What the reader must say of a chat, told from a whole tree.
fn by_tree(body: &str) -> Option<(String, Option<u64>, bool, bool)> {
    let tree: Value = serde_json::from_str(body).unwrap();
    let model = tree
        .get("model")?
        .as_str()
        .filter(|model| !model.is_empty())?;
    let messages = tree
        .get("messages")?
        .as_array()
        .filter(|messages| !messages.is_empty())?;
    for message in messages {
        let content = message.as_object()?.get("content").unwrap_or(&Value::Null);
        if !(content.is_null() || content.is_string() || content.is_array()) {
            return None;
        }
    }
    let bound = |name: &str| match tree.get(name).unwrap_or(&Value::Null) {
        Value::Null => Some(None),
        value => value.as_u64().map(Some),
    };
    let (completion, tokens) = (bound("max_completion_tokens")?, bound("max_tokens")?);
    let stream = match tree.get("stream").unwrap_or(&Value::Null) {
        Value::Null => false,
        value => value.as_bool()?,
    };
    let usage = tree["stream_options"]["include_usage"] == json!(true);
    Some((model.to_owned(), completion.or(tokens), stream, usage))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn facts_are_those_of_a_whole_tree(body in body()) {
        let frames = [Bytes::from(body.clone())];
        let read = read(ApiKind::ChatCompletions, &frames).ok();
        let got = read.map(|facts| {
            (facts.model.into_owned(), facts.max_tokens.map(u64::from), facts.stream, facts.include_usage)
        });
        prop_assert_eq!(got, by_tree(&body), "{}", body);
    }

    #[test]
    fn the_cut_changes_nothing(body in body(), cuts in prop::collection::vec(0_usize..400, 0..12), chop in 0_usize..40) {
        let body = &body.as_bytes()[..body.len().saturating_sub(chop.saturating_sub(30))];
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(body.len())).collect();
        cuts.extend([0, body.len()]);
        cuts.sort_unstable();
        let cut: Vec<Bytes> = cuts.windows(2).map(|pair| Bytes::copy_from_slice(&body[pair[0]..pair[1]])).collect();
        let whole = [Bytes::copy_from_slice(body)];
        for kind in [ApiKind::ChatCompletions, ApiKind::Completions] {
            let (one, many) = (read(kind, &whole), read(kind, &cut));
            prop_assert_eq!(&one, &many);
            if let (Ok(one), Ok(many)) = (one, many) {
                prop_assert_eq!(told(&one, &whole), told(&many, &cut));
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), size in 1_usize..50) {
        let frames = frames(&bytes, size);
        for (kind, _) in ApiKind::ALL {
            let _ = read(kind, &frames);
        }
    }
}
