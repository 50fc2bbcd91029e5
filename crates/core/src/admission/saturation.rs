//! How full a set of endpoints is, by three formulas.
//!
//! ```text
//!  utilization   mean over endpoints of max(waiting / queueDepth, kvUsage / kvShare); old or missing readings count 1
//!  concurrency   sum of in flight / sum of capacity, in requests or tokens; or the mean of the larger of both shares
//!  good endpoint 0 while some endpoint has fresh readings with waiting <= queueDepth and kvUsage <= kvShare, else 1
//! ```
//! No endpoints at all are full. The last is the first generation's.
//!
//! Readings are up to a scrape old, and a pool looks open until the next one, however many are let in meanwhile. So
//! the room that is left counts what has grown since: each further request as one that waits, or, where nobody waited
//! at the reading, in proportion to what was running there. An endpoint without a queue may so double what it holds
//! from one reading to the next, and one with a queue gets what is missing to the threshold.

use crate::contract::admission::{PoolLoad, SaturationDetector};
use crate::model::slots::{Reading, Slot};
use crate::time::{Span, Tick};

/// How long an engine may take to give back what a request held that was broken off.
const CLEARS_WITHIN: Span = Span::from_millis(250);

/// Thresholds on what engines report.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Utilization {
    /// Requests waiting at which an endpoint is full.
    pub queue_depth: f64,
    /// Share of the KV cache in use at which it is full.
    pub kv_share: f64,
    /// Older readings count as full.
    pub max_age: Span,
}

impl Default for Utilization {
    fn default() -> Self {
        Self {
            queue_depth: 5.0,
            kv_share: 0.8,
            max_age: Span::from_millis(200),
        }
    }
}

/// What is known of one endpoint.
#[derive(Clone, Copy)]
struct Reported {
    waiting: f64,
    kv: f64,
    /// Requests that it takes to use up one threshold's worth.
    absorbs: f64,
    /// Requests let in since the reading.
    grown: f64,
}

impl Utilization {
    /// Whether readings taken then (tick 0: never) count.
    pub fn is_fresh(&self, taken: Tick, now: Tick) -> bool {
        taken != Tick(0) && now.since(taken) <= self.max_age
    }

    fn reported(&self, load: &PoolLoad<'_>, slot: Slot) -> Option<Reported> {
        let taken = Reading::SCRAPED.map(|reading| load.slots.read_raw(slot, reading).1);
        let newest = taken.into_iter().max().unwrap_or_default();
        if !self.is_fresh(newest, load.now) {
            return None;
        }
        let waiting = load.slots.read_raw(slot, Reading::Waiting).0;
        let (then, grown) = load.grown(slot);
        let idle = waiting < 1.0;
        Some(Reported {
            waiting,
            kv: load.slots.read_raw(slot, Reading::KvUsage).0,
            absorbs: self
                .queue_depth
                .max(if idle { f64::from(then) } else { 0.0 }),
            grown: f64::from(grown),
        })
    }

    /// The shares of all endpoints added up, what each absorbs added up; `growing`: with what was let in since.
    fn sums(&self, load: &PoolLoad<'_>, growing: bool) -> (f64, f64) {
        let (mut full, mut absorbs) = (0.0, 0.0);
        for &slot in load.members {
            let Some(seen) = self.reported(load, slot) else {
                full += 1.0;
                absorbs += self.queue_depth;
                continue;
            };
            let grown = if growing {
                seen.grown / seen.absorbs
            } else {
                0.0
            };
            full += (seen.waiting / self.queue_depth + grown).max(seen.kv / self.kv_share);
            absorbs += seen.absorbs;
        }
        (full, absorbs)
    }

    fn stale(&self, load: &PoolLoad<'_>) -> usize {
        let stale = |slot: &&Slot| self.reported(load, **slot).is_none();
        load.members.iter().filter(stale).count()
    }
}

impl SaturationDetector for Utilization {
    fn saturation(&self, load: &PoolLoad<'_>) -> f64 {
        if load.members.is_empty() {
            return 1.0;
        }
        self.sums(load, false).0 / load.members.len() as f64
    }

