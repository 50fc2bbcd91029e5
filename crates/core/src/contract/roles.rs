//! The small traits a plugin implements, one per role.
//!
//! A plugin is built once per plan and shared by all workers. It never does IO; what it needs is a
//! column it declared in its spec.

use std::fmt;

use crate::contract::context::Ctx;
use crate::contract::table::{Picks, ProfileRun};
use crate::index::row_set::RowSet;
use crate::rng::Rng;

/// Crosses out candidates.
pub trait Filter: Send + Sync {
    /// Removes rows from `rows`; must never add one.
    fn filter(&self, ctx: &Ctx<'_>, rows: &mut RowSet);
}

/// Rates candidates.
pub trait Scorer: Send + Sync {
    /// Writes a score in [0, 1] to `out[row]` for every row in `rows`; other entries stay as they are.
    fn score(&self, ctx: &Ctx<'_>, rows: &RowSet, out: &mut [f64]);
}

/// What a picker reads and writes.
pub struct PickInput<'a> {
    /// Rows the filters left; never empty.
    pub rows: &'a RowSet,
    /// Weighted totals by row.
    pub totals: &'a [f64],
}

/// A generator that remembers the first value it gave, for the receipt.
pub struct Chance<'a> {
    rng: &'a mut Rng,
    first: Option<u64>,
}

impl<'a> Chance<'a> {
    /// Wraps the decision's generator.
    pub fn new(rng: &'a mut Rng) -> Self {
        Self { rng, first: None }
    }

    /// A uniform number in `0..n`. A choice among one needs no draw and takes none.
    pub fn below(&mut self, n: usize) -> usize {
        if n <= 1 {
            return 0;
        }
        let drawn = self.rng.below(n);
        let _ = *self.first.get_or_insert(drawn as u64);
        drawn
    }

    /// A uniform number in [0, 1).
    pub fn unit(&mut self) -> f64 {
        let drawn = self.rng.unit();
        let bits = drawn.to_bits();
        let _ = *self.first.get_or_insert(bits);
        drawn
    }

    /// The first value drawn, if any.
    pub fn first(&self) -> Option<u64> {
        self.first
    }
}

/// Chooses from the totals.
pub trait Picker: Send + Sync {
    /// Appends the chosen rows to `picks`, best first.
    fn pick(&self, input: &PickInput<'_>, chance: &mut Chance<'_>, picks: &mut Picks);
}

/// What a profile handler wants next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Run the profile with this index.
    Run(usize),
    /// All is decided; the run with this index (in order of running) holds the primary pick.
    Done {
        /// Index into the runs made so far.
        primary: usize,
    },
}

/// Decides which profiles run for a request.
pub trait ProfileHandler: Send + Sync {
    /// The next step, given the runs made so far. `profiles` is how many the plan has.
    fn next(&self, ctx: &Ctx<'_>, profiles: usize, runs: &[ProfileRun]) -> Next;

    /// Whether the handler can work with this many profiles; the text says what would be right.
    ///
    /// # Errors
    /// The reason why not.
    fn accepts(&self, profiles: usize) -> Result<(), String>;
}

/// What a constructor gives back.
pub enum Built {
    /// A filter.
    Filter(Box<dyn Filter>),
    /// A scorer.
    Scorer(Box<dyn Scorer>),
    /// A picker.
    Picker(Box<dyn Picker>),
    /// A profile handler.
    Handler(Box<dyn ProfileHandler>),
    /// Where endpoints come from: a description that the feeds carry out.
    Discovery(FileDiscovery),
}

/// Endpoints from a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileDiscovery {
    /// The file.
    pub path: String,
    /// Whether it is read again when it changes.
    pub watch: bool,
}

impl fmt::Debug for Built {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Filter(_) => "filter",
            Self::Scorer(_) => "scorer",
            Self::Picker(_) => "picker",
            Self::Handler(_) => "profile handler",
            Self::Discovery(_) => "discovery",
        })
    }
}
