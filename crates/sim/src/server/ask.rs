//! A request body read: what the engine needs of it and how the answer is to look.
//!
//! Accepted and without effect: sampling parameters, stop sequences, logprobs. Refused with 400: what vLLM
//! refuses (wrong types, `max_tokens` below 1, no messages), and more than [`MOST_CHOICES`] choices.

use pointsman_wire::json::scanner::Scanner;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::server::api_error::ApiError;
use crate::server::tokens::{tokenize, tokenize_message, tokenize_turn};
use crate::server::tools::{self, Wanted};

/// Most choices in one answer: a body is small, what it asks for must not be boundless.
pub const MOST_CHOICES: usize = 256;

/// Which of the two generation APIs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Api {
    /// `/v1/completions`.
    Completions,
    /// `/v1/chat/completions`.
    Chat,
}

/// A request that was understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// Which API.
    pub api: Api,
    /// The model, if one was named.
    pub model: Option<String>,
    /// What is to be continued: at least one, more only for completions.
    pub prompts: Vec<Asked>,
    /// Choices for each of them.
    pub n: usize,
    /// The tool calls that the answer has to be.
    pub wanted: Option<Wanted>,
    /// Whether the answer begins with the prompt (completions only).
    pub echo: bool,
    /// `max_completion_tokens` or `max_tokens`.
    pub max_tokens: Option<u32>,
    /// Generate up to the limit.
    pub ignore_eos: bool,
    /// Answer as events.
    pub stream: bool,
    /// A last event with the usage.
    pub include_usage: bool,
    /// The usage in every event.
    pub continuous_usage: bool,
    /// The fields of the prefill/decode protocol.
    pub kv_transfer: Option<Map<String, Value>>,
    /// The room in which an sglang pair meets.
    pub bootstrap_room: Option<u64>,
}

/// One prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The prompt as tokens.
    pub tokens: Vec<u32>,
    /// The prompt, or the last message, as text; empty for a prompt of tokens.
    pub text: String,
}

#[derive(Deserialize)]
struct Written {
    model: Option<String>,
    prompt: Option<Prompt>,
    messages: Option<Vec<Message>>,
    max_tokens: Option<i64>,
    max_completion_tokens: Option<i64>,
    n: Option<i64>,
    echo: Option<bool>,
    ignore_eos: Option<bool>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    kv_transfer_params: Option<Map<String, Value>>,
    bootstrap_room: Option<u64>,
    tools: Option<Vec<Value>>,
    tool_choice: Option<Value>,
    parallel_tool_calls: Option<bool>,
}

#[derive(Deserialize, Default)]
struct StreamOptions {
    include_usage: Option<bool>,
    continuous_usage_stats: Option<bool>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "prompt: must be a string, a list of token ids, or a list with one of these"
)]
enum Prompt {
    Text(String),
    Tokens(Vec<u32>),
    Texts(Vec<String>),
    TokenLists(Vec<Vec<u32>>),
}

#[derive(Deserialize)]
struct Message {
    role: String,
    content: Option<Content>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "messages: content must be a string or a list of parts"
)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    text: Option<String>,
}

impl Content {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            // Pictures and sounds have no text: they cost nothing here.
            Self::Parts(parts) => parts
                .iter()
                .filter_map(|part| part.text.as_deref())
                .collect::<Vec<_>>()
                .join("\n"),
        }
    }
}

