//! Taking back what requests of a negative priority hold, for those of a higher one that find the pool full.
//!
//! ```text
//!  in flight ──taken back──► outstanding ──its stream ended, or 10 s──► cooling ──grace──► over
//! ```
//! Sizes are in units of the saturation: what is missing is `saturation - ceiling`, what one request is worth is
//! `saturation / in flight`, and as many are taken back as make up for what is missing, at least one and at most
//! [`MOST_AT_ONCE`]. While one is outstanding or cooling nothing further is decided: what it frees is not in the
//! saturation yet, and nobody is to be ended twice for the same want.
//!
//! Victims have a priority below 0 and below that of who waits; the lowest goes first, and of equals the one that has
//! run shortest, for least is lost with it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::time::{Span, Tick};

/// Most that one decision takes back: an estimate that is off does little harm, and the next decision knows better.
pub const MOST_AT_ONCE: usize = 2;

/// How long one that was taken back may take to end before it is counted as ended. It keeps its place in flight, but
/// no longer keeps others from being taken back.
pub const PATIENCE: Span = Span::from_millis(10_000);

/// What taking back goes by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Eviction {
    /// How long after its end a request may still be in the saturation.
    pub grace: Span,
}

/// The highest priority that waits and finds the pool full for it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Blocked {
    /// The priority.
    pub priority: i64,
    /// The saturation from which on nobody of this priority is let in.
    pub ceiling: f64,
    /// How full the pool is.
    pub saturation: f64,
    /// Requests in flight that were let in.
    pub in_flight: u64,
}

/// The order in which requests are taken back: by priority, then the latest first.
type Rank = (i64, Reverse<Tick>, Reverse<u64>);

/// One that was taken back and has not ended.
#[derive(Clone, Copy)]
struct Revoked {
    worth: f64,
    at: Tick,
}

/// What has become of those taken back.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Reclaimed {
    /// How many were taken back, by the priority that they were taken back for.
    pub issued: BTreeMap<i64, u64>,
    /// Those of them that have ended.
    pub confirmed: u64,
    /// Those that did not end in time.
    pub timed_out: u64,
    /// What was missing at the last decision.
    pub target: f64,
    /// What is on its way back and not in the saturation yet.
    pub pending: f64,
}

/// Who may be taken back, and who is on the way.
#[derive(Default)]
pub struct Reclaim {
    order: BTreeSet<Rank>,
    ranks: BTreeMap<u64, Rank>,
    outstanding: BTreeMap<u64, Revoked>,
    cooling: Vec<(f64, Tick)>,
    /// How long each took that ended since somebody asked.
    took: Vec<Span>,
    counts: Reclaimed,
}

impl Reclaim {
    /// The request of this number is in flight since `since`; none of a priority of 0 or above may be taken back.
    pub fn enter(&mut self, number: u64, priority: i64, since: Tick) {
        if priority >= 0 {
            return;
        }
        let rank = (priority, Reverse(since), Reverse(number));
        if let Some(before) = self.ranks.insert(number, rank) {
            self.order.remove(&before);
        }
        self.order.insert(rank);
    }

    /// The request of this number is no longer in flight, however it ended.
    pub fn leave(&mut self, number: u64, rules: Eviction, now: Tick) {
        if let Some(rank) = self.ranks.remove(&number) {
            self.order.remove(&rank);
        }
        if let Some(revoked) = self.outstanding.remove(&number) {
            self.counts.confirmed += 1;
            self.took.push(now.since(revoked.at));
            self.cooling.push((revoked.worth, now + rules.grace));
        }
    }

    /// Who is to end now, for those who are blocked; each is named once. Without anybody blocked only time passes.
    pub fn decide(&mut self, blocked: Option<&Blocked>, rules: Eviction, now: Tick) -> Vec<u64> {
        self.pass(rules, now);
        match blocked {
            Some(blocked) if self.outstanding.is_empty() && self.cooling.is_empty() => {
                self.take_back(blocked, now)
            }
            _ => Vec::new(),
        }
    }

    fn pass(&mut self, rules: Eviction, now: Tick) {
        let late = |revoked: &Revoked| now.since(revoked.at) >= PATIENCE;
        let (counts, cooling) = (&mut self.counts, &mut self.cooling);
        self.outstanding.retain(|_, revoked| {
            if late(revoked) {
                counts.timed_out += 1;
                cooling.push((revoked.worth, now + rules.grace));
            }
            !late(revoked)
        });
        self.cooling.retain(|(_, over)| now < *over);
        self.show_pending();
    }

