//! What the doors of one process share, and what each worker has to itself.
//!
//! A [`Lane`] belongs to one worker runtime: its scratch table, its generator, its ring of receipts and its
//! connections. The locks in it are taken by that worker alone, except when someone reads the ring on the
//! admin port, so the path of a pick never waits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use pointsman_core::contract::table::Table;
use pointsman_core::model::slots::Slot;
use pointsman_core::rng::{Rng, Seeds};
use pointsman_core::schedule::plan::Plan;
use pointsman_core::time::Span;
use pointsman_feeds::clock::Clock;
use pointsman_feeds::directives::Directives;
use pointsman_feeds::discovery::watches::Watches;
use pointsman_feeds::membership::Membership;
use pointsman_feeds::scrape::tally::Tally;
use pointsman_http::client::{ClientOptions, Pool};

use crate::admission::front::Front;
use crate::door::route::Routes;
use crate::metrics::cells::LaneCells;
use crate::metrics::names::AllSeries;
use crate::metrics::windows::{HitWindows, Hits, Look};
use crate::record::log::Log;
use crate::record::ring::{Recorded, Ring};
use crate::reloads::Reloads;
use crate::resolved::Resolved;
use crate::tracing::tracer::Tracer;
use crate::what_ifs::WhatIfs;

/// What all workers share.
pub struct Router {
    /// The process's clock.
    pub clock: Clock,
    /// The pool.
    pub membership: Arc<Membership>,
    /// The plan in force.
    pub plan: ArcSwap<Plan>,
    /// What the cluster says of priorities and models.
    pub directives: Arc<ArcSwap<Directives>>,
    /// How it stands with what the pool is made from.
    pub watches: Arc<Watches>,
    /// Which requests go where.
    pub routes: Routes,
    /// What became of the configuration since the start.
    pub reloads: Reloads,
    /// What answers how a decision would have gone otherwise.
    pub what_ifs: WhatIfs,
    /// Where decisions are written.
    pub log: Log,
    /// Who is let in.
    pub admission: Front,
    /// What is counted.
    pub counts: Counts,
    /// What scraping counts.
    pub scrapes: Arc<Tally>,
    /// Cache hits of the last minute, five minutes and hour.
    pub hits: Mutex<HitWindows>,
    /// Models and fairness ids that are counted by themselves.
    names: Arc<AllSeries>,
    /// Takes the spans of traced requests.
    tracer: OnceLock<Arc<Tracer>>,
    /// What the pool is called in metrics.
    pool_name: OnceLock<Box<str>>,
    /// Until which age readings count in the pool's metrics.
    fresh_for: OnceLock<Span>,
    /// Where the server is that tells token ids.
    pub rendering: Resolved,
    seed: u64,
    lanes: Mutex<Vec<Arc<Lane>>>,
}

/// Counters of the process.
#[derive(Default)]
pub struct Counts {
    /// Decisions that ended in a pick.
    pub decisions: AtomicU64,
    /// Requests that went past the picker.
    pub bypassed: AtomicU64,
    /// Requests by how they ended: served, broken, rejected, client gone.
    pub ended: [AtomicU64; 4],
    /// Attempts that failed before a first byte.
    pub failed_attempts: AtomicU64,
    /// Requests that the gateway in front sent to another endpoint than the one picked.
    pub served_elsewhere: AtomicU64,
    /// Prompts whose token ids a server told.
    pub rendered: AtomicU64,
    /// Prompts whose token ids it did not tell.
    pub not_rendered: AtomicU64,
}

