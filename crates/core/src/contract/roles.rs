//! The small traits a plugin implements, one per role.
//!
//! A plugin is built once per plan and shared by all workers. It never does IO; what it needs is a
//! column it declared in its spec.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::contract::admission::{
    FairnessPolicy, OrderingPolicy, SaturationDetector, UsageLimitPolicy,
};
use crate::contract::context::{Asked, Ctx};
use crate::contract::data_layer::{
    EngineMetrics, FileDiscovery, MetricsSource, Parser, RenderServer,
};
use crate::contract::learner::Learner;
use crate::contract::observer::{Announcer, Observer, Reporter};
use crate::contract::produced::{Hasher, PrefixMatch, Produced};
use crate::contract::table::{Picks, ProfileRun};
use crate::index::row_set::RowSet;
use crate::model::assets::AssetRules;
use crate::model::pool::Snapshot;
use crate::model::slots::{Slot, Slots};
use crate::model::tokens::{TokensHeld, TokensInFlight};
use crate::rng::Rng;
use crate::time::Tick;
use serde_json::Value;
use smallvec::SmallVec;

/// What a plugin knows beyond one decision; a plugin of equal type and name in the next plan may go on with it.
pub type State = Arc<dyn Any + Send + Sync>;

/// Crosses out candidates.
pub trait Filter: Send + Sync {
    /// Removes rows from `rows`; must never add one.
    fn filter(&self, ctx: &Ctx<'_>, rows: &mut RowSet);

    /// The most requests that an endpoint may hold when it is picked, where that is what the filter looks at. The pick
    /// takes its place in one step with this check, so that no two decisions take the last one.
    fn most_in_flight(&self) -> Option<u32> {
        None
    }

    /// The filter as one that remembers its picks, if it does.
    fn observer(self: Arc<Self>) -> Option<Arc<dyn Observer>> {
        None
    }

    /// The filter as one that puts a header on answers, if it does.
    fn announcer(self: Arc<Self>) -> Option<Arc<dyn Announcer>> {
        None
    }

    /// What it knows beyond one decision.
    fn state(&self) -> Option<State> {
        None
    }

    /// Whether labels and readings are all that it looks at, so that a receipt is enough to run it again.
    fn is_repeatable(&self) -> bool {
        false
    }

    /// What a candidate must carry to stay, in words and with the names of its labels, as in `tier in (gold)`; empty
    /// where the parameters say nothing about it.
    fn wants(&self) -> String {
        String::new()
    }
}

/// Rates candidates.
pub trait Scorer: Send + Sync {
    /// Writes a score in [0, 1] to `out[row]` for every row in `rows`; other entries stay as they are.
    fn score(&self, ctx: &Ctx<'_>, rows: &RowSet, out: &mut [f64]);

    /// Whether labels and readings are all that it looks at, so that a receipt is enough to run it again.
    fn is_repeatable(&self) -> bool {
        false
    }

    /// Names of what the scorer shows beside its scores, such as a predicted wait; with units in the name.
    fn terms(&self) -> &'static [&'static str] {
        &[]
    }

    /// As [`Scorer::score`]; also writes `terms[i][row]` for every row in `rows` and each of its terms.
    fn score_with_terms(
        &self,
        ctx: &Ctx<'_>,
        rows: &RowSet,
        out: &mut [f64],
        _terms: &mut [Vec<f64>],
    ) {
        self.score(ctx, rows, out);
    }

    /// The scorer as one that learns from how its picks turn out, if it does.
    fn learner(&self) -> Option<&dyn Learner> {
        None
    }

    /// What it knows beyond one decision, for people to read; of at most `most` endpoints.
    fn shown(&self, _snapshot: &Snapshot, _slots: &Slots, _most: usize) -> Option<Value> {
        None
    }

    /// The scorer as one that remembers its picks, if it does.
    fn observer(self: Arc<Self>) -> Option<Arc<dyn Observer>> {
        None
    }

    /// The scorer as one that puts a header on answers, if it does.
    fn announcer(self: Arc<Self>) -> Option<Arc<dyn Announcer>> {
        None
    }

    /// What it knows beyond one decision.
    fn state(&self) -> Option<State> {
        None
    }
}

/// The endpoints that a decision sends a request to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Targets {
    /// Row of the primary pick.
    pub primary: usize,
    /// Row that runs the prefill, if another one does.
    pub prefill: Option<usize>,
    /// Row that encodes images and the like, if another one does; the first of them.
    pub encode: Option<usize>,
}

