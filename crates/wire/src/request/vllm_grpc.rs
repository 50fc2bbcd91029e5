//! Requests to vLLM over gRPC (`vllm.grpc.engine.VllmEngine`): what scheduling needs of `Generate` and `Embed`.
//!
//! The messages are written by hand after the published field numbers; fields that are not here are skipped. A body is
//! one message behind gRPC's prefix of five bytes, not compressed.

use bytes::{Buf, Bytes};
use prost::{Message, Oneof};

use crate::request::token_ids::PlainPrompt;

/// The service's name in a path.
pub const SERVICE: &str = "vllm.grpc.engine.VllmEngine";

/// A method that is looked into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// Generates text; the answer is a stream of messages.
    Generate,
    /// Computes an embedding.
    Embed,
}

/// What scheduling needs to know of a call.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CallFacts {
    /// The prompt.
    pub prompt: PlainPrompt,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// The client's bound on output tokens.
    pub max_tokens: Option<u32>,
}

/// `GenerateRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct GenerateRequest {
    /// What the prompt is given as.
    #[prost(oneof = "Input", tags = "2, 3")]
    pub input: Option<Input>,
    /// How it is generated.
    #[prost(message, optional, tag = "4")]
    pub sampling_params: Option<SamplingParams>,
    /// Whether the answer is streamed.
    #[prost(bool, tag = "5")]
    pub stream: bool,
    /// Images and the like.
    #[prost(message, optional, tag = "7")]
    pub mm_inputs: Option<MultimodalInputs>,
}

/// A prompt.
#[derive(Clone, PartialEq, Oneof)]
pub enum Input {
    /// As token ids.
    #[prost(message, tag = "2")]
    Tokenized(TokenizedInput),
    /// As text.
    #[prost(bytes = "bytes", tag = "3")]
    Text(Bytes),
}

/// Token ids.
#[derive(Clone, PartialEq, Message)]
pub struct TokenizedInput {
    /// The ids.
    #[prost(uint32, repeated, tag = "2")]
    pub input_ids: Vec<u32>,
}

/// How a text is generated.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct SamplingParams {
    /// The bound on output tokens.
    #[prost(uint32, optional, tag = "8")]
    pub max_tokens: Option<u32>,
}

/// Images and the like.
#[derive(Clone, PartialEq, Message)]
pub struct MultimodalInputs {
    /// Where they stand among the token ids.
    #[prost(message, repeated, tag = "5")]
    pub mm_placeholders: Vec<PlaceholderRange>,
}

/// A range of token ids.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct PlaceholderRange {
    /// Its first one.
    #[prost(uint32, tag = "1")]
    pub offset: u32,
}

/// `EmbedRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct EmbedRequest {
    /// The prompt.
    #[prost(message, optional, tag = "2")]
    pub tokenized: Option<TokenizedInput>,
}

/// The method of a path, if it is one that is looked into; whether the path is the service's at all.
pub fn call_of(path: &str) -> (Option<Call>, bool) {
    let mut parts = path.trim_matches('/').rsplit('/');
    let (method, service) = (parts.next(), parts.next());
    let ours = service == Some(SERVICE);
    let call = match method {
        Some("Generate") if ours => Some(Call::Generate),
        Some("Embed") if ours => Some(Call::Embed),
        _ => None,
    };
    (call, ours)
}

/// Reads the body of a call.
///
/// # Errors
/// What is wrong with it, as the reference says it.
pub fn read(call: Call, frames: &[Bytes]) -> Result<CallFacts, String> {
    let message = message_of(frames).ok_or("invalid or unsupported gRPC payload")?;
    match call {
        Call::Generate => {
            let request = GenerateRequest::decode(message)
                .map_err(|fault| format!("unmarshaling GenerateRequest: {fault}"))?;
            let multimodal = request
                .mm_inputs
                .is_some_and(|m| !m.mm_placeholders.is_empty());
            let prompt = match request.input {
                Some(Input::Text(text)) => PlainPrompt::text(text),
                Some(Input::Tokenized(ids)) => PlainPrompt::tokens(vec![ids.input_ids], multimodal),
                None => return Err("not supported request inputType".to_owned()),
            };
            Ok(CallFacts {
                prompt,
                stream: request.stream,
                max_tokens: request.sampling_params.and_then(|params| params.max_tokens),
            })
        }
        Call::Embed => {
            let request = EmbedRequest::decode(message)
                .map_err(|fault| format!("unmarshaling EmbedRequest: {fault}"))?;
            let ids = request
                .tokenized
                .ok_or("missing tokenized input in EmbedRequest")?;
            Ok(CallFacts {
                prompt: PlainPrompt::tokens(vec![ids.input_ids], false),
                ..CallFacts::default()
            })
        }
    }
}

