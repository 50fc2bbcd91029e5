//! Counts the tokens of the prompt, by estimate or by asking a model server.
//!
//! # When to use
//! It is added where a plugin needs the count (`context-length-aware`, `inflight-load-producer`); write it down to say
//! so, or because a file of the reference does.
//!
//! # Rule
//! Four bytes are a token, the last one of each prompt filled up. The bytes are those that prompts are hashed by: of a
//! completion the text, of a chat the JSON of the tools, then role and text of each message; token ids count as they
//! are. An image counts `width × height / 1024` tokens (640 × 360 where its size is not in the request), a video 20
//! frames of that, a recording 14 and 12.5 per second; `estimate` changes the first two, and a request tells of its videos
//! in `x-llm-d-video-duration-seconds`, `x-llm-d-video-resolution` and `x-llm-d-video-fps`.
//!
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
//! With `vllm` a model server is asked instead (`POST /v1/completions/render`, `/v1/chat/completions/render`) before anything
//! is decided: its token ids are what is counted and hashed. Without its answer in time the estimate stands.
//!
//! # Limits
//! An estimate is one: real tokenizers need about 3 to 5 bytes of English and fewer of other scripts. A server costs a
//! round trip per request; it is asked over `http` alone. `udsTokenizerConfig`, deprecated in the reference, is refused.

use pointsman_core::config::duration::parse_duration;
use pointsman_core::contract::context::Asked;
use pointsman_core::contract::data_layer::RenderServer;
use pointsman_core::contract::produced::Produced;
use pointsman_core::contract::roles::{Built, Preparer};
use pointsman_core::contract::spec::{
    ParamFault, Params, PluginSpec, Role, Stability, needs_nothing, schema_of,
};
use pointsman_core::model::assets::{AssetRules, FACTOR, FrameRule, PictureRule, SIZE, VideoRule};
use pointsman_core::time::Span;
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
    /// Asks a model server.
    vllm: Option<Server>,
    /// Not supported: a tokenizer behind a socket.
    uds_tokenizer_config: Option<Value>,
    /// The model that the server is asked for; needed with `vllm`.
    model_name: Option<String>,
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", default)]
struct Server {
    /// Where it is; http://localhost:8000 when left out.
    url: Option<String>,
    /// An earlier name of `url`.
    http: Option<String>,
    /// Longest wait for an answer; 5s when left out.
    timeout: Option<String>,
    /// The same where the prompt has images and the like; 30s when left out.
    mm_timeout: Option<String>,
}

impl Server {
    fn read(&self, model: Option<&String>, faults: &mut Vec<ParamFault>) -> Option<RenderServer> {
        let before = faults.len();
        let mut fault = |path: &str, message: String| {
            faults.push(ParamFault {
                path: path.to_owned(),
                message,
            });
        };
        if model.is_none_or(|model| model.is_empty()) {
            let message = "is needed with vllm: the name that the server knows the model by";
            fault("modelName", message.to_owned());
        }
        let url = self.url.as_deref().or(self.http.as_deref());
        let place = place(url.unwrap_or("http://localhost:8000")).unwrap_or_else(|why| {
            fault("vllm.url", why);
            (String::new(), "")
        });
        let mut wait = |text: &Option<String>, path: &str, default: u64| {
            let text = text.as_deref().filter(|text| !text.is_empty());
            match text.map(parse_duration) {
                None => Span::from_millis(default),
                Some(Ok(span)) if span > Span(0) => span,
                Some(other) => {
                    let why = other.err();
                    fault(
                        path,
                        why.unwrap_or_else(|| "needs a time above zero".to_owned()),
                    );
                    Span(0)
                }
            }
        };
        let timeout = wait(&self.timeout, "vllm.timeout", 5_000);
        let multimodal_timeout = wait(&self.mm_timeout, "vllm.mmTimeout", 30_000);
        (faults.len() == before).then(|| RenderServer {
            authority: place.0.into(),
            prefix: place.1.into(),
            model: model.map(|model| model.as_str().into()),
            timeout,
            multimodal_timeout,
        })
    }
}

