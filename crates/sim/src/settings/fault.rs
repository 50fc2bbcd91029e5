//! What can be wrong with the flags of a server, said so that it can be mended.

use std::time::Duration;

use thiserror::Error;

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