impl Counts {
    /// Adds one.
    pub fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// What one worker has to itself.
pub struct Lane {
    /// What it shares with the others.
    pub router: Arc<Router>,
    /// Scratch of decisions.
    pub scratch: Mutex<Scratch>,
    /// Its last decisions.
    pub ring: Mutex<Ring>,
    /// What it counts of its requests.
    pub cells: LaneCells,
    /// Its connections to endpoints.
    pub pool: Pool,
}

/// The memory that a worker's decisions reuse.
pub struct Scratch {
    /// The decision table.
    pub table: Table,
    /// Seeds of decisions.
    pub seeds: Seeds,
    /// For ids and lots; never for picks.
    pub rng: Rng,
}

impl Router {
    /// A router over a pool. `seed` makes all its random choices reproducible.
    pub fn new(
        clock: Clock,
        membership: Arc<Membership>,
        plan: Plan,
        routes: Routes,
        log: Log,
        seed: u64,
    ) -> Self {
        Self {
            clock,
            membership,
            plan: ArcSwap::from_pointee(plan),
            directives: Arc::default(),
            watches: Arc::default(),
            routes,
            reloads: Reloads::default(),
            what_ifs: WhatIfs::default(),
            log,
            admission: Front::default(),
            counts: Counts::default(),
            scrapes: Arc::default(),
            hits: Mutex::default(),
            names: Arc::default(),
            tracer: OnceLock::new(),
            pool_name: OnceLock::new(),
            fresh_for: OnceLock::new(),
            rendering: Resolved::default(),
            seed,
            lanes: Mutex::default(),
        }
    }

    /// Requests are traced from now on; of several tracers the first one stays.
    pub fn trace_with(&self, tracer: Arc<Tracer>) {
        let _ = self.tracer.set(tracer);
    }

    /// What takes the spans of traced requests, if any are.
    pub fn tracer(&self) -> Option<&Arc<Tracer>> {
        self.tracer.get()
    }

    /// The pool is called so in metrics from now on; of several names the first one stays.
    pub fn name_pool(&self, name: &str) {
        let _ = self.pool_name.set(name.into());
    }

    /// What the pool is called in metrics; `default` where nobody has named it.
    pub fn pool_name(&self) -> &str {
        self.pool_name.get().map_or("default", |name| name)
    }

    /// Readings count in the pool's metrics until this age; of several the first one stays.
    pub fn call_fresh(&self, age: std::time::Duration) {
        let nanoseconds = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
        let _ = self.fresh_for.set(Span(nanoseconds));
    }

    /// Until which age readings count in the pool's metrics; two seconds where nobody has said.
    pub fn fresh_for(&self) -> Span {
        self.fresh_for
            .get()
            .copied()
            .unwrap_or(Span::from_millis(2000))
    }

    /// A new worker's lane; `workers` is how many there will be.
    pub fn add_lane(self: &Arc<Self>, workers: usize, client: ClientOptions) -> Arc<Lane> {
        let receipts = self.plan.load().own.receipts.memory as usize;
        let mut lanes = self.lanes.lock();
        let number = lanes.len() as u64;
        let mut seeds = Seeds::new(self.seed, number);
        let rng = Rng::from_seed(seeds.next_seed() ^ 0x5bd1_e995);
        let lane = Arc::new(Lane {
            router: Arc::clone(self),
            scratch: Mutex::new(Scratch {
                table: Table::default(),
                seeds,
                rng,
            }),
            ring: Mutex::new(Ring::new(receipts / workers.max(1))),
            cells: LaneCells::new(Arc::clone(&self.names)),
            pool: Pool::new(client),
        });
        lanes.push(Arc::clone(&lane));
        lane
    }

    /// Takes this second's look at the cache hits of all workers.
    pub fn look_at_hits(&self) {
        let mut look = Look::default();
        for lane in self.lanes() {
            for (slot, cells) in &lane.cells.tables.lock().endpoints {
                look.entry(Slot(*slot)).or_default().add(Hits {
                    prompt: cells.prompt,
                    predicted: cells.predicted,
                    actual: cells.actual,
                });
            }
        }
        self.hits.lock().look(look);
    }

    /// All workers' lanes.
    pub fn lanes(&self) -> Vec<Arc<Lane>> {
        self.lanes.lock().clone()
    }

    /// The last decisions of all workers, newest first.
    pub fn latest(&self, limit: usize) -> Vec<Recorded> {
        let mut all: Vec<Recorded> = self
            .lanes
            .lock()
            .iter()
            .flat_map(|lane| lane.ring.lock().latest(limit))
            .collect();
        all.sort_by_key(|recorded| std::cmp::Reverse(recorded.meta.at_unix_ns));
        all.truncate(limit);
        all
    }

    /// The latest decision with this request id, or whose answer carried this id.
    pub fn find(&self, id: &str) -> Option<Recorded> {
        let lanes = self.lanes.lock();
        lanes
            .iter()
            .filter_map(|lane| lane.ring.lock().find(id))
            .max_by_key(|recorded| recorded.meta.at_unix_ns)
    }
}
