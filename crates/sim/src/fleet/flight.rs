//! One request on its way through the fleet.

use std::sync::Arc;

use pointsman_core::exchange::life::Life;
use pointsman_core::model::pool::Snapshot;

use crate::engine::request::RequestHandle;
use crate::fleet::arrival::Arrival;

/// What is being done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nobody has it: it is being decided, or has ended.
    Nowhere,
    /// A prefill engine computes its prompt for another engine.
    Prefill,
    /// The prompt is computed; the decode engine gets it in this very moment.
    Between,
    /// The engine that answers has it.
    Answer,
}

/// Where the router sends a request: endpoints by their numbers in the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Who answers.
    pub post: usize,
    /// Who computes the prompt, if another endpoint is to.
    pub prefill: Option<usize>,
    /// Who is counted as encoding, if another endpoint is.
    pub encode: Option<usize>,
}

/// A request, its life, and where it is.
pub struct Flight {
    /// Its life.
    pub life: Life,
    /// The membership that it was decided on.
    pub snapshot: Arc<Snapshot>,
    /// What is being done with it.
    pub stage: Stage,
    /// Whether the head of its answer has been told.
    pub answered: bool,
    /// Whether the prompt was computed elsewhere for the engine that has it.
    pub handed: bool,
    /// The endpoint that it counts on until its end.
    pub post: Option<usize>,
    /// Endpoints that it counts on until the head of its answer.
    pub helpers: [Option<usize>; 2],
    /// The engine that has it.
    pub host: usize,
    /// Its handle there.
    pub handle: RequestHandle,
    /// What it asks, where that may be needed again.
    pub arrival: Arrival,
}

impl Flight {
    /// A flight that begins with `life`.
    pub fn new(life: Life, snapshot: Arc<Snapshot>) -> Self {
        Self {
            life,
            snapshot,
            stage: Stage::Nowhere,
            answered: false,
            handed: false,
            post: None,
            helpers: [None; 2],
            host: 0,
            handle: RequestHandle {
                slot: u32::MAX,
                generation: 0,
            },
            arrival: Arrival::default(),
        }
    }
}
