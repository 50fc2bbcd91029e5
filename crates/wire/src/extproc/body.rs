//! Which reader a path belongs to, and what is wrong with a body, in the reference's words.
//!
//! | suffix of the path | needs |
//! |---|---|
//! | `chat/completions`, `…/render` | `messages` |
//! | `completions`, `…/render` | `prompt` |
//! | `embeddings`, `responses` | `input` |
//! | `conversations` | `items` |
//! | `images/generations` | `prompt` |
//! | `inference/v1/generate` (vLLM) | `token_ids` |
//! | `vllm.grpc.engine.VllmEngine/Generate`, `/Embed` | the message of the call; other calls pass unread, as their answers |
//! | `messages` (Anthropic) | `messages` |
//! | `messages/count_tokens` (Anthropic) | nothing; its answer is not looked at |
//!
//! The longest suffix counts; what no suffix claims passes unread, unless the configuration names readers and
//! none that takes everything.

use pointsman_core::contract::data_layer::Parser;

use crate::extproc::go_json::complaint;
use crate::request::error::RequestError;
use crate::request::openai::{ApiKind, RequestFacts, read_leniently};
use crate::request::vllm_grpc::{Call, call_of};

/// What is done with a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claim {
    /// It is looked into.
    Read(ApiKind),
    /// It is a call over gRPC that is looked into.
    Call(Call),
    /// It passes unread.
    Opaque,
    /// It passes unread, and so does its answer.
    Aside,
}

/// In the order of their length, longest first, where one ends with the other.
const READ: [(&str, ApiKind); 10] = [
    ("chat/completions/render", ApiKind::ChatCompletions),
    ("chat/completions", ApiKind::ChatCompletions),
    ("completions/render", ApiKind::Completions),
    ("completions", ApiKind::Completions),
    ("embeddings", ApiKind::Embeddings),
    ("responses", ApiKind::Responses),
    ("conversations", ApiKind::Conversations),
    ("images/generations", ApiKind::Images),
    ("messages", ApiKind::Messages),
    ("inference/v1/generate", ApiKind::Generate),
];

/// Who reads a body that was sent to `path`, under the readers of the plan (none named: all but those of gRPC).
///
/// # Errors
/// Nobody does; the text says so.
pub fn claim(path: &str, parsers: &[Parser]) -> Result<Claim, String> {
    let trimmed = path.trim_matches('/');
    let ends = |suffix: &str| {
        trimmed
            .strip_suffix(suffix)
            .is_some_and(|before| before.is_empty() || before.ends_with('/'))
    };
    let named = |parser| parsers.is_empty() || parsers.contains(&parser);
    let mut all = READ.iter();
    if let Some((_, kind)) = all.find(|(suffix, kind)| ends(suffix) && named(kind.parser())) {
        return Ok(Claim::Read(*kind));
    }
    if ends("messages/count_tokens") && named(Parser::Anthropic) {
        return Ok(Claim::Aside);
    }
    if parsers.contains(&Parser::VllmGrpc) {
        match call_of(path) {
            (Some(call), _) => return Ok(Claim::Call(call)),
            (None, true) => return Ok(Claim::Aside),
            (None, false) => {}
        }
    }
    if named(Parser::Passthrough) {
        return Ok(Claim::Opaque);
    }
    Err(format!(
        "no parser registered matching path suffix for: {path}"
    ))
}

/// Reads a body.
///
/// # Errors
/// What is wrong with it, as the reference says it.
pub fn read<F: AsRef<[u8]>>(kind: ApiKind, frames: &[F]) -> Result<RequestFacts<'_>, String> {
    read_leniently(kind, frames).map_err(|error| match &error {
        RequestError::WrongType { found, .. }
            if kind == ApiKind::Messages && !["null", "an empty list"].contains(found) =>
        {
            format!("error parsing messages request: {error}")
        }
        RequestError::Missing { .. } | RequestError::WrongType { .. } => without_prompt(kind),
        RequestError::TooDeep { .. } => format!("{}{error}", prefix(kind)),
        RequestError::Empty | RequestError::Malformed { .. } | RequestError::NotAnObject { .. } => {
            let text: Vec<u8> = frames
                .iter()
                .flat_map(|frame| frame.as_ref())
                .copied()
                .collect();
            match complaint(&text) {
                Some(complaint) => format!("{}{complaint}", prefix(kind)),
                // Go takes `null` for an object without members, and bytes that are no UTF-8 for text.
                None if matches!(error, RequestError::NotAnObject { .. }) => without_prompt(kind),
                None => format!("{}{error}", prefix(kind)),
            }
        }
    })
}

