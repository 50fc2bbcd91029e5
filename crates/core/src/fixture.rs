//! Pools and plugin runs from a few lines of text, for tests everywhere (feature `fixture`).
//!
//! A pool is one endpoint per line: its name, then `key=value` words. The keys `inFlight`, `waiting`,
//! `running` and `kvUsage` are readings, every other key is a label, and the word `out` crosses the row out.

use std::sync::Arc;

use serde_json::Value;

use crate::config::own::OwnSettings;
use crate::contract::context::Ctx;
use crate::contract::produced::Produced;
use crate::contract::roles::{Built, Chance, PickInput};
use crate::contract::spec::{Generation, ParamFault, Params, PluginSpec};
use crate::contract::staleness::Staleness;
use crate::contract::table::{Picks, Readings};
use crate::index::row_set::RowSet;
use crate::model::endpoint::{Endpoint, Labels};
use crate::model::pool::Snapshot;
use crate::model::request::InferenceRequest;
use crate::model::slots::{InFlight, Reading, Slot, Slots};
use crate::rng::Rng;
use crate::time::Tick;

/// A pool with its live readings.
pub struct Pool {
    /// The membership.
    pub snapshot: Arc<Snapshot>,
    /// The readings.
    pub slots: Arc<Slots>,
    /// The rows not crossed out.
    pub rows: RowSet,
    guards: Vec<InFlight>,
}

/// The moment at which fixture readings were taken.
pub const NOW: Tick = Tick(1_000_000_000);

/// Reads a pool from text.
///
/// # Panics
/// The text is not as described above.
pub fn pool(text: &str) -> Pool {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let slots = Arc::new(Slots::new(lines.len()));
    let mut rows = RowSet::default();
    rows.fill(lines.len());
    let (mut endpoints, mut guards) = (Vec::new(), Vec::new());
    for (row, line) in lines.into_iter().enumerate() {
        let slot = Slot(row as u32);
        let mut words = line.split_whitespace();
        let name = words.next().expect("a line is not empty");
        let mut labels = Vec::new();
        for word in words {
            let Some((key, value)) = word.split_once('=') else {
                assert_eq!(word, "out", "a word is key=value or 'out'");
                rows.remove(row);
                continue;
            };
            match Reading::ALL.into_iter().find(|r| r.name() == key) {
                Some(Reading::InFlight) => {
                    let n: usize = value.parse().expect("inFlight is a count");
                    guards.extend((0..n).map(|_| slots.enter(slot)));
                }
                Some(reading) => slots.write(
                    slot,
                    reading,
                    value.parse().expect("a reading is a number"),
                    NOW,
                ),
                None => labels.push((key, value)),
            }
        }
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 1 + row as u16));
        endpoints.push(Endpoint::new(
            name,
            address,
            labels.into_iter().collect::<Labels>(),
            slot,
        ));
    }
    Pool {
        snapshot: Arc::new(Snapshot::new(1, endpoints)),
        slots,
        rows,
        guards,
    }
}

impl Pool {
    /// How many requests the fixture holds in flight.
    pub fn held(&self) -> usize {
        self.guards.len()
    }

    /// The readings of all rows.
    pub fn readings(&self) -> Readings {
        let mut readings = Readings::default();
        let staleness = Staleness::default();
        readings.fill(&self.snapshot, &self.slots, &Reading::ALL, &staleness, NOW);
        readings
    }
}

/// Builds a plugin from parameters as JSON text.
///
/// # Errors
/// What the plugin says against them.
///
/// # Panics
/// The text is no JSON.
pub fn build(
    spec: &PluginSpec,
    parameters: &str,
    generation: Generation,
) -> Result<Built, Vec<ParamFault>> {
    let value: Value = serde_json::from_str(parameters).expect("parameters are JSON");
    (spec.build)(&Params {
        value: Some(&value),
        generation,
        name: spec.kind,
        previous: None,
        own: &OwnSettings::default(),
    })
}

fn built(spec: &PluginSpec, parameters: &str, generation: Generation) -> Built {
    build(spec, parameters, generation).expect("the parameters are accepted")
}

/// Names of the candidates that a filter leaves, separated by spaces.
///
/// # Panics
/// The plugin is no filter or refuses its parameters.
pub fn run_filter(spec: &PluginSpec, parameters: &str, pool: &Pool) -> String {
    run_filter_as(spec, parameters, Generation::G1, pool)
}

/// As [`run_filter`], under the rules of `generation`.
///
/// # Panics
/// The plugin is no filter or refuses its parameters.
pub fn run_filter_as(
    spec: &PluginSpec,
    parameters: &str,
    generation: Generation,
    pool: &Pool,
) -> String {
    let Built::Filter(filter) = built(spec, parameters, generation) else {
        panic!("{} is no filter", spec.kind)
    };
    let (request, readings) = (InferenceRequest::default(), pool.readings());
    let mut rows = pool.rows.clone();
    let ctx = Ctx {
        now: NOW,
        request: &request,
        snapshot: &pool.snapshot,
        readings: &readings,
        slots: &pool.slots,
        produced: &Produced::default(),
        seed: 1,
    };
    filter.filter(&ctx, &mut rows);
    rows.iter()
        .map(|row| pool.snapshot.endpoints[row].name.to_string())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Scores by row; 0 for rows crossed out.
///
/// # Panics
/// The plugin is no scorer or refuses its parameters.
pub fn run_scorer(
    spec: &PluginSpec,
    parameters: &str,
    generation: Generation,
    pool: &Pool,
) -> Vec<f64> {
    let (Built::Scorer(scorer) | Built::ScorerWithProducer(scorer, _)) =
        built(spec, parameters, generation)
    else {
        panic!("{} is no scorer", spec.kind)
    };
    let (request, readings) = (InferenceRequest::default(), pool.readings());
    let mut out = vec![0.0; pool.snapshot.len()];
    let ctx = Ctx {
        now: NOW,
        request: &request,
        snapshot: &pool.snapshot,
        readings: &readings,
        slots: &pool.slots,
        produced: &Produced::default(),
        seed: 1,
    };
    scorer.score(&ctx, &pool.rows, &mut out);
    out
}

/// Rows that a picker takes from these totals.
///
/// # Panics
/// The plugin is no picker or refuses its parameters.
pub fn run_picker(spec: &PluginSpec, parameters: &str, totals: &[f64], seed: u64) -> Vec<u32> {
    let Built::Picker(picker) = built(spec, parameters, Generation::G1) else {
        panic!("{} is no picker", spec.kind)
    };
    let mut rows = RowSet::default();
    rows.fill(totals.len());
    let mut rng = Rng::from_seed(seed);
    let mut picks = Picks::new();
    picker.pick(
        &PickInput {
            rows: &rows,
            totals,
        },
        &mut Chance::new(&mut rng),
        &mut picks,
    );
    picks.to_vec()
}
