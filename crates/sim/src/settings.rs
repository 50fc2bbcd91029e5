//! Flags resolved: the engine's configuration and what the server needs to know.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;

use crate::engine::config::EngineConfig;
use crate::engine::preset::Preset;
use crate::flags::{Connector, Length, MetricsCompat, Mode, Role, SimConfig, ToolFlags};
use crate::server::adapters::Adapter;
use crate::server::arguments::Bounds;
use crate::server::fake::FakeMetrics;
use crate::server::mishap::Mishaps;
use crate::server::timeline::{TimedFault, read_timeline};
use crate::settings::fault::SettingsError;
use crate::settings::times::{timing, transfer};

pub mod fault;

mod times;

/// Relative deviation of a step's time unless `--deterministic`.
const JITTER: f64 = 0.03;

/// What one server runs on.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The engine.
    pub engine: EngineConfig,
    /// Seed of all chance.
    pub seed: u64,
    /// No chance in lengths either.
    pub deterministic: bool,
    /// Factor on all step times.
    pub slow_factor: f64,
    /// Served names; the first is the main one.
    pub models: Vec<String>,
    /// The model behind the names.
    pub root: String,
    /// Most tokens of prompt and answer together.
    pub max_model_len: u32,
    /// What the answers say.
    pub mode: Mode,
    /// How long they are.
    pub length: Length,
    /// Part in a pair.
    pub role: Role,
    /// How KV moves between the pair.
    pub connector: Connector,
    /// Host and port of the prefill server in another process.
    pub kv_peer: Option<String>,
    /// How long KV that nobody has fetched is kept.
    pub kv_lease: Duration,
    /// Append the choice's index to completion ids.
    pub choice_suffix: bool,
    /// Answer with the request's X-Request-Id.
    pub echo_request_id: bool,
    /// Not ready for so long.
    pub startup: Duration,
    /// Largest request body in bytes.
    pub max_body: usize,
    /// Adapters that are there from the start.
    pub adapters: Vec<Adapter>,
    /// Most adapters in one batch.
    pub max_loras: u32,
    /// Errors at random.
    pub mishaps: Option<Mishaps>,
    /// Faults on a timeline.
    pub faults: Vec<TimedFault>,
    /// What the metrics page says instead of the truth.
    pub fake_metrics: Option<FakeMetrics>,
    /// What made-up tool calls look like.
    pub tool_bounds: Bounds,
    /// Length of embeddings.
    pub embedding_dimensions: u32,
    /// Whether the engine may be put to sleep.
    pub sleep_mode: bool,
    /// What the label with the reason of an end is called.
    pub reason_label: &'static str,
    /// Answered as x-inference-pod, -namespace.
    pub pod: Option<(String, Option<String>)>,
}

/// The part of vLLM's `--kv-transfer-config` that matters here.
#[derive(Deserialize)]
struct TransferConfig {
    kv_connector: Option<String>,
    kv_role: Option<String>,
}

