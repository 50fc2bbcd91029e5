//! Counts the tokens of the prompt, by estimate.
//!
//! # When to use
//! It is added where a plugin needs the count (`context-length-aware`, `inflight-load-producer`); write it down to say
//! so, or because a file of the reference does.
//!
//! # Rule
//! Four bytes are a token, the last one of each prompt filled up. The bytes are those that prompts are hashed by: of a
//! completion the text, of a chat the JSON of the tools, then role and text of each message; token ids count as they
//! are. An image counts `width × height / 1024` tokens (640 × 360 where its size is not in the request), a video 20
//! frames of that, a recording 14 and 12.5 per second.
//!
//! # Reads
//! The prompt.
//!
//! # Example
//! ```yaml
//! - type: token-producer
//!   parameters:
//!     estimate: {}
//! ```
//!
//! # Limits
//! An estimate: real tokenizers need about 3 to 5 bytes of English and fewer of other scripts. The backends that ask a
//! server (`vllm`, `udsTokenizerConfig`), and other settings of images and videos than the reference's defaults, are not
//! supported.

use pointsman_core::contract::context::Asked;
use pointsman_core::contract::produced::Produced;
use pointsman_core::contract::roles::{Built, Preparer};
use pointsman_core::contract::spec::{
    ParamFault, Params, PluginSpec, Role, Stability, needs_nothing, schema_of,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "token-producer",
    aliases: &["tokenizer"],
    role: Role::Producer,
    stability: Stability::Beta,
    reads: &[],
    requires: needs_nothing,
    source: include_str!("token.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    /// Counts by estimate, which is what happens without parameters too.
    estimate: Option<Estimate>,
    /// Not supported: a server that renders prompts.
    vllm: Option<Value>,
    /// Not supported: a tokenizer behind a socket.
    uds_tokenizer_config: Option<Value>,
    /// Not supported: the model of such a server.
    model_name: Option<String>,
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(default)]
struct Estimate {
    /// How images are counted; only the defaults are supported.
    image: Image,
    /// How videos are counted; only the defaults are supported.
    video: Option<Value>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct Image {
    /// `dynamic`.
    mode: String,
    /// The size of an image that does not say: 640 x 360.
    default_resolution: Resolution,
    /// Pixels per token: `factor: 1024`.
    dynamic: Dynamic,
}

impl Default for Image {
    fn default() -> Self {
        Self {
            mode: "dynamic".to_owned(),
            default_resolution: Resolution::default(),
            dynamic: Dynamic::default(),
        }
    }
}

#[derive(Deserialize, JsonSchema, PartialEq)]
#[serde(default)]
struct Resolution {
    /// Pixels.
    width: u32,
    /// Pixels.
    height: u32,
}

impl Default for Resolution {
    fn default() -> Self {
        Self {
            width: 640,
            height: 360,
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(default)]
struct Dynamic {
    /// Pixels per token.
    factor: u32,
}

impl Default for Dynamic {
    fn default() -> Self {
        Self { factor: 1024 }
    }
}

fn build(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    let given: Parameters = params.read()?;
    let estimate = given.estimate.unwrap_or_default();
    let image = &estimate.image;
    let others = [
        (given.vllm.is_some(), "vllm"),
        (given.uds_tokenizer_config.is_some(), "udsTokenizerConfig"),
        (given.model_name.is_some(), "modelName"),
        (image.mode != "dynamic", "estimate.image.mode"),
        (
            image.default_resolution != Resolution::default(),
            "estimate.image.defaultResolution",
        ),
        (
            image.dynamic.factor != 1024,
            "estimate.image.dynamic.factor",
        ),
        (
            estimate.video.is_some_and(|video| !video.is_null()),
            "estimate.video",
        ),
    ];
    let faults: Vec<ParamFault> = others
        .into_iter()
        .filter(|(written, _)| *written)
        .map(|(_, path)| ParamFault {
            path: path.to_owned(),
            message:
                "is not supported: tokens are estimated, with the reference's defaults; remove it"
                    .to_owned(),
        })
        .collect();
    if faults.is_empty() {
        Ok(Built::Preparer(Box::new(Tokens)))
    } else {
        Err(faults)
    }
}

struct Tokens;

impl Preparer for Tokens {
    fn prepare(&self, asked: &Asked<'_>, produced: &mut Produced) {
        produced.tokens = asked.request.prompt.map(|prompt| prompt.tokens());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use pointsman_core::contract::spec::Generation;
    use pointsman_core::fixture::{Scene, build as built, pool};
    use pointsman_core::model::prompt::Prompt;

    #[track_caller]
    fn check(text: &str, expected: u32) {
        let Ok(Built::Preparer(tokens)) = built(&SPEC, "{}", Generation::G2) else {
            panic!("refused")
        };
        let pool = pool("a\n");
        let mut scene = Scene::new(&pool);
        let bytes = text.as_bytes();
        scene.request.prompt = Some(Prompt(&bytes));
        let mut produced = Produced::default();
        tokens.prepare(&scene.asked(), &mut produced);
        assert_eq!(produced.tokens, Some(expected), "{text}");
    }

    #[test]
    fn four_bytes_are_a_token() {
        check("", 0);
        check("abc", 1);
        check("abcd", 1);
        check("abcde", 2);
    }

    #[test]
    fn what_would_count_otherwise_is_refused() {
        for (parameters, path) in [
            (r#"{"vllm":{"url":"http://a"}}"#, "vllm"),
            (r#"{"modelName":"m"}"#, "modelName"),
            (
                r#"{"estimate":{"image":{"mode":"static"}}}"#,
                "estimate.image.mode",
            ),
            (
                r#"{"estimate":{"image":{"dynamic":{"factor":512}}}}"#,
                "estimate.image.dynamic.factor",
            ),
            (r#"{"estimate":{"video":{"fps":1}}}"#, "estimate.video"),
        ] {
            let faults = built(&SPEC, parameters, Generation::G2).unwrap_err();
            assert_eq!(faults[0].path, path, "{parameters}");
        }
        let written = r#"{"estimate":{"image":{"mode":"dynamic","defaultResolution":{"width":640,"height":360}}}}"#;
        assert!(built(&SPEC, written, Generation::G2).is_ok());
    }
}