    fn take_back(&mut self, blocked: &Blocked, now: Tick) -> Vec<u64> {
        let worth = blocked.saturation / blocked.in_flight as f64;
        // No ceiling at all says that nobody of this priority goes, and no end of another one changes that.
        if !(worth.is_finite() && worth > 0.0 && blocked.ceiling > 0.0) {
            return Vec::new();
        }
        let missing = blocked.saturation - blocked.ceiling;
        if missing < 0.0 {
            return Vec::new();
        }
        self.counts.target = missing;
        let wanted = ((missing / worth).ceil() as usize).clamp(1, MOST_AT_ONCE);
        let below = |rank: &&Rank| rank.0 < blocked.priority;
        let victims = self.order.iter().take_while(below).take(wanted);
        let victims: Vec<Rank> = victims.copied().collect();
        for rank in &victims {
            let number = rank.2.0;
            self.order.remove(rank);
            self.ranks.remove(&number);
            self.outstanding.insert(number, Revoked { worth, at: now });
        }
        if !victims.is_empty() {
            *self.counts.issued.entry(blocked.priority).or_default() += victims.len() as u64;
            self.show_pending();
        }
        victims.into_iter().map(|rank| rank.2.0).collect()
    }

    fn show_pending(&mut self) {
        let outstanding = self.outstanding.values().map(|revoked| revoked.worth);
        let cooling = self.cooling.iter().map(|(worth, _)| *worth);
        self.counts.pending = outstanding.chain(cooling).sum();
    }

    /// Requests in flight that may be taken back.
    pub fn evictable(&self) -> usize {
        self.order.len()
    }

    /// Whether anybody was taken back whose end is not over.
    pub fn is_pending(&self) -> bool {
        !(self.outstanding.is_empty() && self.cooling.is_empty())
    }

    /// What has become of those taken back.
    pub fn counts(&self) -> &Reclaimed {
        &self.counts
    }

