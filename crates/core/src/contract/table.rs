//! The decision table: rows are candidates; columns are readings, then one per scorer, then the total.
//!
//! The scheduler fills it from left to right. Filters cross out rows, the picker reads the total. Log
//! lines, receipts, metrics and tests read this table; nothing is computed a second time for them.
//! Its memory is scratch of one worker and is reused: a warm decision allocates nothing.

use smallvec::SmallVec;

use crate::contract::produced::{PrefixMatch, Produced};
use crate::contract::staleness::{Policy, Staleness};
use crate::index::row_set::RowSet;
use crate::model::pool::Snapshot;
use crate::model::slots::{Reading, Slots};
use crate::time::Tick;

/// Up to this many rows every reading is filled, so that a receipt shows the whole picture;
/// above it only the readings that the plan asks for.
pub const FULL_READINGS_ROWS: usize = 256;

/// Rows that a picker chose, best first.
pub type Picks = SmallVec<[u32; 4]>;

/// One reading of all rows.
#[derive(Clone, Debug, Default)]
pub struct Column {
    /// The values by row; 0 where never taken.
    pub values: Vec<f64>,
    /// When each value was taken; tick 0 where never.
    pub taken: Vec<Tick>,
}

impl Column {
    /// The age of a row's value at `now` in milliseconds; `None` where never taken.
    pub fn age_ms(&self, row: usize, now: Tick) -> Option<u32> {
        let taken = self.taken[row];
        (taken != Tick(0)).then(|| (now.since(taken).0 / 1_000_000).min(u64::from(u32::MAX)) as u32)
    }
}

/// The readings of all rows at one moment.
#[derive(Clone, Debug, Default)]
pub struct Readings {
    columns: [Column; Reading::ALL.len()],
    filled: [bool; Reading::ALL.len()],
    stale: RowSet,
}

impl Readings {
    /// The column of `reading`; empty unless it was filled.
    pub fn column(&self, reading: Reading) -> &Column {
        &self.columns[reading as usize]
    }

    /// Whether the column was filled for this decision.
    pub fn is_filled(&self, reading: Reading) -> bool {
        self.filled[reading as usize]
    }

    /// The values of `reading` by row.
    pub fn values(&self, reading: Reading) -> &[f64] {
        &self.column(reading).values
    }

    /// Rows to cross out because what the plan reads of them is too old; empty unless the policy says so.
    pub fn stale(&self) -> &RowSet {
        &self.stale
    }

    /// Copies the readings of all rows out of the slabs, and treats old values as `staleness` says.
    pub fn fill(
        &mut self,
        snapshot: &Snapshot,
        slots: &Slots,
        wanted: &[Reading],
        staleness: &Staleness,
        now: Tick,
    ) {
        let all = snapshot.len() <= FULL_READINGS_ROWS;
        self.stale.clear(snapshot.len());
        for reading in Reading::ALL {
            let at = reading as usize;
            self.filled[at] =
                reading != Reading::PrefixBlocks && (all || wanted.contains(&reading));
            let column = &mut self.columns[at];
            column.values.clear();
            column.taken.clear();
            if !self.filled[at] {
                continue;
            }
            let rows = snapshot.slots().iter();
            if reading == Reading::InFlight {
                column
                    .values
                    .extend(rows.map(|&slot| f64::from(slots.in_flight(slot))));
                column.taken.resize(snapshot.len(), now);
                continue;
            }
            column.values.resize(snapshot.len(), 0.0);
            column.taken.resize(snapshot.len(), Tick(0));
            for ((&slot, value), taken) in rows.zip(&mut column.values).zip(&mut column.taken) {
                (*value, *taken) = slots.read_raw(slot, reading);
            }
            if staleness.policy != Policy::Use && wanted.contains(&reading) {
                staleness.apply(&mut column.values, &column.taken, now, &mut self.stale);
            }
        }
        // Never the whole pool: with nothing fresh to go by, old values are as good as any.
        if self.stale.count() == snapshot.len() {
            self.stale.clear(snapshot.len());
        }
    }