/// Works something out once per decision, for all profiles, and learns from the picks.
pub trait Producer: Send + Sync {
    /// Fills `out`, which is empty and sized to the candidates.
    fn produce(&self, asked: &Asked<'_>, hasher: &mut Hasher, out: &mut PrefixMatch);

    /// The picks are made; `found` is what this producer gave for the decision.
    fn picked(&self, asked: &Asked<'_>, hasher: &Hasher, found: &PrefixMatch, targets: Targets);

    /// Called about once a second, outside of decisions: expiry, and forgetting who left.
    fn maintain(&self, now: Tick, snapshot: &Snapshot, slots: &Slots);

    /// What it holds, for the admin port and metrics.
    fn holdings(&self, now: Tick) -> Holdings;

    /// The slots that hold a block, for the explanation of one prompt.
    fn holders(&self, hash: u64, now: Tick) -> Vec<Slot>;

    /// What it knows beyond one decision.
    fn state(&self) -> Option<State> {
        None
    }
}

/// What a request holds on endpoints beside its count in flight.
pub type Holds = SmallVec<[Hold; 2]>;

/// Tokens of a request on an endpoint.
pub struct Hold {
    /// The tokens.
    pub tokens: TokensHeld,
    /// Whether they are given back with the first byte of the answer; else at its end.
    pub until_head: bool,
}

/// Works out facts of a request once per decision, for all profiles and after the prefix producers.
pub trait Preparer: Send + Sync {
    /// Adds them to `produced`.
    fn prepare(&self, asked: &Asked<'_>, produced: &mut Produced);

    /// The picks are made: adds what the request holds from now on to `holds`.
    fn hold(&self, _: &Asked<'_>, _: &Produced, _: Targets, _: &mut Holds) {}

    /// The server to ask for the prompt's token ids before anything is decided, if there is one.
    fn render_server(&self) -> Option<RenderServer> {
        None
    }

    /// What images, videos and recordings count for, where it says so.
    fn asset_rules(&self) -> Option<AssetRules> {
        None
    }

    /// The tokens in flight that it counts, if it counts any.
    fn tokens_in_flight(&self) -> Option<Arc<TokensInFlight>> {
        None
    }

    /// What it knows beyond one decision.
    fn state(&self) -> Option<State> {
        None
    }
}

/// What a prefix producer holds.
#[derive(Clone, Debug, Default)]
pub struct Holdings {
    /// Entries by endpoint.
    pub endpoints: Vec<Held>,
    /// Entries of all endpoints.
    pub entries: u64,
    /// Memory of the index in bytes.
    pub bytes: u64,
    /// Entries that went, by reason: `ttl`, `lru`, `endpoint_gone`, `restart`.
    pub expired: [(&'static str, u64); 4],
}

/// What a prefix producer holds for one endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// The endpoint.
    pub slot: Slot,
    /// Block hashes.
    pub entries: u64,
    /// Block hashes that it can hold.
    pub capacity: u64,
    /// When the oldest was entered; `None` without entries.
    pub oldest: Option<Tick>,
    /// When the newest was entered.
    pub newest: Option<Tick>,
}

/// Says whether a part of a request, prefill or encoding, runs elsewhere.
pub trait Decider: Send + Sync {
    /// Decides, knowing the row that was picked first (the one that decodes, in the usual order), and says why in a
    /// few words.
    fn decide(&self, ctx: &Ctx<'_>, picked: usize) -> (bool, &'static str);
}

/// Refuses requests that would be scheduled otherwise; asked once, before any profile runs.
pub trait Admitter: Send + Sync {
    /// Why the request is not admitted; `None` where it is.
    fn refuses(&self, ctx: &Ctx<'_>, chance: &mut Chance<'_>) -> Option<String>;
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
        /// Index of the run that picked who prefills, if another endpoint is to.
        prefill: Option<usize>,
        /// Index of the run that picked who encodes, if other endpoints are to.
        encode: Option<usize>,
        /// What was decided about prefill and decode, if the handler decides that.
        pd: Option<PdDecision>,
    },
}

/// Where the parts of a request run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PdDecision {
    /// `decode-only`, `prefill-decode`, `encode-decode` or `encode-prefill-decode`.
    pub word: &'static str,
    /// Why, in a few words.
    pub reason: &'static str,
}

/// What a handler is told when the plan is put together.
pub struct Binding<'a> {
    /// Names of the plan's profiles, in order.
    pub profiles: &'a [&'a str],
    /// The decider of this name, if the configuration declares one.
    pub decider: &'a dyn Fn(&str) -> Option<Arc<dyn Decider>>,
}

/// Decides which profiles run for a request.
pub trait ProfileHandler: Send + Sync {
    /// The next step, given the runs made so far.
    fn next(&self, ctx: &Ctx<'_>, runs: &[ProfileRun]) -> Next;

    /// Whether the runs made so far are all that it looks at, so that a receipt is enough to run it again.
    fn is_repeatable(&self) -> bool {
        false
    }

    /// Gets to know the plan it will work in.
    ///
    /// # Errors
    /// Why it cannot work with these profiles, and what would be right.
    fn bind(&mut self, binding: &Binding<'_>) -> Result<(), String>;

    /// The profile whose pick is the one that prefills, as an index into the plan's profiles, once bound.
    fn prefill_profile(&self) -> Option<usize> {
        None
    }

    /// The profile whose picks are those that encode, as an index into the plan's profiles, once bound.
    fn encode_profile(&self) -> Option<usize> {
        None
    }

    /// Whether the endpoint that gets the request is told by header who prefills and who encodes, without a plugin
    /// of its own for that.
    fn tells(&self) -> bool {
        false
    }

    /// The port of the picked endpoint that requests are sent to, where it is not the endpoint's own; which endpoint
    /// behind that port is meant stands in a header then.
    fn primary_port(&self) -> Option<u16> {
        None
    }
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
    /// A producer.
    Producer(Box<dyn Producer>),
    /// A scorer that brings the producer it reads, under its own name.
    ScorerWithProducer(Box<dyn Scorer>, Box<dyn Producer>),
    /// A filter and a scorer under one name.
    FilterAndScorer(Box<dyn Filter>, Box<dyn Scorer>),
    /// Works out facts of the request.
    Preparer(Box<dyn Preparer>),
    /// Says how full the pool is, and crosses out who is full.
    Detector(Box<dyn SaturationDetector>, Box<dyn Filter>),
    /// The order within a flow of waiting requests.
    Ordering(Box<dyn OrderingPolicy>),
    /// Whose turn it is among flows.
    Fairness(Box<dyn FairnessPolicy>),
    /// How full bands may run the pool.
    UsageLimit(Box<dyn UsageLimitPolicy>),
    /// A decider.
    Decider(Box<dyn Decider>),
    /// The picks of the profiles of these names are sent along, as who prefills and who encodes.
    PickHeaders {
        /// The profile of the one that prefills.
        prefill: String,
        /// The profile of those that encode.
        encode: Option<String>,
    },
    /// Refuses requests.
    Admitter(Box<dyn Admitter>),
    /// The first of these headers that a request has says who sent it, where it names no fairness id.
    FlowHeaders(Vec<String>),
    /// Tells the gateway a number about each answer.
    Reporter(Box<dyn Reporter>),
    /// The answer says which endpoint served it, as the gateway tells: a description that the doors carry out.
    ServedHeader,
    /// How request bodies are read: a description that the doors carry out.
    Parser(Parser),
    /// Where metrics are scraped from: a description that the feeds carry out.
    Source(MetricsSource),
    /// Which metrics are taken: a description that the feeds carry out.
    Extractor(EngineMetrics),
    /// Where endpoints come from: a description that the feeds carry out.
    Discovery(FileDiscovery),
}

impl fmt::Debug for Built {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Filter(_) => "filter",
            Self::Scorer(_) => "scorer",
            Self::Picker(_) => "picker",
            Self::Handler(_) => "profile handler",
            Self::Producer(_) => "producer",
            Self::ScorerWithProducer(..) => "scorer with producer",
            Self::FilterAndScorer(..) => "filter and scorer",
            Self::Preparer(_) => "producer",
            Self::Detector(..) => "saturation detector",
            Self::Ordering(_) => "ordering policy",
            Self::Fairness(_) => "fairness policy",
            Self::UsageLimit(_) => "usage limit policy",
            Self::Decider(_) => "decider",
            Self::PickHeaders { .. } | Self::ServedHeader => "header writer",
            Self::Admitter(_) => "admitter",
            Self::FlowHeaders(_) => "header reader",
            Self::Reporter(_) => "reporter",
            Self::Parser(_) => "parser",
            Self::Source(_) => "metrics source",
            Self::Extractor(_) => "metrics extractor",
            Self::Discovery(_) => "discovery",
        })
    }
}