    /// How long those took to end that ended since the last call.
    pub fn take_times(&mut self) -> Vec<Span> {
        std::mem::take(&mut self.took)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const RULES: Eviction = Eviction {
        grace: Span::from_millis(10),
    };

    fn blocked(priority: i64, saturation: f64, in_flight: u64) -> Blocked {
        Blocked {
            priority,
            ceiling: 1.0,
            saturation,
            in_flight,
        }
    }

    fn with(leases: &[(u64, i64, u64)]) -> Reclaim {
        let mut reclaim = Reclaim::default();
        for &(number, priority, since) in leases {
            reclaim.enter(number, priority, Tick(since));
        }
        reclaim
    }

    #[test]
    fn the_lowest_priority_goes_first_and_of_equals_the_latest() {
        let mut reclaim = with(&[(1, -1, 1), (2, -5, 2), (3, -5, 3), (4, 0, 4), (5, -1, 5)]);
        assert_eq!(reclaim.evictable(), 4, "0 is never taken back");
        let full = blocked(0, 2.0, 4);
        let mut order = Vec::new();
        let mut now = Tick(100);
        for _ in 0..4 {
            let victims = reclaim.decide(Some(&full), RULES, now);
            victims.iter().for_each(|&n| reclaim.leave(n, RULES, now));
            order.extend(victims);
            now = now + RULES.grace;
        }
        assert_eq!(order, [3, 2, 5, 1]);
    }

    #[test]
    fn as_many_as_make_up_for_what_is_missing_and_never_more_than_two() {
        let many: Vec<(u64, i64, u64)> = (1..=8).map(|n| (n, -1, n)).collect();
        for (saturation, expected) in [(0.9, 0), (1.0, 1), (1.1, 1), (1.2, 2), (4.0, 2)] {
            let victims = with(&many).decide(Some(&blocked(0, saturation, 8)), RULES, Tick(9));
            assert_eq!(victims.len(), expected, "at {saturation}");
        }
        for nonsense in [f64::NAN, f64::INFINITY, 0.0, -1.0] {
            let victims = with(&many).decide(Some(&blocked(0, nonsense, 8)), RULES, Tick(9));
            assert!(victims.is_empty(), "at {nonsense}");
        }
        let nobody = with(&many).decide(Some(&blocked(0, 1.0, 0)), RULES, Tick(9));
        assert!(nobody.is_empty());
        let shut = Blocked {
            ceiling: 0.0,
            ..blocked(0, 1.0, 8)
        };
        assert!(with(&many).decide(Some(&shut), RULES, Tick(9)).is_empty());
    }

    #[test]
    fn nobody_further_until_the_last_one_has_ended_and_shows() {
        let mut reclaim = with(&[(1, -1, 1), (2, -1, 2)]);
        let full = blocked(0, 1.0, 2);
        assert_eq!(reclaim.decide(Some(&full), RULES, Tick(10)), [2]);
        assert_eq!(reclaim.counts().pending, 0.5);
        assert!(reclaim.decide(Some(&full), RULES, Tick(1_000)).is_empty());
        reclaim.leave(2, RULES, Tick(2_000));
        assert_eq!(reclaim.take_times(), [Span(1_990)]);
        let shows = Tick(2_000) + RULES.grace;
        let before = Tick(shows.0 - 1);
        assert!(reclaim.decide(Some(&full), RULES, before).is_empty());
        assert!(reclaim.is_pending());
        assert_eq!(reclaim.decide(Some(&full), RULES, shows), [1]);
        // This one's stream hangs.
        let late = shows + PATIENCE;
        assert!(reclaim.decide(None, RULES, late).is_empty());
        assert!(reclaim.decide(None, RULES, late + RULES.grace).is_empty());
        assert!(!reclaim.is_pending());
        reclaim.leave(1, RULES, late + PATIENCE);
        let counts = reclaim.counts();
        assert_eq!((counts.confirmed, counts.timed_out), (1, 1));
        assert_eq!(counts.issued, BTreeMap::from([(0, 2)]));
        assert_eq!(counts.pending, 0.0);
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Enter(i64),
        /// The stream of one in flight ends, evicted or not.
        End(usize),
        Block(i64, u64, bool),
        Pass(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            5 => (-3i64..3).prop_map(Step::Enter),
            4 => any::<prop::sample::Index>().prop_map(|at| Step::End(at.index(64))),
            4 => (-3i64..3, 0u64..40, any::<bool>()).prop_map(|(p, s, n)| Step::Block(p, s, n)),
            3 => (0u64..20_000_000).prop_map(Step::Pass),
            1 => Just(Step::Pass(PATIENCE.0)),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens_only_lower_ones_go_once_each_and_all_is_accounted_for(
            steps in prop::collection::vec(step(), 0..120),
        ) {
            let mut reclaim = Reclaim::default();
            let mut in_flight: BTreeMap<u64, (i64, bool)> = BTreeMap::new();
            let (mut now, mut next, mut issued) = (Tick(1), 0, 0);
            for step in steps {
                match step {
                    Step::Enter(priority) => {
                        next += 1;
                        in_flight.insert(next, (priority, false));
                        reclaim.enter(next, priority, now);
                    }
                    Step::End(at) => {
                        let number = in_flight.keys().nth(at % in_flight.len().max(1)).copied();
                        if let Some(number) = number {
                            in_flight.remove(&number);
                            reclaim.leave(number, RULES, now);
                        }
                    }
                    Step::Block(priority, tenths, somebody) => {
                        let full = blocked(priority, tenths as f64 / 10.0, in_flight.len() as u64);
                        prop_assert!(reclaim.decide(None, RULES, now).is_empty());
                        let pending = reclaim.is_pending();
                        let victims = reclaim.decide(somebody.then_some(&full), RULES, now);
                        prop_assert!(victims.is_empty() || !pending, "twice for the same want");
                        prop_assert!(victims.len() <= MOST_AT_ONCE);
                        prop_assert!(victims.is_empty() || somebody && full.saturation >= 1.0);
                        for number in &victims {
                            let (theirs, evicted) = in_flight.get_mut(number).unwrap();
                            prop_assert!(*theirs < 0 && *theirs < priority, "{theirs} for {priority}");
                            prop_assert!(!*evicted, "{number} was named twice");
                            *evicted = true;
                        }
                        issued += victims.len() as u64;
                    }
                    Step::Pass(nanoseconds) => now = now + Span(nanoseconds),
                }
                let evictable = in_flight.values().filter(|(p, evicted)| *p < 0 && !evicted);
                prop_assert_eq!(reclaim.evictable(), evictable.count());
            }
            for number in in_flight.into_keys() {
                reclaim.leave(number, RULES, now);
            }
            reclaim.decide(None, RULES, now + PATIENCE);
            reclaim.decide(None, RULES, now + PATIENCE + RULES.grace);
            let counts = reclaim.counts();
            prop_assert_eq!(reclaim.evictable(), 0);
            prop_assert!(!reclaim.is_pending());
            prop_assert_eq!(counts.pending, 0.0);
            prop_assert_eq!(counts.confirmed + counts.timed_out, issued);
            prop_assert_eq!(counts.issued.values().sum::<u64>(), issued);
        }
    }
}
