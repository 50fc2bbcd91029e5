//! What one worker counts into: cells by series (model, fairness id, priority), by endpoint, by producer, and those of the
//! picker as a whole.
//!
//! The cells of a series are shared with the requests under way, which write to them without a lock. The rest stands behind a
//! lock that its own worker takes a few times per request and the admin port for as long as it copies.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::sync::Arc;

use parking_lot::Mutex;
use pointsman_core::index::row_set::RowSet;
use pointsman_core::model::endpoint::Endpoint;
use pointsman_core::model::slots::Slot;

use crate::metrics::buckets;
use crate::metrics::histogram::{Counter, Histogram};
use crate::metrics::names::{AllSeries, LONGEST, Said, Series};
use crate::metrics::streams::StreamTally;

/// Codes of errors, in the reference's words.
pub const ERROR_CODES: [&str; 8] = [
    "BadRequest",
    "NotFound",
    "PreconditionFailed",
    "RequestEntityTooLarge",
    "ResourceExhausted",
    "ServiceUnavailable",
    "Internal",
    "ModelServerError",
];

/// What can be decided about prefill and decode.
pub const PD_WORDS: [&str; 4] = [
    "decode-only",
    "prefill-decode",
    "encode-decode",
    "encode-prefill-decode",
];

/// Endpoints with cells of their own per worker; as many as a pool can hold.
const MOST_ENDPOINTS: usize = 16_384;

/// Pairs of model and endpoint whose decisions are told apart per worker; further ones count under the model `other`.
const MOST_PAIRS: usize = 8192;

/// Producers with cells of their own; a plan has one or two, reloads may bring others.
const MOST_PRODUCERS: usize = 32;

/// Decisions of rewrites that are told apart per worker; further ones count as `other`.
const MOST_REWRITES: usize = 4096;

/// What is counted of one series.
#[derive(Debug)]
pub struct SeriesCells {
    /// The series.
    pub series: Series,
    /// Requests scheduled.
    pub scheduled: Counter,
    /// Requests begun and not ended, as two counts.
    pub begun: Counter,
    /// See [`SeriesCells::begun`].
    pub ended: Counter,
    /// By place in [`ERROR_CODES`].
    pub errors: [Counter; ERROR_CODES.len()],
    /// By place in [`PD_WORDS`].
    pub pd: [Counter; PD_WORDS.len()],
    /// Decisions without a pick.
    pub unpicked: Counter,
    /// Seconds.
    pub duration: Histogram,
    /// Bytes.
    pub request_size: Histogram,
    /// Bytes.
    pub response_size: Histogram,
    /// Tokens.
    pub input_tokens: Histogram,
    /// Tokens.
    pub output_tokens: Histogram,
    /// Tokens.
    pub cached_tokens: Histogram,
    /// Seconds.
    pub per_token: Histogram,
    /// Seconds; not streamed, streamed.
    pub first_token: [Histogram; 2],
    /// Seconds.
    pub streamed_per_token: Histogram,
    /// Seconds.
    pub between_tokens: Histogram,
}

impl SeriesCells {
    fn new(series: Series) -> Self {
        Self {
            series,
            scheduled: Counter::default(),
            begun: Counter::default(),
            ended: Counter::default(),
            errors: Default::default(),
            pd: Default::default(),
            unpicked: Counter::default(),
            duration: Histogram::new(&buckets::LATENCY),
            request_size: Histogram::new(&buckets::REQUEST_BYTES),
            response_size: Histogram::new(&buckets::RESPONSE_BYTES),
            input_tokens: Histogram::new(&buckets::INPUT_TOKENS),
            output_tokens: Histogram::new(&buckets::OUTPUT_TOKENS),
            cached_tokens: Histogram::new(&buckets::INPUT_TOKENS),
            per_token: Histogram::new(&buckets::PER_TOKEN),
            first_token: [
                Histogram::new(&buckets::FIRST_TOKEN),
                Histogram::new(&buckets::FIRST_TOKEN),
            ],
            streamed_per_token: Histogram::new(&buckets::STREAMED_PER_TOKEN),
            between_tokens: Histogram::new(&buckets::BETWEEN_TOKENS),
        }
    }
}