impl Settings {
    /// Resolves flags; the first fault found refuses them.
    pub fn resolve(config: &SimConfig) -> Result<Self, SettingsError> {
        for (flag, found) in [("speed", config.speed), ("slow-factor", config.slow_factor)] {
            if !found.is_finite() || found <= 0.0 {
                return Err(SettingsError::NotPositive { flag, found });
            }
        }
        if let Some(flag) = certificates(config) {
            return Err(SettingsError::Certificates(flag));
        }
        if let Some(most) = config.max_cpu_loras.filter(|&most| most < config.max_loras) {
            return Err(SettingsError::CpuLoras(most, config.max_loras));
        }
        let (role, connector) = pair(config)?;
        let preset = Preset::by_name(&config.preset)
            .ok_or_else(|| SettingsError::Preset(config.preset.clone()))?;
        let kv_blocks = config
            .kv_cache_size
            .unwrap_or_else(|| preset.kv_blocks(config.block_size));
        let engine = EngineConfig {
            transfer: transfer(config, connector)?,
            block_size: config.block_size,
            max_running: config.max_num_seqs,
            max_waiting: config.max_waiting_queue_length,
            token_budget: config.max_num_batched_tokens,
            chunked_prefill: !config.no_enable_chunked_prefill,
            prefix_caching: !config.no_enable_prefix_caching,
            jitter: if config.deterministic { 0.0 } else { JITTER },
            speed: config.speed,
            ..EngineConfig::new(timing(config, &preset)?, preset.kv_bytes, kv_blocks)
        };
        let models = match config.served_model_name.as_slice() {
            [] => vec![config.model.clone()],
            names => names.to_vec(),
        };
        let clock = || {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |d| d.as_nanos() as u64)
        };
        Ok(Self {
            engine: engine.lawful(),
            seed: config
                .seed
                .unwrap_or_else(|| if config.deterministic { 0 } else { clock() }),
            deterministic: config.deterministic,
            slow_factor: config.slow_factor,
            root: config.model.clone(),
            max_model_len: config.max_model_len,
            mode: config.mode,
            length: config.length,
            role,
            connector,
            kv_peer: config.kv_peer.as_deref().map(authority).transpose()?,
            kv_lease: config.kv_lease,
            choice_suffix: config.choice_suffix,
            echo_request_id: config.enable_request_id_headers,
            startup: config.startup_duration,
            max_body: config.max_request_body_size_mb as usize * 1024 * 1024,
            adapters: adapters(config, &models)?,
            max_loras: config.max_loras,
            mishaps: (config.failure_injection_rate > 0)
                .then(|| Mishaps::new(config.failure_injection_rate, &config.failure_types)),
            faults: faults(config)?,
            fake_metrics: config
                .fake_metrics
                .as_deref()
                .filter(|json| !json.is_empty())
                .map(serde_json::from_str)
                .transpose()
                .map_err(SettingsError::FakeMetrics)?,
            tool_bounds: tool_bounds(&config.tools)?,
            embedding_dimensions: config.default_embedding_dimensions,
            sleep_mode: config.enable_sleep_mode
                && (config.server_dev_mode
                    || std::env::var("VLLM_SERVER_DEV_MODE").is_ok_and(|mode| mode == "1")),
            reason_label: match config.metrics_compat {
                MetricsCompat::Vllm => "finished_reason",
                MetricsCompat::Sim => "finish_reason",
            },
            models,
            pod: config
                .pod_name
                .clone()
                .map(|name| (name, config.pod_namespace.clone())),
        })
    }
}

fn tool_bounds(given: &ToolFlags) -> Result<Bounds, SettingsError> {
    let bounds = Bounds {
        integer: (
            given.min_tool_call_integer_param,
            given.max_tool_call_integer_param,
        ),
        number: (
            given.min_tool_call_number_param,
            given.max_tool_call_number_param,
        ),
        array: (
            u64::from(given.min_tool_call_array_param_length),
            u64::from(given.max_tool_call_array_param_length),
        ),
        parameter_percent: given.tool_call_not_required_param_probability,
        field_percent: given.object_tool_call_not_required_field_probability,
        extra_percent: given.tool_call_extra_call_probability,
    };
    let (least, most) = bounds.number;
    let numbers = least.is_finite() && most.is_finite() && least <= most;
    let wrong = [
        (bounds.integer.0 > bounds.integer.1, "integer-param"),
        (!numbers, "number-param"),
        (bounds.array.0 > bounds.array.1, "array-param-length"),
    ];
    match wrong.into_iter().find(|(is_wrong, _)| *is_wrong) {
        Some((_, name)) => Err(SettingsError::ToolBounds(name)),
        None => Ok(bounds),
    }
}

/// The flag, if one is given, that asks for TLS.
fn certificates(config: &SimConfig) -> Option<&'static str> {
    let given = |file: &Option<String>| file.as_deref().is_some_and(|name| !name.is_empty());
    [
        (given(&config.ssl_certfile), "ssl-certfile"),
        (given(&config.ssl_keyfile), "ssl-keyfile"),
        (config.self_signed_certs == Some(true), "self-signed-certs"),
    ]
    .into_iter()
    .find_map(|(is_given, flag)| is_given.then_some(flag))
}

