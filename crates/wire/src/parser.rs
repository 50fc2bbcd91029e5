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
pub static SPECS: &[&PluginSpec] = &[&OPENAI, &ANTHROPIC, &PASSTHROUGH];

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
