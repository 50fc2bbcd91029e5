//! The flags of one simulated model server, as written on the command line.
//!
//! The names are those of the reference simulator and of `vllm serve` where either has the flag; flags
//! that make no difference here are accepted and ignored, so that manifests made for them start
//! unchanged. `settings.rs` turns this into what the server runs on.

use std::net::IpAddr;
use std::time::Duration;

use clap::{Args, Parser, ValueEnum};

use crate::engine::preset::PRESET_NAMES;
use crate::engine::transfer::TRANSFER_PRESETS;
use crate::flags::compat::{CompatFlags, IgnoredFlags};
use crate::server::mishap::Kind;

pub mod compat;

pub mod file;

/// What a server does in a prefill/decode pair.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Role {
    /// Prefill and decode.
    #[default]
    Both,
    /// Computes prompts for a decode server.
    Prefill,
    /// Takes over prompts that a prefill server computed.
    Decode,
}

/// How KV moves between the servers of a pair.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Connector {
    /// It does not.
    #[default]
    None,
    /// NVLink between GPUs of one node (vLLM's P2pNcclConnector).
    P2pNccl,
    /// A file system both can reach (vLLM's ExampleConnector).
    SharedStorage,
    /// RDMA (vLLM's NixlConnector).
    Nixl,
}

/// Which timing model is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum LatencyModel {
    /// An engine's step loop over a roofline.
    Roofline,
    /// Independent sleeps, as the reference simulator does.
    Reference,
}

/// How many tokens an answer gets when the request gives `max_tokens`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Length {
    /// Exactly `max_tokens`.
    #[default]
    Exact,
    /// Drawn from six buckets up to `max_tokens`, as the reference simulator does.
    Random,
}

/// What the answers say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Mode {
    /// Made-up words.
    #[default]
    Random,
    /// The prompt.
    Echo,
}

/// Whose metric names are used where they differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum MetricsCompat {
    /// vLLM's (`finished_reason`).
    #[default]
    Vllm,
    /// The reference simulator's (`finish_reason`).
    Sim,
}

