//! Four fleets under the traffic that routing is judged by.
//!
//! | name | traffic | engines |
//! |---|---|---|
//! | shared | 40 system prompts, short tails | 8 equal ones |
//! | multi-turn | histories sent again | 8 equal ones |
//! | bursty | nothing shared, uneven lengths and arrivals | 8 equal ones |
//! | hetero | as shared | 8, two of them three times slower |
//!
//! Engines have 6 slots, a queue first come first served, and KV blocks for a third of the traffic's working
//! set; a prefill takes 30 ms and 0.25 ms per token that is not cached, a further token 12 ms, and all of
//! it up to twice as long when all slots are taken (preset `reference-8b-h100`).
//!
//! A load of 100 % is what the fleet bears under perfect routing: the rate at which requests end when the
//! [oracle](crate::fleet::oracle) picks and the next request comes whenever fewer requests than slots are under
//! way: hardly a slot is ever empty and hardly a request ever waits.

use crate::engine::config::{EngineConfig, Timing};
use crate::engine::preset::Preset;
use crate::fleet::Fleet;
use crate::fleet::config::{FleetConfig, Member};
use crate::fleet::router::{BuiltIn, Router};
use crate::fleet::traffic::Traffic;

/// Requests and seed of the trace that the capacity is measured with.
const CAPACITY_TRACE: (u64, usize) = (0, 3_000);

/// A fleet and its traffic.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Name in tables.
    pub name: &'static str,
    /// What arrives.
    pub traffic: Traffic,
    /// Factor on the times of each engine.
    pub slow: Vec<f64>,
    /// What each engine is otherwise.
    pub engine: EngineConfig,
}

impl Scenario {
    /// Names of all, in the order of the tables.
    pub const NAMES: [&'static str; 4] = ["shared", "multi-turn", "bursty", "hetero"];

    /// The scenario of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        let name = Self::NAMES.into_iter().find(|known| *known == name)?;
        let traffic = match name {
            "multi-turn" => Traffic::MultiTurn,
            "bursty" => Traffic::Bursty,
            _ => Traffic::Shared,
        };
        let mut slow = vec![1.0; 8];
        if name == "hetero" {
            slow[2] = 3.0;
            slow[5] = 3.0;
        }
        Some(Self {
            name,
            traffic,
            slow,
            engine: engine(traffic.working_set() / 3),
        })
    }

    /// The same on engines with `slots` slots, and as many more blocks as the further requests need for
    /// what they do not share. Give it as many times more requests: a fleet fills up slowly.
    pub fn with_slots(mut self, slots: u32) -> Self {
        let more = slots.saturating_sub(self.engine.max_running);
        self.engine.max_running = slots;
        self.engine.kv_blocks += more * self.traffic.own_blocks();
        self
    }

    /// Requests per second that are a load of 100 %.
    pub fn capacity(&self) -> f64 {
        let (seed, requests) = CAPACITY_TRACE;
        let trace = self.traffic.trace(seed, requests);
        let slots = self.slow.len() as u64 * u64::from(self.engine.max_running);
        let mut fleet = Fleet::new(self.fleet(Router::BuiltIn(BuiltIn::Oracle), seed));
        fleet.sustain(&trace, slots)
    }

    /// The fleet behind `router`, idle and cold.
    pub fn fleet(&self, router: Router, seed: u64) -> FleetConfig {
        let member = |(at, &slow): (usize, &f64)| Member {
            slow,
            ..Member::new(&format!("fleet/engine-{at}"), &self.engine)
        };
        FleetConfig {
            members: self.slow.iter().enumerate().map(member).collect(),
            ..FleetConfig::uniform(0, &self.engine, router, seed)
        }
    }
}

fn engine(kv_blocks: u32) -> EngineConfig {
    let preset = Preset::by_name("reference-8b-h100").expect("a known preset");
    let timing = preset.reference.expect("a preset of independent sleeps");
    EngineConfig {
        max_running: 6,
        ..EngineConfig::new(Timing::Reference(timing), preset.kv_bytes, kv_blocks)
    }
}
