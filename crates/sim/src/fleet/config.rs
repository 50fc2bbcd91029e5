//! What a fleet is made of.

use std::sync::Arc;

use pointsman_core::model::endpoint::Labels;
use pointsman_core::schedule::plan::Plan;
use pointsman_core::time::Span;

use crate::engine::config::EngineConfig;

/// One engine of a fleet, with the endpoint that the router sees.
#[derive(Clone, Debug)]
pub struct Member {
    /// Full name of the endpoint, as in logs.
    pub name: String,
    /// Labels of the endpoint.
    pub labels: Labels,
    /// The engine.
    pub engine: EngineConfig,
    /// Factor on all its step times; 1 = as modelled.
    pub slow: f64,
}

/// A fleet: engines, the router's plan and one seed for all chance.
#[derive(Clone)]
pub struct FleetConfig {
    /// The engines; row order of the decision table.
    pub members: Vec<Member>,
    /// What decides.
    pub plan: Arc<Plan>,
    /// Everything random follows from it.
    pub seed: u64,
    /// How often each engine's gauges are read, spread evenly over the engines; `None`: never.
    pub scrape: Option<Span>,
}

impl FleetConfig {
    /// `engines` equal engines named `fleet/engine-0` and so on, scraped every 200 ms.
    pub fn uniform(engines: usize, engine: &EngineConfig, plan: Arc<Plan>, seed: u64) -> Self {
        let member = |at| Member {
            name: format!("fleet/engine-{at}"),
            labels: Labels::default(),
            engine: engine.clone(),
            slow: 1.0,
        };
        Self {
            members: (0..engines).map(member).collect(),
            plan,
            seed,
            scrape: Some(Span::from_millis(200)),
        }
    }
}
