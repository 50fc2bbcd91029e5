//! What the answers say: the ids that name the pair, and the events of a stream.

use std::io;

use serde_json::{Value, json};

use crate::body::BodyReader;
use crate::http::Request;

/// The model of the lab.
pub const MODEL: &str = "Qwen/Qwen3-Coder-30B-A3B-Instruct";

/// A chat request of so many tokens, as a client would send it.
pub fn chat(content: &str, max_tokens: u32) -> Request {
    Request::post("/v1/chat/completions", &chat_body(content, max_tokens))
}

/// The same, answered as a stream of events.
pub fn chat_stream(content: &str, max_tokens: u32) -> Request {
    let mut body = chat_body(content, max_tokens);
    body["stream"] = json!(true);
    Request::post("/v1/chat/completions", &body)
}

/// The body of a chat request.
pub fn chat_body(content: &str, max_tokens: u32) -> Value {
    json!({"model": MODEL, "messages": [{"role": "user", "content": content}], "max_tokens": max_tokens})
}

/// A response id of the P/D proxies, taken apart:
/// `<kind>-___prefill_addr_<prefill>___decode_addr_<decode>_<32 hex>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairId {
    /// `chatcmpl` or `cmpl`.
    pub kind: String,
    /// The prefill server's name.
    pub prefill: String,
    /// The decode server's name.
    pub decode: String,
}

impl PairId {
    /// Takes an id apart.
    ///
    /// # Panics
    /// When it is not of this form.
    #[track_caller]
    pub fn parse(id: &str) -> Self {
        Self::try_parse(id).unwrap_or_else(|| {
            panic!("{id:?} is not <kind>-___prefill_addr_…___decode_addr_…_<32 hex>")
        })
    }

    fn try_parse(id: &str) -> Option<Self> {
        let (kind, rest) = id.split_once("-___prefill_addr_")?;
        let (prefill, rest) = rest.split_once("___decode_addr_")?;
        let (decode, hex) = rest.rsplit_once('_')?;
        let good = hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        good.then(|| Self {
            kind: kind.into(),
            prefill: prefill.into(),
            decode: decode.into(),
        })
    }

    /// The pair that both names belong to: `p2p` or `fs`.
    ///
    /// # Panics
    /// When they belong to different pairs, or to none.
    #[track_caller]
    pub fn pair(&self) -> &'static str {
        match (self.prefill.as_str(), self.decode.as_str()) {
            ("vllm-prefill-p2p:14579", "vllm-decode-p2p:14579") => "p2p",
            ("vllm-prefill-fs", "vllm-decode-fs") => "fs",
            _ => panic!("{self:?} names no pair of the lab"),
        }
    }
}

/// The pair that answered, by the `id` in the body.
///
/// # Panics
/// When the body has none.
#[track_caller]
pub fn pair_of(body: &Value) -> &'static str {
    PairId::parse(
        body["id"]
            .as_str()
            .unwrap_or_else(|| panic!("no id in {body}")),
    )
    .pair()
}

/// The pair that a candidate's name belongs to.
///
/// # Panics
/// When it is no candidate of a lab with one pair each.
#[track_caller]
pub fn pair_of_candidate(name: &str) -> &'static str {
    match name {
        "llm-d-vllm/vllm-p2p-proxy-0-rank-0" => "p2p",
        "llm-d-vllm/vllm-fs-proxy-0-rank-0" => "fs",
        _ => panic!("{name:?} is no candidate of the lab"),
    }
}

/// Server-sent events, one `data:` after the other.
pub struct Events {
    body: BodyReader,
    text: String,
}

impl Events {
    /// The events of a body.
    pub fn of(body: BodyReader) -> Self {
        Self {
            body,
            text: String::new(),
        }
    }

    /// The next event's data, or `None` at the proper end of the body.
    ///
    /// # Errors
    /// What the connection said.
    pub fn next_data(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let data = event
                    .lines()
                    .find_map(|line| line.strip_prefix("data:"))
                    .map(|data| data.trim().to_owned());
                self.text = rest.to_owned();
                if data.is_some() {
                    return Ok(data);
                }
                continue;
            }
            match self.body.next_piece()? {
                Some(piece) => self
                    .text
                    .push_str(&String::from_utf8_lossy(&piece).replace("\r\n", "\n")),
                None => return Ok(None),
            }
        }
    }

    /// All events up to the end, proper or not, and whether it was a proper one.
    pub fn rest(&mut self) -> (Vec<String>, bool) {
        let mut all = Vec::new();
        loop {
            match self.next_data() {
                Ok(Some(data)) => all.push(data),
                Ok(None) => return (all, true),
                Err(_) => return (all, false),
            }
        }
    }
}