fn adapters(config: &SimConfig, models: &[String]) -> Result<Vec<Adapter>, SettingsError> {
    let mut adapters: Vec<Adapter> = Vec::new();
    for found in config.lora_modules.iter().filter(|text| !text.is_empty()) {
        let refuse = |fault: String| SettingsError::Adapter {
            found: found.clone(),
            fault,
        };
        let adapter: Adapter = serde_json::from_str(found).map_err(|fault| {
            refuse(format!(
                "{fault}; must be a json object with name, path and base_model_name"
            ))
        })?;
        if adapter.name.is_empty() {
            return Err(refuse("the name must not be empty".to_owned()));
        }
        let taken = adapters.iter().any(|known| known.name == adapter.name);
        if taken || models.contains(&adapter.name) {
            return Err(refuse("the name is taken".to_owned()));
        }
        adapters.push(adapter);
    }
    Ok(adapters)
}

/// The timeline of a file, or of a list in its place.
fn faults(config: &SimConfig) -> Result<Vec<TimedFault>, SettingsError> {
    let Some(written) = config.faults.as_deref().filter(|text| !text.is_empty()) else {
        return Ok(Vec::new());
    };
    let inline = written.trim_start().starts_with(['[', '{']);
    let text = match inline {
        true => written.to_owned(),
        false => std::fs::read_to_string(written)
            .map_err(|fault| SettingsError::Faults(format!("{written}: {fault}")))?,
    };
    serde_saphyr::from_str(&text)
        .map_err(|fault| fault.to_string())
        .and_then(|value| read_timeline(&value))
        .map_err(SettingsError::Faults)
}

fn pair(config: &SimConfig) -> Result<(Role, Connector), SettingsError> {
    let Some(json) = &config.kv_transfer_config else {
        return Ok((config.role, config.kv_connector));
    };
    let written: TransferConfig =
        serde_json::from_str(json).map_err(SettingsError::TransferConfig)?;
    let role = match (config.role, written.kv_role.as_deref()) {
        (Role::Both, Some("kv_producer")) => Role::Prefill,
        (Role::Both, Some("kv_consumer")) => Role::Decode,
        (role, _) => role,
    };
    let connector = match (config.kv_connector, written.kv_connector.as_deref()) {
        (Connector::None, Some("P2pNcclConnector")) => Connector::P2pNccl,
        (Connector::None, Some("ExampleConnector" | "SharedStorageConnector")) => {
            Connector::SharedStorage
        }
        (Connector::None, Some("NixlConnector")) => Connector::Nixl,
        (Connector::None, Some(other)) => return Err(SettingsError::Connector(other.to_owned())),
        (connector, _) => connector,
    };
    Ok((role, connector))
}

