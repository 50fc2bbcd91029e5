//! Pools and plugin runs from a few lines of text, for tests everywhere (feature `fixture`).
//!
//! A pool is one endpoint per line: its name, then `key=value` words. The keys `inFlight`, `waiting`,
//! `running` and `kvUsage` are readings; `loraRunning` and `loraWaiting` (comma lists) and `loraMost` are what the
//! engine says of its adapters, `attr.NAME` a value of its own; every other key is a label, and the word `out` crosses
//! the row out.

use std::sync::Arc;

use serde_json::Value;

use crate::config::own::OwnSettings;
use crate::contract::context::{Asked, Ctx};
use crate::contract::observer::{Observer, Picked};
use crate::contract::produced::Produced;
use crate::contract::roles::{Built, Chance, Filter, PickInput, Scorer};
use crate::contract::spec::{Generation, ParamFault, Params, PluginSpec};
use crate::contract::staleness::Staleness;
use crate::contract::table::{Picks, ProfileRun, Readings};
use crate::index::row_set::RowSet;
use crate::model::endpoint::{Endpoint, Labels};
use crate::model::pool::Snapshot;
use crate::model::reported::{LoraAdapters, Reported};
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
        let (mut labels, mut reported) = (Vec::new(), Reported::default());
        for word in words {
            let Some((key, value)) = word.split_once('=') else {
                assert_eq!(word, "out", "a word is key=value or 'out'");
                rows.remove(row);
                continue;
            };
            if report(key, value, &mut reported) {
                continue;
            }
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
        slots.set_reported(slot, &reported);
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

/// Takes in a word about what the engine reports; false if it is none.
fn report(key: &str, value: &str, reported: &mut Reported) -> bool {
    if let Some(name) = key.strip_prefix("attr.") {
        let value = value.parse().expect("an attribute is a number");
        reported.attributes.push((name.into(), value));
        return true;
    }
    let lora = |reported: &mut Reported, set: &dyn Fn(&mut LoraAdapters)| {
        set(reported.lora.get_or_insert_with(Default::default));
    };
    let list = || value.split(',').map(str::to_owned).collect();
    match key {
        "loraRunning" => lora(reported, &|lora| lora.running = list()),
        "loraWaiting" => lora(reported, &|lora| lora.waiting = list()),
        "loraMost" => lora(reported, &|lora| lora.most = value.parse().unwrap_or(0)),
        _ => return false,
    }
    true
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
        flow_headers: &[],
    })
}

fn built(spec: &PluginSpec, parameters: &str, generation: Generation) -> Built {
    build(spec, parameters, generation).expect("the parameters are accepted")
}

/// A decision under way, for plugins that read more than the pool.
pub struct Scene<'a> {
    /// The candidates.
    pub pool: &'a Pool,
    /// What is asked for.
    pub request: InferenceRequest<'a>,
    /// What the producers worked out.
    pub produced: Produced,
    /// Seed of every random choice.
    pub seed: u64,
    /// The moment.
    pub now: Tick,
    readings: Readings,
}

impl<'a> Scene<'a> {
    /// A request of which nothing is known, over `pool`.
    pub fn new(pool: &'a Pool) -> Self {
        Self {
            pool,
            request: InferenceRequest::default(),
            produced: Produced::default(),
            seed: 1,
            now: NOW,
            readings: pool.readings(),
        }
    }

    /// What a plugin sees.
    pub fn ctx(&self) -> Ctx<'_> {
        Ctx {
            now: self.now,
            request: &self.request,
            snapshot: &self.pool.snapshot,
            readings: &self.readings,
            slots: &self.pool.slots,
            produced: &self.produced,
            seed: self.seed,
        }
    }

    /// What a producer sees.
    pub fn asked(&self) -> Asked<'_> {
        Asked {
            now: self.now,
            request: &self.request,
            snapshot: &self.pool.snapshot,
            slots: &self.pool.slots,
        }
    }

    /// Scores by row; 0 for rows crossed out.
    pub fn scores(&self, scorer: &dyn Scorer) -> Vec<f64> {
        let mut out = vec![0.0; self.pool.snapshot.len()];
        let mut terms = vec![out.clone(); scorer.terms().len()];
        scorer.score_with_terms(&self.ctx(), &self.pool.rows, &mut out, &mut terms);
        out
    }

    /// Names of the candidates that a filter leaves, separated by spaces.
    pub fn kept(&self, filter: &dyn Filter) -> String {
        let mut rows = self.pool.rows.clone();
        filter.filter(&self.ctx(), &mut rows);
        rows.iter()
            .map(|row| self.pool.snapshot.endpoints[row].name.to_string())
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Tells an observer that `row` was picked by the one profile, which crossed out nobody else than the pool did.
    pub fn pick(&self, observer: &dyn Observer, row: usize) {
        let run = ProfileRun {
            alive: self.pool.rows.clone(),
            struck_by: vec![0; self.pool.snapshot.len()],
            picks: Picks::from_slice(&[row as u32]),
            ..ProfileRun::default()
        };
        observer.picked(&Picked {
            ctx: &self.ctx(),
            primary: row,
            run: 0,
            runs: &[run],
            run_of: &|_| None,
        });
    }
}

/// The scorer that a plugin is, or brings.
///
/// # Panics
/// It is none, or refuses its parameters.
pub fn scorer(spec: &PluginSpec, parameters: &str, generation: Generation) -> Arc<dyn Scorer> {
    match built(spec, parameters, generation) {
        Built::Scorer(scorer)
        | Built::ScorerWithProducer(scorer, _)
        | Built::FilterAndScorer(_, scorer) => scorer.into(),
        _ => panic!("{} is no scorer", spec.kind),
    }
}

/// The filter that a plugin is, or brings.
///
/// # Panics
/// It is none, or refuses its parameters.
pub fn filter(spec: &PluginSpec, parameters: &str, generation: Generation) -> Arc<dyn Filter> {
    match built(spec, parameters, generation) {
        Built::Filter(filter) | Built::FilterAndScorer(filter, _) => filter.into(),
        _ => panic!("{} is no filter", spec.kind),
    }
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
    Scene::new(pool).kept(&*filter(spec, parameters, generation))
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
    Scene::new(pool).scores(&*scorer(spec, parameters, generation))
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
