//! The prepared bytes of every answer of one endpoint, and the two fields of a request that choose among them.

use std::io::Write;

use memchr::memmem;

/// Which of the two OpenAI calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Completion,
    Chat,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) tokens: u32,
    pub(crate) stream: bool,
}

impl Wish {
    /// Finds `max_tokens` (or `max_completion_tokens`) and `stream` without reading the JSON: the last place that
    /// looks like the key counts, so a long prompt in front of it is only skipped.
    pub(crate) fn read(body: &[u8]) -> Self {
        let tokens = value_of(body, b"\"max_tokens\"")
            .or_else(|| value_of(body, b"\"max_completion_tokens\""))
            .and_then(|value| {
                let digits = value
                    .iter()
                    .take_while(|byte| byte.is_ascii_digit())
                    .count();
                std::str::from_utf8(&value[..digits]).ok()?.parse().ok()
            })
            .unwrap_or(16);
        let stream = value_of(body, b"\"stream\"").is_some_and(|value| value.starts_with(b"true"));
        Self { tokens, stream }
    }
}

/// What follows the last `key:` in `body`, without the space before it.
fn value_of<'a>(body: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let behind = &body[memmem::rfind(body, key)? + key.len()..];
    let value = behind.trim_ascii_start().strip_prefix(b":")?;
    Some(value.trim_ascii_start())
}

/// Prepared bytes of one endpoint for one call.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Head of a streamed answer.
    pub(crate) stream_head: Vec<u8>,
    /// One token, as a chunk.
    pub(crate) token: Vec<u8>,
    /// `[DONE]` and the end of the body.
    pub(crate) done: Vec<u8>,
    json_start: String,
    json_end: &'static str,
    endpoint: String,
}

impl Prepared {
    pub(crate) fn new(call: Call, endpoint: &str, model: &str) -> Self {
        let (id, object, chunk_object) = match call {
            Call::Completion => ("cmpl-mock", "text_completion", "text_completion"),
            Call::Chat => ("chatcmpl-mock", "chat.completion", "chat.completion.chunk"),
        };
        let (piece, json_choice, json_end) = match call {
            Call::Completion => (r#""text":" token","#, r#""text":""#, r#"","#),
            Call::Chat => (
                r#""delta":{"content":" token"},"#,
                r#""message":{"role":"assistant","content":""#,
                r#""},"#,
            ),
        };
        let event = format!(
            "data: {{\"id\":\"{id}\",\"object\":\"{chunk_object}\",\"created\":1700000000,\"model\":\"{model}\",\"choices\":[{{\"index\":0,{piece}\"logprobs\":null,\"finish_reason\":null}}]}}\n\n"
        );
        Self {
            stream_head: format!(
                "HTTP/1.1 200 OK\r\nx-endpoint: {endpoint}\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
            )
            .into_bytes(),
            token: format!("{:x}\r\n{event}\r\n", event.len()).into_bytes(),
            done: b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n".to_vec(),
            json_start: format!(
                "{{\"id\":\"{id}\",\"object\":\"{object}\",\"created\":1700000000,\"model\":\"{model}\",\"choices\":[{{\"index\":0,{json_choice}"
            ),
            json_end,
            endpoint: endpoint.to_owned(),
        }
    }

    /// Writes a whole JSON answer of `tokens` tokens to `out`.
    pub(crate) fn json(&self, tokens: u32, prompt_bytes: usize, out: &mut Vec<u8>) {
        let mut body = Vec::with_capacity(512 + 6 * tokens as usize);
        body.extend_from_slice(self.json_start.as_bytes());
        for _ in 0..tokens {
            body.extend_from_slice(b" token");
        }
        let prompt = prompt_bytes / 4;
        let total = prompt + tokens as usize;
        let _ = write!(
            body,
            "{}\"logprobs\":null,\"finish_reason\":\"length\"}}],\"usage\":{{\"prompt_tokens\":{prompt},\"completion_tokens\":{tokens},\"total_tokens\":{total}}}}}",
            self.json_end
        );
        plain("200 OK", "application/json", &self.endpoint, &body, out);
    }
}

/// Writes an answer with a body of known length to `out`.
pub(crate) fn plain(status: &str, kind: &str, endpoint: &str, body: &[u8], out: &mut Vec<u8>) {
    let _ = write!(
        out,
        "HTTP/1.1 {status}\r\nx-endpoint: {endpoint}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    out.extend_from_slice(body);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[track_caller]
    fn check(body: &str, tokens: u32, stream: bool) {
        assert_eq!(Wish::read(body.as_bytes()), Wish { tokens, stream });
    }

    #[test]
    fn finds_the_two_fields() {
        check(r#"{"prompt":"x","max_tokens":8,"stream":true}"#, 8, true);
        check(
            r#"{ "max_tokens" : 200 , "prompt":"x", "stream" : false }"#,
            200,
            false,
        );
        check(r#"{"max_completion_tokens":3,"messages":[]}"#, 3, false);
        check(r#"{"prompt":"x"}"#, 16, false);
        check("", 16, false);
    }

    #[test]
    fn prepared_bytes_are_what_they_say() {
        for call in [Call::Completion, Call::Chat] {
            let prepared = Prepared::new(call, "m0", "model");
            let mut chunks = crate::chunks::Chunks::new();
            let mut text = Vec::new();
            for piece in [&prepared.token, &prepared.done] {
                chunks
                    .feed(piece, |bytes| text.extend_from_slice(bytes))
                    .unwrap();
            }
            assert!(chunks.done());
            let text = String::from_utf8(text).unwrap();
            let events: Vec<&str> = text.split_terminator("\n\n").collect();
            assert_eq!(events.len(), 2);
            assert_eq!(events[1], "data: [DONE]");
            let event: serde_json::Value =
                serde_json::from_str(events[0].strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(event["model"], "model");

            let mut out = Vec::new();
            prepared.json(5, 200, &mut out);
            let head = crate::head::Head::read(&out).unwrap();
            assert_eq!(head.endpoint, Some(&b"m0"[..]));
            let answer: serde_json::Value = serde_json::from_slice(&out[head.len..]).unwrap();
            assert_eq!(answer["usage"]["completion_tokens"], 5);
        }
    }
}
