//! Flags resolved: the engine's configuration and what the server needs to know.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pointsman_core::time::Span;
use serde::Deserialize;
use thiserror::Error;

use crate::engine::config::{EngineConfig, ReferenceTiming, Timing};
use crate::engine::preset::Preset;
use crate::engine::transfer::TransferModel;
use crate::flags::{
    Connector, LatencyModel, Length, MetricsCompat, Mode, ReferenceFlags, Role, SimConfig,
    ToolFlags,
};
use crate::server::adapters::Adapter;
use crate::server::admin::read_timeline;
use crate::server::arguments::Bounds;
use crate::server::fake::FakeMetrics;
use crate::server::host::TimedFault;
use crate::server::mishap::Mishaps;

/// Relative deviation of a step's time unless `--deterministic`.
const JITTER: f64 = 0.03;

/// Flags that contradict each other or make no sense.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The preset does not exist.
    #[error("--preset {0}: not known; see --help for the list")]
    Preset(String),
    /// The transfer preset does not exist.
    #[error("--kv-transfer {0}: not known; see --help for the list")]
    Transfer(String),
    /// A number out of its range.
    #[error("--{flag} {found}: must be a number above 0")]
    NotPositive {
        /// The flag.
        flag: &'static str,
        /// What it was.
        found: f64,
    },
    /// vLLM's description of the connector cannot be read.
    #[error("--kv-transfer-config: {0}; it must be a json object as vllm takes it")]
    TransferConfig(serde_json::Error),
    /// A connector of that description that is not known.
    #[error(
        "--kv-transfer-config: connector {0:?} is not simulated; use P2pNcclConnector, ExampleConnector or NixlConnector"
    )]
    Connector(String),
    /// The peer's address cannot be read.
    #[error("--kv-peer {0}: not a url such as http://127.0.0.1:8000")]
    Peer(String),
    /// Reference timing was asked for and the preset has none.
    #[error(
        "--latency-model roofline: preset {0} has no roofline; use one of the roofline presets"
    )]
    NoRoofline(String),
    /// Times of the reference model beside the choice of another.
    #[error(
        "--latency-model roofline: {0} belongs to the reference timing model; leave one of the two out"
    )]
    OtherModel(&'static str),
    /// A deviation beyond what its mean bears.
    #[error("--{flag} {found:?}: must be at most 30 % of the time it belongs to, {mean:?}")]
    Deviation {
        /// The flag.
        flag: &'static str,
        /// What it was.
        found: Duration,
        /// What it belongs to.
        mean: Duration,
    },
    /// An adapter that cannot be read, or twice the same.
    #[error("--lora-modules {found}: {fault}")]
    Adapter {
        /// What stood there.
        found: String,
        /// What is wrong with it.
        fault: String,
    },
    /// Made-up metrics that cannot be read.
    #[error("--fake-metrics: {0}")]
    FakeMetrics(serde_json::Error),
    /// A least that is above the most.
    #[error("--min-tool-call-{0}: must not be above --max-tool-call-{0}")]
    ToolBounds(&'static str),
    /// Fewer adapters in memory than in a batch.
    #[error("--max-cpu-loras {0}: must be at least --max-loras {1}")]
    CpuLoras(u32, u32),
    /// A timeline that cannot be read.
    #[error("--faults: {0}")]
    Faults(String),
    /// Certificates, which this server cannot use.
    #[error(
        "--{0}: this simulator speaks plain http only, and whoever trusts a certificate must not get that; put a TLS proxy before it, or leave the flag out"
    )]
    Certificates(&'static str),
    /// A factor that would make load speed things up.
    #[error("--time-factor-under-load {0}: must be a number from 1 on")]
    FactorUnderLoad(f64),
}

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