    fn room(&self, load: &PoolLoad<'_>, ceiling: f64) -> i64 {
        if load.members.is_empty() {
            return NONE;
        }
        let count = load.members.len() as f64;
        let (full, absorbs) = self.sums(load, true);
        let room = up((ceiling * count - full) * (absorbs / count));
        if full / count < ceiling {
            room.max(1)
        } else {
            room.min(0)
        }
    }

    fn stale(&self, load: &PoolLoad<'_>) -> usize {
        Self::stale(self, load)
    }

    fn lags(&self) -> Span {
        // What the engine has freed is in the next reading, and readings older than `max_age` do not count; and the
        // one that was being taken at the end may be without it.
        self.max_age + self.max_age + CLEARS_WITHIN
    }
}

/// The first generation's rule over the same thresholds: one good endpoint is enough.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct GoodEndpoint(pub Utilization);

impl GoodEndpoint {
    fn good(&self, load: &PoolLoad<'_>) -> impl Iterator<Item = Reported> {
        let members = load.members.iter();
        members
            .filter_map(|&slot| self.0.reported(load, slot))
            .filter(|seen| seen.waiting <= self.0.queue_depth && seen.kv <= self.0.kv_share)
    }
}

impl SaturationDetector for GoodEndpoint {
    fn saturation(&self, load: &PoolLoad<'_>) -> f64 {
        if self.good(load).next().is_some() {
            0.0
        } else {
            1.0
        }
    }

    fn room(&self, load: &PoolLoad<'_>, ceiling: f64) -> i64 {
        if ceiling <= 0.0 || self.good(load).next().is_none() {
            return NONE;
        }
        // An endpoint stays good up to its threshold, and one more makes it bad.
        let left = self.good(load).map(|seen| {
            let used = seen.waiting / self.0.queue_depth + seen.grown / seen.absorbs;
            ((1.0 - used) * seen.absorbs + 1.0).max(0.0)
        });
        up(left.sum::<f64>())
    }

    fn stale(&self, load: &PoolLoad<'_>) -> usize {
        self.0.stale(load)
    }

    fn lags(&self) -> Span {
        self.0.lags()
    }
}

/// What a concurrency limit counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Counted {
    /// Requests.
    #[default]
    Requests,
    /// Tokens.
    Tokens,
    /// Both: the fuller one counts.
    Hybrid,
}

/// Limits on what this router has under way.
#[derive(Clone, PartialEq, Debug)]
pub struct Concurrency {
    /// Requests that an endpoint may hold.
    pub requests: u32,
    /// Tokens that an endpoint may hold.
    pub tokens: u64,
    /// Which of both counts.
    pub counted: Counted,
    /// By which share an endpoint may go above its limit when others are at theirs.
    pub headroom: f64,
    /// Who counts tokens.
    pub producer: String,
}

impl Default for Concurrency {
    fn default() -> Self {
        Self {
            requests: 100,
            tokens: 1_000_000,
            counted: Counted::Requests,
            headroom: 0.0,
            producer: "inflight-load-producer".to_owned(),
        }
    }
}

impl Concurrency {
    /// The share of its limits that an endpoint with so much under way uses.
    pub fn share(&self, requests: f64, tokens: f64) -> f64 {
        let of_requests = requests / f64::from(self.requests);
        let of_tokens = tokens / self.tokens as f64;
        match self.counted {
            Counted::Requests => of_requests,
            Counted::Tokens => of_tokens,
            Counted::Hybrid => of_requests.max(of_tokens),
        }
    }

    /// The mean share over the endpoints: with one limit for all, the same as sum over sum.
    fn mean_share(&self, load: &PoolLoad<'_>) -> f64 {
        let shares = load.members.iter().map(|&slot| {
            let tokens = load.tokens.map_or(0, |tokens| tokens.on(slot));
            self.share(f64::from(load.slots.in_flight(slot)), tokens as f64)
        });
        shares.sum::<f64>() / load.members.len() as f64
    }

    /// The requests that all endpoints together may hold: where each has its most, a ceiling above that lets nobody in.
    fn places(&self, load: &PoolLoad<'_>) -> i64 {
        let each = i64::from(self.most_in_flight().unwrap_or(u32::MAX));
        load.members.len() as i64 * each
    }