/// What is counted of one endpoint.
#[derive(Clone, Debug)]
pub struct EndpointCells {
    /// Its full name.
    pub name: Arc<str>,
    /// Its port.
    pub port: u16,
    /// Picks by model.
    pub picks: Vec<(Arc<str>, u64)>,
    /// Prompt tokens of its answers.
    pub prompt: u64,
    /// Prompt tokens it was believed to hold.
    pub predicted: u64,
    /// Prompt tokens it held.
    pub actual: u64,
    /// Hits believed where there was none.
    pub false_hits: u64,
}

/// What is counted of one producer.
#[derive(Debug)]
pub struct ProducerCells {
    /// The producer's name.
    pub name: Arc<str>,
    /// Its type.
    pub kind: &'static str,
    /// Shares of prompts believed to be held where the request went.
    pub ratio: Histogram,
    /// The same in bytes.
    pub bytes: Histogram,
}

/// What is counted of one plugin at one extension point.
#[derive(Debug)]
pub struct PluginCells {
    /// Where the plugin is called.
    pub point: &'static str,
    /// Its type.
    pub kind: &'static str,
    /// Its name.
    pub name: Arc<str>,
    /// Seconds per call.
    pub took: Histogram,
}

/// What a request said, kept for comparison.
#[derive(Debug)]
struct Spoken {
    model: Box<str>,
    target: Box<str>,
    flow: Box<str>,
    priority: i64,
}

impl Spoken {
    fn is(&self, said: Said<'_>) -> bool {
        *self.model == *said.model
            && *self.target == *said.target
            && *self.flow == *said.flow
            && self.priority == said.priority
    }

    /// What was said, if it is short enough to be kept.
    fn keep(said: Said<'_>) -> Option<Self> {
        let short = [said.model, said.target, said.flow]
            .iter()
            .all(|name| name.len() <= LONGEST);
        short.then(|| Self {
            model: said.model.into(),
            target: said.target.into(),
            flow: said.flow.into(),
            priority: said.priority,
        })
    }
}

/// The cells behind the worker's lock.
#[derive(Debug, Default)]
pub struct Tables {
    /// What was asked for last, as the client wrote it.
    last: Option<(Spoken, Arc<SeriesCells>)>,
    /// By a hash of the series.
    series: HashMap<u64, Vec<Arc<SeriesCells>>, foldhash::fast::RandomState>,
    /// Requests under way that this worker has sent to a slot, by series of their flow.
    pub under_way: HashMap<(u32, Arc<str>, i64), u32, foldhash::fast::RandomState>,
    /// By slot.
    pub endpoints: HashMap<u32, EndpointCells, foldhash::fast::RandomState>,
    pairs: usize,
    /// By producer.
    pub producers: Vec<ProducerCells>,
    /// By plugin.
    pub plugins: Vec<PluginCells>,
    /// Models put in place of others: by rewrite, model that was named, model that is asked for.
    pub rewrites: BTreeMap<[Arc<str>; 3], u64>,
    /// Requests let in under a plan that lets requests wait, by priority.
    pub let_in: BTreeMap<i64, u64>,
    /// Decisions until plugins are timed again.
    pub until_probe: u32,
    /// Memory for calling plugins again.
    pub scratch: (RowSet, Vec<f64>),
}

/// What one worker counts into.
#[derive(Debug)]
pub struct LaneCells {
    names: Arc<AllSeries>,
    /// Cells that are looked up.
    pub tables: Mutex<Tables>,
    /// Seconds per decision.
    pub scheduling: Histogram,
    /// Seconds from a request's head to its decision.
    pub request_processing: Histogram,
    /// Seconds of book-keeping after an answer.
    pub response_processing: Histogram,
    /// Streams of gateways, where they are counted.
    pub streams: StreamTally,
    /// Seconds that an answer's head came after its predicted time.
    pub late: Histogram,
    /// Seconds that it came before.
    pub early: Histogram,
}

impl LaneCells {
    /// Counts a request that was let in.
    pub fn let_in(&self, priority: i64) {
        *self.tables.lock().let_in.entry(priority).or_default() += 1;
    }

    /// Counts a model that was put in the place of another by the rewrite of this name.
    pub fn rewritten(&self, by: &Arc<str>, model: &str, target: &str) {
        let mut key = [
            Arc::clone(by),
            self.names.model(model),
            self.names.model(target),
        ];
        let mut tables = self.tables.lock();
        let rewrites = &mut tables.rewrites;
        if rewrites.len() >= MOST_REWRITES && !rewrites.contains_key(&key) {
            key = ["other", "other", "other"].map(Arc::from);
        }
        *rewrites.entry(key).or_default() += 1;
    }

