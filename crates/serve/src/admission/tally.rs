//! What is counted of those who wait: by flow, priority, model and outcome.
//!
//! Clients choose fairness ids and models, so names beyond the first thousand of each count as `other`, and so do
//! combinations beyond [`MOST_SERIES`].

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use pointsman_core::admission::gatekeeper::Answer;
use pointsman_core::admission::queue::{Ask, Filled};
use pointsman_core::admission::watch::Saturation;
use pointsman_core::model::reject::Reject;
use pointsman_core::time::Span;

use crate::metrics::buckets;
use crate::metrics::histogram::Histogram;
use crate::metrics::names::Names;

/// Series of one family that are told apart.
const MOST_SERIES: usize = 4096;

/// Outcomes in the reference's words.
pub const OUTCOMES: [&str; 8] = [
    "Dispatched",
    "RejectedCapacity",
    "RejectedOther",
    "EvictedTTL",
    "EvictedContextCancelled",
    "EvictedOther",
    "RejectedNoEndpoints",
    "EvictedNoEndpoints",
];

/// A flow and a model, as they are counted.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Series {
    /// The fairness id.
    pub flow: Arc<str>,
    /// The priority.
    pub priority: i64,
    /// The model.
    pub model: Arc<str>,
}

/// What waits of one series.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Held {
    /// Requests.
    pub requests: u64,
    /// Bytes.
    pub bytes: u64,
}

/// The counts.
pub struct Tally {
    names: Names,
    models: Names,
    /// The series that are told apart.
    seen: HashSet<Series>,
    /// Requests by outcome (a place in [`OUTCOMES`]) and priority; those let in are counted by the workers.
    pub outcomes: BTreeMap<(usize, i64), u64>,
    /// Seconds in the queue, by series and outcome.
    pub waited: HashMap<(Series, usize), Arc<Histogram>>,
    /// Seconds from asking to standing in the queue or being turned away, by series and outcome.
    pub enqueued: HashMap<(Series, usize), Arc<Histogram>>,
    /// What waits.
    pub held: BTreeMap<Series, Held>,
    /// Seconds per round of the gatekeeper.
    pub rounds: Arc<Histogram>,
    /// How full the pool is.
    pub saturation: Saturation,
    /// Endpoints that count as full because their readings are too old.
    pub stale: usize,
    /// Type of the detector.
    pub detector: &'static str,
    /// How full the bands are.
    pub bands: Vec<(i64, Filled)>,
    /// How full the queue is, in requests and bytes, as shares of their bounds.
    pub queue: (Option<f64>, Option<f64>),
    /// Whether anything waits at all under the plan in force.
    pub in_effect: bool,
    /// Whether it has requests in flight give way.
    pub evicts: bool,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            names: Names::default(),
            models: Names::default(),
            seen: HashSet::new(),
            outcomes: BTreeMap::new(),
            waited: HashMap::new(),
            enqueued: HashMap::new(),
            held: BTreeMap::new(),
            rounds: Arc::new(Histogram::new(&buckets::DECISION)),
            saturation: Saturation::default(),
            stale: 0,
            detector: "",
            bands: Vec::new(),
            queue: (None, None),
            in_effect: false,
            evicts: false,
        }
    }
}

/// The place of those let in, in [`OUTCOMES`].
pub const DISPATCHED: usize = 0;

/// The place of an answer in [`OUTCOMES`]; `queued`: whether the request stood in the queue.
pub fn outcome_of(answer: &Answer, queued: bool) -> usize {
    match (answer, queued) {
        (Answer::Pass(_), _) => DISPATCHED,
        (Answer::Refuse(Reject::ShuttingDown), false) => 2,
        (Answer::Refuse(Reject::ShuttingDown), true) => 5,
        (Answer::Refuse(Reject::NoEndpointsQueued { .. } | Reject::NoEndpoints), false) => 6,
        (Answer::Refuse(Reject::NoEndpointsQueued { .. } | Reject::NoEndpoints), true) => 7,
        (Answer::Refuse(_), false) => 1,
        (Answer::Refuse(_), true) => 3,
        (Answer::Left, _) => 4,
    }
}

impl Tally {
    /// The series that a request is counted under.
    pub fn series(&mut self, ask: &Ask, model: &str) -> Series {
        let series = Series {
            flow: self.names.admit(&ask.flow),
            priority: ask.priority,
            model: self.models.admit(model),
        };
        if self.seen.contains(&series) {
            return series;
        }
        if self.seen.len() < MOST_SERIES {
            self.seen.insert(series.clone());
            return series;
        }
        Series {
            flow: "other".into(),
            model: "other".into(),
            ..series
        }
    }