/// Flags of one simulated model server.
#[derive(Clone, Debug, Args)]
#[command(
    next_help_heading = "Simulated model server",
    args_override_self = true
)]
pub struct SimConfig {
    /// Port to listen on
    #[arg(long, default_value_t = 8000)]
    pub port: u16,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Address and port to listen on; overrides --host and --port
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<std::net::SocketAddr>,
    /// Model to imitate; also the name it is served under
    #[arg(
        long,
        default_value = "Qwen/Qwen3-Coder-30B-A3B-Instruct",
        env = "SIM_MODEL"
    )]
    pub model: String,
    /// Names the model is served under, instead of --model
    #[arg(long, num_args = 1.., value_delimiter = ',')]
    pub served_model_name: Vec<String>,
    /// Most tokens of prompt and answer together
    #[arg(long, default_value_t = 32_768, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_model_len: u32,
    /// Most requests in a batch
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_num_seqs: u32,
    /// Most tokens in one step
    #[arg(long, default_value_t = 8192, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_num_batched_tokens: u32,
    /// Most requests in the queue; one more gets 429
    #[arg(long, default_value_t = 100_000)]
    pub max_waiting_queue_length: u32,
    /// Tokens per KV block: 8, 16, 32, 64 or 128
    #[arg(long, default_value_t = 16, value_parser = block_size)]
    pub block_size: u32,
    /// KV blocks; default: what fits the preset's memory
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub kv_cache_size: Option<u32>,
    /// Model and hardware whose timing is imitated
    #[arg(long, default_value = "lab", value_parser = PRESET_NAMES)]
    pub preset: String,
    /// Timing model; default: the preset's
    #[arg(long)]
    pub latency_model: Option<LatencyModel>,
    /// Seed of all chance; default: differs from start to start
    #[arg(long)]
    pub seed: Option<u64>,
    /// No chance in step times and lengths
    #[arg(long)]
    pub deterministic: bool,
    /// How much faster than modelled everything runs
    #[arg(long, default_value_t = 1.0)]
    pub speed: f64,
    /// Factor on all step times
    #[arg(long, default_value_t = 1.0)]
    pub slow_factor: f64,
    /// What the answers say
    #[arg(long, default_value = "random")]
    pub mode: Mode,
    /// Answer length when max_tokens is given; without it about 40 tokens are drawn
    #[arg(long, default_value = "exact")]
    pub length: Length,
    /// Part in a prefill/decode pair
    #[arg(long, default_value = "both")]
    pub role: Role,
    /// How KV moves between the pair
    #[arg(long, default_value = "none")]
    pub kv_connector: Connector,
    /// How long KV takes; default: by --kv-connector
    #[arg(long, value_parser = TRANSFER_PRESETS.map(|preset| preset.name))]
    pub kv_transfer: Option<String>,
    /// URL of the prefill server, to ask what it computed when it runs in another process
    #[arg(long, value_name = "URL")]
    pub kv_peer: Option<String>,
    /// How long KV that nobody has fetched is kept; what is fetched later is garbage
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub kv_lease: Duration,
    /// Append the choice's index to completion ids, as the reference simulator does
    #[arg(long)]
    pub choice_suffix: bool,
    /// Answer with the request's X-Request-Id
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", action = clap::ArgAction::Set)]
    pub enable_request_id_headers: bool,
    /// Not ready for so long after the start
    #[arg(long, default_value = "0", value_parser = duration)]
    pub startup_duration: Duration,
    /// Largest request body in MiB
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=512))]
    pub max_request_body_size_mb: u32,
    /// Never reuse a prefix
    #[arg(long)]
    pub no_enable_prefix_caching: bool,
    /// Compute every prompt in one step
    #[arg(long)]
    pub no_enable_chunked_prefill: bool,
    /// What made-up tool calls look like
    #[command(flatten)]
    pub tools: ToolFlags,
    /// Times of the reference timing model
    #[command(flatten)]
    pub reference: ReferenceFlags,
    /// vLLM's own description of the connector: role and backend are read from it
    #[arg(long, value_name = "JSON")]
    pub kv_transfer_config: Option<String>,
    /// Adapters: one JSON object each, {"name", "path", "base_model_name"}
    #[arg(long, num_args = 1.., value_name = "JSON")]
    pub lora_modules: Vec<String>,
    /// Most adapters in one batch, as the metrics page says it
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_loras: u32,
    /// Most adapters in the host's memory; not less than --max-loras
    #[arg(long)]
    pub max_cpu_loras: Option<u32>,
    /// Requests of a hundred that are answered with an error
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub failure_injection_rate: u8,
    /// Which errors; default: all
    #[arg(long, num_args = 0.., value_delimiter = ',')]
    pub failure_types: Vec<Kind>,
    /// Faults on a timeline: a YAML file with a list `faults`, or the list itself as JSON
    #[arg(long, value_name = "FILE")]
    pub faults: Option<String>,
    /// What the metrics page says instead of the truth, as JSON
    #[arg(long, value_name = "JSON")]
    pub fake_metrics: Option<String>,
    /// Length of embeddings
    #[arg(long, default_value_t = 384, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub default_embedding_dimensions: u32,
    /// Let /sleep put the engine to sleep, in development mode
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", action = clap::ArgAction::Set)]
    pub enable_sleep_mode: bool,
    /// Development mode, as VLLM_SERVER_DEV_MODE=1 says it too
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", action = clap::ArgAction::Set)]
    pub server_dev_mode: bool,
    /// Whose names the metrics page uses where they differ
    #[arg(long, default_value = "vllm")]
    pub metrics_compat: MetricsCompat,
    /// Certificate of this server: not supported
    #[arg(long, hide = true)]
    pub ssl_certfile: Option<String>,
    /// Key of the certificate: not supported
    #[arg(long, hide = true)]
    pub ssl_keyfile: Option<String>,
    /// A certificate made at the start: not supported
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub self_signed_certs: Option<bool>,
    /// YAML file with these flags as keys; flags given as well win
    #[arg(long, value_name = "FILE")]
    pub config: Option<std::path::PathBuf>,
    /// How many servers of one data-parallel engine to run, on this port and those after it
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=8))]
    pub data_parallel_size: u16,
    /// Run only this rank, on --port itself, as in vLLM where every rank is a process of its own; -1 runs all
    #[arg(long, default_value_t = -1, allow_hyphen_values = true, value_parser = clap::value_parser!(i16).range(-1..=7))]
    pub data_parallel_rank: i16,
    /// Accepted without effect
    #[command(flatten)]
    pub ignored: IgnoredFlags,
    /// Accepted, and said to be without effect
    #[command(flatten)]
    pub compat: CompatFlags,
    /// Answered as x-inference-pod
    #[arg(long, env = "POD_NAME", hide = true)]
    pub pod_name: Option<String>,
    /// Answered as x-inference-namespace
    #[arg(long, env = "POD_NAMESPACE", hide = true)]
    pub pod_namespace: Option<String>,
}

