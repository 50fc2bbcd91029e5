//! Flags of the reference simulator that other commands of a manifest rely on being accepted.
//!
//! Some do nothing in the reference either ([`IgnoredFlags`]). Others do something there that is not simulated
//! here ([`CompatFlags`]): they are accepted, and one line at the start names those that were given.

use clap::Args;

/// Flags of the reference simulator and of vLLM that change nothing here, and nothing that anybody would miss.
#[derive(Clone, Debug, Args)]
pub struct IgnoredFlags {
    /// Ignored
    #[arg(long = "v", short = 'v', hide = true, value_name = "LEVEL")]
    pub verbosity: Option<i32>,
    /// Ignored
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true")]
    pub enable_prefix_caching: Option<bool>,
    /// Ignored
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true")]
    pub enable_chunked_prefill: Option<bool>,
    /// Ignored
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true")]
    pub enable_kvcache: Option<bool>,
    /// Ignored
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub enforce_eager: Option<bool>,
    /// Ignored
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub enable_auto_tool_choice: Option<bool>,
    /// Ignored
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub force_dummy_tokenizer: Option<bool>,
    /// Ignored
    #[arg(long, hide = true)]
    pub tool_call_parser: Option<String>,
    /// Ignored
    #[arg(long, hide = true)]
    pub tensor_parallel_size: Option<u32>,
    /// Ignored
    #[arg(long, hide = true)]
    pub gpu_memory_utilization: Option<f64>,
    /// Ignored
    #[arg(long, hide = true)]
    pub mm_processor_kwargs: Option<String>,
    /// Ignored
    #[arg(long, hide = true)]
    pub ec_transfer_config: Option<String>,
    /// Ignored
    #[arg(long, hide = true, allow_hyphen_values = true)]
    pub hash_seed: Option<String>,
    /// Ignored
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub enable_lora: Option<bool>,
    /// Ignored: made-up metrics are as old as the question for them
    #[arg(long, hide = true)]
    pub fake_metrics_refresh_interval: Option<String>,
    /// Ignored: tools are checked as far as they are used
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub skip_tool_validation: Option<bool>,
    /// Ignored: of the reference's log library
    #[arg(long = "vmodule", hide = true)]
    pub log_vmodule: Option<String>,
    /// Ignored: of the reference's log library
    #[arg(long = "logtostderr", hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub log_to_stderr: Option<bool>,
    /// Ignored: of the reference's log library
    #[arg(long = "alsologtostderr", hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub also_log_to_stderr: Option<bool>,
    /// Ignored: of the reference's log library
    #[arg(long = "stderrthreshold", hide = true)]
    pub stderr_threshold: Option<String>,
    /// Ignored: of the reference's log library
    #[arg(long = "log_dir", hide = true)]
    pub log_dir: Option<String>,
    /// Ignored: of the reference's log library
    #[arg(long = "log_file", hide = true)]
    pub log_file: Option<String>,
    /// Ignored: of the reference's log library
    #[arg(long = "log_file_max_size", hide = true)]
    pub log_file_max_size: Option<String>,
    /// Ignored: of the reference's log library
    #[arg(long = "log_backtrace_at", hide = true)]
    pub log_backtrace_at: Option<String>,
    /// Ignored: of the reference's log library
    #[arg(long = "add_dir_header", hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub add_dir_header: Option<bool>,
    /// Ignored: of the reference's log library
    #[arg(long = "one_output", hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub one_output: Option<bool>,
    /// Ignored: of the reference's log library
    #[arg(long = "skip_headers", hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub skip_headers: Option<bool>,
    /// Ignored: of the reference's log library
    #[arg(long = "skip_log_headers", hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub skip_log_headers: Option<bool>,
}

