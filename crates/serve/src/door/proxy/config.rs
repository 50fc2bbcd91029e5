//! Settings of a P/D proxy.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use pointsman_http::ClientOptions;

use crate::door::proxy::tally::Tally;
use crate::tracing::tracer::Tracer;

/// The dialects under the name that this door has always used for them.
pub use pointsman_wire::handoff::dialect::Dialect as ProxyKind;

/// What happens to a request when no prefill engine did its part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnPrefillFailure {
    /// Decode computes the prompt itself.
    Local,
    /// The client gets 502 or 504.
    Error,
}

impl OnPrefillFailure {
    /// What suits a dialect: a decode engine of an sglang pair cannot do without prefill, all others can.
    pub const fn of(kind: ProxyKind) -> Self {
        match kind {
            ProxyKind::Sglang => Self::Error,
            _ => Self::Local,
        }
    }
}

/// A further engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineAddress {
    /// Its base, `http://host:port`.
    pub url: String,
    /// Its name in request ids.
    pub name: String,
}

/// Port on which the engines of a p2p pair speak to each other.
pub const KV_PORT: u16 = 14579;

/// Port of an sglang prefill engine's bootstrap server, unless said otherwise.
pub const BOOTSTRAP_PORT: u16 = 8998;

/// What is told about a leg that failed.
pub type Warn = Arc<dyn Fn(&str) + Send + Sync>;

/// Settings of one proxy.
#[derive(Clone)]
pub struct ProxyConfig {
    /// Name for logs, as `vllm-fs-proxy`.
    pub name: String,
    /// How the pair moves its KV cache.
    pub kind: ProxyKind,
    /// Base of the prefill engine, `http://host:port`.
    pub prefill_url: String,
    /// Base of the decode engine, `http://host:port`.
    pub decode_url: String,
    /// The prefill engine in request ids.
    pub prefill_name: String,
    /// The decode engine in request ids.
    pub decode_name: String,
    /// Further prefill engines. Requests begin with each in turn; one that fails is followed by the next.
    pub more_prefills: Vec<EngineAddress>,
    /// Further decode engines. Requests begin with each in turn; one that cannot be reached is followed by one other.
    pub more_decodes: Vec<EngineAddress>,
    /// What happens when no prefill engine did its part.
    pub on_prefill_failure: OnPrefillFailure,
    /// Largest request body in bytes.
    pub max_body: usize,
    /// How long a client may pause within its body.
    pub body_idle: Duration,
    /// All prefill legs of a request together.
    pub prefill_timeout: Duration,
    /// The most that a request may ask for instead, by the header [`PREFILL_TIMEOUT`].
    pub max_prefill_timeout: Duration,
    /// How long a prefill engine keeps a KV cache that nobody has fetched; `None` where nothing is said by a time.
    pub kv_lease: Option<Duration>,
    /// Port of the prefill engines' bootstrap server, for sglang.
    pub bootstrap_port: u16,
    /// From the start of the decode leg to the head of its answer.
    pub first_byte_timeout: Duration,
    /// How long an answer may stand still.
    pub stall_timeout: Duration,
    /// Each engine's part of `/health` and `/metrics`.
    pub probe_timeout: Duration,
    /// Connections to the engines.
    pub client: ClientOptions,
    /// Seed of request ids; from the system's entropy by default.
    pub seed: u64,
    /// Called with one line when a leg fails.
    pub on_warning: Option<Warn>,
    /// What is counted; shared by clones, so by the workers of one proxy.
    pub tally: Arc<Tally>,
    /// Takes the spans of traced requests; shared by clones.
    pub tracer: Option<Arc<Tracer>>,
}

/// Header by which a request sets its own bound of the prefill stage, in milliseconds.
pub const PREFILL_TIMEOUT: &str = "x-pointsman-prefill-timeout-ms";

/// Header of an answer whose prompt decode computed itself; the value is why.
pub const PREFILL_FALLBACK: &str = "x-pointsman-prefill-fallback";

impl ProxyConfig {
    /// Defaults for a pair. The names in ids are the hosts of the URLs, for p2p with the port [`KV_PORT`].
    pub fn new(kind: ProxyKind, prefill_url: &str, decode_url: &str) -> Self {
        Self {
            name: format!("{}-proxy", kind.name()),
            kind,
            prefill_name: default_name(kind, prefill_url),
            decode_name: default_name(kind, decode_url),
            prefill_url: prefill_url.to_owned(),
            decode_url: decode_url.to_owned(),
            more_prefills: Vec::new(),
            more_decodes: Vec::new(),
            on_prefill_failure: OnPrefillFailure::of(kind),
            max_body: 32 << 20,
            body_idle: Duration::from_secs(30),
            prefill_timeout: Duration::from_secs(30),
            max_prefill_timeout: Duration::from_secs(300),
            kv_lease: kind.lease_s().map(|s| Duration::from_secs(s.into())),
            bootstrap_port: BOOTSTRAP_PORT,
            first_byte_timeout: Duration::from_secs(300),
            stall_timeout: Duration::from_secs(120),
            probe_timeout: Duration::from_secs(2),
            client: ClientOptions::default(),
            seed: entropy(),
            on_warning: None,
            tally: Arc::default(),
            tracer: None,
        }
    }

    pub(crate) fn warn(&self, line: &str) {
        if let Some(warn) = &self.on_warning {
            warn(line);
        }
    }
}

impl fmt::Debug for ProxyConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyConfig")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("prefill_url", &self.prefill_url)
            .field("decode_url", &self.decode_url)
            .finish_non_exhaustive()
    }
}

/// An engine's name in request ids, unless said otherwise: the host of its URL, for p2p with the port [`KV_PORT`].
pub fn default_name(kind: ProxyKind, url: &str) -> String {
    match kind {
        ProxyKind::P2p => format!("{}:{KV_PORT}", host(url)),
        _ => host(url).to_owned(),
    }
}

/// The host of a URL as it is written there, brackets of an IPv6 address included.
fn host(url: &str) -> &str {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or(authority);
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// The keys of the standard library's hasher come from the system's entropy.
fn entropy() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: ProxyKind, url: &str, name: &str) {
        let config = ProxyConfig::new(kind, url, url);
        assert_eq!(
            (config.prefill_name.as_str(), config.decode_name.as_str()),
            (name, name)
        );
    }

    #[test]
    fn names_default_to_the_hosts() {
        check(
            ProxyKind::Fs,
            "http://vllm-prefill-fs:8000",
            "vllm-prefill-fs",
        );
        check(ProxyKind::Fs, "http://vllm-prefill-fs", "vllm-prefill-fs");
        check(
            ProxyKind::P2p,
            "http://vllm-prefill-p2p:8000/",
            "vllm-prefill-p2p:14579",
        );
        check(ProxyKind::P2p, "http://[::1]:8000", "[::1]:14579");
    }
}