/// Bounds of what `tool_choice: required` makes up.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Tool calls")]
pub struct ToolFlags {
    /// Largest whole number
    #[arg(long, default_value_t = 100, allow_hyphen_values = true)]
    pub max_tool_call_integer_param: i64,
    /// Least whole number
    #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
    pub min_tool_call_integer_param: i64,
    /// Largest number
    #[arg(long, default_value_t = 100.0, allow_hyphen_values = true)]
    pub max_tool_call_number_param: f64,
    /// Least number
    #[arg(long, default_value_t = 0.0, allow_hyphen_values = true)]
    pub min_tool_call_number_param: f64,
    /// Longest array
    #[arg(long, default_value_t = 5)]
    pub max_tool_call_array_param_length: u32,
    /// Shortest array
    #[arg(long, default_value_t = 1)]
    pub min_tool_call_array_param_length: u32,
    /// Parameters of a hundred that are there though they need not be
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub tool_call_not_required_param_probability: u8,
    /// The same for the fields of an object
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub object_tool_call_not_required_field_probability: u8,
    /// Answers of a hundred with a further call
    #[arg(long, default_value_t = 45, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub tool_call_extra_call_probability: u8,
}

/// Times of `--latency-model reference`, which any of them but the transfer's chooses: a number is
/// milliseconds, or with a unit (`250us`, `1.5s`).
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Reference timing")]
pub struct ReferenceFlags {
    /// Which of them count: constant (time to first token), per-token (prefill times), or empty for the first if it is not 0
    #[arg(long, value_parser = ["", "constant", "per-token"])]
    pub latency_calculator: Option<String>,
    /// Time to the first token
    #[arg(long, value_parser = duration)]
    pub time_to_first_token: Option<Duration>,
    /// Its deviation
    #[arg(long, value_parser = duration)]
    pub time_to_first_token_std_dev: Option<Duration>,
    /// Time between two tokens
    #[arg(long, value_parser = duration)]
    pub inter_token_latency: Option<Duration>,
    /// Its deviation
    #[arg(long, value_parser = duration)]
    pub inter_token_latency_std_dev: Option<Duration>,
    /// Fixed part of a prefill
    #[arg(long, value_parser = duration)]
    pub prefill_overhead: Option<Duration>,
    /// Prefill time per token that is not cached
    #[arg(long, value_parser = duration)]
    pub prefill_time_per_token: Option<Duration>,
    /// Deviation of the prefill time
    #[arg(long, value_parser = duration)]
    pub prefill_time_std_dev: Option<Duration>,
    /// Time to move a prompt's KV; with either timing model
    #[arg(long, value_parser = duration)]
    pub kv_cache_transfer_latency: Option<Duration>,
    /// Its deviation
    #[arg(long, value_parser = duration)]
    pub kv_cache_transfer_latency_std_dev: Option<Duration>,
    /// Time to move the KV of one token
    #[arg(long, value_parser = duration)]
    pub kv_cache_transfer_time_per_token: Option<Duration>,
    /// Deviation of the transfer time
    #[arg(long, value_parser = duration)]
    pub kv_cache_transfer_time_std_dev: Option<Duration>,
    /// Factor on all times when every sequence slot is taken
    #[arg(long)]
    pub time_factor_under_load: Option<f64>,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self::from_flags::<[&str; 0], _>([]).expect("no flag is required")
    }
}

impl SimConfig {
    /// The configuration that these flags give (without the program's name).
    pub fn from_flags<I, S>(flags: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = S>,
        S: Into<std::ffi::OsString> + Clone,
    {
        #[derive(Parser)]
        #[command(no_binary_name = true)]
        struct Line {
            #[command(flatten)]
            config: SimConfig,
        }
        Line::try_parse_from(flags).map(|line| line.config)
    }

    /// Flags that were given and ask for something that does not happen here.
    pub fn without_effect(&self) -> Vec<&'static str> {
        self.compat.given()
    }

    /// The configuration of each server that is to run: one, or one per data-parallel rank.
    ///
    /// # Errors
    /// When the rank does not exist or its port would be beyond the last one.
    pub fn ranks(&self) -> Result<Vec<Self>, String> {
        if let Ok(rank) = u16::try_from(self.data_parallel_rank) {
            if rank < self.data_parallel_size {
                return Ok(vec![self.clone()]);
            }
            return Err(format!(
                "--data-parallel-rank {rank}: --data-parallel-size {} has ranks 0 to {}",
                self.data_parallel_size,
                self.data_parallel_size - 1
            ));
        }
        let base = self.address();
        (0..self.data_parallel_size)
            .map(|rank| {
                let port = base.port().checked_add(rank).ok_or_else(|| {
                    format!("--port {}: no port is left for rank {rank}", base.port())
                })?;
                let mut config = self.clone();
                // Port 0 means any port, for each.
                let port = if base.port() == 0 { 0 } else { port };
                config.listen = Some((base.ip(), port).into());
                // Equal seeds would make the ranks answer in step.
                config.seed = self.seed.map(|seed| seed.wrapping_add(u64::from(rank)));
                Ok(config)
            })
            .collect()
    }