/// Flags of the reference simulator whose effect is not simulated.
#[derive(Clone, Debug, Args)]
pub struct CompatFlags {
    /// Without effect
    #[arg(long, hide = true, allow_hyphen_values = true)]
    pub zmq_endpoint: Option<String>,
    /// Without effect
    #[arg(long, hide = true, allow_hyphen_values = true)]
    pub event_batch_size: Option<String>,
    /// Without effect
    #[arg(long, hide = true, allow_hyphen_values = true)]
    pub kv_events_config: Option<String>,
    /// Without effect
    #[arg(long, hide = true, allow_hyphen_values = true)]
    pub kv_events_format: Option<String>,
    /// Without effect
    #[arg(long, hide = true, allow_hyphen_values = true)]
    pub kv_events_replay_endpoint: Option<String>,
    /// Without effect
    #[arg(long, hide = true, allow_hyphen_values = true)]
    pub kv_events_replay_queue_size: Option<String>,
    /// Without effect
    #[arg(long, hide = true, allow_hyphen_values = true)]
    pub global_cache_hit_threshold: Option<String>,
    /// Without effect
    #[arg(long, hide = true, allow_hyphen_values = true)]
    pub image_emission_rate: Option<String>,
    /// Without effect
    #[arg(long, hide = true, allow_hyphen_values = true)]
    pub time_to_generate_image: Option<String>,
    /// Without effect
    #[arg(long, hide = true, allow_hyphen_values = true)]
    pub time_to_generate_image_std_dev: Option<String>,
    /// Without effect
    #[arg(long, hide = true, allow_hyphen_values = true)]
    pub dataset_path: Option<String>,
    /// Without effect
    #[arg(long, hide = true, allow_hyphen_values = true)]
    pub dataset_url: Option<String>,
    /// Without effect
    #[arg(long, hide = true, allow_hyphen_values = true)]
    pub dataset_table_name: Option<String>,
    /// Without effect
    #[arg(long, hide = true, allow_hyphen_values = true)]
    pub render_url: Option<String>,
    /// Without effect
    #[arg(long, hide = true, allow_hyphen_values = true)]
    pub render_timeout: Option<String>,
    /// Without effect
    #[arg(long, hide = true, allow_hyphen_values = true)]
    pub mm_render_timeout: Option<String>,
    /// Without effect
    #[arg(long, hide = true, allow_hyphen_values = true)]
    pub tokenizers_cache_dir: Option<String>,
    /// Without effect
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub use_vllm_map_event_format: Option<bool>,
    /// Without effect
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub log_http: Option<bool>,
    /// Without effect
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub mm_encoder_only: Option<bool>,
    /// Without effect
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub omni: Option<bool>,
    /// Without effect
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub dataset_in_memory: Option<bool>,
}

impl CompatFlags {
    /// The flags that were given and ask for something that does not happen here.
    pub fn given(&self) -> Vec<&'static str> {
        let texts = [
            ("--zmq-endpoint", &self.zmq_endpoint),
            ("--event-batch-size", &self.event_batch_size),
            ("--kv-events-config", &self.kv_events_config),
            ("--kv-events-format", &self.kv_events_format),
            (
                "--kv-events-replay-endpoint",
                &self.kv_events_replay_endpoint,
            ),
            (
                "--kv-events-replay-queue-size",
                &self.kv_events_replay_queue_size,
            ),
            (
                "--global-cache-hit-threshold",
                &self.global_cache_hit_threshold,
            ),
            ("--image-emission-rate", &self.image_emission_rate),
            ("--time-to-generate-image", &self.time_to_generate_image),
            (
                "--time-to-generate-image-std-dev",
                &self.time_to_generate_image_std_dev,
            ),
            ("--dataset-path", &self.dataset_path),
            ("--dataset-url", &self.dataset_url),
            ("--dataset-table-name", &self.dataset_table_name),
            ("--render-url", &self.render_url),
            ("--render-timeout", &self.render_timeout),
            ("--mm-render-timeout", &self.mm_render_timeout),
            ("--tokenizers-cache-dir", &self.tokenizers_cache_dir),
        ];
        let switches = [
            (
                "--use-vllm-map-event-format",
                self.use_vllm_map_event_format,
            ),
            ("--log-http", self.log_http),
            ("--mm-encoder-only", self.mm_encoder_only),
            ("--omni", self.omni),
            ("--dataset-in-memory", self.dataset_in_memory),
        ];
        let texts = texts
            .into_iter()
            .filter(|(_, value)| value.as_deref().is_some_and(|text| !text.is_empty()))
            .map(|(flag, _)| flag);
        let switches = switches
            .into_iter()
            .filter(|(_, value)| *value == Some(true))
            .map(|(flag, _)| flag);
        texts.chain(switches).collect()
    }
}