impl Ask {
    /// Reads a request body.
    pub fn read(api: Api, body: &[u8]) -> Result<Self, ApiError> {
        let unreadable = |fault: &dyn std::fmt::Display| {
            ApiError::bad_request(format!("the body cannot be read: {fault}"))
        };
        // The scanner bounds the depth (128 levels pass), so the parser behind it need not: its own bound is one lower.
        Scanner::new(&[body])
            .skip_value()
            .map_err(|fault| unreadable(&fault))?;
        let mut parser = serde_json::Deserializer::from_slice(body);
        parser.disable_recursion_limit();
        // By way of a value, because there the last of two equal keys counts, as in vLLM.
        let written: Written = Value::deserialize(&mut parser)
            .and_then(|value| parser.end().map(|()| value))
            .and_then(serde_json::from_value)
            .map_err(|fault| unreadable(&fault))?;
        let n = usize::try_from(written.n.unwrap_or(1)).unwrap_or(0);
        if n < 1 {
            return Err(ApiError::field("n", "n must be at least 1"));
        }
        if written.temperature.is_some_and(|t| t < 0.0) {
            return Err(ApiError::field(
                "temperature",
                "temperature must be non-negative",
            ));
        }
        if written.top_p.is_some_and(|p| p <= 0.0 || p > 1.0) {
            return Err(ApiError::field("top_p", "top_p must be in (0, 1]"));
        }
        let stream = written.stream.unwrap_or(false);
        if !stream && written.stream_options.is_some() {
            return Err(ApiError::field(
                "stream_options",
                "stream_options needs stream to be true",
            ));
        }
        let options = written.stream_options.unwrap_or_default();
        let limit = match api {
            Api::Chat => written.max_completion_tokens.or(written.max_tokens),
            Api::Completions => written.max_tokens,
        };
        let max_tokens = limit
            .map(|n| u32::try_from(n).ok().filter(|&n| n > 0))
            .map(|n| {
                n.ok_or_else(|| ApiError::field("max_tokens", "max_tokens must be at least 1"))
            })
            .transpose()?;
        let (prompts, wanted) = match api {
            Api::Completions => (read_prompts(written.prompt)?, None),
            Api::Chat => {
                let (tools, choice) = (written.tools.as_deref(), written.tool_choice.as_ref());
                let wanted = tools::read(tools, choice, written.parallel_tool_calls)?;
                (vec![read_messages(written.messages)?], wanted)
            }
        };
        if prompts.len().saturating_mul(n) > MOST_CHOICES {
            return Err(ApiError::field(
                "n",
                format!("at most {MOST_CHOICES} choices fit into one answer"),
            ));
        }
        Ok(Self {
            api,
            model: written.model,
            prompts,
            n,
            wanted,
            echo: api == Api::Completions && written.echo.unwrap_or(false),
            max_tokens,
            ignore_eos: written.ignore_eos.unwrap_or(false),
            stream,
            include_usage: options.include_usage.unwrap_or(false),
            continuous_usage: options.continuous_usage_stats.unwrap_or(false),
            kv_transfer: written.kv_transfer_params,
            bootstrap_room: written.bootstrap_room,
        })
    }

    /// Whether a field of the prefill/decode protocol is set.
    pub fn transfer_flag(&self, field: &str) -> bool {
        self.kv_transfer
            .as_ref()
            .is_some_and(|map| map.get(field).and_then(Value::as_bool).unwrap_or(false))
    }
}

fn read_prompts(prompt: Option<Prompt>) -> Result<Vec<Asked>, ApiError> {
    let of_text = |text: String| {
        let mut tokens = Vec::new();
        tokenize(&text, &mut tokens);
        Asked { tokens, text }
    };
    let of_tokens = |tokens| Asked {
        tokens,
        text: String::new(),
    };
    let prompts: Vec<Asked> =
        match prompt.ok_or_else(|| ApiError::field("prompt", "prompt is missing"))? {
            Prompt::Text(text) => vec![of_text(text)],
            Prompt::Tokens(tokens) => vec![of_tokens(tokens)],
            Prompt::Texts(texts) => texts.into_iter().map(of_text).collect(),
            Prompt::TokenLists(lists) => lists.into_iter().map(of_tokens).collect(),
        };
    if prompts.is_empty() || prompts.iter().any(|prompt| prompt.tokens.is_empty()) {
        return Err(ApiError::field("prompt", "prompt must not be empty"));
    }
    Ok(prompts)
}

