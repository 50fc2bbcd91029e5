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

    /// The whole answer.
    pub fn document(
        &self,
        text: &str,
        reason: &str,
        usage: Usage,
        kv_transfer: Option<&Value>,
    ) -> String {
        let text = quoted(text);
        let content = match self.api {
            Api::Completions => format!(r#""text":{text}"#),
            Api::Chat => format!(r#""message":{{"role":"assistant","content":{text}}}"#),
        };
        let params = kv_transfer.map_or_else(String::new, |params| {
            format!(r#","kv_transfer_params":{params}"#)
        });
        format!(
            r#"{}{{"index":0,{content},"logprobs":null,"finish_reason":"{reason}","stop_reason":null}}],"usage":{}{params}}}"#,
            self.document_head,
            usage.json(),
        )
    }

    /// The event that opens a chat; completions have none.
    pub fn opening(&self, usage: Usage) -> Option<Bytes> {
        (self.api == Api::Chat)
            .then(|| self.event(r#""delta":{"role":"assistant","content":""}"#, None, usage))
    }

    /// The event of one token.
    pub fn token(&self, text: &str, usage: Usage) -> Bytes {
        let text = quoted(text);
        match self.api {
            Api::Completions => self.event(&format!(r#""text":{text}"#), None, usage),
            Api::Chat => self.event(&format!(r#""delta":{{"content":{text}}}"#), None, usage),
        }
    }

    /// The events that end a stream.
    pub fn closing(&self, reason: &str, usage: Usage) -> Vec<Bytes> {
        let content = match self.api {
            Api::Completions => r#""text":"""#,
            Api::Chat => r#""delta":{}"#,
        };
        let mut events = vec![self.event(content, Some(reason), usage)];
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

    fn event(&self, content: &str, reason: Option<&str>, usage: Usage) -> Bytes {
        let reason = reason.map_or_else(|| "null".to_owned(), |reason| format!("\"{reason}\""));
        let usage = match (self.usage_field, self.continuous) {
            (false, _) => String::new(),
            (true, false) => r#","usage":null"#.to_owned(),
            (true, true) => format!(r#","usage":{}"#, usage.json()),
        };
        let head = &self.event_head;
        Bytes::from(format!(
            "{head}{{\"index\":0,{content},\"logprobs\":null,\"finish_reason\":{reason}}}]{usage}}}\n\n"
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
        let document = answer(Api::Completions, r#"{"prompt":"a b c"}"#)
            .document("x\"", "length", USAGE, None);
        let value: Value = serde_json::from_str(&document).unwrap();
        assert_eq!(value["object"], "text_completion");
        assert_eq!(value["choices"][0]["text"], "x\"");
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
            parse(&chat.opening(USAGE).unwrap())["choices"][0]["delta"]["role"],
            "assistant"
        );
        let token = parse(&chat.token("hi ", USAGE));
        assert_eq!(token["choices"][0]["delta"]["content"], "hi ");
        assert_eq!(token["choices"][0]["finish_reason"], Value::Null);
        assert!(token.get("usage").is_none());
        let closing = chat.closing("stop", USAGE);
        assert_eq!(closing.len(), 2);
        assert_eq!(parse(&closing[0])["choices"][0]["finish_reason"], "stop");
    }

    #[test]
    fn a_stream_with_usage_says_null_and_then_the_sum() {
        let body = r#"{"prompt":"a","stream":true,"stream_options":{"include_usage":true}}"#;
        let stream = answer(Api::Completions, body);
        assert!(stream.opening(USAGE).is_none());
        assert_eq!(
            parse(&stream.token("x", USAGE)).get("usage"),
            Some(&Value::Null)
        );
        let closing = stream.closing("length", USAGE);
        assert_eq!(parse(&closing[1])["choices"], json!([]));
        assert_eq!(parse(&closing[1])["usage"]["completion_tokens"], 2);
        let body = r#"{"prompt":"a","stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true}}"#;
        assert_eq!(
            parse(&answer(Api::Completions, body).token("x", USAGE))["usage"]["prompt_tokens"],
            3
        );
    }
}