/// Host and port of an http URL.
fn authority(url: &str) -> Result<String, SettingsError> {
    let fault = || SettingsError::Peer(url.to_owned());
    let uri: http::Uri = url.parse().map_err(|_| fault())?;
    let host = uri.host().ok_or_else(fault)?;
    Ok(format!("{host}:{}", uri.port_u16().unwrap_or(80)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::config::Timing;
    use pointsman_core::time::Span;

    fn resolve(flags: &[&str]) -> Result<Settings, String> {
        let config = SimConfig::from_flags(flags.iter().copied()).map_err(|e| e.to_string())?;
        Settings::resolve(&config).map_err(|e| e.to_string())
    }

    #[test]
    fn vllms_connector_description_gives_role_and_backend() {
        let p2p = r#"{"kv_connector":"P2pNcclConnector","kv_role":"kv_producer","kv_rank":0}"#;
        let settings = resolve(&["--kv-transfer-config", p2p]).unwrap();
        assert_eq!(
            (settings.role, settings.connector),
            (Role::Prefill, Connector::P2pNccl)
        );
        assert_eq!(settings.engine.transfer.name, "p2p-nvlink");
        let other = resolve(&["--kv-transfer-config", r#"{"kv_connector":"Pigeon"}"#]).unwrap_err();
        assert!(other.contains("Pigeon"), "{other}");
    }

    #[test]
    fn a_constant_transfer_time_overrides_the_preset() {
        let settings = resolve(&[
            "--kv-connector",
            "shared-storage",
            "--kv-cache-transfer-latency",
            "7",
        ])
        .unwrap();
        assert_eq!(
            settings.engine.transfer.span(5000, 1e5),
            Span::from_millis(7)
        );
    }

    #[test]
    fn reference_times_come_from_preset_and_flags() {
        let settings = resolve(&[
            "--preset",
            "reference-8b-h100",
            "--inter-token-latency",
            "5",
        ])
        .unwrap();
        let Timing::Reference(timing) = settings.engine.timing else {
            panic!("a reference preset")
        };
        assert_eq!(
            (timing.inter_token, timing.prefill_overhead),
            (Span::from_millis(5), Span::from_millis(30))
        );
        assert!(
            resolve(&[
                "--preset",
                "reference-8b-h100",
                "--latency-model",
                "roofline"
            ])
            .is_err()
        );
    }

    #[test]
    fn adapters_are_objects_with_names_of_their_own() {
        let module = r#"{"name":"a","path":"/a","base_model_name":"base"}"#;
        let settings = resolve(&["--lora-modules", module, r#"{"name":"b"}"#]).unwrap();
        assert_eq!(
            settings.adapters[0].base_model_name.as_deref(),
            Some("base")
        );
        assert_eq!(settings.adapters[1].name, "b");
        let refused = |flags: &[&str], part: &str| {
            let fault = resolve(flags).unwrap_err();
            assert!(fault.contains(part), "{fault}");
        };
        refused(&["--lora-modules", "a=b"], "json object");
        refused(&["--lora-modules", module, module], "taken");
        refused(&["--model=a", "--lora-modules", module], "taken");
        refused(
            &["--max-loras=3", "--max-cpu-loras=2"],
            "at least --max-loras 3",
        );
        refused(&["--self-signed-certs"], "plain http");
        refused(
            &["--fake-metrics", r#"{"running-requests": "jump"}"#],
            "oscillate:0:1:10s",
        );
        refused(&["--min-tool-call-integer-param=101"], "integer-param");
    }

    #[test]
    fn a_timeline_is_read_in_line_or_from_a_file() {
        let list =
            r#"[{"at": "1s", "for": "2s", "kind": "slow", "factor": 3}, {"kind": "metrics-404"}]"#;
        let settings = resolve(&["--faults", list]).unwrap();
        let times: Vec<_> = settings
            .faults
            .iter()
            .map(|fault| (fault.0, fault.2))
            .collect();
        let second = Duration::from_secs(1);
        assert_eq!(times, [(second, Some(2 * second)), (Duration::ZERO, None)]);
        assert!(
            resolve(&["--faults", "/no/such/file"])
                .unwrap_err()
                .contains("/no/such/file")
        );
        let fault = resolve(&["--faults", r#"[{"kind": "flood"}]"#]).unwrap_err();
        assert!(fault.contains("flood"), "{fault}");
    }

    #[test]
    fn senseless_numbers_are_refused() {
        assert!(resolve(&["--speed", "0"]).unwrap_err().contains("--speed"));
        assert!(
            resolve(&["--slow-factor", "NaN"])
                .unwrap_err()
                .contains("--slow-factor")
        );
        assert!(
            resolve(&["--kv-peer", "/nowhere"])
                .unwrap_err()
                .contains("--kv-peer")
        );
        assert_eq!(
            resolve(&["--kv-peer", "http://prefill:8000/"])
                .unwrap()
                .kv_peer
                .unwrap(),
            "prefill:8000"
        );
    }
}