    /// The address to listen on.
    pub fn address(&self) -> std::net::SocketAddr {
        self.listen.unwrap_or_else(|| (self.host, self.port).into())
    }
}

/// The block sizes that vLLM's CUDA kernels have.
fn block_size(text: &str) -> Result<u32, String> {
    let size = text.parse().ok();
    size.filter(|size| [8, 16, 32, 64, 128].contains(size))
        .ok_or_else(|| "must be 8, 16, 32, 64 or 128".to_owned())
}

/// `12` and `12ms` are milliseconds; `us`, `µs`, `ns`, `s` and `m` are understood too.
pub fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "ms" => 1e-3,
        "s" => 1.0,
        "us" | "µs" => 1e-6,
        "ns" => 1e-9,
        "m" => 60.0,
        other => return Err(format!("unknown unit {other:?}; use ms, s, us, ns or m")),
    };
    let number: f64 = digits
        .parse()
        .map_err(|_| format!("{text:?} is not a time such as 12ms"))?;
    Duration::try_from_secs_f64(number * unit)
        .map_err(|_| format!("{text:?} is not a positive time"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_and_without_a_unit() {
        assert_eq!(duration("12"), Ok(Duration::from_millis(12)));
        assert_eq!(duration("250us"), Ok(Duration::from_micros(250)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert!(
            duration("fast").is_err() && duration("3 parsecs").is_err() && duration("-1").is_err()
        );
    }

    #[test]
    fn the_labs_vllm_arguments_start_unchanged() {
        let config = SimConfig::from_flags([
            "--model=Qwen/Qwen3-Coder-30B-A3B-Instruct",
            "--tensor-parallel-size=1",
            "--port=8000",
            "--gpu-memory-utilization=0.90",
            "--max-model-len=2048",
            "--no-enable-prefix-caching",
            "--no-enable-chunked-prefill",
            "--enable-auto-tool-choice",
            "--tool-call-parser=qwen3_coder",
        ])
        .unwrap();
        assert_eq!(config.max_model_len, 2048);
        assert!(config.no_enable_prefix_caching && config.no_enable_chunked_prefill);
        assert_eq!(config.address().to_string(), "127.0.0.1:8000");
    }

    #[test]
    fn what_the_reference_accepts_is_accepted_and_what_does_nothing_is_named() {
        let config = SimConfig::from_flags([
            "--model=m",
            "--enable-kvcache=true",
            "--enforce-eager=true",
            "--zmq-endpoint=tcp://127.0.0.1:5557",
            "--event-batch-size",
            "16",
            "--log-http",
            "--omni=false",
            "--dataset-path",
            "",
            "--logtostderr=true",
            "-v=4",
        ])
        .unwrap();
        assert_eq!(
            config.without_effect(),
            ["--zmq-endpoint", "--event-batch-size", "--log-http"]
        );
    }

    #[test]
    fn block_sizes_are_those_of_the_kernels() {
        assert_eq!(
            SimConfig::from_flags(["--block-size=64"])
                .unwrap()
                .block_size,
            64
        );
        let error = SimConfig::from_flags(["--block-size=17"]).unwrap_err();
        assert!(
            error.to_string().contains("8, 16, 32, 64 or 128"),
            "{error}"
        );
    }

    #[test]
    fn each_rank_has_its_port() {
        let ports = |flags: &[&str]| -> Result<Vec<u16>, String> {
            let ranks = SimConfig::from_flags(flags.iter().copied())
                .unwrap()
                .ranks()?;
            Ok(ranks.iter().map(|rank| rank.address().port()).collect())
        };
        assert_eq!(ports(&[]), Ok(vec![8000]));
        assert_eq!(
            ports(&["--data-parallel-size=3", "--port=9"]),
            Ok(vec![9, 10, 11])
        );
        let size = "--data-parallel-size=3";
        assert_eq!(ports(&[size, "--data-parallel-rank=2"]), Ok(vec![8000]));
        assert!(
            ports(&["--data-parallel-rank=2"])
                .unwrap_err()
                .contains("ranks 0 to 0")
        );
        assert!(
            ports(&[size, "--port=65534"])
                .unwrap_err()
                .contains("rank 2")
        );
    }

    #[test]
    fn a_preset_that_does_not_exist_is_refused_with_the_list() {
        let error = SimConfig::from_flags(["--preset", "h200"])
            .unwrap_err()
            .to_string();
        assert!(error.contains("roofline-8b-h100"), "{error}");
    }
}
