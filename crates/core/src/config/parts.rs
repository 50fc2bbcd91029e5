//! The plugins of one configuration, each built once, by the name that profiles refer to.

use std::sync::Arc;

use crate::contract::admission::{
    FairnessPolicy, OrderingPolicy, SaturationDetector, UsageLimitPolicy,
};
use crate::contract::data_layer::{EngineMetrics, FileDiscovery, MetricsSource, Parser};
use crate::contract::observer::{Announcer, Observer, Reporter};
use crate::contract::roles::{
    Admitter, Built, Decider, Filter, Picker, Preparer, Producer, ProfileHandler, Scorer,
};
use crate::contract::spec::{DataKey, PluginSpec};
use crate::model::tokens::TokensInFlight;
use crate::schedule::plan::Named;

/// The plugins by role, in the order in which they were added.
#[derive(Default)]
pub struct Parts {
    names: Vec<Arc<str>>,
    filters: Vec<Named<dyn Filter>>,
    scorers: Vec<Named<dyn Scorer>>,
    pickers: Vec<Named<dyn Picker>>,
    producers: Vec<Named<dyn Producer>>,
    preparers: Vec<Named<dyn Preparer>>,
    observers: Vec<Arc<dyn Observer>>,
    announcers: Vec<(Arc<str>, Arc<dyn Announcer>)>,
    admitters: Vec<Named<dyn Admitter>>,
    reporters: Vec<Named<dyn Reporter>>,
    flow_headers: Vec<Box<str>>,
    served_header: bool,
    deciders: Vec<Named<dyn Decider>>,
    detectors: Vec<Named<dyn SaturationDetector>>,
    orderings: Vec<Named<dyn OrderingPolicy>>,
    fairness: Vec<Named<dyn FairnessPolicy>>,
    usage_limits: Vec<Named<dyn UsageLimitPolicy>>,
    handlers: Vec<Handler>,
    discoveries: Vec<(Arc<str>, FileDiscovery)>,
    parsers: Vec<(Arc<str>, Parser)>,
    sources: Vec<(Arc<str>, MetricsSource)>,
    extractors: Vec<(Arc<str>, EngineMetrics)>,
    told: Option<Told>,
}

/// The profiles whose picks some plugin tells the endpoint that gets the request.
#[derive(Clone, Debug)]
pub struct Told {
    /// The one that picks who prefills.
    pub prefill: String,
    /// The one that picks who encodes.
    pub encode: Option<String>,
}

