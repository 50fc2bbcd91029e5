//! The prompt of a body as hashing sees it, against what Go would write.

use std::ops::ControlFlow;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use pointsman_core::index::block_hash::{PromptHashes, Scheme};
use pointsman_core::model::prompt::{Form, Piece, PromptView};
use pointsman_wire::request::openai::{ApiKind, read};

/// The prompts of a body in a form, the same for every cut of it.
#[track_caller]
fn walked(kind: ApiKind, body: &str, form: Form) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<Vec<u8>>> = Vec::new();
    for size in [body.len(), 1, 2, 3, 7, 64] {
        let frames: Vec<Bytes> = body
            .as_bytes()
            .chunks(size)
            .map(Bytes::copy_from_slice)
            .collect();
        let facts = read(kind, &frames).unwrap();
        let mut prompts = Vec::new();
        let mut prompt = Vec::new();
        let view = facts.prompt_view(&frames);
        view.walk(form, &mut |piece| {
            match piece {
                Piece::Bytes(bytes) => {
                    assert!(!bytes.is_empty(), "a piece is never empty");
                    prompt.extend_from_slice(bytes);
                }
                Piece::End => prompts.push(std::mem::take(&mut prompt)),
            }
            ControlFlow::Continue(())
        });
        assert!(prompt.is_empty(), "a prompt is closed");
        assert!(prompts.len() < 2 || view.several());
        all.push(prompts);
    }
    let first = all.remove(0);
    assert!(
        all.iter().all(|other| *other == first),
        "frames matter in {body}"
    );
    first
}

#[track_caller]
fn check(kind: ApiKind, body: &str, form: Form, expected: &[&str]) {
    let prompts = walked(kind, body, form);
    let texts: Vec<_> = prompts
        .iter()
        .map(|prompt| String::from_utf8_lossy(prompt))
        .collect();
    assert_eq!(texts, expected, "{body}");
}