fn read_messages(messages: Option<Vec<Message>>) -> Result<Asked, ApiError> {
    let messages = messages.ok_or_else(|| ApiError::field("messages", "messages is missing"))?;
    if messages.is_empty() {
        return Err(ApiError::field("messages", "messages must not be empty"));
    }
    let mut tokens = Vec::new();
    let mut last = String::new();
    for message in &messages {
        last = message
            .content
            .as_ref()
            .map(Content::text)
            .unwrap_or_default();
        tokenize_message(&message.role, &last, &mut tokens);
    }
    tokenize_turn(&mut tokens);
    Ok(Asked { tokens, text: last })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(api: Api, body: &str, param: Option<&str>, part: &str) {
        let error = Ask::read(api, body.as_bytes()).unwrap_err();
        assert_eq!(
            (error.status.as_u16(), error.param),
            (400, param),
            "{}",
            error.message
        );
        assert!(error.message.contains(part), "{}", error.message);
    }

    #[test]
    fn a_chat_is_read_with_text_and_with_parts() {
        let plain =
            br#"{"model":"m","messages":[{"role":"user","content":"Hello there"}],"max_tokens":8}"#;
        let parts = br#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"Hello there"}]}],"max_tokens":8}"#;
        let (plain, parts) = (
            Ask::read(Api::Chat, plain).unwrap(),
            Ask::read(Api::Chat, parts).unwrap(),
        );
        assert_eq!(plain, parts);
        assert_eq!(
            (
                plain.max_tokens,
                plain.prompts[0].text.as_str(),
                plain.prompts[0].tokens.len()
            ),
            (Some(8), "Hello there", 7)
        );
    }

    #[test]
    fn prompts_may_be_text_or_tokens() {
        let read = |prompt: &str| {
            Ask::read(
                Api::Completions,
                format!(r#"{{"prompt":{prompt}}}"#).as_bytes(),
            )
        };
        let first = |prompt: &str| read(prompt).unwrap().prompts[0].tokens.clone();
        assert_eq!(first(r#""a b c""#).len(), 3);
        assert_eq!(first("[1,2,3]"), [1, 2, 3]);
        assert_eq!(first(r#"["a b"]"#).len(), 2);
        assert_eq!(first("[[4,5]]"), [4, 5]);
        assert_eq!(read(r#"["a","b"]"#).unwrap().prompts.len(), 2);
        assert_eq!(read("[[4,5],[6]]").unwrap().prompts[1].tokens, [6]);
        for empty in [r#""""#, r#"["a",""]"#, "[[4],[]]"] {
            assert!(read(empty).is_err(), "{empty}");
        }
        assert!(Ask::read(Api::Completions, b"{}").is_err());
    }

    #[test]
    fn faults_name_the_field() {
        refused(Api::Chat, "", None, "the body cannot be read");
        refused(Api::Chat, r#"{"messages":["#, None, "at byte 13");
        refused(Api::Chat, r#"{"model":"m"}"#, Some("messages"), "missing");
        refused(Api::Chat, r#"{"messages":[]}"#, Some("messages"), "empty");
        refused(Api::Chat, r#"{"messages":"hi"}"#, None, "invalid type");
        refused(
            Api::Chat,
            r#"{"messages":[{"role":"user","content":7}]}"#,
            None,
            "content must be",
        );
        refused(
            Api::Completions,
            r#"{"prompt":"a","max_tokens":0}"#,
            Some("max_tokens"),
            "at least 1",
        );
        refused(
            Api::Completions,
            r#"{"prompt":"a","max_tokens":-3}"#,
            Some("max_tokens"),
            "at least 1",
        );
        refused(
            Api::Completions,
            r#"{"prompt":"a","max_tokens":"8"}"#,
            None,
            "invalid type",
        );
        refused(
            Api::Completions,
            r#"{"prompt":["a","b"],"n":129}"#,
            Some("n"),
            "at most 256",
        );
        refused(
            Api::Completions,
            r#"{"prompt":"a","n":0}"#,
            Some("n"),
            "at least 1",
        );
        refused(
            Api::Completions,
            r#"{"prompt":"a","temperature":-1}"#,
            Some("temperature"),
            "non-negative",
        );
        refused(
            Api::Completions,
            r#"{"prompt":"a","stream_options":{}}"#,
            Some("stream_options"),
            "stream",
        );
    }

    #[test]
    fn the_last_of_two_equal_keys_counts() {
        let ask = Ask::read(
            Api::Completions,
            br#"{"prompt":"a","max_tokens":9,"max_tokens":1}"#,
        )
        .unwrap();
        assert_eq!(ask.max_tokens, Some(1));
    }

    #[test]
    fn block_ids_of_a_transfer_may_be_numbers() {
        let body = br#"{"prompt":"a","kv_transfer_params":{"do_remote_prefill":true,"remote_block_ids":[1,2,3]}}"#;
        let ask = Ask::read(Api::Completions, body).unwrap();
        assert!(ask.transfer_flag("do_remote_prefill") && !ask.transfer_flag("do_remote_decode"));
    }
}