/// A profile handler that has not met its plan yet: its name, its type and itself.
pub type Handler = (Arc<str>, &'static str, Box<dyn ProfileHandler>);

fn named<T: ?Sized>(name: &Arc<str>, kind: &'static str, plugin: impl Into<Arc<T>>) -> Named<T> {
    Named {
        name: Arc::clone(name),
        kind,
        plugin: plugin.into(),
    }
}

fn find<T: ?Sized>(list: &[Named<T>], name: &str) -> Option<Named<T>> {
    list.iter().find(|n| n.name.as_ref() == name).cloned()
}

fn described<T: Clone>(list: &[(Arc<str>, T)], name: &str) -> Option<T> {
    let (_, found) = list.iter().find(|(n, _)| n.as_ref() == name)?;
    Some(found.clone())
}

impl Parts {
    /// Adds a plugin under its name.
    pub fn add(&mut self, name: &str, spec: &PluginSpec, built: Built) {
        let name: Arc<str> = name.into();
        let kind = spec.kind;
        match built {
            Built::Filter(plugin) => self.add_filter(&name, kind, plugin),
            Built::Scorer(plugin) => self.add_scorer(&name, kind, plugin),
            Built::FilterAndScorer(filter, scorer) => {
                self.add_filter(&name, kind, filter);
                self.add_scorer(&name, kind, scorer);
            }
            Built::Preparer(plugin) => self.preparers.push(named(&name, kind, plugin)),
            Built::Picker(plugin) => self.pickers.push(named(&name, kind, plugin)),
            Built::Producer(plugin) => self.producers.push(named(&name, kind, plugin)),
            Built::ScorerWithProducer(scorer, producer) => {
                self.add_scorer(&name, kind, scorer);
                self.producers.push(named(&name, kind, producer));
            }
            Built::Detector(detector, filter) => {
                self.detectors.push(named(&name, kind, detector));
                self.add_filter(&name, kind, filter);
            }
            Built::Ordering(plugin) => self.orderings.push(named(&name, kind, plugin)),
            Built::Fairness(plugin) => self.fairness.push(named(&name, kind, plugin)),
            Built::UsageLimit(plugin) => self.usage_limits.push(named(&name, kind, plugin)),
            Built::Decider(plugin) => self.deciders.push(named(&name, kind, plugin)),
            Built::Handler(plugin) => self.handlers.push((Arc::clone(&name), kind, plugin)),
            Built::PickHeaders { prefill, encode } => self.told = Some(Told { prefill, encode }),
            Built::Admitter(plugin) => self.admitters.push(named(&name, kind, plugin)),
            Built::Reporter(plugin) => self.reporters.push(named(&name, kind, plugin)),
            Built::FlowHeaders(names) => {
                let names = names.into_iter().map(String::into_boxed_str);
                self.flow_headers.extend(names);
            }
            Built::ServedHeader => self.served_header = true,
            Built::Parser(parser) => self.parsers.push((Arc::clone(&name), parser)),
            Built::Source(source) => self.sources.push((Arc::clone(&name), source)),
            Built::Extractor(extractor) => self.extractors.push((Arc::clone(&name), extractor)),
            Built::Discovery(discovery) => self.discoveries.push((Arc::clone(&name), discovery)),
        }
        self.names.push(name);
    }

    fn add_filter(&mut self, name: &Arc<str>, kind: &'static str, plugin: Box<dyn Filter>) {
        let plugin: Arc<dyn Filter> = plugin.into();
        self.observers.extend(Arc::clone(&plugin).observer());
        let announcer = Arc::clone(&plugin).announcer();
        self.announcers
            .extend(announcer.map(|one| (Arc::clone(name), one)));
        self.filters.push(named(name, kind, plugin));
    }

    fn add_scorer(&mut self, name: &Arc<str>, kind: &'static str, plugin: Box<dyn Scorer>) {
        let plugin: Arc<dyn Scorer> = plugin.into();
        self.observers.extend(Arc::clone(&plugin).observer());
        let announcer = Arc::clone(&plugin).announcer();
        self.announcers
            .extend(announcer.map(|one| (Arc::clone(name), one)));
        self.scorers.push(named(name, kind, plugin));
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(AsRef::as_ref)
    }

    /// The filter of this name.
    pub fn filter(&self, name: &str) -> Option<Named<dyn Filter>> {
        find(&self.filters, name)
    }

    /// The scorer of this name.
    pub fn scorer(&self, name: &str) -> Option<Named<dyn Scorer>> {
        find(&self.scorers, name)
    }

    /// The picker of this name.
    pub fn picker(&self, name: &str) -> Option<Named<dyn Picker>> {
        find(&self.pickers, name)
    }

    /// The picker that was declared first.
    pub fn first_picker(&self) -> Option<Named<dyn Picker>> {
        self.pickers.first().cloned()
    }

    /// The saturation detector of this name.
    pub fn detector(&self, name: &str) -> Option<Named<dyn SaturationDetector>> {
        find(&self.detectors, name)
    }

    /// The ordering policy of this name.
    pub fn ordering(&self, name: &str) -> Option<Named<dyn OrderingPolicy>> {
        find(&self.orderings, name)
    }

    /// The fairness policy of this name.
    pub fn fairness(&self, name: &str) -> Option<Named<dyn FairnessPolicy>> {
        find(&self.fairness, name)
    }

    /// The usage limit policy of this name.
    pub fn usage_limit(&self, name: &str) -> Option<Named<dyn UsageLimitPolicy>> {
        find(&self.usage_limits, name)
    }

    /// The tokens in flight that the producer of this name counts.
    pub fn tokens_of(&self, name: &str) -> Option<Arc<TokensInFlight>> {
        find(&self.preparers, name)?.plugin.tokens_in_flight()
    }

    /// The decider of this name.
    pub fn decider(&self, name: &str) -> Option<Arc<dyn Decider>> {
        find(&self.deciders, name).map(|named| named.plugin)
    }

    /// Whether somebody of this name produces `key`.
    pub fn has_producer(&self, key: DataKey, name: &str) -> bool {
        let kind = key.default_producer();
        match key {
            DataKey::PrefixMatch => find(&self.producers, name).is_some(),
            // One stands without being declared.
            DataKey::Attribute => name == kind || self.extractor(name).is_some(),
            _ => find(&self.preparers, name).is_some_and(|found| found.kind == kind),
        }
    }

    /// All that works out facts of requests. Who counts the prompt's tokens comes first: others go by them.
    pub fn preparers(&self) -> Vec<Named<dyn Preparer>> {
        let mut preparers = self.preparers.clone();
        preparers.sort_by_key(|one| one.kind != DataKey::Tokens.default_producer());
        preparers
    }

    /// All that remember picks.
    pub fn observers(&self) -> Vec<Arc<dyn Observer>> {
        self.observers.clone()
    }

    /// All that put headers on answers, with the names of their plugins.
    pub fn announcers(&self) -> &[(Arc<str>, Arc<dyn Announcer>)] {
        &self.announcers
    }

    /// All that refuse requests, in order.
    pub fn admitters(&self) -> Vec<Named<dyn Admitter>> {
        self.admitters.clone()
    }

    /// All that tell the gateway of answers, in order.
    pub fn reporters(&self) -> Vec<Named<dyn Reporter>> {
        self.reporters.clone()
    }

    /// The headers that say who sent a request, in order.
    pub fn flow_headers(&self) -> Vec<Box<str>> {
        self.flow_headers.clone()
    }

    /// Whether answers say which endpoint served them.
    pub fn served_header(&self) -> bool {
        self.served_header
    }

    /// All producers, in order.
    pub fn producers(&self) -> Vec<Named<dyn Producer>> {
        self.producers.clone()
    }

    /// The profile handlers; they are handed out once, because binding changes them.
    pub fn take_handlers(&mut self) -> Vec<Handler> {
        std::mem::take(&mut self.handlers)
    }

    /// The discovery of this name.
    pub fn discovery(&self, name: &str) -> Option<FileDiscovery> {
        described(&self.discoveries, name)
    }

    /// The parser of this name.
    pub fn parser(&self, name: &str) -> Option<Parser> {
        described(&self.parsers, name)
    }

    /// All parsers declared, in order.
    pub fn parsers(&self) -> Vec<Parser> {
        self.parsers.iter().map(|(_, parser)| *parser).collect()
    }

    /// The metrics source of this name.
    pub fn source(&self, name: &str) -> Option<MetricsSource> {
        described(&self.sources, name)
    }

    /// The metrics extractor of this name.
    pub fn extractor(&self, name: &str) -> Option<EngineMetrics> {
        described(&self.extractors, name)
    }

    /// The first source and extractor declared, or the default ones.
    pub fn metrics(&self) -> (MetricsSource, EngineMetrics) {
        let source = self.sources.first().map(|(_, source)| source.clone());
        let extractor = self.extractors.first().map(|(_, e)| e.clone());
        (source.unwrap_or_default(), extractor.unwrap_or_default())
    }

    /// The profiles whose picks some plugin tells the endpoint that gets the request.
    pub fn told(&self) -> Option<&Told> {
        self.told.as_ref()
    }
}
