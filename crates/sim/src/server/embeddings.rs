//! `/v1/embeddings`: vectors made from the text, the same for the same text, of length 1.
//!
//! They are answered at once: no engine time passes for them.

use pointsman_core::rng::Rng;
use pointsman_plugins::base64::encode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::server::api_error::ApiError;
use crate::server::desk::Desk;
use crate::server::generate::{served_model, unix_seconds};
use crate::server::tokens::tokenize;

/// Most numbers in one vector, and most vectors in one answer: a body is small, its answer must not be boundless.
const MOST_NUMBERS: u32 = 65_536;
const MOST_INPUTS: usize = 2048;

#[derive(Deserialize)]
struct Written {
    model: Option<String>,
    input: Input,
    #[serde(default)]
    encoding_format: Encoding,
    dimensions: Option<u32>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "input: must be a string, a list of token ids, or a list of these"
)]
enum Input {
    Text(String),
    Tokens(Vec<u32>),
    Texts(Vec<String>),
    TokenLists(Vec<Vec<u32>>),
}

#[derive(Clone, Copy, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    #[default]
    Float,
    Base64,
}

/// The answer to a body.
///
/// # Errors
/// When it cannot be read, asks for another model or for too much.
pub fn answer(desk: &Desk, body: &[u8]) -> Result<Value, ApiError> {
    let written: Written = serde_json::from_slice(body)
        .map_err(|fault| ApiError::bad_request(format!("the body cannot be read: {fault}")))?;
    let host = &desk.host;
    let model = served_model(host, written.model.as_deref())?;
    let dimensions = written
        .dimensions
        .unwrap_or(host.settings.embedding_dimensions);
    if !(1..=MOST_NUMBERS).contains(&dimensions) {
        return Err(ApiError::field(
            "dimensions",
            format!("dimensions must be from 1 to {MOST_NUMBERS}"),
        ));
    }
    let inputs = tokens_of(written.input);
    if inputs.is_empty() || inputs.iter().any(Vec::is_empty) {
        return Err(ApiError::field("input", "input must not be empty"));
    }
    if inputs.len() > MOST_INPUTS {
        return Err(ApiError::field(
            "input",
            format!("input must be at most {MOST_INPUTS} texts"),
        ));
    }
    let limit = host.settings.max_model_len as usize;
    if let Some(long) = inputs.iter().find(|tokens| tokens.len() > limit) {
        return Err(ApiError::field(
            "input",
            format!(
                "This model's maximum context length is {limit} tokens. However, you requested {} tokens in the input.",
                long.len()
            ),
        ));
    }
    let prompt: usize = inputs.iter().map(Vec::len).sum();
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, tokens)| {
            let vector = vector(tokens, dimensions);
            let embedding = match written.encoding_format {
                Encoding::Float => json!(vector),
                Encoding::Base64 => json!(base64(&vector)),
            };
            json!({"object": "embedding", "index": index, "embedding": embedding})
        })
        .collect();
    Ok(json!({
        "id": format!("embd-{}", host.chance.unique()),
        "object": "list",
        "created": unix_seconds(),
        "model": model,
        "data": data,
        "usage": {"prompt_tokens": prompt, "total_tokens": prompt, "completion_tokens": 0},
    }))
}

fn tokens_of(input: Input) -> Vec<Vec<u32>> {
    let of = |text: String| {
        let mut tokens = Vec::new();
        tokenize(&text, &mut tokens);
        tokens
    };
    match input {
        Input::Text(text) => vec![of(text)],
        Input::Tokens(tokens) => vec![tokens],
        Input::Texts(texts) => texts.into_iter().map(of).collect(),
        Input::TokenLists(lists) => lists,
    }
}

/// A unit vector that depends on the tokens and nothing else.
fn vector(tokens: &[u32], dimensions: u32) -> Vec<f32> {
    let seed = tokens
        .iter()
        .fold(0x9e37_79b9_7f4a_7c15_u64, |seed, &token| {
            (seed ^ u64::from(token))
                .wrapping_mul(0x0100_0000_01b3)
                .rotate_left(29)
        });
    let mut rng = Rng::from_seed(seed);
    let raw: Vec<f64> = (0..dimensions).map(|_| 2.0 * rng.unit() - 1.0).collect();
    let length = libm::sqrt(raw.iter().map(|x| x * x).sum::<f64>()).max(f64::MIN_POSITIVE);
    raw.iter().map(|x| (x / length) as f32).collect()
}

/// The numbers as little-endian bytes in base 64, as OpenAI's clients decode them.
fn base64(numbers: &[f32]) -> String {
    let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    encode(&bytes, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_have_length_one_and_follow_the_text() {
        let a = vector(&[1, 2, 3], 384);
        let length: f32 = a.iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-4, "{length}");
        assert_eq!(a, vector(&[1, 2, 3], 384));
        assert_ne!(a, vector(&[3, 2, 1], 384));
    }

    #[test]
    fn base_64_is_padded() {
        assert_eq!(base64(&[1.0]), "AACAPw==");
        assert_eq!(base64(&[1.0, 2.0]), "AACAPwAAAEA=");
        assert_eq!(base64(&[1.0, 2.0, 0.0]), "AACAPwAAAEAAAAAA");
    }
}
