//! A receipt decided again, under the plan that made it or another one.
//!
//! The scheduler itself decides; nothing is computed a second way. What a plugin looks at beyond labels and
//! readings (the prompt, headers, what was learned) is not in a receipt, so such a plugin is stood in for by
//! what it did when the receipt was made: its raw scores, the endpoints it removed, the profiles it ran.
//! A plugin of the other kind that the receipt knows nothing of has no effect and is named in [`Again::unknown`].
//! Old readings stand in a receipt as the staleness policy of its plan left them, and are taken so.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use pointsman_core::contract::context::{Asked, Ctx};
use pointsman_core::contract::produced::{Hasher, PrefixMatch};
use pointsman_core::contract::roles::{
    Binding, Filter, Holdings, Next, PdDecision, Producer, ProfileHandler, Scorer, Targets,
};
use pointsman_core::contract::staleness::Policy;
use pointsman_core::contract::table::{ProfileRun, Table};
use pointsman_core::index::row_set::RowSet;
use pointsman_core::model::endpoint::Endpoint;
use pointsman_core::model::pool::Snapshot;
use pointsman_core::model::request::InferenceRequest;
use pointsman_core::model::slots::{Reading, Slot, Slots};
use pointsman_core::schedule::plan::Plan;
use pointsman_core::schedule::scheduler::{Question, decide};
use pointsman_core::time::Tick;

use crate::receipt::{FULL, ProfileFacts, Receipt, STALE, TRIED, Value};

pub mod full;

/// The moment of a repeated decision; ages are counted back from here.
const NOW: Tick = Tick(1 << 62);

/// A plan that receipts are decided under again.
pub struct Replay {
    plan: Plan,
    handler: Arc<dyn ProfileHandler>,
    filters: Vec<Vec<Arc<dyn Filter>>>,
    scorers: Vec<Vec<Arc<dyn Scorer>>>,
    table: Table,
}

/// What came of deciding again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Again {
    /// Who gets the request; `None` if nobody would.
    pub pick: Option<String>,
    /// The picks of each profile that ran, best first, in the order of running.
    pub runs: Vec<(String, Vec<String>)>,
    /// Why nobody would get it.
    pub refused: Option<String>,
    /// Plugins that were stood in for by what they did at the time.
    pub recorded: BTreeSet<String>,
    /// Plugins whose effect cannot be known from the receipt.
    pub unknown: BTreeSet<String>,
}

/// Why a receipt cannot be decided again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotReplayable {
    /// Only the best rows of a large pool stand in it.
    #[error("only the best of a large pool are in the receipt")]
    Truncated,
    /// No endpoint was picked.
    #[error("the request was refused before an endpoint was picked")]
    NoPick,
}

