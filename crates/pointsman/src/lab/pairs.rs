//! The prefill/decode pairs of the lab and the names they go by.

use anyhow::bail;
use pointsman_core::model::endpoint::Labels;

/// How a pair moves its KV cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Backend {
    /// GPU to GPU over NVLink.
    P2p,
    /// Through a shared file system.
    Fs,
}

impl Backend {
    /// `p2p` or `fs`.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::P2p => "p2p",
            Self::Fs => "fs",
        }
    }

    /// Value of the label `llm-d.ai/kv-backend`.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::P2p => "nvlink",
            Self::Fs => "fs",
        }
    }
}

/// One pair: its proxy is the candidate, its engines do the work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pair {
    /// How it moves its KV cache.
    pub(crate) backend: Backend,
    /// Counts the pairs of one backend from 0.
    pub(crate) number: usize,
}

impl Pair {
    fn suffix(&self) -> String {
        if self.number == 0 {
            String::new()
        } else {
            format!("-{}", self.number)
        }
    }

    /// Name of the proxy as a fault target.
    pub(crate) fn proxy(&self) -> String {
        format!("vllm-{}-proxy{}", self.backend.word(), self.suffix())
    }

    /// Name of the proxy as a candidate.
    pub(crate) fn candidate(&self) -> String {
        format!(
            "llm-d-vllm/vllm-{}-proxy-{}-rank-0",
            self.backend.word(),
            self.number
        )
    }

    /// Name of the engine that prefills.
    pub(crate) fn prefill(&self) -> String {
        format!("vllm-prefill-{}{}", self.backend.word(), self.suffix())
    }

    /// Name of the engine that decodes.
    pub(crate) fn decode(&self) -> String {
        format!("vllm-decode-{}{}", self.backend.word(), self.suffix())
    }

    /// An engine's name as it stands in request ids.
    pub(crate) fn in_ids(&self, engine: &str) -> String {
        match self.backend {
            Backend::P2p => format!("{engine}:14579"),
            Backend::Fs => engine.to_owned(),
        }
    }

    /// The candidate's labels.
    pub(crate) fn labels(&self) -> Labels {
        [
            ("role", "proxy"),
            ("llm-d.ai/kv-backend", self.backend.label()),
            ("app", &self.proxy()),
        ]
        .into_iter()
        .collect()
    }
}

/// Reads `p2p=1,fs=1`.
///
/// # Errors
/// A text that says what was wrong and what would be right.
pub(crate) fn parse(text: &str) -> anyhow::Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    for part in text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let Some((kind, count)) = part.split_once('=') else {
            bail!("--pairs takes kind=count, such as p2p=1,fs=1; found '{part}'");
        };
        let backend = match kind {
            "p2p" => Backend::P2p,
            "fs" => Backend::Fs,
            _ => bail!("--pairs knows p2p and fs, not '{kind}'"),
        };
        if pairs.iter().any(|pair: &Pair| pair.backend == backend) {
            bail!("--pairs names {kind} twice");
        }
        let Some(count) = count.parse::<usize>().ok().filter(|n| *n <= 64) else {
            bail!("--pairs needs a count from 0 to 64 for {kind}, found '{count}'");
        };
        pairs.extend((0..count).map(|number| Pair { backend, number }));
    }
    if pairs.is_empty() {
        bail!("--pairs gives no pair at all; the default is p2p=1,fs=1");
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_those_of_the_lab() {
        let pairs = parse("p2p=1,fs=2").unwrap();
        assert_eq!(pairs.len(), 3);
        assert_eq!(pairs[0].candidate(), "llm-d-vllm/vllm-p2p-proxy-0-rank-0");
        assert_eq!(
            pairs[0].in_ids(&pairs[0].prefill()),
            "vllm-prefill-p2p:14579"
        );
        assert_eq!(pairs[1].in_ids(&pairs[1].decode()), "vllm-decode-fs");
        assert_eq!(
            (pairs[2].decode().as_str(), pairs[2].proxy().as_str()),
            ("vllm-decode-fs-1", "vllm-fs-proxy-1")
        );
        assert_eq!(pairs[2].candidate(), "llm-d-vllm/vllm-fs-proxy-1-rank-0");
        assert_eq!(pairs[0].labels().get("llm-d.ai/kv-backend"), Some("nvlink"));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for wrong in [
            "",
            "p2p",
            "nvlink=1",
            "p2p=x",
            "p2p=0,fs=0",
            "p2p=1,p2p=2",
            "fs=65",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