    /// The share of one endpoint's limits that a further request is going to use, judged by those under way.
    fn cost(&self, load: &PoolLoad<'_>) -> f64 {
        let members = load.members.iter();
        let (requests, tokens) = members.fold((0_u64, 0_u64), |(requests, tokens), &slot| {
            let more = load.tokens.map_or(0, |tokens| tokens.on(slot));
            (
                requests + u64::from(load.slots.in_flight(slot)),
                tokens + more,
            )
        });
        let known = requests > 0 && tokens > 0;
        let each = if known {
            tokens as f64 / requests as f64
        } else {
            1.0
        };
        self.share(1.0, each)
    }
}

impl SaturationDetector for Concurrency {
    fn saturation(&self, load: &PoolLoad<'_>) -> f64 {
        if load.members.is_empty() {
            return 1.0;
        }
        self.mean_share(load)
    }

    fn room(&self, load: &PoolLoad<'_>, ceiling: f64) -> i64 {
        let count = load.members.len() as f64;
        if self.counted == Counted::Requests {
            // In whole requests, so that no rounding lets one too many in.
            let members = load.members.iter();
            let under_way: i64 = members.map(|&s| i64::from(load.slots.in_flight(s))).sum();
            let most = up(ceiling * count * f64::from(self.requests));
            return most.min(self.places(load)) - under_way;
        }
        if load.members.is_empty() {
            return NONE;
        }
        let share = self.mean_share(load);
        let room = up((ceiling - share) * count / self.cost(load));
        if share < ceiling {
            room.max(1)
        } else {
            room.min(0)
        }
    }

    fn most_in_flight(&self) -> Option<u32> {
        let most = f64::from(self.requests) * (1.0 + self.headroom);
        (self.counted != Counted::Tokens).then_some(most.ceil() as u32)
    }

    fn counts_tokens_of(&self) -> Option<&str> {
        (self.counted != Counted::Requests).then_some(&self.producer)
    }
}

/// A count of requests, rounded up; a rounding error of the sum does not make one more of it.
fn up(requests: f64) -> i64 {
    (requests - 1e-9).ceil() as i64
}

