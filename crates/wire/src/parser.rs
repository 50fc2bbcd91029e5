//! The parsers that a configuration can name: which bodies are looked into.
//!
//! A parser is a description that the doors carry out. With none named, OpenAI-style bodies are read and
//! anything else passes as it is.

use pointsman_core::contract::data_layer::Parser;
use pointsman_core::contract::roles::Built;
use pointsman_core::contract::spec::{
    ParamFault, Params, PluginSpec, Role, Stability, needs_nothing, schema_of,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// What this crate brings to the registry.
pub static SPECS: &[&PluginSpec] = &[&OPENAI, &ANTHROPIC, &VLLM_HTTP, &VLLM_GRPC, &PASSTHROUGH];

/// `openai-parser` as the registry knows it.
pub static OPENAI: PluginSpec = PluginSpec {
    kind: "openai-parser",
    aliases: &[],
    role: Role::Parser,
    stability: Stability::Stable,
    reads: &[],
    requires: needs_nothing,
    source: concat!(
        "//! Reads OpenAI-style JSON bodies: model, prompt, bounds and cache salt.\n//!\n",
        "//! # When to use\n//! Always, unless bodies are to pass unread; it is on when nothing is named.\n//!\n",
        "//! # Rule\n//! POST to `/v1/completions`, `/v1/chat/completions`, `/v1/embeddings` or `/v1/responses`. A body that is no such\n",
        "//! request is answered 400 and never forwarded.\n//!\n",
        "//! # Reads\n//! The request's body.\n//!\n",
        "//! # Example\n//! ```yaml\n//! - type: openai-parser\n//! ```\n//!\n",
        "//! # Limits\n//! Fields that routing does not need are left for the engine to judge.\n",
    ),
    schema: schema_of::<Parameters>,
    build: |_: &Params<'_>| -> Result<Built, Vec<ParamFault>> { Ok(Built::Parser(Parser::OpenAi)) },
};

/// `anthropic-parser` as the registry knows it.
pub static ANTHROPIC: PluginSpec = PluginSpec {
    kind: "anthropic-parser",
    source: concat!(
        "//! Reads Anthropic's messages.\n//!\n",
        "//! # When to use\n//! For engines that serve `/v1/messages`; under the second generation's rules it is on when nothing is named.\n//!\n",
        "//! # Rule\n//! `messages` is read as a chat's messages; a body without them is answered 400. A request to `messages/count_tokens` is\n",
        "//! scheduled unread, and its answer passes the picker by. The embedded gateway refuses in the form that Anthropic's\n",
        "//! clients read.\n//!\n",
        "//! # Reads\n//! The request's body.\n//!\n",
        "//! # Example\n//! ```yaml\n//! - type: anthropic-parser\n//! ```\n//!\n",
        "//! # Limits\n//! The text in `system` is not part of the prompt that is hashed.\n",
    ),
    build: |_: &Params<'_>| -> Result<Built, Vec<ParamFault>> {
        Ok(Built::Parser(Parser::Anthropic))
    },
    ..OPENAI
};

/// `vllmhttp-parser` as the registry knows it.
pub static VLLM_HTTP: PluginSpec = PluginSpec {
    kind: "vllmhttp-parser",
    source: concat!(
        "//! Reads the requests of vLLM's own HTTP interface, whose prompts are token ids.\n//!\n",
        "//! # When to use\n//! For engines that serve `/inference/v1/generate`, behind a gateway that asks the picker over ext_proc; under the\n",
        "//! second generation's rules it is on when nothing is named.\n//!\n",
        "//! # Rule\n//! `token_ids` is the prompt; a body without them, or with something else in them, is answered 400. The bound on output\n",
        "//! tokens is `sampling_params.max_tokens`.\n//!\n",
        "//! # Reads\n//! The request's body.\n//!\n",
        "//! # Example\n//! ```yaml\n//! - type: vllmhttp-parser\n//! ```\n//!\n",
        "//! # Limits\n//! The embedded gateway does not look at this path. Token ids that stand for images count as any others: two images at\n",
        "//! the same place of a prompt look alike.\n",
    ),
    build: |_: &Params<'_>| -> Result<Built, Vec<ParamFault>> {
        Ok(Built::Parser(Parser::VllmHttp))
    },
    ..OPENAI
};

/// `vllmgrpc-parser` as the registry knows it.
pub static VLLM_GRPC: PluginSpec = PluginSpec {
    kind: "vllmgrpc-parser",
    source: concat!(
        "//! Reads calls to vLLM over gRPC.\n//!\n",
        "//! # When to use\n//! For engines that serve `vllm.grpc.engine.VllmEngine`, behind a gateway that asks the picker over ext_proc.\n//!\n",
        "//! # Rule\n//! Of `Generate` the text or the token ids are the prompt, of `Embed` the token ids; a body that is no such message, or\n",
        "//! compressed, is answered 400. Other calls of the service are scheduled unread, and their answers pass the picker by.\n",
        "//! The model has no name. Usage is read from the answer's messages.\n//!\n",
        "//! # Reads\n//! The request's body.\n//!\n",
        "//! # Example\n//! ```yaml\n//! - type: vllmgrpc-parser\n//! ```\n//!\n",
        "//! # Limits\n//! The embedded gateway does not speak gRPC to endpoints. Only the first message of a request is read. A model's name is\n",
        "//! not rewritten.\n",
    ),
    build: |_: &Params<'_>| -> Result<Built, Vec<ParamFault>> {
        Ok(Built::Parser(Parser::VllmGrpc))
    },
    ..OPENAI
};

/// `passthrough-parser` as the registry knows it.
pub static PASSTHROUGH: PluginSpec = PluginSpec {
    kind: "passthrough-parser",
    source: concat!(
        "//! Lets bodies pass unread.\n//!\n",
        "//! # When to use\n//! For engines whose requests are no OpenAI-style JSON, and to route by load alone.\n//!\n",
        "//! # Rule\n//! Named alone, every POST is scheduled without a model and without a prompt. Named after `openai-parser` it takes what\n",
        "//! that one does not claim.\n//!\n",
        "//! # Reads\n//! Nothing.\n//!\n",
        "//! # Example\n//! ```yaml\n//! - type: passthrough-parser\n//! ```\n//!\n",
        "//! # Limits\n//! Scorers that look at the prompt give every candidate the same.\n",
    ),
    build: |_: &Params<'_>| -> Result<Built, Vec<ParamFault>> {
        Ok(Built::Parser(Parser::Passthrough))
    },
    ..OPENAI
};

#[derive(Deserialize, JsonSchema, Default)]
struct Parameters {}