/// Host with port, and path, of a URL; without a port it is that of http.
fn place(url: &str) -> Result<(String, &str), String> {
    let rest = url
        .strip_prefix("http://")
        .ok_or_else(|| match url.starts_with("https://") {
            true => format!("'{url}': https is not supported here; use http://"),
            false => format!("'{url}' is no URL; write http://host:port"),
        })?;
    let rest = rest.trim_end_matches('/');
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    // The colons inside the brackets of an IPv6 address begin no port.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().unwrap_or(0)),
        _ => (authority, HTTP_PORT),
    };
    if host.is_empty() || port == 0 {
        let message =
            format!("'{url}' names no host or a port that is none; write http://host:port");
        return Err(message);
    }
    Ok((format!("{host}:{port}"), path))
}

/// The port of a URL that names none.
const HTTP_PORT: u16 = 80;

#[derive(Deserialize, JsonSchema, Default)]
#[serde(default)]
struct Estimate {
    /// How images are counted.
    image: Image,
    /// How videos are counted.
    video: Video,
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", default)]
struct Image {
    /// `dynamic` (by size) or `static` (a fixed number); dynamic when left out.
    mode: String,
    /// The size of an image that does not say; 640 x 360 when left out.
    default_resolution: Resolution,
    /// Dynamic: pixels per token.
    dynamic: Dynamic,
    /// Static: tokens per image.
    #[serde(rename = "static")]
    fixed: Static,
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", default)]
struct Video {
    /// What a frame counts.
    tokens_per_frame: PerFrame,
    /// Which frames count.
    frames: Frames,
    /// The size of a frame that does not say; 640 x 360 when left out.
    default_resolution: Resolution,
    /// Seconds of a video that does not say; 10 when left out.
    default_duration: f64,
    /// Most tokens of a video; 0: no bound.
    max_video_tokens: u32,
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", default)]
struct PerFrame {
    /// `dynamic` or `static`; dynamic when left out.
    mode: String,
    /// Dynamic: pixels per token.
    dynamic: Dynamic,
    /// Static: tokens per frame.
    #[serde(rename = "static")]
    fixed: StaticFrame,
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", default)]
struct Frames {
    /// `sampled` or `strided`; sampled when left out.
    mode: String,
    /// Fewest frames; 0: no bound.
    min_frames: u32,
    /// Most frames; 0: no bound.
    max_frames: u32,
    /// Sampled: so many a second.
    sampled: Sampled,
    /// Strided: every so manieth of the source.
    strided: Strided,
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", default)]
struct Sampled {
    /// Frames a second; 2 when left out.
    #[serde(rename = "sampleFPS")]
    sample_fps: f64,
    /// Frames that are merged into one.
    temporal_patch_size: u32,
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", default)]
struct Strided {
    /// Frames a second in the source; 24 when left out.
    #[serde(rename = "defaultSourceFPS")]
    default_source_fps: f64,
    /// Of so many frames one counts.
    frame_stride: u32,
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(default)]
struct Resolution {
    /// Pixels.
    width: u32,
    /// Pixels.
    height: u32,
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(default)]
struct Dynamic {
    /// Pixels per token; 1024 when left out.
    factor: u32,
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", default)]
struct Static {
    /// Tokens; 1 when left out.
    static_token: u32,
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", default)]
struct StaticFrame {
    /// Tokens; 1 when left out.
    num_tokens_per_frame: u32,
}

/// The rule for a picture; what is zero was left out.
fn picture(fixed: Option<u32>, size: &Resolution, dynamic: &Dynamic) -> PictureRule {
    let or = |given: u32, default: u32| if given > 0 { given } else { default };
    PictureRule {
        fixed: fixed.map(|tokens| tokens.max(1)),
        size: (or(size.width, SIZE.0), or(size.height, SIZE.1)),
        factor: or(dynamic.factor, FACTOR),
    }
}

impl Estimate {
    fn read(&self, faults: &mut Vec<ParamFault>) -> AssetRules {
        let mut mode = |path: &str, found: &str, [usual, other]: [&str; 2]| {
            if !["", usual, other].contains(&found) {
                faults.push(ParamFault {
                    path: format!("estimate.{path}.mode"),
                    message: format!("'{found}' is not known; use {usual} or {other}"),
                });
            }
            found == other
        };
        let (image, video) = (&self.image, &self.video);
        let per_frame = &video.tokens_per_frame;
        let fixed = mode("image", &image.mode, ["dynamic", "static"]);
        let fixed_frame = mode(
            "video.tokensPerFrame",
            &per_frame.mode,
            ["dynamic", "static"],
        );
        let strided = mode("video.frames", &video.frames.mode, ["sampled", "strided"]);
        let or = |given: f64, default: f64| if given > 0.0 { given } else { default };
        let (sampled, every) = (&video.frames.sampled, &video.frames.strided);
        AssetRules {
            image: picture(
                fixed.then_some(image.fixed.static_token),
                &image.default_resolution,
                &image.dynamic,
            ),
            video: VideoRule {
                frame: picture(
                    fixed_frame.then_some(per_frame.fixed.num_tokens_per_frame),
                    &video.default_resolution,
                    &per_frame.dynamic,
                ),
                frames: match strided {
                    true => FrameRule::Strided {
                        rate: or(every.default_source_fps, 24.0),
                        stride: every.frame_stride,
                    },
                    false => FrameRule::Sampled {
                        rate: or(sampled.sample_fps, 2.0),
                        merged: sampled.temporal_patch_size,
                    },
                },
                bounds: (video.frames.min_frames, video.frames.max_frames),
                duration: or(video.default_duration, 10.0),
                most: video.max_video_tokens,
            },
        }
    }
}

fn build(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    let given: Parameters = params.read()?;
    let mut faults = Vec::new();
    if given.uds_tokenizer_config.is_some() {
        faults.push(ParamFault {
            path: "udsTokenizerConfig".to_owned(),
            message: "is not supported, and deprecated in the reference; use vllm".to_owned(),
        });
    }
    if given.estimate.is_some() && given.vllm.is_some() {
        faults.push(ParamFault {
            path: "vllm".to_owned(),
            message: "stands beside estimate; write one of both".to_owned(),
        });
    }
    let asks = given.vllm.is_some() || given.model_name.is_some();
    let server = given.vllm.unwrap_or_default();
    let server = match asks {
        true => server.read(given.model_name.as_ref(), &mut faults),
        false => None,
    };
    let rules = given.estimate.unwrap_or_default().read(&mut faults);
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(Built::Preparer(Box::new(Tokens { rules, server })))
}

struct Tokens {
    rules: AssetRules,
    server: Option<RenderServer>,
}

impl Preparer for Tokens {
    fn render_server(&self) -> Option<RenderServer> {
        self.server.clone()
    }

