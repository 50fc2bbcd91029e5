//! What a fleet is made of.

use pointsman_core::model::endpoint::Labels;
use pointsman_core::time::Span;

use crate::engine::config::EngineConfig;
use crate::fleet::fault::Fault;
use crate::fleet::router::Router;

/// One engine of a fleet, or a pair of them behind a P/D proxy, with the endpoint that the router sees.
#[derive(Clone, Debug)]
pub struct Member {
    /// Full name of the endpoint, as in logs.
    pub name: String,
    /// Labels of the endpoint.
    pub labels: Labels,
    /// The engine; of a pair the one that decodes, and its `transfer` is how the keys and values come to it.
    pub engine: EngineConfig,
    /// The engine that computes the prompts, in a pair.
    pub prefill: Option<EngineConfig>,
    /// Factor on all its step times; 1 = as modelled.
    pub slow: f64,
}

impl Member {
    /// An engine as modelled under this full name, without labels.
    pub fn new(name: &str, engine: &EngineConfig) -> Self {
        Self {
            name: name.to_owned(),
            labels: Labels::default(),
            engine: engine.clone(),
            prefill: None,
            slow: 1.0,
        }
    }
}

/// A fleet: engines, the router's plan and one seed for all chance.
#[derive(Clone, Debug)]
pub struct FleetConfig {
    /// The engines; row order of the decision table.
    pub members: Vec<Member>,
    /// What decides.
    pub router: Router,
    /// Everything random follows from it.
    pub seed: u64,
    /// How often each engine's gauges are read, spread evenly over the engines; `None`: never.
    pub scrape: Option<Span>,
    /// What goes wrong, and when.
    pub faults: Vec<Fault>,
    /// Whether the time to first token of each request is kept, for pictures over time.
    pub samples: bool,
}

impl FleetConfig {
    /// `engines` equal engines named `fleet/engine-0` and so on, scraped every 200 ms.
    pub fn uniform(
        engines: usize,
        engine: &EngineConfig,
        router: impl Into<Router>,
        seed: u64,
    ) -> Self {
        let member = |at| Member::new(&format!("fleet/engine-{at}"), engine);
        Self {
            members: (0..engines).map(member).collect(),
            router: router.into(),
            seed,
            scrape: Some(Span::from_millis(200)),
            faults: Vec::new(),
            samples: false,
        }
    }
}
