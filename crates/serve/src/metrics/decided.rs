//! A decision as it is counted.

use pointsman_core::contract::table::Table;
use pointsman_core::exchange::event::Effect;
use pointsman_core::model::pool::Snapshot;
use pointsman_core::model::request::InferenceRequest;
use pointsman_core::model::slots::Slots;
use pointsman_core::schedule::plan::Plan;
use pointsman_core::time::Tick;

/// A decision as the meter sees it.
pub struct Decided<'a> {
    /// The plan that decided.
    pub plan: &'a Plan,
    /// The candidates.
    pub snapshot: &'a Snapshot,
    /// What was asked for.
    pub request: &'a InferenceRequest<'a>,
    /// Length of the request's body in bytes.
    pub bytes: usize,
    /// The slabs behind the readings.
    pub slots: &'a Slots,
    /// How it was decided.
    pub table: &'a Table,
    /// What was decided.
    pub effect: &'a Effect,
    /// When the request arrived.
    pub arrived: Tick,
    /// When deciding began.
    pub began: Tick,
    /// When it ended.
    pub ended: Tick,
}