    fn asset_rules(&self) -> Option<AssetRules> {
        Some(self.rules)
    }

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

    fn built_as(parameters: &str) -> Box<dyn Preparer> {
        match built(&SPEC, parameters, Generation::G2) {
            Ok(Built::Preparer(tokens)) => tokens,
            other => panic!("{parameters}: {other:?}"),
        }
    }

    #[test]
    fn images_and_videos_count_as_told() {
        let rules = |parameters: &str| built_as(parameters).asset_rules().unwrap();
        assert_eq!(rules("{}"), AssetRules::default());
        let written = r#"{"estimate":{"image":{"mode":"dynamic","defaultResolution":{"width":640,"height":360}}}}"#;
        assert_eq!(rules(written), AssetRules::default());
        let qwen = r#"{"estimate":{
            "image":{"mode":"static","static":{"staticToken":77}},
            "video":{"tokensPerFrame":{"dynamic":{"factor":900}},"frames":{"mode":"sampled","minFrames":4,"maxFrames":768,
              "sampled":{"sampleFPS":2,"temporalPatchSize":2}},"defaultDuration":30,"defaultResolution":{"width":300,"height":300}}}}"#;
        let rules_of = rules(qwen);
        assert_eq!(rules_of.image.tokens(Some((9_000, 9_000))), 77);
        assert_eq!(rules_of.video.tokens(), 30 * 100);
        let gemma = r#"{"estimate":{"video":{"tokensPerFrame":{"mode":"static","static":{"numTokensPerFrame":66}},
            "frames":{"mode":"strided","strided":{"defaultSourceFPS":24,"frameStride":24}},"maxVideoTokens":500}}}"#;
        assert_eq!(rules(gemma).video.tokens(), 500);
    }

