//! Bodies and answers that are not what they should be: refused with the reason, or passed on untouched.

use crate::rig::{LEAST_BUSY, Rig, destination};
use crate::tongue::{answered, asked, post, reply};

const ONE: &[&str] = &["10.0.0.1:8000"];
const BODY: &str = r#"{"model":"m","prompt":"p"}"#;

/// A chat whose metadata is nested so that the whole has this many levels.
fn nested(levels: usize) -> String {
    let deep = levels - 1;
    format!(
        r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],"metadata":{}{}}}"#,
        "[".repeat(deep),
        "]".repeat(deep)
    )
}

#[test]
fn e5_bodies_that_are_no_request_are_400_and_what_is_only_odd_passes_unchanged() {
    let rig = Rig::new(ONE, LEAST_BUSY);
    let refused = [
        "",
        " ",
        "{",
        "[]",
        "null",
        "7",
        "\"m\"",
        "{}x",
        "{\"model\":\"m\"",
        "\u{0}",
        r#"{"model":"m"}"#,
        r#"{"model":"m","messages":"x"}"#,
        r#"{"model":"m","messages":[]}"#,
        r#"{"model":5,"messages":[{"role":"user","content":"x"}]}"#,
        r#"{"model":null,"messages":[{"role":"user","content":"x"}]}"#,
        r#"{"messages":[{"role":"user","content":"x"}]}"#,
        r#"{"model":"m","messages":[{"role":"user","content":"x"}],}"#,
        r#"{"model":"m","messages":[{"role":"user","content":"\uZZZZ"}]}"#,
    ];
    let refused = refused.map(str::to_owned).into_iter();
    for body in refused.chain([nested(129), nested(100_000)]) {
        let mut talk = rig.talk();
        talk.say(post("/v1/chat/completions", "bad", &[]));
        let lines = talk.say(asked(body.clone(), true));
        let shown = &body[..body.len().min(60)];
        assert!(lines[0].starts_with("immediate 400 "), "{shown}: {lines:?}");
        assert_eq!(lines.len(), 1, "{shown}");
    }
    let passed = [
        nested(128),
        // Of two the last counts, as in Go.
        r#"{"model":"first","model":"m","messages":[{"role":"user","content":"x"}]}"#.to_owned(),
        r#"{"model":"m","messages":[{"role":"user","content":"x"}],"n":1e400,"x":-0.0}"#.to_owned(),
        r#"{"model":"m","messages":[{"role":"user","content":[1,null,{"type":"odd"}]}]}"#
            .to_owned(),
        format!(
            "\r\n\t{}  ",
            r#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#
        ),
    ];
    for body in passed {
        let mut talk = rig.talk();
        talk.say(post("/v1/chat/completions", "odd", &[]));
        let lines = talk.say(asked(body.clone(), true));
        destination(&lines);
        let whole = format!("request_body body={body} end");
        let long = format!("request_body body=({}) end", body.len());
        assert!(lines[1] == whole || lines[1] == long, "{lines:?}");
        assert_eq!(rig.router.find("odd").unwrap().meta.model, "m", "{body}");
        talk.say(answered("200", &[], true));
    }
    assert_eq!(rig.in_flight(), [0]);
}

#[test]
fn e6_a_usage_that_cannot_be_is_passed_on_and_not_counted() {
    let tokens = |text: &str, kind: &str| {
        let rig = Rig::new(ONE, LEAST_BUSY);
        let mut talk = rig.talk();
        talk.say(post("/v1/completions", "usage", &[]));
        talk.say(asked(BODY, true));
        talk.say(answered("200", &[("content-type", kind)], false));
        let lines = talk.say(reply(text.to_owned(), true));
        assert_eq!(lines, [format!("response_body body={text} end")]);
        assert_eq!(rig.in_flight(), [0]);
        let outcome = rig.router.find("usage").unwrap().outcome.unwrap();
        outcome.usage.map(|usage| usage.completion_tokens)
    };
    let good = r#"{"prompt_tokens":7,"completion_tokens":3}"#;
    for usage in [
        "null",
        "\"many\"",
        "[]",
        "7",
        "{}",
        r#"{"prompt_tokens":"7","completion_tokens":3}"#,
        r#"{"prompt_tokens":-7,"completion_tokens":3}"#,
        r#"{"prompt_tokens":7,"completion_tokens":-3}"#,
        r#"{"prompt_tokens":7,"completion_tokens":1e30}"#,
        r#"{"prompt_tokens":7.5,"completion_tokens":3}"#,
        r#"{"prompt_tokens":null,"completion_tokens":3}"#,
        r#"{"prompt_tokens":{"a":1},"completion_tokens":3}"#,
    ] {
        assert_eq!(
            tokens(&format!("{{\"usage\":{usage}}}"), "application/json"),
            None,
            "{usage}"
        );
        let event = format!("data: {{\"usage\":{usage}}}\n\ndata: [DONE]\n\n");
        assert_eq!(tokens(&event, "text/event-stream"), None, "{usage}");
    }
    assert_eq!(
        tokens(&format!("{{\"usage\":{good}}}"), "application/json"),
        Some(3)
    );
    // What is no answer at all goes on as it is.
    for text in [
        "",
        "<html>",
        "{\"usage\":",
        "data: {\"usage\":{\"prompt",
        "\u{0}",
    ] {
        assert_eq!(tokens(text, "text/event-stream"), None);
        assert_eq!(tokens(text, "application/json"), None);
    }
}