/// The first message of a body, if it is whole and not compressed.
fn message_of(frames: &[Bytes]) -> Option<Bytes> {
    let mut whole = match frames {
        [only] => only.clone(),
        several => several
            .iter()
            .flat_map(|frame| frame.iter().copied())
            .collect(),
    };
    let head: [u8; 5] = *whole.first_chunk()?;
    let size = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    whole.advance(head.len());
    (head[0] == 0 && whole.len() >= size).then(|| whole.split_to(size))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn framed(message: &impl Message) -> Vec<u8> {
        let body = message.encode_to_vec();
        let mut out = vec![0];
        out.extend((body.len() as u32).to_be_bytes());
        out.extend(body);
        out
    }

    fn generate() -> GenerateRequest {
        GenerateRequest {
            input: Some(Input::Tokenized(TokenizedInput {
                input_ids: vec![1, 2, 300_000],
            })),
            sampling_params: Some(SamplingParams {
                max_tokens: Some(0),
            }),
            stream: true,
            mm_inputs: Some(MultimodalInputs {
                mm_placeholders: vec![PlaceholderRange { offset: 1 }],
            }),
        }
    }

    #[test]
    fn a_call_is_read_however_it_is_cut() {
        let body = framed(&generate());
        for cut in 0..body.len() {
            let frames = [&body[..cut], &body[cut..]].map(Bytes::copy_from_slice);
            let facts = read(Call::Generate, &frames).unwrap();
            let ids = vec![vec![1, 2, 300_000]];
            assert_eq!(facts.prompt, PlainPrompt::tokens(ids, true));
            assert_eq!((facts.stream, facts.max_tokens), (true, Some(0)));
        }
        let text = GenerateRequest {
            input: Some(Input::Text("hello".into())),
            ..GenerateRequest::default()
        };
        let facts = read(Call::Generate, &[framed(&text).into()]).unwrap();
        assert_eq!(facts.prompt, PlainPrompt::text("hello".into()));
        let embed = EmbedRequest {
            tokenized: Some(TokenizedInput { input_ids: vec![5] }),
        };
        let facts = read(Call::Embed, &[framed(&embed).into()]).unwrap();
        assert_eq!(facts.prompt, PlainPrompt::tokens(vec![vec![5]], false));
    }

    /// Bytes as another implementation writes them: unpacked ids and fields that are not known here.
    #[test]
    fn unknown_fields_and_unpacked_ids_are_read() {
        let message = [
            0x0a, 2, b'i', b'd', // request_id
            0x12, 7, 0x0a, 1, b'x', 0x10, 5, 0x10,
            6, // tokenized{original_text, input_ids 5, 6}
            0x22, 2, 0x40, 9, // sampling_params{max_tokens 9}
        ];
        let mut body = vec![0, 0, 0, 0, message.len() as u8];
        body.extend(message);
        let facts = read(Call::Generate, &[body.into()]).unwrap();
        assert_eq!(facts.prompt, PlainPrompt::tokens(vec![vec![5, 6]], false));
        assert_eq!((facts.stream, facts.max_tokens), (false, Some(9)));
    }

    #[test]
    fn what_is_no_call_is_told_in_the_reference_s_words() {
        let check = |call, body: &[u8], expected: &str| {
            let told = read(call, &[Bytes::copy_from_slice(body)]).unwrap_err();
            assert!(told.starts_with(expected), "{told}");
        };
        let payload = "invalid or unsupported gRPC payload";
        check(Call::Generate, b"", payload);
        check(Call::Generate, b"{\"prompt\":1}", payload);
        check(Call::Generate, &[1, 0, 0, 0, 0], payload);
        check(Call::Generate, &[0, 0, 0, 0, 9, 1], payload);
        check(
            Call::Generate,
            &[0, 0, 0, 0, 2, 0x12, 9],
            "unmarshaling GenerateRequest: ",
        );
        check(
            Call::Generate,
            &[0, 0, 0, 0, 0],
            "not supported request inputType",
        );
        check(
            Call::Embed,
            &[0, 0, 0, 0, 0],
            "missing tokenized input in EmbedRequest",
        );
    }

    #[test]
    fn a_path_names_a_method_of_the_service() {
        let at = |method: &str| call_of(&format!("/{SERVICE}/{method}"));
        assert_eq!(at("Generate"), (Some(Call::Generate), true));
        assert_eq!(at("Embed"), (Some(Call::Embed), true));
        assert_eq!(at("Abort"), (None, true));
        assert_eq!(call_of("/other/Generate"), (None, false));
        assert_eq!(call_of("/v1/completions"), (None, false));
    }

    proptest! {
        #[test]
        fn no_body_breaks_the_reader(body in prop::collection::vec(any::<u8>(), 0..60)) {
            for call in [Call::Generate, Call::Embed] {
                let mut framed = vec![0, 0, 0, 0, body.len() as u8];
                framed.extend(&body);
                let _ = read(call, &[framed.into()]);
                let _ = read(call, &[body.clone().into()]);
            }
        }
    }
}
