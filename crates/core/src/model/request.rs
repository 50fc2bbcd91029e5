//! A request as scheduling sees it: sizes and names, borrowed from the door that received it.

use crate::model::headers::Headers;
use crate::model::prompt::Prompt;

/// What a decision may depend on. Everything is borrowed; nothing of the prompt is copied.
#[derive(Clone, Copy, Debug, Default)]
pub struct InferenceRequest<'a> {
    /// The request id (client's `x-request-id` or a generated UUID).
    pub id: &'a str,
    /// The model that the engine is asked for; empty when the request names none.
    pub model: &'a str,
    /// The model that the client wrote, where that is another one; else empty.
    pub asked_model: &'a str,
    /// The prompt itself, where the door has looked into the body.
    pub prompt: Option<Prompt<'a>>,
    /// What separates this client's cached prefixes from others'; empty where nothing does.
    pub cache_salt: &'a str,
    /// Size of the prompt (or of the messages) in bytes.
    pub prompt_bytes: usize,
    /// The client's bound on output tokens, if it gave one.
    pub max_output_tokens: Option<u32>,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// The client's headers, without those that only parts of the fleet may set.
    pub headers: Headers<'a>,
    /// Whether the request is wanted only where part of its prompt is cached.
    pub only_cached: bool,
    /// The priority of its objective; below 0 it may be refused where others are not.
    pub priority: i64,
    /// Who sent it, as far as fairness and counts are concerned; empty where nobody has asked.
    pub flow: &'a str,
}
