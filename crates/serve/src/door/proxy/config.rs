//! Settings of a P/D proxy.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use pointsman_http::ClientOptions;

/// How the KV cache of a pair moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyKind {
    /// From GPU to GPU; the engines find each other by the addresses in the request id.
    P2p,
    /// Through a shared file system.
    Fs,
}

impl ProxyKind {
    /// The name on the command line and in labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::P2p => "p2p",
            Self::Fs => "fs",
        }
    }
}

/// Port on which the engines of a p2p pair speak to each other.
pub const KV_PORT: u16 = 14579;

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
    /// Largest request body in bytes.
    pub max_body: usize,
    /// How long a client may pause within its body.
    pub body_idle: Duration,
    /// The whole prefill leg.
    pub prefill_timeout: Duration,
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
}

impl ProxyConfig {
    /// Defaults for a pair. The names in ids are the hosts of the URLs, for p2p with the port [`KV_PORT`].
    pub fn new(kind: ProxyKind, prefill_url: &str, decode_url: &str) -> Self {
        let name = |url: &str| match kind {
            ProxyKind::Fs => host(url).to_owned(),
            ProxyKind::P2p => format!("{}:{KV_PORT}", host(url)),
        };
        Self {
            name: format!("{}-proxy", kind.name()),
            kind,
            prefill_name: name(prefill_url),
            decode_name: name(decode_url),
            prefill_url: prefill_url.to_owned(),
            decode_url: decode_url.to_owned(),
            max_body: 32 << 20,
            body_idle: Duration::from_secs(30),
            prefill_timeout: Duration::from_secs(30),
            first_byte_timeout: Duration::from_secs(300),
            stall_timeout: Duration::from_secs(120),
            probe_timeout: Duration::from_secs(2),
            client: ClientOptions::default(),
            seed: entropy(),
            on_warning: None,
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