    /// One stands in the queue now, `took` after it asked; `None`: it has stood there before.
    pub fn queued(&mut self, series: &Series, bytes: u64, took: Option<Span>) {
        let held = self.held.entry(series.clone()).or_default();
        held.requests += 1;
        held.bytes += bytes;
        if let Some(took) = took {
            self.asked(series, DISPATCHED, took);
        }
    }

    /// One was answered after it had stood in the queue for `waited`; `None`: that it was let in has been counted
    /// before.
    pub fn settled(&mut self, series: &Series, bytes: u64, outcome: usize, waited: Option<Span>) {
        if let Some(held) = self.held.get_mut(series) {
            held.requests = held.requests.saturating_sub(1);
            held.bytes = held.bytes.saturating_sub(bytes);
        }
        self.count(outcome, series.priority);
        let Some(waited) = waited else {
            return;
        };
        let waits = self.waited.entry((series.clone(), outcome));
        let fresh = || Arc::new(Histogram::new(&buckets::QUEUED));
        waits.or_insert_with(fresh).observe(waited.as_secs_f64());
    }

    /// One was answered without having stood in the queue.
    pub fn turned_away(&mut self, series: &Series, outcome: usize, took: Span) {
        self.count(outcome, series.priority);
        self.asked(series, outcome, took);
    }

    fn asked(&mut self, series: &Series, outcome: usize, took: Span) {
        let asked = self.enqueued.entry((series.clone(), outcome));
        let fresh = || Arc::new(Histogram::new(&buckets::DECISION));
        asked.or_insert_with(fresh).observe(took.as_secs_f64());
    }

    /// Counts an outcome. Whoever is let in may be turned back, so that is counted where a decision stands.
    fn count(&mut self, outcome: usize, priority: i64) {
        if outcome == DISPATCHED {
            return;
        }
        *self.outcomes.entry((outcome, priority)).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_core::contract::admission::Waiter;
    use pointsman_core::time::Tick;

    fn ask(flow: &str) -> Ask {
        Ask {
            number: 1,
            flow: flow.into(),
            priority: 0,
            bytes: 10,
            waiter: Waiter {
                arrived: Tick(0),
                enqueued: Tick(0),
                ttl: None,
                first_token_within: None,
            },
            turned_back: 0,
        }
    }

    #[test]
    fn what_waits_goes_back_to_zero_and_outcomes_add_up() {
        let mut tally = Tally::default();
        let series = tally.series(&ask("a"), "m");
        tally.queued(&series, 10, Some(Span(5)));
        assert_eq!(
            tally.held[&series],
            Held {
                requests: 1,
                bytes: 10
            }
        );
        tally.settled(&series, 10, DISPATCHED, Some(Span(7)));
        tally.turned_away(&series, 1, Span(1));
        assert_eq!(tally.held[&series], Held::default());
        assert_eq!(tally.outcomes, BTreeMap::from([((1, 0), 1)]));
    }

    #[test]
    fn an_empty_pool_is_another_reason_than_a_full_queue() {
        let word = |reject, queued| OUTCOMES[outcome_of(&Answer::Refuse(reject), queued)];
        let empty = |waited| Reject::NoEndpointsQueued { waited };
        assert_eq!(word(empty(false), false), "RejectedNoEndpoints");
        assert_eq!(word(empty(true), true), "EvictedNoEndpoints");
        assert_eq!(word(Reject::TtlExpired, true), "EvictedTTL");
        let full = Reject::QueueFull { retry_after_s: 1 };
        assert_eq!(word(full, false), "RejectedCapacity");
    }

    #[test]
    fn clients_cannot_make_series_without_end() {
        let mut tally = Tally::default();
        for n in 0..10_000 {
            let series = tally.series(&ask(&format!("flow-{n}")), &format!("m{}", n % 1500));
            if n % 2 == 0 {
                tally.queued(&series, 1, Some(Span(1)));
                tally.settled(&series, 1, DISPATCHED, Some(Span(1)));
            } else {
                tally.turned_away(&series, 1, Span(1));
            }
        }
        assert!(tally.held.len() <= MOST_SERIES + 1, "{}", tally.held.len());
        assert!(tally.waited.len() <= MOST_SERIES + 1);
        assert!(tally.enqueued.len() <= MOST_SERIES + 2);
        assert_eq!(&*tally.series(&ask("flow-9999"), "m").flow, "other");
    }

    #[test]
    fn neither_can_those_who_are_refused_at_once() {
        let mut tally = Tally::default();
        for n in 0..10_000 {
            let series = tally.series(&ask(&format!("flow-{}", n % 500)), &format!("m{}", n / 500));
            tally.turned_away(&series, 1, Span(1));
        }
        assert!(
            tally.enqueued.len() <= MOST_SERIES + 1,
            "{}",
            tally.enqueued.len()
        );
    }
}