    /// A worker's cells; `names` are those of the process.
    pub fn new(names: Arc<AllSeries>) -> Self {
        Self {
            names,
            tables: Mutex::default(),
            scheduling: Histogram::new(&buckets::DECISION),
            request_processing: Histogram::new(&buckets::REQUEST_PROCESSING),
            response_processing: Histogram::new(&buckets::RESPONSE_PROCESSING),
            streams: StreamTally::default(),
            late: Histogram::new(&buckets::OFF_BY),
            early: Histogram::new(&buckets::OFF_BY),
        }
    }

    /// The cells of a series.
    pub fn series(&self, said: Said<'_>) -> Arc<SeriesCells> {
        let mut tables = self.tables.lock();
        if let Some((last, cells)) = &tables.last
            && last.is(said)
        {
            return Arc::clone(cells);
        }
        let cells = match tables.find(said) {
            Some(cells) => cells,
            None => {
                let series = self.names.admit(said);
                match tables.find(series.said()) {
                    Some(cells) => cells,
                    None => tables.insert(series),
                }
            }
        };
        if let Some(spoken) = Spoken::keep(said) {
            tables.last = Some((spoken, Arc::clone(&cells)));
        }
        cells
    }
}

impl Tables {
    fn find(&self, said: Said<'_>) -> Option<Arc<SeriesCells>> {
        let hash = self.series.hasher().hash_one(said);
        let found = self.series.get(&hash)?.iter();
        let mut found = found.filter(|cells| cells.series.said() == said);
        found.next().cloned()
    }

    fn insert(&mut self, series: Series) -> Arc<SeriesCells> {
        let hash = self.series.hasher().hash_one(series.said());
        let cells = Arc::new(SeriesCells::new(series));
        let place = self.series.entry(hash).or_default();
        place.push(Arc::clone(&cells));
        cells
    }

    /// All series that the worker has met.
    pub fn all_series(&self) -> impl Iterator<Item = &Arc<SeriesCells>> {
        self.series.values().flatten()
    }

    /// A request of this series was sent to a slot.
    pub fn sent(&mut self, slot: Slot, series: &Series) {
        let key = (slot.0, Arc::clone(&series.flow), series.priority);
        *self.under_way.entry(key).or_default() += 1;
    }

    /// It is not there any more.
    pub fn left(&mut self, slot: Slot, series: &Series) {
        let key = (slot.0, Arc::clone(&series.flow), series.priority);
        if let Some(count) = self.under_way.get_mut(&key) {
            *count -= 1;
            // What is left are requests under way, and so no more series than there are of them.
            if *count == 0 {
                self.under_way.remove(&key);
            }
        }
    }

    /// The cells of an endpoint; `None` where there are too many. A slot that went to another endpoint starts anew.
    pub fn endpoint(&mut self, slot: Slot, endpoint: &Endpoint) -> Option<&mut EndpointCells> {
        let fresh = || EndpointCells {
            name: Arc::clone(&endpoint.name),
            port: endpoint.address.port(),
            picks: Vec::new(),
            prompt: 0,
            predicted: 0,
            actual: 0,
            false_hits: 0,
        };
        if self.endpoints.len() >= MOST_ENDPOINTS && !self.endpoints.contains_key(&slot.0) {
            return None;
        }
        let cells = self.endpoints.entry(slot.0).or_insert_with(fresh);
        if cells.name != endpoint.name || cells.port != endpoint.address.port() {
            self.pairs -= cells.picks.len();
            *cells = fresh();
        }
        Some(cells)
    }