    /// Takes over what a producer found, as a column like any other.
    pub fn fill_prefix(&mut self, found: &PrefixMatch, now: Tick) {
        let at = Reading::PrefixBlocks as usize;
        self.filled[at] = true;
        let column = &mut self.columns[at];
        column
            .values
            .extend(found.matched.iter().map(|&n| f64::from(n)));
        column.taken.resize(column.values.len(), now);
    }
}

/// What chance decided in one profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Draw {
    /// Seed of the decision's generator.
    pub seed: u64,
    /// The first value drawn by the picker; `None` when it drew nothing.
    pub value: Option<u64>,
}

/// What one scheduling profile did to the table.
#[derive(Clone, Debug, Default)]
pub struct ProfileRun {
    /// Index of the profile in the plan.
    pub profile: usize,
    /// Rows that the filters left.
    pub alive: RowSet,
    /// By row: 0, or 1 + index of the filter that crossed it out; [`ProfileRun::TRIED`] if it had failed before.
    pub struck_by: Vec<u16>,
    /// Raw scores by scorer, then by row, each in [0, 1]; 0 for rows crossed out.
    pub scores: Vec<Vec<f64>>,
    /// The terms that scorers show beside their scores: all terms of the first scorer, then of the next; by row.
    pub terms: Vec<Vec<f64>>,
    /// Weighted sum of the scores by row.
    pub total: Vec<f64>,
    /// The rows picked, best first; empty if the filters left none.
    pub picks: Picks,
    /// What chance decided.
    pub draw: Draw,
}

impl ProfileRun {
    /// In `struck_by`: the endpoint had been tried for this request and failed.
    pub const TRIED: u16 = u16::MAX;

    /// In `struck_by`: what the plan reads of the endpoint is too old, and the policy is to leave it out.
    pub const STALE: u16 = u16::MAX - 1;

    /// In `struck_by`: the endpoint was picked, or would have been, and had no place left.
    pub const FULL: u16 = u16::MAX - 2;
}

/// The scratch of one worker: readings and the runs of the current decision.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Number of rows.
    pub rows: usize,
    /// The moment of the decision.
    pub now: Tick,
    /// The readings, shared by all profiles of the decision.
    pub readings: Readings,
    /// What the producers worked out for this decision.
    pub produced: Produced,
    runs: Vec<ProfileRun>,
    used: usize,
}

impl Table {
    /// Starts a new decision over `snapshot`.
    pub fn begin(
        &mut self,
        snapshot: &Snapshot,
        slots: &Slots,
        wanted: &[Reading],
        staleness: &Staleness,
        now: Tick,
    ) {
        self.rows = snapshot.len();
        self.now = now;
        self.used = 0;
        self.readings.fill(snapshot, slots, wanted, staleness, now);
        self.produced.begin();
    }

    /// Says of the rows that were left out without having been `tried` that they were full.
    pub fn mark_full(&mut self, left_out: &RowSet, tried: &RowSet) {
        let full = || left_out.iter().filter(|&row| !tried.contains(row));
        for run in self.runs.iter_mut().take(self.used) {
            for row in full() {
                if let Some(by) = run.struck_by.get_mut(row)
                    && *by == ProfileRun::TRIED
                {
                    *by = ProfileRun::FULL;
                }
            }
        }
    }

    /// Adds the run of a profile; its memory is that of an earlier decision where there is one.
    pub fn add_run(&mut self) -> (&Readings, &Produced, &mut ProfileRun) {
        if self.used == self.runs.len() {
            self.runs.push(ProfileRun::default());
        }
        self.used += 1;
        (
            &self.readings,
            &self.produced,
            &mut self.runs[self.used - 1],
        )
    }

    /// Whether some producer believes that the row holds the beginning of the prompt.
    pub fn holds_part_of_prompt(&self, row: usize) -> bool {
        let found = self.produced.prefixes().iter();
        found
            .into_iter()
            .any(|prefix| prefix.matched.get(row).is_some_and(|&matched| matched > 0))
    }

    /// The runs of this decision in the order they were made.
    pub fn runs(&self) -> &[ProfileRun] {
        &self.runs[..self.used]
    }
}
