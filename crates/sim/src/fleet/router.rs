//! Who picks: the router's own plan, or one of a few built-in rules to compare it with.
//!
//! Built-in rules bypass the plan; their requests are counted in flight all the same. Where engines have roles, the
//! rule picks who prefills, too.

use std::fmt;
use std::sync::Arc;

use pointsman_core::rng::{Rng, Seeds};
use pointsman_core::schedule::plan::Plan;

use crate::engine::request::EngineRequest;
use crate::fleet::oracle::{Field, Oracle};

/// A rule that needs no plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuiltIn {
    /// Knows everything but the future: see [`crate::fleet::oracle`].
    Oracle,
    /// One after the other.
    RoundRobin,
    /// Any.
    Random,
    /// Fewest requests under way; of equals any.
    LeastInFlight,
}

impl BuiltIn {
    /// All of them, in the order of the manual.
    pub const ALL: [Self; 4] = [
        Self::Oracle,
        Self::RoundRobin,
        Self::Random,
        Self::LeastInFlight,
    ];

    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Oracle => "oracle",
            Self::RoundRobin => "round-robin",
            Self::Random => "random",
            Self::LeastInFlight => "least-in-flight",
        }
    }
}

/// What picks in a fleet.
#[derive(Clone)]
pub enum Router {
    /// The plan of a configuration.
    Plan(Arc<Plan>),
    /// A built-in rule.
    BuiltIn(BuiltIn),
}

impl From<Arc<Plan>> for Router {
    fn from(plan: Arc<Plan>) -> Self {
        Self::Plan(plan)
    }
}

impl From<BuiltIn> for Router {
    fn from(rule: BuiltIn) -> Self {
        Self::BuiltIn(rule)
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan(_) => f.write_str("Plan(..)"),
            Self::BuiltIn(rule) => write!(f, "BuiltIn({rule:?})"),
        }
    }
}

/// A built-in rule at work.
#[derive(Debug)]
pub struct Chooser {
    chance: Rng,
    turn: usize,
    candidates: Vec<usize>,
    best: Vec<usize>,
    oracle: Oracle,
}

impl Chooser {
    /// One that draws from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            chance: Rng::from_seed(Seeds::new(seed, 4).next_seed()),
            turn: 0,
            candidates: Vec::new(),
            best: Vec::new(),
            oracle: Oracle::default(),
        }
    }

    /// The endpoint that `rule` picks among `candidates`; `None` without any.
    pub fn choose(
        &mut self,
        rule: BuiltIn,
        field: &Field<'_>,
        candidates: impl Iterator<Item = usize>,
        request: &EngineRequest<'_>,
    ) -> Option<usize> {
        self.candidates.clear();
        self.candidates.extend(candidates);
        let &first = self.candidates.first()?;
        match rule {
            BuiltIn::Oracle => self
                .oracle
                .choose(field, &self.candidates, request, &mut self.chance)
                // Nobody takes it: whoever refuses it will do.
                .or(Some(first)),
            BuiltIn::RoundRobin => {
                self.turn += 1;
                Some(self.candidates[self.turn % self.candidates.len()])
            }
            BuiltIn::Random => Some(self.candidates[self.chance.below(self.candidates.len())]),
            BuiltIn::LeastInFlight => {
                let least = self.candidates.iter().map(|&at| field.load(at)).min()?;
                self.best.clear();
                let of_those = self.candidates.iter().copied();
                self.best
                    .extend(of_those.filter(|&at| field.load(at) == least));
                Some(self.best[self.chance.below(self.best.len())])
            }
        }
    }
}