/// A string as Go's encoder writes it.
fn go(text: &str) -> String {
    let quoted = serde_json::to_string(text).unwrap();
    quoted
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

#[test]
fn a_completion_s_text_is_its_prompt() {
    for form in [Form::Json, Form::Text] {
        check(
            ApiKind::Completions,
            r#"{"model":"m","prompt":"plain"}"#,
            form,
            &["plain"],
        );
        check(
            ApiKind::Completions,
            r#"{"prompt":"a\n\"b\"\ud83d\ude00\u00e9\/<\ud83d","model":"m"}"#,
            form,
            &["a\n\"b\"😀é/<\u{fffd}"],
        );
        check(
            ApiKind::Completions,
            r#"{"model":"m","prompt":""}"#,
            form,
            &[""],
        );
        check(
            ApiKind::Completions,
            r#"{"model":"m","prompt":["one", "t\u0077o", ""]}"#,
            form,
            &["one", "two", ""],
        );
        check(
            ApiKind::Embeddings,
            r#"{"model":"m","input":"text"}"#,
            form,
            &["text"],
        );
        check(
            ApiKind::Completions,
            r#"{"model":"m","prompt":[1, 4294967295, 65]}"#,
            form,
            &["\u{1}\0\0\0\u{fffd}\u{fffd}\u{fffd}\u{fffd}A\0\0\0"],
        );
        check(
            ApiKind::Completions,
            r#"{"model":"m","prompt":[[65],[],[66,67]]}"#,
            form,
            &["A\0\0\0", "", "B\0\0\0C\0\0\0"],
        );
    }
}

#[test]
fn messages_are_written_as_go_writes_them() {
    let chat = ApiKind::ChatCompletions;
    check(
        chat,
        r#"{"model":"m","messages":[ {"content":"hi <b>&</b>\u2028\t\u0001\b\f", "name":"x", "role":"user"} ]}"#,
        Form::Json,
        &[
            r#"[{"role":"user","content":"hi \u003cb\u003e\u0026\u003c/b\u003e\u2028\t\u0001\b\f"}]"#,
        ],
    );
    check(
        chat,
        "{\"model\":\"m\",\"messages\":[{\"role\":\"\",\"content\":null},{\"content\":[]},{\"role\":\"tool\"},{\"content\":\"a\u{2029}b\u{20ac}\u{2028}\"}]}",
        Form::Json,
        &[
            "[{\"content\":\"\"},{\"content\":[]},{\"role\":\"tool\",\"content\":\"\"},{\"content\":\"a\\u2029b\u{20ac}\\u2028\"}]",
        ],
    );
    check(
        chat,
        r#"{"model":"m","messages":[{"role":"user","content":[{"text":"look","type":"text"},{"type":"image_url","image_url":{"detail":"low","url":"http://x/?a&b"}},null]}]}"#,
        Form::Json,
        &[
            r#"[{"role":"user","content":[{"type":"text","text":"look","image_url":{}},{"type":"image_url","image_url":{"url":"http://x/?a\u0026b"}},{"type":"","image_url":{}}]}]"#,
        ],
    );
    check(
        chat,
        r#"{"model":"m","messages":[{"role":"user","content":"first"},{"content":[{"type":"text","text":"a"},{"type":"other","text":"x"},{"type":"text","text":"\u0062"}],"role":"assistant"}]}"#,
        Form::Text,
        &["userfirstassistantab"],
    );
}

#[test]
fn tools_and_responses_are_json_in_order() {
    check(
        ApiKind::ChatCompletions,
        r#"{"model":"m","tools":[{"type":"function","function":{"name":"f","b":1.50,"a":[true,null,{ "z":1e21,"y":-0.0000001,"z":12345678901234567890}]}}],"messages":[{"role":"user","content":"x"}]}"#,
        Form::Text,
        &[
            r#"[{"function":{"a":[true,null,{"y":-1e-7,"z":12345678901234567000}],"b":1.5,"name":"f"},"type":"function"}]userx"#,
        ],
    );
    for none in ["[]", "null", "{}"] {
        let body = format!(
            r#"{{"model":"m","tools":{none},"messages":[{{"role":"user","content":"x"}}]}}"#
        );
        check(ApiKind::ChatCompletions, &body, Form::Text, &["userx"]);
    }
    for form in [Form::Json, Form::Text] {
        check(
            ApiKind::Responses,
            r#"{"model":"m","input":"<hi>"}"#,
            form,
            &[r#"[{"input":"\u003chi\u003e"}]"#],
        );
        check(
            ApiKind::Responses,
            r#"{"model":"m","input":[{"role":"user","content":"x"}],"tools":[{"b":1,"a":2}],"instructions":"be \"brief\""}"#,
            form,
            &[
                r#"[{"instructions":"be \"brief\""},{"tools":[{"a":2,"b":1}]},{"input":[{"content":"x","role":"user"}]}]"#,
            ],
        );
    }
    // Beyond sixteen levels a value stands as it came.
    let deep = |inside: &str| format!("{}{inside}{}", "[".repeat(16), "]".repeat(16));
    let body = format!(r#"{{"model":"m","input":[{}]}}"#, json!({ "x": 1 }));
    check(
        ApiKind::Responses,
        &body,
        Form::Text,
        &[r#"[{"input":[{"x":1}]}]"#],
    );
    let body = format!(
        r#"{{"model":"m","instructions":"i","tools":{},"input":"x"}}"#,
        deep(r#"{"b": 1, "a": 2}"#)
    );
    let expected = format!(
        r#"[{{"instructions":"i"}},{{"tools":{}}},{{"input":"x"}}]"#,
        deep(r#"{"b": 1, "a": 2}"#)
    );
    check(ApiKind::Responses, &body, Form::Text, &[&expected]);
}

/// The words that stand for a part: the length of the prompt before it, then one word so many times.
#[track_caller]
fn check_part(part: Value, hashed: &str, words: usize) {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": [
        {"type": "text", "text": "see"}, part, {"type": "text", "text": "end"},
    ]}]});
    let prompts = walked(ApiKind::ChatCompletions, &body.to_string(), Form::Text);
    let word = xxhash_rust::xxh64::xxh64(hashed.as_bytes(), 0) as u32;
    let mut expected = b"usersee\0".to_vec();
    (0..words).for_each(|_| expected.extend(word.to_le_bytes()));
    expected.extend(b"end");
    assert_eq!(prompts, [expected]);
}

#[test]
fn parts_that_are_no_text_stand_as_their_hash() {
    let image = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
    check_part(image("http://x/a.png?b&c"), "http://x/a.png?b&c", 225);
    // A PNG of 64 by 48 pixels, from its header alone.
    let png = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAEAAAAAwCAYAAAC07w7bAAAA";
    check_part(image(png), png, 3);
    let tiny = "data:image/gif;base64,R0lGODlhAQABAAAAACw=";
    check_part(image(tiny), tiny, 1);
    let broken = "data:image/png;base64,AAAA";
    check_part(image(broken), broken, 225);
    check_part(json!({"type": "image_url"}), "", 225);
    check_part(
        json!({"type": "video_url", "video_url": {"url": "v"}}),
        "v",
        4500,
    );
    check_part(
        json!({"type": "audio_url", "audio_url": {"url": "s"}}),
        "s",
        139,
    );
    let audio =
        |data: &str| json!({"type": "input_audio", "input_audio": {"data": data, "format": "mp3"}});
    check_part(audio(""), "mp3", 139);
    // 48,000 bytes are three seconds.
    let data = "A".repeat(64_000);
    check_part(audio(&data), &format!("{data}mp3"), 14 + 37);
}

#[test]
fn a_chat_says_whether_there_is_more_than_text_in_it() {
    for (content, expected) in [
        (json!("image_url"), false),
        (json!([{"type": "text", "text": "image_url"}]), false),
        (
            json!([{"type": "image_url", "image_url": {"url": "http://x/a.png"}}]),
            true,
        ),
        (
            json!([{"type": "text", "text": "a"}, {"type": "video_url", "video_url": {"url": "v"}}]),
            true,
        ),
        (
            json!([{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]),
            true,
        ),
    ] {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": content}]});
        let body = body.to_string();
        let frames = [body.as_bytes()];
        let facts = read(ApiKind::ChatCompletions, &frames).unwrap();
        assert_eq!(facts.prompt_view(&frames).multimodal(), expected, "{body}");
    }
    let frames = [br#"{"model":"m","prompt":"image_url"}"#.as_slice()];
    let facts = read(ApiKind::Completions, &frames).unwrap();
    assert!(!facts.prompt_view(&frames).multimodal());
}

#[test]
fn a_walk_may_be_broken_off_and_reads_no_further() {
    let body = format!(
        r#"{{"model":"m","messages":[{{"role":"user","content":"{}"}}]}}"#,
        "long \\n".repeat(10_000)
    );
    let frames: Vec<&[u8]> = body.as_bytes().chunks(1000).collect();
    let facts = read(ApiKind::ChatCompletions, &frames).unwrap();
    for form in [Form::Json, Form::Text] {
        let mut pieces = 0;
        facts.prompt_view(&frames).walk(form, &mut |_| {
            pieces += 1;
            if pieces == 3 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        assert_eq!(pieces, 3);
    }
    let mut hashes = PromptHashes::default();
    let scheme = Scheme::Bytes {
        block: 64,
        max_blocks: 10,
    };
    hashes.compute(scheme, &facts.model, "", &facts.prompt_view(&frames));
    assert_eq!(hashes.len(), 10);
    assert_eq!(
        format!("{:?}", facts.prompt_view(&frames)),
        "BodyPrompt(..)"
    );
}

/// Text with the characters that matter, and how a client may escape it.
fn texts() -> impl Strategy<Value = (String, Vec<bool>)> {
    let character = prop_oneof![
        4 => prop::char::range('a', 'z'),
        3 => prop::sample::select(vec!['<', '>', '&', '"', '\\', '\n', '\u{1}', '\u{7f}', '\u{2028}', '\u{2029}',
            '\u{2027}', '\u{20ac}', '漢', '😀', '/']),
        1 => any::<char>(),
    ];
    (
        prop::collection::vec(character, 0..60).prop_map(String::from_iter),
        prop::collection::vec(prop::bool::weighted(0.3), 60),
    )
}

fn written((text, escape): &(String, Vec<bool>)) -> String {
    let mut out = String::from("\"");
    for (character, &escape) in text.chars().zip(escape) {
        if escape {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04X}"));
            }
        } else {
            let quoted = serde_json::to_string(&character).unwrap();
            out.push_str(&quoted[1..quoted.len() - 1]);
        }
    }
    out.push('"');
    out
}

/// Any JSON value whose numbers Go writes as they stand.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-c<\"\u{e9}\u{2028}]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[a-c<\n]{0,3}", inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// A value as Go writes it.
fn go_value(value: &Value) -> String {
    match value {
        Value::String(text) => go(text),
        Value::Array(list) => {
            let list: Vec<String> = list.iter().map(go_value).collect();
            format!("[{}]", list.join(","))
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(key, _)| *key);
            let members = members.into_iter();
            let members: Vec<String> = members
                .map(|(key, value)| format!("{}:{}", go(key), go_value(value)))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        other => other.to_string(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_tool_is_written_as_go_would(tool in values(), indent: bool) {
        let written = if indent { serde_json::to_string_pretty(&tool) } else { serde_json::to_string(&tool) };
        let body = format!(r#"{{"model":"m","tools":[{}],"messages":[{{"role":"u"}}]}}"#, written.unwrap());
        let expected = format!("[{}]u", go_value(&tool));
        check(ApiKind::ChatCompletions, &body, Form::Text, &[&expected]);
    }

    #[test]
    fn no_shape_of_a_message_stops_a_walk(
        role in values(),
        content in prop::collection::vec((prop::sample::select(vec!["text", "image_url", "video_url", "audio_url",
            "input_audio", "other"]), values()), 0..4),
    ) {
        let parts: Vec<Value> = content
            .into_iter()
            .map(|(kind, value)| json!({"type": kind, kind: value}))
            .collect();
        let body = json!({"model": "m", "messages": [{"role": role, "content": parts}]}).to_string();
        for form in [Form::Json, Form::Text] {
            let prompts = walked(ApiKind::ChatCompletions, &body, form);
            prop_assert_eq!(prompts.len(), 1);
            if form == Form::Json {
                prop_assert!(serde_json::from_slice::<Value>(&prompts[0]).is_ok());
            }
        }
    }

    #[test]
    fn any_chat_reads_as_go_would_write_it(messages in prop::collection::vec((texts(), texts()), 1..4)) {
        let list: Vec<String> = messages
            .iter()
            .map(|(role, content)| format!(r#"{{"role": {},"content":{} }}"#, written(role), written(content)))
            .collect();
        let body = format!(r#"{{"model":"m","messages":[{}]}}"#, list.join(" ,"));
        let json: Vec<String> = messages
            .iter()
            .map(|((role, _), (content, _))| match role.as_str() {
                "" => format!(r#"{{"content":{}}}"#, go(content)),
                role => format!(r#"{{"role":{},"content":{}}}"#, go(role), go(content)),
            })
            .collect();
        check(ApiKind::ChatCompletions, &body, Form::Json, &[&format!("[{}]", json.join(","))]);
        let text: String = messages.iter().map(|(role, content)| format!("{}{}", role.0, content.0)).collect();
        check(ApiKind::ChatCompletions, &body, Form::Text, &[&text]);
    }
}
