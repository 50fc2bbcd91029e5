//! Plugins that learn from how their picks turn out.

use crate::contract::context::Ctx;
use crate::contract::table::ProfileRun;
use crate::model::pool::Snapshot;
use crate::model::slots::Slots;
use crate::model::usage::Usage;
use crate::time::{Span, Tick};

/// A learner's own number for one request that it watches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lesson(pub u64);

/// How a watched request ended.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Taught {
    /// The endpoint's status, if it answered.
    pub status: Option<u16>,
    /// Time from the pick to the head of the answer; of a streamed one about the time to its first token.
    pub first_byte: Option<Span>,
    /// What the engine reports.
    pub usage: Option<Usage>,
    /// Whether the answer came to its natural end.
    pub complete: bool,
}

/// Learns from requests: told of each pick, of the first byte, and exactly once of the end.
pub trait Learner: Send + Sync {
    /// `row` was picked in `run`; what is returned comes back with the later calls.
    fn picked(&self, ctx: &Ctx<'_>, run: &ProfileRun, row: usize) -> Lesson;

    /// The head of the answer arrived.
    fn head(&self, lesson: Lesson, status: u16, now: Tick);

    /// The request is over, however it ended.
    fn ended(&self, lesson: Lesson, taught: &Taught, now: Tick);

    /// Called about once a second, outside of decisions.
    fn maintain(&self, now: Tick, snapshot: &Snapshot, slots: &Slots);

    /// What has been learned, as a page of JSON for the admin port.
    fn report(&self, snapshot: &Snapshot) -> serde_json::Value;
}