    #[test]
    fn a_server_is_named_with_its_model_and_patience() {
        let server = |parameters: &str| built_as(parameters).render_server();
        assert_eq!(server("{}"), None);
        let expected = RenderServer {
            authority: "localhost:8000".into(),
            prefix: "".into(),
            model: Some("m".into()),
            timeout: Span::from_millis(5_000),
            multimodal_timeout: Span::from_millis(30_000),
        };
        assert_eq!(server(r#"{"modelName":"m"}"#), Some(expected.clone()));
        let written = r#"{"modelName":"m","vllm":{"url":"http://render.ns:81/a/","timeout":"1s","mmTimeout":"2s"}}"#;
        let other = RenderServer {
            authority: "render.ns:81".into(),
            prefix: "/a".into(),
            timeout: Span::from_millis(1_000),
            multimodal_timeout: Span::from_millis(2_000),
            ..expected
        };
        assert_eq!(server(written), Some(other));
        for (url, expected) in [
            ("http://render.ns.svc", "render.ns.svc:80"),
            ("http://render.ns.svc/v1", "render.ns.svc:80"),
            ("http://[::1]", "[::1]:80"),
            ("http://[::1]:81", "[::1]:81"),
        ] {
            let written = format!(r#"{{"modelName":"m","vllm":{{"url":"{url}"}}}}"#);
            let authority = server(&written).unwrap().authority;
            assert_eq!(&*authority, expected);
        }
    }

    #[test]
    fn nonsense_is_refused_with_its_place() {
        for (parameters, path) in [
            (r#"{"vllm":{"url":"http://a:1"}}"#, "modelName"),
            (r#"{"modelName":"m","vllm":{"url":"http://"}}"#, "vllm.url"),
            (
                r#"{"modelName":"m","vllm":{"url":"http://a:0"}}"#,
                "vllm.url",
            ),
            (
                r#"{"modelName":"m","vllm":{"url":"https://a:1"}}"#,
                "vllm.url",
            ),
            (r#"{"modelName":"m","vllm":{"url":"a:1"}}"#, "vllm.url"),
            (
                r#"{"modelName":"m","vllm":{"timeout":"soon"}}"#,
                "vllm.timeout",
            ),
            (
                r#"{"modelName":"m","vllm":{"mmTimeout":"0s"}}"#,
                "vllm.mmTimeout",
            ),
            (r#"{"modelName":"m","vllm":{},"estimate":{}}"#, "vllm"),
            (
                r#"{"modelName":"m","udsTokenizerConfig":{}}"#,
                "udsTokenizerConfig",
            ),
            (
                r#"{"estimate":{"image":{"mode":"some"}}}"#,
                "estimate.image.mode",
            ),
            (
                r#"{"estimate":{"video":{"frames":{"mode":"all"}}}}"#,
                "estimate.video.frames.mode",
            ),
        ] {
            let faults = built(&SPEC, parameters, Generation::G2).unwrap_err();
            assert_eq!(faults[0].path, path, "{parameters}");
        }
    }
}
