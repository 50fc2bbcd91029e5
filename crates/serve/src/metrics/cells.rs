//! What one worker counts into: cells by model, by endpoint, by producer, and those of the picker as a whole.
//!
//! A model's cells are shared with the requests under way, which write to them without a lock. The rest stands behind a
//! lock that its own worker takes a few times per request and the admin port for as long as it copies.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use pointsman_core::index::row_set::RowSet;
use pointsman_core::model::endpoint::Endpoint;
use pointsman_core::model::slots::Slot;

use crate::metrics::buckets;
use crate::metrics::histogram::{Counter, Histogram};
use crate::metrics::names::{LONGEST, Names};

/// Codes of errors, in the reference's words.
pub const ERROR_CODES: [&str; 8] = [
    "BadRequest",
    "NotFound",
    "PreconditionFailed",
    "ResourceExhausted",
    "ServiceUnavailable",
    "Internal",
    "ModelServerError",
    "Unknown",
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

/// What is counted of one model.
#[derive(Debug)]
pub struct ModelCells {
    /// The name it is counted under.
    pub name: Arc<str>,
    /// Requests scheduled.
    pub scheduled: Counter,
    /// Requests begun and not ended, as two counts.
    pub begun: Counter,
    /// See [`ModelCells::begun`].
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

impl ModelCells {
    fn new(name: Arc<str>) -> Self {
        Self {
            name,
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

/// The cells behind the worker's lock.
#[derive(Debug, Default)]
pub struct Tables {
    /// The model asked for last, as the client wrote it.
    last: Option<(Box<str>, Arc<ModelCells>)>,
    /// By name.
    pub models: HashMap<Arc<str>, Arc<ModelCells>, foldhash::fast::RandomState>,
    /// By slot.
    pub endpoints: HashMap<u32, EndpointCells, foldhash::fast::RandomState>,
    pairs: usize,
    /// By producer.
    pub producers: Vec<ProducerCells>,
    /// By plugin.
    pub plugins: Vec<PluginCells>,
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
    names: Arc<Names>,
    /// Cells that are looked up.
    pub tables: Mutex<Tables>,
    /// Seconds per decision.
    pub scheduling: Histogram,
    /// Seconds from a request's head to its decision.
    pub request_processing: Histogram,
    /// Seconds of book-keeping after an answer.
    pub response_processing: Histogram,
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

    /// A worker's cells; `names` are those of the process.
    pub fn new(names: Arc<Names>) -> Self {
        Self {
            names,
            tables: Mutex::default(),
            scheduling: Histogram::new(&buckets::DECISION),
            request_processing: Histogram::new(&buckets::REQUEST_PROCESSING),
            response_processing: Histogram::new(&buckets::RESPONSE_PROCESSING),
            late: Histogram::new(&buckets::OFF_BY),
            early: Histogram::new(&buckets::OFF_BY),
        }
    }

    /// The cells of a model.
    pub fn model(&self, name: &str) -> Arc<ModelCells> {
        let mut tables = self.tables.lock();
        if let Some((last, cells)) = &tables.last
            && **last == *name
        {
            return Arc::clone(cells);
        }
        let admitted = match tables.models.get(name) {
            Some(cells) => Arc::clone(cells),
            None => {
                let name = self.names.admit(name);
                let fresh = || Arc::new(ModelCells::new(Arc::clone(&name)));
                Arc::clone(tables.models.entry(Arc::clone(&name)).or_insert_with(fresh))
            }
        };
        if name.len() <= LONGEST {
            tables.last = Some((name.into(), Arc::clone(&admitted)));
        }
        admitted
    }
}

impl Tables {
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

    #[test]
    fn a_model_keeps_its_cells_and_the_thousand_and_first_shares() {
        let cells = LaneCells::new(Arc::default());
        let first = cells.model("a");
        assert!(Arc::ptr_eq(&first, &cells.model("a")));
        for n in 0..5000 {
            cells.model(&format!("m{n}"));
        }
        assert!(Arc::ptr_eq(&first, &cells.model("a")));
        assert!(Arc::ptr_eq(&cells.model("m4000"), &cells.model("m4999")));
        assert_eq!(cells.tables.lock().models.len(), 1001);
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