/// What a body is that came without a path, as the generation of pickers before the reference took it: messages without a
/// prompt are a chat, all else counts as a completion.
pub fn kind_without_path<F: AsRef<[u8]>>(frames: &[F]) -> ApiKind {
    let is = |kind| read_leniently(kind, frames).is_ok();
    match !is(ApiKind::Completions) && is(ApiKind::ChatCompletions) {
        true => ApiKind::ChatCompletions,
        false => ApiKind::Completions,
    }
}

/// The text for a request without a model.
pub const NO_MODEL: &str = "model not found in request body";

const fn prefix(kind: ApiKind) -> &'static str {
    match kind {
        ApiKind::Messages => "error unmarshaling request body: ",
        ApiKind::Generate => "",
        _ => "error unmarshaling request bodyMap: ",
    }
}

fn without_prompt(kind: ApiKind) -> String {
    match kind {
        ApiKind::ChatCompletions => {
            "invalid chat completions request: must have valid messages field"
        }
        ApiKind::Completions => "invalid completions request: must have prompt field",
        ApiKind::Embeddings => "invalid embeddings request: must have input field",
        ApiKind::Responses => "invalid responses request: must have input field",
        ApiKind::Messages => "invalid messages request: must have at least one message",
        ApiKind::Conversations => "invalid conversations request: must have items field",
        ApiKind::Images => "invalid images generations request: must have prompt field",
        ApiKind::Generate => "invalid generate request: must have non-empty token_ids field",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use pointsman_core::model::prompt::{Form, Piece, Prompt, PromptView};
    use std::ops::ControlFlow;

    #[test]
    fn the_longest_suffix_claims_a_path() {
        use Claim::{Aside, Opaque, Read};
        let check = |path: &str, claimed| assert_eq!(claim(path, &[]), Ok(claimed), "{path}");
        check("/v1/chat/completions", Read(ApiKind::ChatCompletions));
        check(
            "/tenant/a/v1/chat/completions/",
            Read(ApiKind::ChatCompletions),
        );
        check("/v1/completions", Read(ApiKind::Completions));
        check("completions", Read(ApiKind::Completions));
        check("/v1/completions/render", Read(ApiKind::Completions));
        check("/v1/images/generations", Read(ApiKind::Images));
        check("/v1/messages", Read(ApiKind::Messages));
        check("/v1/messages/count_tokens", Aside);
        check("/v1/nocompletions", Opaque);
        check("/tokenize", Opaque);
        check("/inference/v1/generate", Read(ApiKind::Generate));
        check("/vllm.grpc.engine.VllmEngine/Generate", Opaque);
        let grpc = [Parser::VllmGrpc];
        let at = |method: &str| claim(&format!("/vllm.grpc.engine.VllmEngine/{method}"), &grpc);
        assert_eq!(at("Generate"), Ok(Claim::Call(Call::Generate)));
        assert_eq!(at("Embed"), Ok(Claim::Call(Call::Embed)));
        assert_eq!(at("Abort"), Ok(Aside));
        assert!(claim("/v1/completions", &grpc).is_err());
        let only = [Parser::OpenAi];
        assert_eq!(
            claim("/tokenize", &only).unwrap_err(),
            "no parser registered matching path suffix for: /tokenize"
        );
        assert!(claim("/v1/messages", &only).is_err());
        assert_eq!(claim("/v1/completions", &[Parser::Passthrough]), Ok(Opaque));
    }

    #[test]
    fn without_a_path_the_body_says_what_it_is() {
        let check = |body: &str, kind| assert_eq!(kind_without_path(&[body]), kind, "{body}");
        let chat = r#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#;
        check(chat, ApiKind::ChatCompletions);
        check(r#"{"model":"m","prompt":"x"}"#, ApiKind::Completions);
        check(r#"{"prompt":"x","messages":[{}]}"#, ApiKind::Completions);
        for fault in [r#"{"model":"m"}"#, r#"{"messages":[]}"#, "{", ""] {
            check(fault, ApiKind::Completions);
        }
    }

    #[test]
    fn faults_are_told_in_the_reference_s_words() {
        let check = |kind, body: &str, expected: &str| {
            assert_eq!(read(kind, &[body]).unwrap_err(), expected, "{body}");
        };
        let chat = ApiKind::ChatCompletions;
        let no_messages = "invalid chat completions request: must have valid messages field";
        check(
            chat,
            "{",
            "error unmarshaling request bodyMap: unexpected end of JSON input",
        );
        check(
            chat,
            "",
            "error unmarshaling request bodyMap: unexpected end of JSON input",
        );
        check(
            chat,
            "{}x",
            "error unmarshaling request bodyMap: invalid character 'x' after top-level value",
        );
        check(
            ApiKind::Messages,
            "[]",
            "error unmarshaling request body: json: cannot unmarshal array into Go value of type map[string]interface {}",
        );
        check(chat, "{\"model\":\"m\"}", no_messages);
        check(chat, "{\"model\":\"m\",\"messages\":[]}", no_messages);
        check(chat, "null", no_messages);
        check(
            ApiKind::Completions,
            "{}",
            "invalid completions request: must have prompt field",
        );
        check(
            ApiKind::Conversations,
            "{\"items\":[]}",
            "invalid conversations request: must have items field",
        );
        let generate = ApiKind::Generate;
        check(generate, "{", "unexpected end of JSON input");
        let no_tokens = "invalid generate request: must have non-empty token_ids field";
        for body in [
            "{}",
            r#"{"token_ids":[]}"#,
            r#"{"token_ids":["a"]}"#,
            r#"{"token_ids":[-1]}"#,
        ] {
            check(generate, body, no_tokens);
        }
        let message =
            |content: &str| format!(r#"{{"messages":[{{"role":"user","content":{content}}}]}}"#);
        check(
            ApiKind::Messages,
            &message("5"),
            "error parsing messages request: field 'messages[0].content' is a number; send a string, null or a list of parts",
        );
        assert!(read(ApiKind::Messages, &[message("null")]).is_ok());
        let no_message = "invalid messages request: must have at least one message";
        for body in ["{}", r#"{"messages":[]}"#, r#"{"messages":null}"#] {
            check(ApiKind::Messages, body, no_message);
        }
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(128), "]".repeat(128));
        assert!(
            read(chat, &[&deep])
                .unwrap_err()
                .contains("nested deeper than 128")
        );
    }

    #[test]
    fn an_empty_text_is_no_prompt_and_any_input_makes_a_response() {
        for (kind, field, expected) in [
            (
                ApiKind::Completions,
                "prompt",
                "invalid completions request: must have prompt field",
            ),
            (
                ApiKind::Embeddings,
                "input",
                "invalid embeddings request: must have input field",
            ),
            (
                ApiKind::Images,
                "prompt",
                "invalid images generations request: must have prompt field",
            ),
        ] {
            let body = |text: &str| format!(r#"{{"model":"m","{field}":"{text}"}}"#);
            assert_eq!(read(kind, &[body("")]).unwrap_err(), expected);
            assert!(read(kind, &[body("x")]).is_ok());
        }
        for input in ["5", "true", "{}", "[]", "[1]", "\"\""] {
            let body = [format!(r#"{{"model":"m","input":{input}}}"#)];
            let facts = read(ApiKind::Responses, &body).unwrap();
            let mut seen = Vec::new();
            let view = facts.prompt_view(&body);
            view.walk(Form::Text, &mut |piece| {
                if let Piece::Bytes(bytes) = piece {
                    seen.extend_from_slice(bytes);
                }
                ControlFlow::Continue(())
            });
            let expected = format!(r#"[{{"input":{input}}}]"#);
            assert_eq!(String::from_utf8(seen).unwrap(), expected);
        }
        for body in [r#"{"model":"m"}"#, r#"{"model":"m","input":null}"#] {
            let why = read(ApiKind::Responses, &[body]).unwrap_err();
            assert_eq!(why, "invalid responses request: must have input field");
        }
    }

    #[test]
    fn a_generate_request_tells_its_tokens_and_its_bound() {
        let body = r#"{"model":"m","token_ids":[1,2,3],"sampling_params":{"n":{"max_tokens":9},"max_tokens":7},"features":{"mm_hashes":{"image":["h"]}},"cache_salt":"s","stream":true}"#;
        let frames = [body];
        let facts = read(ApiKind::Generate, &frames).unwrap();
        assert_eq!(
            (&*facts.model, facts.max_tokens, facts.stream),
            ("m", Some(7), true)
        );
        assert_eq!(facts.cache_salt.as_deref(), Some("s"));
        let view = facts.prompt_view(&frames);
        assert_eq!(Prompt(&view).tokens(), 3);
        assert!(view.multimodal());
        let frames = [r#"{"token_ids":[1],"sampling_params":7,"features":{"mm_hashes":{}}}"#];
        let facts = read(ApiKind::Generate, &frames).unwrap();
        assert_eq!(facts.max_tokens, None);
        assert!(!facts.prompt_view(&frames).multimodal());
    }

    #[test]
    fn what_routing_does_not_need_is_the_engine_s_to_judge() {
        let body = "{\"prompt\":\"p\",\"model\":\"old\",\"stream\":\"yes\",\"max_tokens\":-1,\"model\": 5 }";
        let frames = [body];
        let facts = read(ApiKind::Completions, &frames).unwrap();
        assert_eq!(
            (facts.stream, facts.max_tokens, &*facts.model),
            (false, None, "")
        );
        // Engines take the last of equal keys, so a rewrite has to replace that one, whatever it is.
        assert_eq!(&body[facts.model_at.clone()], "5");
        let nameless = ["{\"prompt\":\"p\"}"];
        let none = read(ApiKind::Completions, &nameless).unwrap();
        assert_eq!(none.model_at, 1..1);
    }
}