fn transfer(config: &SimConfig, connector: Connector) -> Result<TransferModel, SettingsError> {
    let name = config.kv_transfer.as_deref().unwrap_or(match connector {
        Connector::None => "none",
        Connector::P2pNccl => "p2p-nvlink",
        Connector::SharedStorage => "fs",
        Connector::Nixl => "rdma",
    });
    let preset =
        TransferModel::by_name(name).ok_or_else(|| SettingsError::Transfer(name.to_owned()))?;
    let given = &config.reference;
    Ok(
        match (
            given.kv_cache_transfer_latency,
            given.kv_cache_transfer_time_per_token,
        ) {
            (None, None) => preset,
            (setup, per_token) => TransferModel {
                name: "custom",
                setup: span(setup.unwrap_or_default()),
                bandwidth: f64::INFINITY,
                passes: 1.0,
                per_token: span(per_token.unwrap_or_default()),
            },
        },
    )
}

fn timing(config: &SimConfig, preset: &Preset) -> Result<Timing, SettingsError> {
    let chosen = chooses_reference(&config.reference);
    let reference = match (config.latency_model, chosen) {
        (Some(LatencyModel::Roofline), Some(flag)) => return Err(SettingsError::OtherModel(flag)),
        (Some(model), _) => model == LatencyModel::Reference,
        (None, Some(_)) => true,
        (None, None) => preset.reference.is_some(),
    };
    if !reference {
        let roofline = preset.roofline.clone();
        return roofline
            .map(Timing::Roofline)
            .ok_or_else(|| SettingsError::NoRoofline(preset.name.to_owned()));
    }
    let base = preset.reference.clone().unwrap_or_default();
    reference_timing(&config.reference, &base).map(Timing::Reference)
}

/// The flag, if one is given, that means nothing outside the reference model.
fn chooses_reference(given: &ReferenceFlags) -> Option<&'static str> {
    let calculator = given.latency_calculator.as_deref();
    [
        (
            calculator.is_some_and(|name| !name.is_empty()),
            "--latency-calculator",
        ),
        (given.time_to_first_token.is_some(), "--time-to-first-token"),
        (
            given.time_to_first_token_std_dev.is_some(),
            "--time-to-first-token-std-dev",
        ),
        (given.inter_token_latency.is_some(), "--inter-token-latency"),
        (
            given.inter_token_latency_std_dev.is_some(),
            "--inter-token-latency-std-dev",
        ),
        (given.prefill_overhead.is_some(), "--prefill-overhead"),
        (
            given.prefill_time_per_token.is_some(),
            "--prefill-time-per-token",
        ),
        (
            given.prefill_time_std_dev.is_some(),
            "--prefill-time-std-dev",
        ),
        (
            given.time_factor_under_load.is_some(),
            "--time-factor-under-load",
        ),
    ]
    .into_iter()
    .find_map(|(is_given, flag)| is_given.then_some(flag))
}

fn reference_timing(
    given: &ReferenceFlags,
    base: &ReferenceTiming,
) -> Result<ReferenceTiming, SettingsError> {
    let or = |given: Option<Duration>, base: Span| given.map_or(base, span);
    let factor = given
        .time_factor_under_load
        .unwrap_or_else(|| base.factor_under_load.max(1.0));
    if !factor.is_finite() || factor < 1.0 {
        return Err(SettingsError::FactorUnderLoad(factor));
    }
    let first_token = or(given.time_to_first_token, base.first_token);
    let inter_token = or(given.inter_token_latency, base.inter_token);
    let transfer = or(given.kv_cache_transfer_latency, base.transfer);
    let mut timing = ReferenceTiming {
        first_token,
        first_token_deviation: deviation(
            "time-to-first-token-std-dev",
            given.time_to_first_token_std_dev,
            base.first_token_deviation,
            first_token,
        )?,
        prefill_overhead: or(given.prefill_overhead, base.prefill_overhead),
        prefill_per_token: or(given.prefill_time_per_token, base.prefill_per_token),
        prefill_deviation: or(given.prefill_time_std_dev, base.prefill_deviation),
        inter_token,
        inter_token_deviation: deviation(
            "inter-token-latency-std-dev",
            given.inter_token_latency_std_dev,
            base.inter_token_deviation,
            inter_token,
        )?,
        transfer,
        transfer_per_token: or(
            given.kv_cache_transfer_time_per_token,
            base.transfer_per_token,
        ),
        transfer_deviation: match given.kv_cache_transfer_latency_std_dev {
            Some(_) => deviation(
                "kv-cache-transfer-latency-std-dev",
                given.kv_cache_transfer_latency_std_dev,
                base.transfer_deviation,
                transfer,
            )?,
            None => or(
                given.kv_cache_transfer_time_std_dev,
                base.transfer_deviation,
            ),
        },
        factor_under_load: factor,
    };
    match given.latency_calculator.as_deref() {
        Some("constant") => {
            timing.prefill_overhead = Span(0);
            timing.prefill_per_token = Span(0);
            timing.transfer_per_token = Span(0);
        }
        Some("per-token") => {
            timing.first_token = Span(0);
            timing.transfer = Span(0);
        }
        _ => {}
    }
    Ok(timing)
}

