//! An answer as bytes: one JSON document, or the events of a stream.

use bytes::Bytes;
use serde_json::Value;

use crate::server::ask::{Api, Ask};

/// How many tokens a request cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Length of the prompt.
    pub prompt: u32,
    /// Tokens generated so far.
    pub completion: u32,
    /// Prompt tokens reused.
    pub cached: u32,
}

impl Usage {
    /// The usage object.
    pub fn json(&self) -> String {
        format!(
            r#"{{"prompt_tokens":{},"total_tokens":{},"completion_tokens":{},"prompt_tokens_details":{{"cached_tokens":{}}}}}"#,
            self.prompt,
            self.prompt + self.completion,
            self.completion,
            self.cached,
        )
    }
}

/// What one choice says.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// Text.
    Text(String),
    /// A list of tool calls.
    Calls(Value),
}

impl Said {
    /// Its text; calls have none.
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Calls(_) => "",
        }
    }
}

/// Everything about an answer that is known before its first token.
#[derive(Clone, Debug)]
pub struct Answer {
    api: Api,
    /// Each document up to its choices; whole answers and events differ in their object.
    document_head: String,
    event_head: String,
    /// A usage field stands in every event.
    usage_field: bool,
    /// That field holds the usage so far, not null.
    continuous: bool,
}

impl Answer {
    /// The answer to `ask` under this id and model name.
    pub fn new(ask: &Ask, id: &str, model: &str, created: u64) -> Self {
        let (document, event) = match ask.api {
            Api::Completions => ("text_completion", "text_completion"),
            Api::Chat => ("chat.completion", "chat.completion.chunk"),
        };
        let (id, model) = (quoted(id), quoted(model));
        let head = |object: &str| {
            format!(
                r#"{{"id":{id},"object":"{object}","created":{created},"model":{model},"choices":["#
            )
        };
        Self {
            api: ask.api,
            document_head: head(document),
            event_head: format!("data: {}", head(event)),
            usage_field: ask.include_usage,
            continuous: ask.include_usage && ask.continuous_usage,
        }
    }

