//! One engine of a fleet and what it has done in a run.

use pointsman_core::time::Tick;

use crate::engine::front::Engine;
use crate::fleet::report::EndpointReport;

/// An engine and its tally.
#[derive(Debug)]
pub struct Host {
    /// The engine.
    pub engine: Engine,
    /// What it has done in this run.
    pub tally: EndpointReport,
}

impl Host {
    /// Requests that the engine has, running or waiting.
    pub fn load(&self, now: Tick) -> u32 {
        let gauges = self.engine.gauges(now);
        gauges.running + gauges.waiting
    }
}
