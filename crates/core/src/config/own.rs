//! Our own settings: the one key `pointsman:` of a configuration, the part that the reference does not load.

use std::collections::BTreeMap;

use crate::contract::staleness::{Policy, Staleness};
use crate::model::rewrites::Rewrites;
use crate::time::Span;

/// The settings, with defaults filled in.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct OwnSettings {
    /// From which age on a reading is old; `None` where the configuration says nothing.
    pub max_age: Option<Span>,
    /// What becomes of old readings; `None` where the configuration says nothing and the door decides.
    pub policy: Option<Policy>,
    /// Prefix indexes.
    pub prefix_cache: PrefixCache,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// Sizes and counts.
    pub limits: Limits,
    /// Second attempts.
    pub retries: Retries,
    /// The embedded gateway.
    pub gateway: Gateway,
    /// Memory in bytes.
    pub memory: Memory,
    /// Receipts of decisions.
    pub receipts: Receipts,
    /// The picker's metrics.
    pub metrics: Metrics,
    /// Priorities by the name of an objective.
    pub objectives: BTreeMap<String, i64>,
    /// Models that are asked for in place of others.
    pub rewrites: Rewrites,
}

impl OwnSettings {
    /// The staleness in force for a door whose own default is `policy`.
    pub fn staleness_or(&self, policy: Policy) -> Staleness {
        let default = Staleness::default();
        Staleness {
            max_age: self.max_age.unwrap_or(default.max_age),
            policy: self.policy.unwrap_or(policy),
        }
    }
}

/// Settings of believed prefixes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PrefixCache {
    /// How long an entry is believed; zero: until it is evicted.
    pub ttl: Span,
    /// Whether only an unbroken run of blocks from the first counts.
    pub contiguous: bool,
}

/// How long things may take; `None`: the door's own default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Timeouts {
    /// Longest wait for the head of an answer, per attempt.
    pub first_byte: Option<Span>,
    /// Longest pause within an answer.
    pub answer_idle: Option<Span>,
    /// Longest pause within a request's body.
    pub body_idle: Option<Span>,
}

/// Sizes and counts; `None`: the door's own default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    /// Largest request body in bytes.
    pub max_body: Option<u64>,
}

/// Second attempts.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Retries {
    /// Share of all requests that second attempts may add; `None`: no bound.
    pub budget: Option<f64>,
    /// Most endpoints tried for one request; zero: all.
    pub max: u32,
    /// Whether an answer 408, 429 or 5xx is tried elsewhere before a first byte went to the client.
    pub on_status: bool,
}

/// Who carries a prompt's KV cache from prefill to decode when the plan picks both.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Handoff {
    /// The sidecar of the decode endpoint, told by a header.
    #[default]
    Header,
    /// The gateway, in the dialect of vLLM's NIXL connector.
    Nixlv2,
    /// The gateway, over shared storage: prefill first, then the whole request.
    SharedStorage,
    /// The gateway, with both addresses in the request id (vLLM's P2pNccl connector).
    P2p,
}

impl Handoff {
    /// All ways by their names in a configuration.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Header, "header"),
        (Self::Nixlv2, "nixlv2"),
        (Self::SharedStorage, "shared-storage"),
        (Self::P2p, "p2p"),
    ];

    /// The name in a configuration.
    pub fn word(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// The embedded gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Gateway {
    /// Who carries KV caches.
    pub handoff: Handoff,
}

/// Memory in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memory {
    /// Bound of each prefix index.
    pub prefix_index: u64,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            prefix_index: 256 << 20,
        }
    }
}

/// Receipts of decisions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receipts {
    /// Memory of all receipts together, in bytes; read at the start.
    pub memory: u64,
}

impl Default for Receipts {
    fn default() -> Self {
        Self { memory: 16 << 20 }
    }
}

/// The picker's metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Metrics {
    /// Whether the first generation's names are written too.
    pub legacy_names: bool,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { legacy_names: true }
    }
}
