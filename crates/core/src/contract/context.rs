//! Everything a plugin may see of a decision.

use crate::contract::produced::Produced;
use crate::contract::table::Readings;
use crate::model::pool::Snapshot;
use crate::model::request::InferenceRequest;
use crate::model::slots::Slots;
use crate::time::Tick;

/// What is known at the moment of the pick; one consistent state for all plugins of the decision.
#[derive(Clone, Copy)]
pub struct Ctx<'a> {
    /// The moment of the decision.
    pub now: Tick,
    /// What is asked for.
    pub request: &'a InferenceRequest<'a>,
    /// The candidates; row numbers index its list.
    pub snapshot: &'a Snapshot,
    /// The readings of all rows, also of those crossed out.
    pub readings: &'a Readings,
    /// The slabs behind the readings: epochs and cache sizes.
    pub slots: &'a Slots,
    /// What the producers worked out.
    pub produced: &'a Produced,
    /// Seed of every random choice in this decision.
    pub seed: u64,
}

/// What a producer sees: the request and the pool, before any profile runs.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The moment of the decision.
    pub now: Tick,
    /// What is asked for.
    pub request: &'a InferenceRequest<'a>,
    /// The candidates.
    pub snapshot: &'a Snapshot,
    /// The slabs of live readings.
    pub slots: &'a Slots,
}
