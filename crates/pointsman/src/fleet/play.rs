//! The runs: every policy on every load with every seed, on all processors, each by itself from a cold start.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use pointsman_core::time::{Span, Tick};
use pointsman_sim::fleet::Fleet;
use pointsman_sim::fleet::config::FleetConfig;
use pointsman_sim::fleet::fault::Fault;
use pointsman_sim::fleet::quantiles::Durations;
use pointsman_sim::fleet::report::Report;

use crate::fleet::policies::Policy;
use crate::fleet::traffic::Load;

/// What all runs have in common.
pub(crate) struct Study {
    /// The loads.
    pub(crate) loads: Vec<Load>,
    /// What goes wrong under each.
    pub(crate) faults: Vec<Vec<Fault>>,
    /// The policies.
    pub(crate) policies: Vec<Policy>,
    /// The seeds.
    pub(crate) seeds: Vec<u64>,
    /// How often gauges are read.
    pub(crate) scrape: Span,
}

/// One run.
pub(crate) struct Played {
    /// What it came to.
    pub(crate) report: Report,
    /// Times to first token.
    pub(crate) ttft: Durations,
    /// Times to the end.
    pub(crate) e2e: Durations,
    /// Times per token.
    pub(crate) tpot: Durations,
    /// Arrivals and times to first token, of the first seed.
    pub(crate) samples: Vec<(Tick, Span)>,
}

/// All runs in the order of loads, policies and seeds, and how fast they went.
pub(crate) struct Outcome {
    /// The runs.
    pub(crate) played: Vec<Played>,
    /// Requests per second of this machine's time, and processors.
    pub(crate) speed: (f64, usize),
}

impl Study {
    /// Plays everything.
    pub(crate) fn play(&self) -> anyhow::Result<Outcome> {
        let began = Instant::now();
        let runs = self.loads.len() * self.policies.len() * self.seeds.len();
        let cores = std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(runs.max(1));
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= runs {
                    return done;
                }
                done.push((at, self.run(at)));
            }
        };
        let mut found: Vec<(usize, anyhow::Result<Played>)> = Vec::new();
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
            for worker in workers {
                match worker.join() {
                    Ok(done) => found.extend(done),
                    // An invariant that does not hold is a defect, and says so itself.
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        });
        found.sort_by_key(|(at, _)| *at);
        let played = found.into_iter().map(|(_, played)| played);
        let played: Vec<Played> = played.collect::<anyhow::Result<_>>()?;
        let requests: u64 = played.iter().map(|played| played.report.requests).sum();
        let speed = requests as f64 / began.elapsed().as_secs_f64().max(1e-9);
        Ok(Outcome {
            played,
            speed: (speed, cores),
        })
    }

    /// The run number `at`.
    fn run(&self, at: usize) -> anyhow::Result<Played> {
        let (seeds, policies) = (self.seeds.len(), self.policies.len());
        let (which, load, policy) = (at % seeds, at / seeds / policies, at / seeds % policies);
        let (load, faults) = (&self.loads[load], &self.faults[load]);
        let seed = self.seeds[which];
        let mut fleet = Fleet::new(FleetConfig {
            members: load.members.clone(),
            router: self.policies[policy].router()?,
            seed,
            scrape: Some(self.scrape),
            faults: faults.clone(),
            samples: which == 0,
        });
        let report = fleet.play(&load.trace(seed), load.rate);
        let totals = fleet.totals();
        Ok(Played {
            report,
            ttft: totals.ttft.clone(),
            e2e: totals.e2e.clone(),
            tpot: totals.tpot.clone(),
            samples: totals.samples.clone().unwrap_or_default(),
        })
    }
}
