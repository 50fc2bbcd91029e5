//! What decides over requests before they are scheduled: who goes first, whose turn it is, how full the pool is.
//!
//! The policies are asked by the one who keeps the queue (`admission/gatekeeper.rs`), never by the path of a pick.

use crate::model::slots::{Slot, Slots};
use crate::model::tokens::TokensInFlight;
use crate::time::{Span, Tick};

/// A request as ordering policies see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Waiter {
    /// When it reached the router.
    pub arrived: Tick,
    /// When it was put into the queue.
    pub enqueued: Tick,
    /// How long it may wait; `None`: for ever.
    pub ttl: Option<Span>,
    /// How soon after its arrival the client wants the first token; `None`: it does not say, or says nonsense.
    pub first_token_within: Option<Span>,
}

/// The order within one flow.
pub trait OrderingPolicy: Send + Sync {
    /// The moment a request is ordered by, earliest first; equal ones go in order of arrival.
    fn key(&self, waiter: &Waiter) -> Tick;
}

/// The key of a request that has no reason to be early: behind everybody who has one.
pub const LAST: Tick = Tick(u64::MAX);

/// The flows of one band that have somebody waiting.
pub trait Flows {
    /// The flow whose head is the earliest of all by the band's ordering.
    fn earliest(&self) -> Option<&str>;

    /// The next flow after this name in the order of names, or the first one after the last.
    fn after(&self, flow: &str) -> Option<&str>;

    /// The first flow in the order of names.
    fn first(&self) -> Option<&str>;
}

/// Whose turn it is among the flows of one band.
pub trait FairnessPolicy: Send + Sync {
    /// The flow to serve next; `served` is the one served last, if there was one.
    fn next<'f>(&self, flows: &'f dyn Flows, served: Option<&str>) -> Option<&'f str>;
}

/// How full each band may run the pool.
pub trait UsageLimitPolicy: Send + Sync {
    /// The saturation from which on nobody of a band is let in. `rank` counts the bands that wait, from the highest
    /// priority, out of `of`.
    fn ceiling(&self, saturation: f64, priority: i64, rank: usize, of: usize) -> f64;
}

/// What was in flight on an endpoint when its newest reading was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AtReading {
    /// When the reading was taken.
    pub taken: Tick,
    /// Requests in flight then.
    pub in_flight: u32,
}

/// A set of endpoints and what is known of their load.
#[derive(Clone, Copy)]
pub struct PoolLoad<'a> {
    /// Live readings.
    pub slots: &'a Slots,
    /// The endpoints.
    pub members: &'a [Slot],
    /// The moment.
    pub now: Tick,
    /// By slot number; an endpoint beyond its end has not grown since its reading.
    pub at_reading: &'a [AtReading],
    /// Tokens in flight, where somebody counts them.
    pub tokens: Option<&'a TokensInFlight>,
}

impl<'a> PoolLoad<'a> {
    /// These endpoints, with nothing known but the readings.
    pub fn new(slots: &'a Slots, members: &'a [Slot], now: Tick) -> Self {
        Self {
            slots,
            members,
            now,
            at_reading: &[],
            tokens: None,
        }
    }

    /// Requests in flight on `slot` at its newest reading, and how many more there are now.
    pub fn grown(&self, slot: Slot) -> (u32, u32) {
        let now = self.slots.in_flight(slot);
        let then = self
            .at_reading
            .get(slot.0 as usize)
            .map_or(now, |then| then.in_flight);
        (then, now.saturating_sub(then))
    }
}

/// How long it takes until the end of a request shows where this process counts itself: until the next look.
const COUNTED_AT_ONCE: Span = Span::from_millis(10);

/// Says how full a set of endpoints is.
pub trait SaturationDetector: Send + Sync {
    /// 0 where nothing is under way, 1 and above where the endpoints are full. No endpoints are full.
    fn saturation(&self, load: &PoolLoad<'_>) -> f64;

    /// How many more requests may be let in until the saturation reaches `ceiling`, counting what was let in since
    /// the readings were taken: at least 1 while it is below, else 0 or as many below as have to end first.
    fn room(&self, load: &PoolLoad<'_>, ceiling: f64) -> i64;

    /// The most requests that one endpoint may hold, where the detector knows one.
    fn most_in_flight(&self) -> Option<u32> {
        None
    }

    /// How many of the endpoints count as full because their readings are too old.
    fn stale(&self, _load: &PoolLoad<'_>) -> usize {
        0
    }

    /// How long after its end a request may still be part of what [`SaturationDetector::saturation`] says.
    fn lags(&self) -> Span {
        COUNTED_AT_ONCE
    }

    /// The producer whose token counts it reads, if it reads any.
    fn counts_tokens_of(&self) -> Option<&str> {
        None
    }
}
