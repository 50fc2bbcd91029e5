//! Bodies of requests: the same reading however they come in, and the one that another JSON reader comes to.

use bytes::Bytes;
use pointsman_core::index::block_hash::{PromptHashes, Scheme};
use pointsman_core::model::prompt::{Form, Piece, PromptView};
use pointsman_wire::json::fault::MAX_DEPTH;
use pointsman_wire::request::error::RequestError;
use pointsman_wire::request::openai::{ApiKind, RequestFacts, read};
use pointsman_wire::request::prompt::PromptSpans;
use serde_json::Value;
use std::ops::ControlFlow;

use crate::cuts::{WAYS, cut, whole};
use crate::shape::Shape;
use crate::target::Target;
use crate::targets::json::{depth, is_json, value};

/// The target.
pub const TARGET: Target = Target {
    name: "request",
    what: "OpenAI bodies, their prompts and the hashes of those",
    run,
    words: &[
        "\"model\":\"m\"",
        "\"prompt\":",
        "\"messages\":",
        "\"input\":",
        "\"role\":",
        "\"content\":",
        "\"tools\":",
        "\"instructions\":",
        "\"stream\":true",
        "\"stream_options\":{\"include_usage\":true}",
        "\"max_tokens\":",
        "\"max_completion_tokens\":",
        "\"max_output_tokens\":",
        "\"cache_salt\":",
        "\"type\":\"text\"",
        "\"text\":",
        "\"image_url\":",
        "\"url\":",
        "\"video_url\":",
        "\"input_audio\":",
        "\\u0061",
        "\\ud83d\\ude00",
        "\\udc00",
        "\u{feff}",
        "null",
        "1e400",
        "4294967296",
        "-0",
        "[[1,2],[3]]",
        "{}",
        "[]",
        "\"\"",
        "\u{2028}",
        "<&>",
        "\\/",
    ],
    also: &[
        "crates/wire/corpus/request/good",
        "crates/wire/corpus/request/bad",
    ],
};

const SCHEMES: [Scheme; 3] = [
    Scheme::Bytes {
        block: 4,
        max_blocks: u32::MAX,
    },
    Scheme::Tokens {
        block: 2,
        max_blocks: u32::MAX,
    },
    Scheme::Tokens {
        block: 16,
        max_blocks: 3,
    },
];

fn run(input: &[u8]) -> u64 {
    let mut shape = Shape::default();
    let frames = whole(input);
    let ways = WAYS.map(|way| cut(input, way));
    for (kind, path) in ApiKind::ALL {
        let facts = read(kind, &frames);
        for cut in &ways {
            assert_eq!(facts, read(kind, cut), "{path}: the frames matter");
        }
        match facts {
            Ok(facts) => {
                good(kind, input, &facts, &mut shape);
                let seen = Seen::of(&facts, &frames);
                for cut in &ways {
                    assert_eq!(seen, Seen::of(&facts, cut), "{path}: the frames matter");
                }
                seen.check(kind);
                shape.size(seen.prompts[0].len());
                shape.size(seen.prompts[0].iter().map(Vec::len).sum());
            }
            Err(error) => {
                bad(input, &error);
                shape.message(&error.to_string());
            }
        }
    }
    shape.done()
}

fn good(kind: ApiKind, input: &[u8], facts: &RequestFacts<'_>, shape: &mut Shape) {
    assert!(is_json(input), "taken, but not JSON");
    assert!(depth(input) <= MAX_DEPTH, "taken, but too deep");
    assert!(
        !facts.model.is_empty() && facts.model_at.len() > 2 && facts.model_at.end <= input.len()
    );
    shape.number(
        u64::from(facts.stream)
            + 2 * u64::from(facts.include_usage)
            + 4 * u64::from(facts.cache_salt.is_some()),
    );
    let Some(Value::Object(body)) = value(input) else {
        return;
    };
    assert_eq!(body["model"].as_str(), Some(&*facts.model), "another model");
    let stream = body.get("stream").and_then(Value::as_bool);
    assert_eq!(stream.unwrap_or(false), facts.stream, "another stream");
    let salt = body.get("cache_salt").and_then(Value::as_str);
    assert_eq!(salt, facts.cache_salt.as_deref(), "another cache_salt");
    if kind == ApiKind::Completions {
        let bound = body.get("max_tokens").and_then(Value::as_f64);
        assert_eq!(bound, facts.max_tokens.map(f64::from), "another max_tokens");
    }
}

fn bad(input: &[u8], error: &RequestError) {
    let blank = input
        .iter()
        .all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
    match error {
        RequestError::Empty => assert!(blank, "not empty"),
        RequestError::Malformed { offset, .. } => {
            assert!(
                *offset <= input.len() && !is_json(input),
                "{error}, but it is JSON"
            );
        }
        RequestError::TooDeep { offset } => assert!(*offset < input.len()),
        RequestError::Missing { .. }
        | RequestError::WrongType { .. }
        | RequestError::NotAnObject { .. } => {
            assert!(is_json(input), "{error}, but it is no JSON");
        }
    }
}

/// The prompts in both forms, where they lie, and the hashes.
#[derive(PartialEq, Debug)]
struct Seen {
    prompts: [Vec<Vec<u8>>; 2],
    spans: PromptSpans,
    hashes: [Vec<u64>; 3],
}

impl Seen {
    fn of(facts: &RequestFacts<'_>, frames: &[Bytes]) -> Self {
        let view = facts.prompt_view(frames);
        let mut hashes = PromptHashes::default();
        Self {
            prompts: [Form::Json, Form::Text].map(|form| walked(&view, form)),
            spans: facts.prompt.clone(),
            hashes: SCHEMES.map(|scheme| {
                hashes.compute(scheme, &facts.model, "", &view);
                hashes.all().to_vec()
            }),
        }
    }

    fn check(&self, kind: ApiKind) {
        let [json, _] = &self.prompts;
        if kind == ApiKind::ChatCompletions || kind == ApiKind::Responses {
            let [text] = &json[..] else {
                panic!("{} prompts in a chat", json.len());
            };
            assert!(is_json(text), "not JSON: {}", String::from_utf8_lossy(text));
        }
        for (scheme, hashes) in SCHEMES.into_iter().zip(&self.hashes) {
            let form = usize::from(scheme.form() == Form::Text);
            let bytes: usize = self.prompts[form].iter().map(Vec::len).sum();
            let most = bytes / scheme.block_bytes() + self.prompts[form].len();
            assert!(hashes.len() <= most, "more hashes than blocks");
        }
    }
}

/// The prompts of a view in a form; that it stops when told so is looked at on the way.
fn walked(view: &impl PromptView, form: Form) -> Vec<Vec<u8>> {
    let (mut prompts, mut prompt, mut pieces) = (Vec::new(), Vec::new(), 0_usize);
    view.walk(form, &mut |piece| {
        pieces += 1;
        match piece {
            Piece::Bytes(bytes) => {
                assert!(!bytes.is_empty(), "an empty piece");
                prompt.extend_from_slice(bytes);
            }
            Piece::End => prompts.push(std::mem::take(&mut prompt)),
        }
        ControlFlow::Continue(())
    });
    assert!(prompt.is_empty(), "a prompt is left open");
    assert!(
        prompts.len() < 2 || view.several(),
        "more prompts than told"
    );
    let mut left = pieces / 2 + 1;
    view.walk(form, &mut |_| {
        assert!(left > 0, "the walk goes on after it was broken off");
        left -= 1;
        if left == 0 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    prompts
}
