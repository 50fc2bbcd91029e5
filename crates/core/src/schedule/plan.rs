//! A configuration with nothing left to interpret: what the scheduler runs.

use std::sync::Arc;

use crate::admission::rules::Admission;
use crate::config::own::OwnSettings;
use crate::config::written::Written;
use crate::contract::data_layer::{
    EngineMetrics, FileDiscovery, MetricsSource, Parser, RenderServer,
};
use crate::contract::learner::Learner;
use crate::contract::observer::{Announcer, Observer, Reporter};
use crate::contract::roles::{
    Admitter, Filter, Picker, Preparer, Producer, ProfileHandler, Scorer, State,
};
use crate::contract::spec::Generation;
use crate::contract::staleness::Staleness;
use crate::model::assets::AssetRules;
use crate::model::slots::Reading;
pub use crate::schedule::named::Named;

/// A scorer with its weight.
pub struct Weighted {
    /// The scorer and its names.
    pub scorer: Named<dyn Scorer>,
    /// The factor of its scores in the total.
    pub weight: f64,
}

/// One scheduling profile.
pub struct Profile {
    /// Name in the configuration.
    pub name: String,
    /// Filters in the order they run.
    pub filters: Vec<Named<dyn Filter>>,
    /// Scorers in the order they run.
    pub scorers: Vec<Weighted>,
    /// The picker.
    pub picker: Named<dyn Picker>,
}

/// A part of a request that an endpoint is picked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// Answering it.
    Answer,
    /// Its prefill.
    Prefill,
    /// Encoding its images and the like.
    Encode,
}

/// The plan in force.
pub struct Plan {
    /// What the plan was made from: a preset's name or a file path.
    pub source: String,
    /// Counts the plans of this process.
    pub generation: u64,
    /// Whose rules apply.
    pub compat: Generation,
    /// Why they do, in a few words.
    pub compat_reason: String,
    /// The configuration as written.
    pub written: Arc<Written>,
    /// Its fingerprint.
    pub hash: u64,
    /// The profiles.
    pub profiles: Vec<Profile>,
    /// Decides which profiles run.
    pub handler: Named<dyn ProfileHandler>,
    /// What is worked out before any profile runs, in this order.
    pub producers: Vec<Named<dyn Producer>>,
    /// What is worked out after them, in this order.
    pub preparers: Vec<Named<dyn Preparer>>,
    /// The server that is asked for a prompt's token ids, if one is.
    pub render_server: Option<Arc<RenderServer>>,
    /// What images, videos and recordings count for.
    pub assets: AssetRules,
    /// Plugins that remember the picks.
    pub observers: Vec<Arc<dyn Observer>>,
    /// Headers that plugins put on answers, and whose pick each speaks of.
    pub announcers: Vec<(Arc<dyn Announcer>, Part)>,
    /// What may refuse a request before any profile runs, in this order.
    pub admitters: Vec<Named<dyn Admitter>>,
    /// What tells the gateway of an answer.
    pub reporters: Vec<Named<dyn Reporter>>,
    /// Headers that say who sent a request which names no fairness id, in this order.
    pub flow_headers: Vec<Box<str>>,
    /// Whether answers say which endpoint served them.
    pub served_header: bool,
    /// Names of plugins that nobody wrote down and the plan needs.
    pub added: Vec<String>,
    /// Whether the picked prefill endpoint is told to the decode endpoint by a header.
    pub prefill_header: bool,
    /// Whether the picked endpoints that encode are told to it by a header.
    pub encode_header: bool,
    /// How request bodies are read, in order.
    pub parsers: Vec<Parser>,
    /// Where and which metrics are scraped; `None`: the configuration wants none.
    pub metrics: Option<(MetricsSource, EngineMetrics)>,
    /// Our own settings.
    pub own: OwnSettings,
    /// What becomes of old readings.
    pub staleness: Staleness,
    /// Where endpoints come from, if the configuration says so.
    pub discovery: Option<FileDiscovery>,
    /// Who is let in, and who waits.
    pub admission: Arc<Admission>,
    /// The readings that some plugin of the plan needs.
    pub reads: Vec<Reading>,
}

impl Plan {
    /// The scorers that learn, with the profile and the place in it that each stands at. A scorer that several
    /// profiles share is listed once for each.
    pub fn learners(&self) -> impl Iterator<Item = (usize, usize, &dyn Learner)> {
        self.profiles.iter().enumerate().flat_map(|(at, profile)| {
            profile
                .scorers
                .iter()
                .enumerate()
                .filter_map(move |(n, scorer)| Some((at, n, scorer.scorer.plugin.learner()?)))
        })
    }

    /// What the plugin of this type and name knows beyond one decision.
    pub fn state_of(&self, kind: &str, name: &str) -> Option<State> {
        let is = |named_kind: &str, named: &str| named_kind == kind && named == name;
        let producers = self.producers.iter().find_map(|producer| {
            is(producer.kind, &producer.name).then(|| producer.plugin.state())?
        });
        let scorers = || self.profiles.iter().flat_map(|p| &p.scorers);
        let filters = || self.profiles.iter().flat_map(|p| &p.filters);
        producers
            .or_else(|| {
                scorers().find_map(|s| {
                    is(s.scorer.kind, &s.scorer.name).then(|| s.scorer.plugin.state())?
                })
            })
            .or_else(|| filters().find_map(|f| is(f.kind, &f.name).then(|| f.plugin.state())?))
            .or_else(|| {
                let mut preparers = self.preparers.iter();
                preparers.find_map(|p| is(p.kind, &p.name).then(|| p.plugin.state())?)
            })
    }

    /// Whether the request is looked into for a prompt and a model.
    pub fn reads_bodies(&self) -> bool {
        self.parsers.is_empty() || self.parsers.contains(&Parser::OpenAi)
    }
}