/// A deviation as given, or the preset's within the same bound.
fn deviation(
    flag: &'static str,
    given: Option<Duration>,
    base: Span,
    mean: Span,
) -> Result<Span, SettingsError> {
    let most = Span(mean.0.saturating_mul(3) / 10);
    let Some(found) = given else {
        return Ok(Span(base.0.min(most.0)));
    };
    if span(found) > most {
        let mean = Duration::from_nanos(mean.0);
        return Err(SettingsError::Deviation { flag, found, mean });
    }
    Ok(span(found))
}

fn span(duration: Duration) -> Span {
    Span(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
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
    fn the_reference_flags_choose_the_reference_model() {
        for flag in [
            "--time-to-first-token=200",
            "--inter-token-latency=20",
            "--prefill-overhead=5",
        ] {
            let settings = resolve(&[flag]).unwrap();
            assert!(
                matches!(settings.engine.timing, Timing::Reference(_)),
                "{flag}"
            );
            let refused = resolve(&[flag, "--latency-model=roofline"]).unwrap_err();
            assert!(
                refused.contains(flag.split('=').next().unwrap()),
                "{refused}"
            );
        }
        let plain =
            resolve(&["--latency-calculator", "", "--kv-cache-transfer-latency=3"]).unwrap();
        assert!(matches!(plain.engine.timing, Timing::Roofline(_)));
    }

    #[test]
    fn a_calculator_counts_only_its_own_times() {
        let flags = ["--time-to-first-token=200", "--prefill-overhead=5"];
        let timing = |calculator: &str| {
            let flags = [&flags[..], &[calculator]].concat();
            match resolve(&flags).unwrap().engine.timing {
                Timing::Reference(timing) => (timing.first_token, timing.prefill_overhead),
                Timing::Roofline(_) => panic!("{calculator}"),
            }
        };
        let (first, prefill) = (Span::from_millis(200), Span::from_millis(5));
        assert_eq!(timing("--latency-calculator="), (first, prefill));
        assert_eq!(timing("--latency-calculator=constant"), (first, Span(0)));
        assert_eq!(timing("--latency-calculator=per-token"), (Span(0), prefill));
    }

    #[test]
    fn deviations_and_factors_have_bounds() {
        let refused = |flags: &[&str], part: &str| {
            let fault = resolve(flags).unwrap_err();
            assert!(fault.contains(part), "{fault}");
        };
        let first = "--time-to-first-token=100";
        assert!(resolve(&[first, "--time-to-first-token-std-dev=30"]).is_ok());
        refused(&[first, "--time-to-first-token-std-dev=31"], "30 %");
        refused(
            &["--inter-token-latency-std-dev=1"],
            "--inter-token-latency-std-dev",
        );
        refused(&["--time-factor-under-load=0.5"], "from 1 on");
        refused(&["--time-factor-under-load=NaN"], "from 1 on");
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