    /// The whole answer: what each choice says and why it ended.
    pub fn document(
        &self,
        choices: &[(Said, &str)],
        usage: Usage,
        kv_transfer: Option<&Value>,
    ) -> String {
        let mut out = self.document_head.clone();
        for (index, (said, reason)) in choices.iter().enumerate() {
            let content = match (self.api, said) {
                (Api::Completions, said) => format!(r#""text":{}"#, quoted(said.text())),
                (Api::Chat, Said::Text(text)) => format!(
                    r#""message":{{"role":"assistant","content":{}}}"#,
                    quoted(text)
                ),
                (Api::Chat, Said::Calls(calls)) => format!(
                    r#""message":{{"role":"assistant","content":null,"tool_calls":{calls}}}"#
                ),
            };
            let comma = if index > 0 { "," } else { "" };
            out.push_str(&format!(
                r#"{comma}{{"index":{index},{content},"logprobs":null,"finish_reason":"{reason}","stop_reason":null}}"#
            ));
        }
        let params = kv_transfer.map_or_else(String::new, |params| {
            format!(r#","kv_transfer_params":{params}"#)
        });
        out.push_str(&format!(r#"],"usage":{}{params}}}"#, usage.json()));
        out
    }

    /// The event that opens a chat's choice; completions have none.
    pub fn opening(&self, index: usize, usage: Usage) -> Option<Bytes> {
        let delta = r#""delta":{"role":"assistant","content":""}"#;
        (self.api == Api::Chat).then(|| self.event(index, delta, None, usage))
    }

    /// The event of one token.
    pub fn token(&self, index: usize, text: &str, usage: Usage) -> Bytes {
        let text = quoted(text);
        let content = match self.api {
            Api::Completions => format!(r#""text":{text}"#),
            Api::Chat => format!(r#""delta":{{"content":{text}}}"#),
        };
        self.event(index, &content, None, usage)
    }

    /// The event of one token of a chat that says something else than text.
    pub fn delta(&self, index: usize, delta: &str, usage: Usage) -> Bytes {
        self.event(index, &format!(r#""delta":{delta}"#), None, usage)
    }

    /// The event that ends a choice.
    pub fn ending(&self, index: usize, reason: &str, usage: Usage) -> Bytes {
        let content = match self.api {
            Api::Completions => r#""text":"""#,
            Api::Chat => r#""delta":{}"#,
        };
        self.event(index, content, Some(reason), usage)
    }

    /// The events that end a stream.
    pub fn closing(&self, usage: Usage) -> Vec<Bytes> {
        let mut events = Vec::new();
        if self.usage_field {
            events.push(Bytes::from(format!(
                "{}],\"usage\":{}}}\n\n",
                self.event_head,
                usage.json()
            )));
        }
        events.push(Bytes::from_static(b"data: [DONE]\n\n"));
        events
    }

    fn event(&self, index: usize, content: &str, reason: Option<&str>, usage: Usage) -> Bytes {
        let reason = reason.map_or_else(|| "null".to_owned(), |reason| format!("\"{reason}\""));
        let usage = match (self.usage_field, self.continuous) {
            (false, _) => String::new(),
            (true, false) => r#","usage":null"#.to_owned(),
            (true, true) => format!(r#","usage":{}"#, usage.json()),
        };
        let head = &self.event_head;
        Bytes::from(format!(
            "{head}{{\"index\":{index},{content},\"logprobs\":null,\"finish_reason\":{reason}}}]{usage}}}\n\n"
        ))
    }
}

/// A text as a JSON string.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(api: Api, body: &str) -> Answer {
        let ask = Ask::read(api, body.as_bytes()).unwrap();
        Answer::new(&ask, "cmpl-1", "m", 7)
    }

    fn parse(event: &Bytes) -> Value {
        let text = std::str::from_utf8(event).unwrap();
        serde_json::from_str(
            text.strip_prefix("data: ")
                .unwrap()
                .strip_suffix("\n\n")
                .unwrap(),
        )
        .unwrap()
    }

    const USAGE: Usage = Usage {
        prompt: 3,
        completion: 2,
        cached: 1,
    };

    #[test]
    fn a_document_has_the_shape_clients_know() {
        let said = |text: &str| Said::Text(text.to_owned());
        let choices = [(said("x\""), "length"), (said("y"), "stop")];
        let document =
            answer(Api::Completions, r#"{"prompt":"a b c"}"#).document(&choices, USAGE, None);
        let value: Value = serde_json::from_str(&document).unwrap();
        assert_eq!(value["object"], "text_completion");
        assert_eq!(value["choices"][0]["text"], "x\"");
        assert_eq!(value["choices"][1]["index"], 1);
        assert_eq!(value["usage"]["total_tokens"], 5);
        assert_eq!(value["usage"]["prompt_tokens_details"]["cached_tokens"], 1);
        assert!(value.get("kv_transfer_params").is_none());
    }

    #[test]
    fn a_stream_without_usage_has_no_usage_field() {
        let chat = answer(
            Api::Chat,
            r#"{"messages":[{"role":"user","content":"a"}],"stream":true}"#,
        );
        assert_eq!(
            parse(&chat.opening(0, USAGE).unwrap())["choices"][0]["delta"]["role"],
            "assistant"
        );
        let token = parse(&chat.token(1, "hi ", USAGE));
        assert_eq!(token["choices"][0]["delta"]["content"], "hi ");
        assert_eq!(token["choices"][0]["finish_reason"], Value::Null);
        assert!(token.get("usage").is_none());
        assert_eq!(token["choices"][0]["index"], 1);
        let ending = parse(&chat.ending(0, "stop", USAGE));
        assert_eq!(ending["choices"][0]["finish_reason"], "stop");
        assert_eq!(chat.closing(USAGE).len(), 1);
    }

    #[test]
    fn a_stream_with_usage_says_null_and_then_the_sum() {
        let body = r#"{"prompt":"a","stream":true,"stream_options":{"include_usage":true}}"#;
        let stream = answer(Api::Completions, body);
        assert!(stream.opening(0, USAGE).is_none());
        assert_eq!(
            parse(&stream.token(0, "x", USAGE)).get("usage"),
            Some(&Value::Null)
        );
        let closing = stream.closing(USAGE);
        assert_eq!(parse(&closing[0])["choices"], json!([]));
        assert_eq!(parse(&closing[0])["usage"]["completion_tokens"], 2);
        let body = r#"{"prompt":"a","stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true}}"#;
        assert_eq!(
            parse(&answer(Api::Completions, body).token(0, "x", USAGE))["usage"]["prompt_tokens"],
            3
        );
    }
}
