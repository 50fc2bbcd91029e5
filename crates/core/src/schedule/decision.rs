//! A decision, frozen: the table as it was, with names. What logs, receipts, pages and tests read.
//!
//! Freezing copies, so it happens only when a log level or a reader of the ring wants it.

use std::sync::Arc;

use crate::contract::table::{Draw, ProfileRun, Table};
use crate::model::pool::Snapshot;
use crate::model::slots::Reading;
use crate::schedule::plan::Plan;

/// The frozen table of one decision. Row numbers index `snapshot.endpoints`.
#[derive(Clone)]
pub struct Decision {
    /// The plan that decided.
    pub plan: Arc<Plan>,
    /// The candidates.
    pub snapshot: Arc<Snapshot>,
    /// The readings that were filled, each with value and age by entry of `rows`.
    pub readings: Vec<ReadingColumn>,
    /// The rows that are listed: all of them, or the best of a large pool.
    pub rows: Vec<u32>,
    /// One entry per profile that ran.
    pub runs: Vec<FrozenRun>,
    /// Whether rows were left out.
    pub truncated: bool,
}

/// One reading of the listed rows.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadingColumn {
    /// Which reading.
    pub reading: Reading,
    /// Values, parallel to [`Decision::rows`].
    pub values: Vec<f64>,
    /// Ages in milliseconds (`None`: never taken), parallel to [`Decision::rows`].
    pub age_ms: Vec<Option<u32>>,
}

/// What one profile did to the listed rows; all columns are parallel to [`Decision::rows`].
#[derive(Clone, Debug, PartialEq)]
pub struct FrozenRun {
    /// Index of the profile in the plan.
    pub profile: usize,
    /// See [`ProfileRun::struck_by`].
    pub struck_by: Vec<u16>,
    /// Raw scores by scorer.
    pub scores: Vec<Vec<f64>>,
    /// Terms that scorers show, in the order of [`ProfileRun::terms`].
    pub terms: Vec<Vec<f64>>,
    /// Weighted totals.
    pub total: Vec<f64>,
    /// Picked row numbers, best first.
    pub picks: Vec<u32>,
    /// What chance decided.
    pub draw: Draw,
}

impl Decision {
    /// Copies the whole table.
    pub fn freeze(plan: &Arc<Plan>, snapshot: &Arc<Snapshot>, table: &Table) -> Self {
        let readings = Reading::ALL
            .into_iter()
            .filter(|&reading| table.readings.is_filled(reading))
            .map(|reading| {
                let column = table.readings.column(reading);
                ReadingColumn {
                    reading,
                    values: column.values.clone(),
                    age_ms: (0..table.rows)
                        .map(|row| column.age_ms(row, table.now))
                        .collect(),
                }
            })
            .collect();
        Self {
            plan: Arc::clone(plan),
            snapshot: Arc::clone(snapshot),
            readings,
            rows: (0..table.rows as u32).collect(),
            runs: table.runs().iter().map(FrozenRun::of).collect(),
            truncated: false,
        }
    }

    /// The name of the endpoint in `row`.
    pub fn name(&self, row: u32) -> &str {
        self.snapshot
            .endpoints
            .get(row as usize)
            .map_or("?", |e| e.name.as_ref())
    }
}

impl FrozenRun {
    fn of(run: &ProfileRun) -> Self {
        Self {
            profile: run.profile,
            struck_by: run.struck_by.clone(),
            scores: run.scores.clone(),
            terms: run.terms.clone(),
            total: run.total.clone(),
            picks: run.picks.to_vec(),
            draw: run.draw,
        }
    }

    /// Positions (into the listed rows) that share the best total among those not crossed out.
    pub fn tie(&self) -> Vec<usize> {
        let alive = || (0..self.total.len()).filter(|&at| self.struck_by[at] == 0);
        let best = alive()
            .map(|at| self.total[at])
            .fold(f64::NEG_INFINITY, f64::max);
        let tied: Vec<usize> = alive().filter(|&at| self.total[at] == best).collect();
        if tied.len() > 1 { tied } else { Vec::new() }
    }
}
