//! Plugins that are descriptions: what the feeds and the doors carry out, said in a configuration.

use crate::time::Span;

/// Endpoints from a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileDiscovery {
    /// The file.
    pub path: String,
    /// Whether it is read again when it changes.
    pub watch: bool,
}

/// How request bodies are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parser {
    /// OpenAI-style JSON.
    OpenAi,
    /// Anthropic's messages; on by default under the second generation's rules.
    Anthropic,
    /// vLLM's own HTTP interface; on by default under the second generation's rules.
    VllmHttp,
    /// vLLM's calls over gRPC.
    VllmGrpc,
    /// Not at all: any body passes, and is scheduled without a prompt.
    Passthrough,
}

/// A server that tells the token ids of a prompt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RenderServer {
    /// Its host and port.
    pub authority: Box<str>,
    /// What stands before the paths of its interface; empty as a rule.
    pub prefix: Box<str>,
    /// The model it is asked for; `None`: the one that the request names.
    pub model: Option<Box<str>>,
    /// Longest wait for an answer.
    pub timeout: Span,
    /// The same where the prompt is not only text.
    pub multimodal_timeout: Span,
}

/// Where an endpoint's metrics are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MetricsSource {
    /// Whether TLS is spoken.
    pub https: bool,
    /// The page's path.
    pub path: String,
    /// Another port than the endpoint's own.
    pub port: Option<u16>,
    /// With TLS: whether any certificate is taken.
    pub insecure_skip_verify: bool,
    /// With TLS: file of the authorities' certificates; `None`: the system's.
    pub ca_cert_path: Option<String>,
    /// With TLS: files of the client's certificate and key, for servers that ask.
    pub client_paths: Option<(String, String)>,
    /// Time between two readings of an endpoint; `None`: the process's own.
    pub interval: Option<Span>,
}

impl Default for MetricsSource {
    fn default() -> Self {
        Self {
            https: false,
            path: "/metrics".to_owned(),
            port: None,
            insecure_skip_verify: true,
            ca_cert_path: None,
            client_paths: None,
            interval: None,
        }
    }
}

/// One metric on a page: its name and the labels that its series must carry.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MetricSpec {
    /// The metric's name.
    pub name: String,
    /// Labels that must have these values.
    pub labels: Vec<(String, String)>,
}

/// The metrics of one engine; `None` switches a reading off.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EngineSpec {
    /// The engine's name, as endpoints carry it in a label.
    pub name: String,
    /// Requests waiting.
    pub waiting: Option<MetricSpec>,
    /// Requests running.
    pub running: Option<MetricSpec>,
    /// Share of the KV cache in use.
    pub kv_usage: Option<MetricSpec>,
    /// The series whose labels hold the cache's sizes.
    pub cache_info: Option<MetricSpec>,
    /// Label of `cache_info` with the tokens per block.
    pub block_size_label: String,
    /// Label of `cache_info` with the number of blocks.
    pub num_blocks_label: String,
    /// Tokens per block as a value of its own.
    pub block_size: Option<MetricSpec>,
    /// Number of blocks as a value of its own.
    pub num_blocks: Option<MetricSpec>,
    /// The series whose labels list LoRA adapters.
    pub lora: Option<MetricSpec>,
    /// Values under names of the configuration's own.
    pub attributes: Vec<(String, MetricSpec)>,
}

/// Which metrics are taken, by engine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EngineMetrics {
    /// The label that names an endpoint's engine; `None`: the usual ones.
    pub engine_label: Option<String>,
    /// The engine of endpoints without that label.
    pub default_engine: String,
    /// Engines described in the configuration; they replace built-in ones of the same name.
    pub engines: Vec<EngineSpec>,
}

impl Default for EngineMetrics {
    fn default() -> Self {
        Self {
            engine_label: None,
            default_engine: "vllm".to_owned(),
            engines: Vec::new(),
        }
    }
}
