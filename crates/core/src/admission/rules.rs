//! What a configuration says about admission, with nothing left to interpret.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::admission::reclaim::Eviction;
use crate::contract::admission::{
    FairnessPolicy, OrderingPolicy, PoolLoad, SaturationDetector, UsageLimitPolicy,
};
use crate::model::pool::Snapshot;
use crate::model::slots::Slots;
use crate::model::tokens::TokensInFlight;
use crate::schedule::named::Named;
use crate::time::{Span, Tick};

/// Who is let in.
pub struct Admission {
    /// How requests wait; `None`: none does.
    pub flow: Option<Arc<FlowRules>>,
    /// When the pool counts as full.
    pub detector: Named<dyn SaturationDetector>,
    /// The tokens in flight that the detector reads, if it reads any.
    pub tokens: Option<Arc<TokensInFlight>>,
    /// Priorities by the name of the objective that a request carries; a name that is not here means 0.
    pub objectives: BTreeMap<String, i64>,
    /// The most requests that an endpoint may hold when one of these profiles picks it, by profile.
    pub most_in_flight: Vec<Option<u32>>,
}

impl Admission {
    /// Whether the pool is full, as far as one look tells.
    pub fn is_full(&self, snapshot: &Snapshot, slots: &Slots, now: Tick) -> bool {
        let load = PoolLoad {
            tokens: self.tokens.as_deref(),
            ..PoolLoad::new(slots, snapshot.slots(), now)
        };
        self.detector.plugin.saturation(&load) >= 1.0
    }

    /// The priority of a request that names `objective`. Below 0 it may be refused when the pool is full.
    pub fn priority(&self, objective: Option<&str>) -> i64 {
        objective
            .and_then(|name| self.objectives.get(name).copied())
            .unwrap_or(0)
    }
}

/// How requests wait.
pub struct FlowRules {
    /// Bytes that all queues hold together; `None`: no bound.
    pub max_bytes: Option<u64>,
    /// Requests that all queues hold together; `None`: no bound.
    pub max_requests: Option<u64>,
    /// Longest wait while the pool has endpoints; `None`: no bound.
    pub ttl: Option<Span>,
    /// Longest wait while it has none; `None`: no bound.
    pub no_endpoint_ttl: Option<Span>,
    /// Bands by priority.
    pub bands: BTreeMap<i64, BandRules>,
    /// The band of a priority of 0 or above that is not listed.
    pub others: BandRules,
    /// The band of a priority below 0 that is not listed.
    pub negative: BandRules,
    /// How full each band may run the pool.
    pub limit: Named<dyn UsageLimitPolicy>,
    /// A print of all that places in the queue depend on: under rules with the same one the queue stays as it is.
    pub print: u64,
    /// How requests of a negative priority are taken back in flight; `None`: they are not.
    pub eviction: Option<Eviction>,
}

impl FlowRules {
    /// The rules of a priority's band.
    pub fn band(&self, priority: i64) -> &BandRules {
        self.bands.get(&priority).unwrap_or(if priority < 0 {
            &self.negative
        } else {
            &self.others
        })
    }

    /// The bound on waiting in a pool that is empty or not.
    pub fn ttl(&self, empty: bool) -> Option<Span> {
        if empty {
            self.no_endpoint_ttl
        } else {
            self.ttl
        }
    }
}

/// One band.
#[derive(Clone)]
pub struct BandRules {
    /// Bytes that its queues hold.
    pub max_bytes: u64,
    /// Requests that its queues hold.
    pub max_requests: u64,
    /// Whose turn it is among its flows.
    pub fairness: Named<dyn FairnessPolicy>,
    /// The order within a flow.
    pub ordering: Named<dyn OrderingPolicy>,
}

/// What a band holds where the configuration says nothing.
pub const BAND_BYTES: u64 = 1_000_000_000;
/// The same in requests.
pub const BAND_REQUESTS: u64 = 5000;
/// Longest wait where the configuration says nothing.
pub const TTL: Span = Span::from_millis(60_000);