    /// Counts a pick of an endpoint for a model.
    pub fn picked(&mut self, endpoint: &Endpoint, model: &Arc<str>) {
        if self.endpoint(endpoint.slot, endpoint).is_none() {
            return;
        }
        let full = self.pairs >= MOST_PAIRS;
        let Some(cells) = self.endpoints.get_mut(&endpoint.slot.0) else {
            return;
        };
        // Most pools serve one model or few; the list is short, and equal names are mostly the same one.
        let known = |name: &Arc<str>| Arc::ptr_eq(name, model) || name == model;
        if let Some((_, count)) = cells.picks.iter_mut().find(|(name, _)| known(name)) {
            *count += 1;
            return;
        }
        let name = if full {
            "other".into()
        } else {
            Arc::clone(model)
        };
        match cells.picks.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => {
                cells.picks.push((name, 1));
                self.pairs += 1;
            }
        }
    }

    /// The cells of a producer.
    pub fn producer(&mut self, name: &Arc<str>, kind: &'static str) -> Option<&ProducerCells> {
        let known = |cells: &ProducerCells| {
            (Arc::ptr_eq(&cells.name, name) || cells.name == *name) && cells.kind == kind
        };
        let at = match self.producers.iter().position(known) {
            Some(at) => at,
            None if self.producers.len() >= MOST_PRODUCERS => return None,
            None => {
                self.producers.push(ProducerCells {
                    name: Arc::clone(name),
                    kind,
                    ratio: Histogram::new(&buckets::SHARE),
                    bytes: Histogram::new(&buckets::HIT_BYTES),
                });
                self.producers.len() - 1
            }
        };
        Some(&self.producers[at])
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use pointsman_core::model::endpoint::Labels;

    fn endpoint(name: &str) -> Endpoint {
        Endpoint::new(
            name,
            ([10, 0, 0, 1], 8000).into(),
            Labels::default(),
            Slot(3),
        )
    }

    fn said<'a>(model: &'a str, flow: &'a str) -> Said<'a> {
        Said {
            model,
            target: model,
            flow,
            priority: 0,
        }
    }

    #[test]
    fn a_series_keeps_its_cells_and_the_thousand_and_first_model_shares() {
        let cells = LaneCells::new(Arc::default());
        let of = |model: &str| cells.series(said(model, "f"));
        let first = of("a");
        assert!(Arc::ptr_eq(&first, &of("a")));
        assert!(!Arc::ptr_eq(&first, &cells.series(said("a", "g"))));
        for n in 0..5000 {
            of(&format!("m{n}"));
        }
        assert!(Arc::ptr_eq(&first, &of("a")));
        assert!(Arc::ptr_eq(&of("m4000"), &of("m4999")));
        assert_eq!(cells.tables.lock().all_series().count(), 1002);
    }

    #[test]
    fn rewrites_are_told_apart_until_there_are_too_many() {
        let cells = LaneCells::new(Arc::default());
        for n in 0..2 * MOST_REWRITES {
            let by: Arc<str> = format!("r{}", n / 2).into();
            cells.rewritten(&by, "m", "t");
        }
        for n in 0..5000 {
            cells.rewritten(&"r0".into(), &format!("m{n}"), "t");
        }
        let tables = cells.tables.lock();
        let count = |key: [&str; 3]| tables.rewrites.get(&key.map(Arc::from)).copied();
        assert_eq!(count(["r1", "m", "t"]), Some(2));
        assert_eq!(count(["other", "other", "other"]), Some(5000));
        assert_eq!(tables.rewrites.len(), MOST_REWRITES + 1);
    }

    #[test]
    fn what_is_under_way_leaves_nothing_behind() {
        let cells = LaneCells::new(Arc::default());
        let series = cells.series(said("m", "f")).series.clone();
        let mut tables = cells.tables.lock();
        tables.sent(Slot(1), &series);
        tables.sent(Slot(1), &series);
        tables.left(Slot(2), &series);
        assert_eq!(tables.under_way[&(1, "f".into(), 0)], 2);
        tables.left(Slot(1), &series);
        tables.left(Slot(1), &series);
        assert!(tables.under_way.is_empty());
    }

    #[test]
    fn picks_are_told_apart_until_there_are_too_many() {
        let mut tables = Tables::default();
        for n in 0..MOST_PAIRS + 100 {
            tables.picked(&endpoint("ns/a"), &format!("m{n}").as_str().into());
        }
        let cells = &tables.endpoints[&3];
        assert_eq!(cells.picks.len(), MOST_PAIRS + 1);
        assert_eq!(cells.picks.last().unwrap(), &("other".into(), 100));
        tables.picked(&endpoint("ns/b"), &"m".into());
        assert_eq!(tables.endpoints[&3].picks, [("m".into(), 1)]);
        assert_eq!(tables.pairs, 1);
    }
}
