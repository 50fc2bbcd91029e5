//! The closed lists of what can happen to a request and of what a door must do about it.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::admission::permits::{Permit, Permits};
use crate::admission::rules::Admission;
use crate::contract::roles::PdDecision;
use crate::contract::table::{Picks, Table};
use crate::model::pool::Snapshot;
use crate::model::reject::Reject;
use crate::model::request::InferenceRequest;
use crate::model::slots::Slots;
pub use crate::model::usage::Usage;
use crate::schedule::plan::Plan;
use crate::time::{Span, Tick};

/// What a decision needs from the door that asks for it.
pub struct Deciding<'a> {
    /// The plan in force when the request arrived.
    pub plan: &'a Arc<Plan>,
    /// The membership the request started with.
    pub snapshot: &'a Snapshot,
    /// Live readings.
    pub slots: &'a Arc<Slots>,
    /// What is asked for.
    pub request: &'a InferenceRequest<'a>,
    /// The worker's scratch.
    pub table: &'a mut Table,
    /// Seed of this decision.
    pub seed: u64,
}

/// What is needed to say whether a request is let in.
pub struct Entering<'a> {
    /// The rules in force when it arrived.
    pub admission: &'a Admission,
    /// The counts of those who were let in.
    pub permits: &'a Arc<Permits>,
    /// The membership it started with.
    pub snapshot: &'a Snapshot,
    /// Live readings.
    pub slots: &'a Slots,
    /// The request's priority.
    pub priority: i64,
}

/// What happened.
pub enum Event<'a> {
    /// The request stands whole and wants to be let in.
    Arrived(Entering<'a>),
    /// The gatekeeper lets it in.
    Admitted(Permit),
    /// The request is let in: decide.
    Ready(Deciding<'a>),
    /// The request goes to this row of the snapshot without a decision; it counts in flight all the same.
    Bypass {
        /// Row in the snapshot.
        row: usize,
        /// The membership the row belongs to.
        snapshot: &'a Snapshot,
        /// Live readings.
        slots: &'a Arc<Slots>,
    },
    /// The endpoint could not be reached, or broke before its first byte.
    AttemptFailed {
        /// Why.
        cause: Cause,
        /// For the next choice; `None` where no other endpoint may serve (a bypass with one row).
        retry: Option<Deciding<'a>>,
    },
    /// Who forwards says that it asked another endpoint than the one it was told.
    ServedElsewhere {
        /// Row of that endpoint in the snapshot.
        row: usize,
        /// The membership the row belongs to.
        snapshot: &'a Snapshot,
        /// Live readings.
        slots: &'a Arc<Slots>,
    },
    /// The door ends the request without an endpoint.
    Refused(Reject),
    /// The head of the answer arrived.
    Head {
        /// Its status.
        status: u16,
    },
    /// The answer came to its natural end.
    End {
        /// What the engine says it used, if it said so.
        usage: Option<Usage>,
    },
    /// The answer broke off.
    Broken(Cause),
    /// The client left.
    ClientGone,
}

/// What the door must do.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Send the request to this row.
    Forward {
        /// Row in the snapshot.
        row: usize,
        /// Row that runs the prefill, if another one is to.
        prefill: Option<usize>,
        /// Rows that encode images and the like, if others are to.
        encode: Picks,
        /// What was decided about prefill and decode, if the plan decides that.
        pd: Option<PdDecision>,
        /// Which run of the table made the pick; `None` without a decision.
        run: Option<usize>,
    },
    /// Ask the gatekeeper, and wait for what it says.
    AskAdmission,
    /// Answer with this.
    Reply(Reject),
    /// Nothing more will happen; write the outcome down.
    Note(Outcome),
    /// Go on.
    Nothing,
}

/// Why an attempt failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// Connection refused or unreachable.
    Connect,
    /// No connection in time.
    ConnectTimeout,
    /// Connected, but reset or garbage instead of an answer.
    Reset,
    /// No first byte in time.
    FirstByteTimeout,
    /// The answer stood still for too long.
    IdleTimeout,
    /// It answered 408, 429 or 5xx, and another endpoint is asked instead.
    Overloaded,
    /// Who forwards asked another endpoint, and does not say why.
    PassedOver,
    /// The request had to give way to one of a higher priority.
    Evicted,
}

impl Cause {
    /// A short word for receipts.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect-timeout",
            Self::Reset => "reset",
            Self::FirstByteTimeout => "first-byte-timeout",
            Self::IdleTimeout => "idle-timeout",
            Self::Overloaded => "overloaded",
            Self::PassedOver => "passed-over",
            Self::Evicted => "evicted",
        }
    }

    /// Whether time ran out, as opposed to a refusal.
    pub const fn is_timeout(self) -> bool {
        matches!(
            self,
            Self::ConnectTimeout | Self::FirstByteTimeout | Self::IdleTimeout
        )
    }
}

/// One endpoint that was tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attempt {
    /// Row in the snapshot.
    pub row: u32,
    /// Why it failed; `None` for the one that answered, or that is being waited for.
    pub cause: Option<Cause>,
    /// How long the attempt took up to its failure or its first byte.
    pub took: Span,
}

/// Attempts of one request; more than four are rare.
pub type Attempts = SmallVec<[Attempt; 4]>;

/// How a request ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The endpoint's answer reached its natural end.
    Served,
    /// The answer broke off after its head.
    Broken,
    /// The router answered itself.
    Rejected,
    /// The client left.
    ClientGone,
}

impl End {
    /// A short word for receipts and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Broken => "broken",
            Self::Rejected => "rejected",
            Self::ClientGone => "client-gone",
        }
    }
}

/// The one outcome of a request.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// The endpoint's status, if it answered.
    pub status: Option<u16>,
    /// A word for the reason when it was not served.
    pub reason: Option<&'static str>,
    /// The row that served it.
    pub served: Option<u32>,
    /// What was tried.
    pub attempts: Attempts,
    /// What the engine reported.
    pub usage: Option<Usage>,
    /// How long another endpoint computed the prompt, where whoever carried the request told.
    pub prefill: Option<Span>,
    /// Time from arrival to the head of the answer.
    pub first_byte: Option<Span>,
    /// Time from arrival to the end.
    pub total: Span,
    /// When it ended.
    pub at: Tick,
}
