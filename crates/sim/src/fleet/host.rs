//! The engines of a fleet, and the endpoints that they stand behind.

use pointsman_core::model::endpoint::Endpoint;
use pointsman_core::time::Tick;

use crate::engine::front::Engine;
use crate::fleet::report::EndpointReport;

/// The label that says what an engine does.
pub const ROLE: &str = "llm-d.ai/role";

/// An engine.
#[derive(Clone, Debug)]
pub struct Host {
    /// The engine.
    pub engine: Engine,
    /// Requests that it was given and that have not come back.
    pub legs: u32,
    /// Whether it takes connections.
    pub up: bool,
    /// Factor on all its step times when nothing is wrong with it.
    pub slow: f64,
    /// Whether requests were ever taken back from it: it may then hold some a little longer.
    pub aborted: bool,
    /// Number of the endpoint that it belongs to.
    pub post: usize,
}

impl Host {
    /// A running engine.
    pub fn new(engine: Engine, slow: f64, post: usize) -> Self {
        Self {
            engine,
            legs: 0,
            up: true,
            slow,
            aborted: false,
            post,
        }
    }

    /// Requests that the engine has, running or waiting.
    pub fn load(&self, now: Tick) -> u32 {
        let gauges = self.engine.gauges(now);
        gauges.running + gauges.waiting
    }
}

/// An endpoint, as the router sees it: an engine, or a pair of them behind a P/D proxy.
#[derive(Clone, Debug)]
pub struct Post {
    /// Who it is; its slot is its number.
    pub endpoint: Endpoint,
    /// The engine that computes prompts for the other one.
    pub prefill: Option<usize>,
    /// The engine that answers.
    pub decode: usize,
    /// Requests that the router counts here.
    pub held: u32,
    /// Whether it is in the membership.
    pub listed: bool,
    /// Whether an engine of it has restarted since its gauges were last read.
    pub restarted: bool,
    /// What it has done in this run.
    pub tally: EndpointReport,
}

impl Post {
    /// Whether it answers requests, and does not only compute prompts for others.
    pub fn answers(&self) -> bool {
        !matches!(
            self.endpoint.labels.get(ROLE),
            Some("prefill" | "encode" | "encode-prefill")
        )
    }

    /// Whether it computes prompts for others.
    pub fn prefills_for_others(&self) -> bool {
        matches!(
            self.endpoint.labels.get(ROLE),
            Some("prefill" | "encode-prefill")
        )
    }
}