impl Replay {
    /// Receipts will be decided under `plan`.
    pub fn new(plan: Plan) -> Self {
        let filters = plan.profiles.iter().map(|p| {
            let plugins = p.filters.iter().map(|f| Arc::clone(&f.plugin));
            plugins.collect()
        });
        let scorers = plan.profiles.iter().map(|p| {
            let plugins = p.scorers.iter().map(|s| Arc::clone(&s.scorer.plugin));
            plugins.collect()
        });
        Self {
            handler: Arc::clone(&plan.handler.plugin),
            filters: filters.collect(),
            scorers: scorers.collect(),
            table: Table::default(),
            plan,
        }
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Decides again what `receipt` is about.
    ///
    /// # Errors
    /// The receipt does not hold what a decision needs.
    pub fn again(&mut self, receipt: &Receipt) -> Result<Again, NotReplayable> {
        if receipt.truncated {
            return Err(NotReplayable::Truncated);
        }
        let Some(first) = receipt.profiles.first().filter(|_| receipt.replayable) else {
            return Err(NotReplayable::NoPick);
        };
        Ok(self.run(receipt, first).0)
    }

    /// Decides again over the pool that the `first` profile's rows show; the table says how.
    fn run(&mut self, receipt: &Receipt, first: &ProfileFacts) -> (Again, Pool) {
        let pool = Pool::of(first);
        let mut again = Again::default();
        self.stand_in(receipt, &pool, &mut again);
        let request = InferenceRequest {
            id: &receipt.request_id,
            model: &receipt.model,
            prompt_bytes: receipt.prompt_bytes as usize,
            ..InferenceRequest::default()
        };
        let question = Question {
            plan: &self.plan,
            snapshot: &pool.snapshot,
            slots: &pool.slots,
            request: &request,
            tried: &pool.out,
            now: NOW,
            seed: first.draw.seed,
        };
        let decided = decide(&question, &mut self.table);
        let name = |row: usize| pool.snapshot.endpoints[row].name.to_string();
        match decided {
            Ok(choice) => again.pick = Some(name(choice.targets.primary)),
            Err(reject) => again.refused = Some(reject.to_string()),
        }
        for run in self.table.runs() {
            let picks = run.picks.iter().map(|&row| name(row as usize));
            again.runs.push((
                self.plan.profiles[run.profile].name.clone(),
                picks.collect(),
            ));
        }
        (again, pool)
    }

    /// Puts recorded stand-ins in the place of plugins that cannot be run again.
    fn stand_in(&mut self, receipt: &Receipt, pool: &Pool, again: &mut Again) {
        self.plan.staleness.policy = Policy::Use;
        let believed: Arc<dyn Producer> = Arc::new(Believed(pool.prefix_blocks.clone()));
        // Those who go by what these work out are stood in for.
        self.plan.preparers.clear();
        for producer in &mut self.plan.producers {
            producer.plugin = Arc::clone(&believed);
        }
        for (at, profile) in self.plan.profiles.iter_mut().enumerate() {
            let then = receipt.profiles.iter().find(|p| p.name == profile.name);
            for (filter, own) in profile.filters.iter_mut().zip(&self.filters[at]) {
                let recorded = then.filter(|p| p.has_filter(&filter.name, filter.kind));
                let stays = recorded.is_some() && receipt.truncated;
                filter.plugin = match recorded {
                    _ if own.is_repeatable() && !stays => Arc::clone(own),
                    Some(then) => {
                        again.recorded.insert(filter.name.to_string());
                        Arc::new(Removed(pool.removed_by(then, &filter.name)))
                    }
                    None => {
                        again.unknown.insert(filter.name.to_string());
                        Arc::new(Removed(Vec::new()))
                    }
                };
            }
            for (weighted, own) in profile.scorers.iter_mut().zip(&self.scorers[at]) {
                let scorer = &mut weighted.scorer;
                let recorded = then.filter(|p| p.has_scorer(&scorer.name, scorer.kind));
                let stays = recorded.is_some() && receipt.truncated;
                scorer.plugin = match recorded {
                    _ if own.is_repeatable() && !stays => Arc::clone(own),
                    Some(then) => {
                        again.recorded.insert(scorer.name.to_string());
                        Arc::new(Scored(pool.scores_of(then, &scorer.name)))
                    }
                    None => {
                        again.unknown.insert(scorer.name.to_string());
                        Arc::new(Scored(vec![0.0; pool.snapshot.len()]))
                    }
                };
            }
        }
        self.plan.handler.plugin = if self.handler.is_repeatable() {
            Arc::clone(&self.handler)
        } else {
            Arc::new(self.recorded_order(receipt, again))
        };
    }

    /// The profiles that ran at the time, where the plan has all of them; else its first one.
    fn recorded_order(&self, receipt: &Receipt, again: &mut Again) -> Order {
        let place = |name: &str| self.plan.profiles.iter().position(|p| p.name == name);
        let order: Option<Vec<usize>> = receipt
            .profiles
            .iter()
            .map(|run| place(&run.name))
            .collect();
        let handler = self.plan.handler.name.to_string();
        match order {
            Some(order) => {
                again.recorded.insert(handler);
                let who = receipt.picked();
                let picked = |run: &ProfileFacts| run.picked.first().map(String::as_str) == who;
                let primary = receipt.profiles.iter().position(picked).unwrap_or(0);
                Order { order, primary }
            }
            None => {
                again.unknown.insert(handler);
                let order = vec![0];
                Order { order, primary: 0 }
            }
        }
    }
}

impl ProfileFacts {
    fn has_filter(&self, name: &str, kind: &str) -> bool {
        self.filters
            .iter()
            .any(|f| f.name == name && f.kind == kind)
    }

    fn has_scorer(&self, name: &str, kind: &str) -> bool {
        self.scorers
            .iter()
            .any(|s| s.name == name && s.kind == kind)
    }
}

/// The pool as a receipt shows it.
struct Pool {
    snapshot: Snapshot,
    slots: Arc<Slots>,
    /// Rows that were out before any filter ran.
    out: RowSet,
    prefix_blocks: Vec<u32>,
    rows: BTreeMap<String, usize>,
}

/// One endpoint as it stands in a receipt, scored or crossed out.
struct Listed<'a> {
    row: u32,
    name: &'a str,
    address: &'a str,
    labels: &'a BTreeMap<String, String>,
    readings: &'a BTreeMap<String, Value>,
    out: bool,
}