/// The room of a pool that nobody is let into.
const NONE: i64 = i64::MIN;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::admission::AtReading;
    use crate::model::slots::{InFlight, Slots};
    use crate::model::tokens::TokensInFlight;
    use std::sync::Arc;

    const NOW: Tick = Tick(10_000_000_000);

    struct Pool {
        slots: Arc<Slots>,
        members: Vec<Slot>,
        guards: Vec<InFlight>,
    }

    /// Endpoints by waiting, share of the KV cache and requests in flight; `None`: never scraped.
    fn pool(endpoints: &[(Option<(f64, f64)>, u32)]) -> Pool {
        let slots = Arc::new(Slots::new(endpoints.len()));
        let members: Vec<Slot> = (0..endpoints.len() as u32).map(Slot).collect();
        let mut guards = Vec::new();
        for (&slot, (scraped, in_flight)) in members.iter().zip(endpoints) {
            if let Some((waiting, kv)) = scraped {
                slots.write(slot, Reading::Waiting, *waiting, NOW);
                slots.write(slot, Reading::KvUsage, *kv, NOW);
            }
            guards.extend((0..*in_flight).map(|_| slots.enter(slot)));
        }
        Pool {
            slots,
            members,
            guards,
        }
    }

    impl Pool {
        fn load(&self) -> PoolLoad<'_> {
            PoolLoad::new(&self.slots, &self.members, NOW)
        }
    }

    #[track_caller]
    fn check(detector: &dyn SaturationDetector, pool: &Pool, saturation: f64, room: i64) {
        let found = detector.saturation(&pool.load());
        assert!(
            (found - saturation).abs() < 1e-9,
            "{found} is not {saturation}"
        );
        assert_eq!(detector.room(&pool.load(), 1.0), room);
    }

    #[test]
    fn utilization_is_the_mean_of_the_fuller_share_and_what_is_unknown_is_full() {
        let detector = Utilization::default();
        check(&detector, &pool(&[]), 1.0, NONE);
        check(&detector, &pool(&[(Some((0.0, 0.0)), 0)]), 0.0, 5);
        check(
            &detector,
            &pool(&[(Some((1.0, 0.4)), 0), (Some((2.0, 0.0)), 0)]),
            0.45,
            6,
        );
        check(
            &detector,
            &pool(&[(Some((0.0, 0.0)), 0), (None, 0)]),
            0.5,
            5,
        );
        check(&detector, &pool(&[(Some((50.0, 0.0)), 0)]), 10.0, -45);
        let old = pool(&[(Some((0.0, 0.0)), 0)]);
        let later = PoolLoad::new(&old.slots, &old.members, NOW + Span::from_millis(201));
        assert_eq!(detector.saturation(&later), 1.0);
        assert_eq!(SaturationDetector::stale(&detector, &later), 1);
    }

    #[test]
    fn what_was_let_in_since_the_reading_uses_the_room_up() {
        let detector = Utilization::default();
        let room = |waiting: f64, then: u32, now: u32| {
            let pool = pool(&[(Some((waiting, 0.0)), now)]);
            let at_reading = [AtReading {
                taken: NOW,
                in_flight: then,
            }];
            let load = PoolLoad {
                at_reading: &at_reading,
                ..pool.load()
            };
            detector.room(&load, 1.0)
        };
        assert_eq!(room(0.0, 0, 3), 2);
        assert_eq!(room(0.0, 0, 5), 0);
        assert_eq!(room(0.0, 40, 40), 40, "nobody waited, so it may double");
        assert_eq!(room(0.0, 40, 80), 0);
        assert_eq!(
            room(3.0, 40, 41),
            1,
            "somebody waited, so only up to the threshold"
        );
        assert_eq!(
            room(0.0, 40, 10),
            40,
            "those who left make no room beyond the reading's"
        );
    }

    #[test]
    fn one_good_endpoint_is_enough_for_the_first_generation() {
        let detector = GoodEndpoint::default();
        check(
            &detector,
            &pool(&[(Some((5.0, 0.8)), 0), (Some((90.0, 1.0)), 0)]),
            0.0,
            1,
        );
        check(
            &detector,
            &pool(&[(Some((6.0, 0.0)), 0), (None, 0)]),
            1.0,
            NONE,
        );
        check(&detector, &pool(&[]), 1.0, NONE);
    }

    #[test]
    fn concurrency_counts_what_is_under_way_against_all_limits_together() {
        let detector = Concurrency {
            requests: 4,
            headroom: 0.5,
            ..Concurrency::default()
        };
        check(&detector, &pool(&[]), 1.0, 0);
        let busy = pool(&[(None, 4), (None, 3)]);
        check(&detector, &busy, 0.875, 1);
        assert_eq!(detector.room(&busy.load(), 0.5), -3);
        assert_eq!(detector.most_in_flight(), Some(6));
        assert_eq!(detector.room(&busy.load(), 1.5), 5);
        assert_eq!(
            detector.room(&busy.load(), 9.0),
            5,
            "no more than there are places"
        );
        let full = pool(&[(None, 4), (None, 4)]);
        assert_eq!(full.guards.len(), 8);
        check(&detector, &full, 1.0, 0);
    }

    #[test]
    fn tokens_count_where_they_are_asked_for() {
        let mut detector = Concurrency {
            requests: 10,
            tokens: 1000,
            counted: Counted::Tokens,
            ..Concurrency::default()
        };
        let pool = pool(&[(None, 1), (None, 1)]);
        let tokens = Arc::new(TokensInFlight::new(2));
        let held = [tokens.hold(Slot(0), 300), tokens.hold(Slot(1), 100)];
        let load = PoolLoad {
            tokens: Some(&tokens),
            ..pool.load()
        };
        assert!((detector.saturation(&load) - 0.2).abs() < 1e-9);
        assert_eq!(detector.room(&load, 1.0), 8, "at 200 tokens each");
        assert_eq!(
            (detector.room(&load, 0.2), detector.most_in_flight()),
            (0, None)
        );
        detector.counted = Counted::Hybrid;
        assert!((detector.saturation(&load) - 0.2).abs() < 1e-9);
        assert_eq!(detector.counts_tokens_of(), Some("inflight-load-producer"));
        drop(held);
        assert!((detector.saturation(&load) - 0.1).abs() < 1e-9);
    }
}