impl Pool {
    fn of(profile: &ProfileFacts) -> Self {
        let crossed_out = profile.filtered.iter().map(|f| Listed {
            row: f.row,
            name: &f.endpoint,
            address: &f.address,
            labels: &f.labels,
            readings: &f.readings,
            out: [TRIED, STALE, FULL].contains(&f.by.as_str()),
        });
        let scored = profile.candidates.iter().map(|c| Listed {
            row: c.row,
            name: &c.endpoint,
            address: &c.address,
            labels: &c.labels,
            readings: &c.readings,
            out: false,
        });
        let mut listed: Vec<Listed<'_>> = crossed_out.chain(scored).collect();
        listed.sort_by_key(|one| one.row);
        let slots = Arc::new(Slots::new(listed.len()));
        let mut pool = Self {
            snapshot: Snapshot::default(),
            out: RowSet::default(),
            prefix_blocks: Vec::new(),
            rows: BTreeMap::new(),
            slots,
        };
        pool.out.clear(listed.len());
        let mut endpoints = Vec::with_capacity(listed.len());
        for (row, one) in listed.iter().enumerate() {
            pool.add(row, one);
            endpoints.push(Endpoint::new(
                one.name,
                one.address.parse().unwrap_or(NOWHERE),
                one.labels.iter().map(|(k, v)| (&**k, &**v)).collect(),
                Slot(row as u32),
            ));
        }
        pool.snapshot = Snapshot::new(1, endpoints);
        pool
    }

    fn add(&mut self, row: usize, one: &Listed<'_>) {
        let slot = Slot(row as u32);
        self.rows.insert(one.name.to_owned(), row);
        if one.out {
            self.out.insert(row);
        }
        let value = |reading: Reading| one.readings.get(reading.name());
        for reading in Reading::SCRAPED {
            if let Some(found) = value(reading) {
                let age = u64::from(found.age_ms.unwrap_or(0)) * 1_000_000;
                self.slots
                    .write(slot, reading, found.value, Tick(NOW.0 - age));
            }
        }
        let in_flight = value(Reading::InFlight).map_or(0.0, |found| found.value);
        self.slots.set_in_flight(slot, in_flight.max(0.0) as u32);
        let blocks = value(Reading::PrefixBlocks).map_or(0.0, |found| found.value);
        self.prefix_blocks.push(blocks.max(0.0) as u32);
    }

    fn removed_by(&self, then: &ProfileFacts, filter: &str) -> Vec<usize> {
        let by = then.filtered.iter().filter(|f| f.by == filter);
        by.filter_map(|f| self.rows.get(&f.endpoint).copied())
            .collect()
    }

    fn scores_of(&self, then: &ProfileFacts, scorer: &str) -> Vec<f64> {
        let mut scores = vec![0.0; self.snapshot.len()];
        for candidate in &then.candidates {
            if let (Some(&row), Some(&score)) = (
                self.rows.get(&candidate.endpoint),
                candidate.scores.get(scorer),
            ) {
                scores[row] = score;
            }
        }
        scores
    }
}

/// Stands for an address that cannot be read; nothing is sent there.
const NOWHERE: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

/// A filter that removes what it removed then.
struct Removed(Vec<usize>);

impl Filter for Removed {
    fn filter(&self, _: &Ctx<'_>, rows: &mut RowSet) {
        self.0.iter().for_each(|&row| rows.remove(row));
    }
}

/// A scorer that gives the scores it gave then.
struct Scored(Vec<f64>);

impl Scorer for Scored {
    fn score(&self, _: &Ctx<'_>, rows: &RowSet, out: &mut [f64]) {
        rows.for_each(|row| out[row] = self.0[row]);
    }
}

/// A producer that finds what the first producer found then.
struct Believed(Vec<u32>);

impl Producer for Believed {
    fn produce(&self, _: &Asked<'_>, _: &mut Hasher, out: &mut PrefixMatch) {
        out.matched.copy_from_slice(&self.0);
    }

    fn picked(&self, _: &Asked<'_>, _: &Hasher, _: &PrefixMatch, _: Targets) {}

    fn maintain(&self, _: Tick, _: &Snapshot, _: &Slots) {}

    fn holdings(&self, _: Tick) -> Holdings {
        Holdings::default()
    }

    fn holders(&self, _: u64, _: Tick) -> Vec<Slot> {
        Vec::new()
    }
}

/// A handler that runs the profiles that ran then.
struct Order {
    order: Vec<usize>,
    /// The run that picks who gets the request.
    primary: usize,
}

impl ProfileHandler for Order {
    fn next(&self, _: &Ctx<'_>, runs: &[ProfileRun]) -> Next {
        // A decode profile without a candidate ends the matter.
        let decode = runs.get(self.primary);
        let over = decode.is_some_and(|run| run.picks.is_empty());
        match self.order.get(runs.len()).filter(|_| !over) {
            Some(&profile) => Next::Run(profile),
            None => Next::Done {
                primary: self.primary,
                // Who does the other parts is seen from their runs.
                prefill: None,
                encode: None,
                pd: None::<PdDecision>,
            },
        }
    }

    fn bind(&mut self, _: &Binding<'_>) -> Result<(), String> {
        Ok(())
    }
}
