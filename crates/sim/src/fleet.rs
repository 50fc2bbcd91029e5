//! Many engines and the whole router in virtual time, from one seed.
//!
//! ```text
//!  arrival ─► Life(Ready) ─► pick ─┬─► Engine::submit ··► FirstToken ─► Life(Head) ··► Finished ─► Life(End)
//!                ▲                 └─► prefill engine ··► Finished ─► decode engine, KV on its way ··►
//!                └── Life(AttemptFailed) ◄── the engine is dead, or dies
//! ```
//! Requests come from a shape ([`workload`], drawn as it goes) or from a [`trace`] (fixed beforehand, for
//! comparisons of policies). The router sees the text of a prompt and its engines' gauges; lengths of answers,
//! speeds and caches only as answers show them. A built-in rule may pick instead of the plan.
//! Time to first token is queueing, prefill and the way of the KV cache, on engines as they are loaded; the network
//! costs nothing else.
//!
//! An endpoint is an engine or a pair of them behind a P/D proxy; or the plan picks who prefills and who decodes.
//! If no prefill engine takes a prompt, the decode engine computes it itself.
//! Engines die, return cold and slow down as [`fault`]s say. What a dead engine had before its first token is
//! decided again, by the life of the request; what had begun to be answered breaks off. The router hears of a
//! death by refused connections at once, and by its membership when the fault says so.
//!
//! The decision table, the plan, the life of a request and the in-flight counts are the server's own
//! code; only sockets and clocks are replaced: by [`Engine`]s, and by a clock that jumps to whatever is
//! next: an engine's event, a fault, the reading of an engine's gauges, an arrival (of equal times in this
//! order). Equal configurations give equal reports, to the byte.
//!
//! Checked as it goes, by panic: see the child `checks`.
//!
//! Not modelled: the network, clients that leave, engines that hang, admission queues, bounds on retries by budget.
//! Files: [`config`], [`workload`], [`trace`], [`traffic`] (the traces), [`arrival`] and [`prompt`] (a request and
//! its text), [`scenario`] (fleet and traffic), [`comparison`] (policies against each other), [`router`] and
//! [`oracle`] (who picks), [`capacity`] (what 100 % load is), [`agenda`] (whose turn it is), [`fault`], [`host`] (an
//! engine, an endpoint), [`flight`] (a request under way), [`totals`], [`quantiles`], [`report`]. Children with parts
//! of the fleet: `arrivals`, `deciding`, `legs` (from engine to engine), `striking` (faults), `checks`.

pub mod agenda;

pub mod arrival;

mod arrivals;

pub mod capacity;

mod checks;

pub mod comparison;

pub mod config;

mod deciding;

pub mod fault;

pub mod flight;

pub mod host;

mod legs;

pub mod oracle;

pub mod prompt;

pub mod quantiles;

pub mod report;

pub mod router;

pub mod scenario;

mod striking;

pub mod totals;

pub mod trace;

pub mod traffic;

pub mod workload;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use pointsman_core::contract::table::Table;
use pointsman_core::model::endpoint::Endpoint;
use pointsman_core::model::pool::Snapshot;
use pointsman_core::model::slots::{CacheConfig, Reading, ScrapeState, Slot, Slots};
use pointsman_core::rng::Seeds;
use pointsman_core::time::{Span, Tick};

use crate::engine::config::EngineConfig;
use crate::engine::front::Engine;
use crate::engine::request::EngineEvent;
use crate::fleet::agenda::Agenda;
use crate::fleet::config::{FleetConfig, Member};
use crate::fleet::fault::{Fault, Part, Timeline};
use crate::fleet::flight::Flight;
use crate::fleet::host::{Host, Post};
use crate::fleet::quantiles::Durations;
use crate::fleet::report::{EndpointReport, Report};
use crate::fleet::router::{Chooser, Router};
use crate::fleet::totals::Totals;
use crate::fleet::trace::BLOCK_TOKENS;
use crate::fleet::workload::Stream;

/// How often a plan's producers and learners put their house in order, at most.
const UPKEEP: Span = Span::from_millis(1000);

/// Engines behind a router, in virtual time.
pub struct Fleet {
    seed: u64,
    router: Router,
    chooser: Chooser,
    snapshot: Arc<Snapshot>,
    slots: Arc<Slots>,
    table: Table,
    decisions: Seeds,
    hosts: Vec<Host>,
    posts: Vec<Post>,
    agenda: Agenda,
    timeline: Timeline,
    rebirths: Seeds,
    /// Requests under way by key; ended ones wait in `spare` for their row to be used again.
    flights: Vec<Flight>,
    spare: Vec<u32>,
    /// Requests whose prompt is computed and whose decode engine gets them now.
    due: VecDeque<u32>,
    /// Whether what a request asks is kept beyond its arrival.
    keeps: bool,
    arrived: u64,
    stream: Stream,
    block_size: u32,
    next_upkeep: Tick,
    scrape: Option<Span>,
    next_scrape: Tick,
    scraped: usize,
    now: Tick,
    totals: Totals,
    told: Vec<EngineEvent>,
}

/// What happens next.
enum Turn {
    Engine(Tick, usize),
    Fault(Tick),
    Scrape(Tick, Span),
}

impl Fleet {
    /// An idle fleet at time zero.
    ///
    /// # Panics
    /// The engines' block sizes differ: ids of blocks would mean different text.
    pub fn new(config: FleetConfig) -> Self {
        let mut seeds = Seeds::new(config.seed, 1);
        let (mut hosts, mut posts) = (Vec::<Host>::new(), Vec::<Post>::new());
        let pairs = config.members.iter().any(|member| member.prefill.is_some());
        for (number, member) in config.members.into_iter().enumerate() {
            let mut start = |engine: EngineConfig| {
                hosts.push(started(engine, member.slow, seeds.next_seed(), number));
                hosts.len() - 1
            };
            let decode = start(member.engine.clone());
            let prefill = member.prefill.clone().map(&mut start);
            posts.push(post(&member, number, prefill, decode));
        }
        let size = |host: &Host| host.engine.config().block_size;
        let block_size = hosts.first().map_or(BLOCK_TOKENS, size);
        let alike = hosts.iter().all(|host| size(host) == block_size);
        assert!(alike, "engines of one fleet have blocks of one size");
        let timeline = Timeline::new(&config.faults, |fault| struck(&posts, fault));
        let (engines, endpoints) = (hosts.len(), posts.len());
        let mut fleet = Self {
            seed: config.seed,
            router: config.router,
            chooser: Chooser::new(config.seed),
            snapshot: Arc::new(Snapshot::default()),
            slots: Arc::new(Slots::new(endpoints)),
            table: Table::default(),
            decisions: Seeds::new(config.seed, 2),
            keeps: pairs
                || timeline.next().is_some()
                || posts.iter().any(Post::prefills_for_others),
            hosts,
            posts,
            agenda: Agenda::new(engines),
            timeline,
            rebirths: Seeds::new(config.seed, 5),
            flights: Vec::new(),
            spare: Vec::new(),
            due: VecDeque::new(),
            arrived: 0,
            stream: Stream::new(config.seed),
            block_size,
            next_upkeep: Tick(0),
            // One endpoint at a time, so that each is read once per interval.
            scrape: config
                .scrape
                .filter(|_| endpoints > 0)
                .map(|every| Span((every.0 / endpoints as u64).max(1))),
            next_scrape: Tick(0),
            scraped: 0,
            now: Tick(0),
            totals: Totals {
                samples: config.samples.then(Vec::new),
                ..Totals::default()
            },
            told: Vec::new(),
        };
        for number in 0..endpoints {
            fleet.tell_cache(number);
        }
        fleet.list();
        fleet
    }

    /// Times to first token of the last run.
    pub fn ttft(&self) -> &Durations {
        &self.totals.ttft
    }

    /// What the last run came to, request by request.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Live readings, as the router sees them.
    pub fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Makes the membership anew of the endpoints that are listed.
    fn list(&mut self) {
        let listed = self.posts.iter().filter(|post| post.listed);
        let endpoints = listed.map(|post| post.endpoint.clone()).collect();
        self.snapshot = Arc::new(Snapshot::new(self.snapshot.generation + 1, endpoints));
    }

    /// The router learns how large the prefix cache of an endpoint is: that of whoever computes its prompts.
    fn tell_cache(&mut self, number: usize) {
        let post = &self.posts[number];
        let config = self.hosts[post.prefill.unwrap_or(post.decode)]
            .engine
            .config();
        let cache = CacheConfig {
            block_size: config.block_size,
            blocks: config.kv_blocks,
        };
        self.slots.set_cache_config(post.endpoint.slot, cache);
    }

    /// Engine events, faults and scrapes up to `until`, and no further than there is anything to do.
    fn let_pass(&mut self, until: Tick) {
        loop {
            let first = self.agenda.first();
            // The clock stands until everybody who is due now has had his turn.
            if first.is_none_or(|(at, _)| at > self.now)
                && let Some(key) = self.due.pop_front()
            {
                self.hand_over(key);
                continue;
            }
            match self.turn(first, until) {
                Some(Turn::Engine(at, host)) => {
                    self.now = at;
                    self.advance(host);
                }
                Some(Turn::Fault(at)) => {
                    self.now = at;
                    if let Some((_, change)) = self.timeline.pop() {
                        self.strike(change);
                    }
                }
                Some(Turn::Scrape(at, every)) => {
                    self.now = at;
                    self.read_gauges();
                    self.next_scrape = at + every;
                }
                None => return,
            }
        }
    }

    /// Whose turn it is, if anybody's until `until`. When no request is to come and none is under way, faults and
    /// scrapes wait for the next run.
    fn turn(&mut self, first: Option<(Tick, usize)>, until: Tick) -> Option<Turn> {
        let idle = first.is_none() && until == Tick(u64::MAX);
        let fault = self.timeline.next().filter(|&at| at <= until && !idle);
        let limit = fault.map_or(until, |at| at.min(until));
        let scrape = self.scrape.filter(|_| self.next_scrape <= limit && !idle);
        if let Some((at, host)) = first
            && at <= limit
            && (scrape.is_none() || at <= self.next_scrape)
        {
            return Some(Turn::Engine(at, host));
        }
        if let Some(at) = fault
            && (scrape.is_none() || at <= self.next_scrape)
        {
            return Some(Turn::Fault(at));
        }
        let every = scrape?;
        if first.is_none() {
            self.skip_idle_scrapes(every, limit);
        }
        Some(Turn::Scrape(self.next_scrape, every))
    }

    /// Lets the engine `host` come to now and passes on what it tells.
    fn advance(&mut self, host: usize) {
        let mut told = std::mem::take(&mut self.told);
        let engine = &mut self.hosts[host].engine;
        engine.advance(self.now, &mut told);
        self.agenda.set(host, engine.next_event());
        for event in told.drain(..) {
            debug_assert_eq!(event.at, self.now, "an engine's event out of its time");
            self.hear(host, &event);
        }
        self.told = told;
        self.check_host(host);
    }

    /// Lets the plan's producers and learners put their house in order. Nobody notices between decisions.
    fn keep_up(&mut self) {
        let Router::Plan(plan) = &self.router else {
            return;
        };
        if self.now < self.next_upkeep {
            return;
        }
        self.next_upkeep = self.now + UPKEEP;
        for producer in &plan.producers {
            producer
                .plugin
                .maintain(self.now, &self.snapshot, &self.slots);
        }
        for (_, _, learner) in plan.learners() {
            learner.maintain(self.now, &self.snapshot, &self.slots);
        }
    }

    /// Writes the gauges of the endpoint whose turn it is where the scrape task writes them. A pair shows those of
    /// its decode engine, as its proxy does.
    fn read_gauges(&mut self) {
        let number = self.scraped;
        self.scraped = (number + 1) % self.posts.len();
        self.check_post(number);
        let post = &mut self.posts[number];
        if !post.listed {
            return;
        }
        let (slot, host) = (post.endpoint.slot, &self.hosts[post.decode]);
        if !host.up {
            self.slots.set_scrape_state(slot, ScrapeState::Unreachable);
            return;
        }
        if std::mem::take(&mut post.restarted) {
            self.slots.restarted(slot);
        }
        let gauges = host.engine.gauges(self.now);
        for (reading, value) in [
            (Reading::Waiting, f64::from(gauges.waiting)),
            (Reading::Running, f64::from(gauges.running)),
            (Reading::KvUsage, gauges.kv_usage()),
        ] {
            self.slots.write(slot, reading, value, self.now);
        }
        self.slots.set_scrape_state(slot, ScrapeState::Fresh);
    }

    /// With nothing under way every reading is the same: only the last ones before `until` are taken.
    fn skip_idle_scrapes(&mut self, every: Span, until: Tick) {
        let round = every.0.saturating_mul(self.posts.len() as u64);
        let rounds = until.since(self.next_scrape).0 / round;
        self.next_scrape = self.next_scrape + Span(rounds.saturating_sub(1) * round);
    }

    fn clear_totals(&mut self) {
        self.totals.clear();
        self.arrived = 0;
        for Post { tally, .. } in &mut self.posts {
            *tally = EndpointReport {
                name: std::mem::take(&mut tally.name),
                ..EndpointReport::default()
            };
        }
    }

    fn report(&self, requests: u64, took: Span) -> Report {
        let seconds = took.as_secs_f64();
        Report {
            seed: self.seed,
            requests,
            served: self.totals.served,
            refused: self.totals.refused,
            rejected: self.totals.rejected,
            broken: self.totals.broken,
            failed_attempts: self.totals.failed_attempts,
            within_half_second: self.totals.within_half_second,
            virtual_seconds: seconds,
            served_per_second: if took.0 > 0 {
                self.totals.served as f64 / seconds
            } else {
                0.0
            },
            ttft: self.totals.ttft.quantiles(),
            e2e: self.totals.e2e.quantiles(),
            tpot: self.totals.tpot.quantiles(),
            endpoints: self.posts.iter().map(|post| post.tally.clone()).collect(),
        }
    }
}

/// A running engine.
fn started(config: EngineConfig, slow: f64, seed: u64, post: usize) -> Host {
    let mut engine = Engine::new(config, seed);
    engine.set_slow(Tick(0), slow, &mut Vec::new());
    Host::new(engine, slow, post)
}

/// The endpoint number `number`, in the membership from the beginning.
fn post(member: &Member, number: usize, prefill: Option<usize>, decode: usize) -> Post {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let slot = Slot(number as u32);
    Post {
        endpoint: Endpoint::new(&member.name, address, member.labels.clone(), slot),
        prefill,
        decode,
        held: 0,
        listed: true,
        restarted: false,
        tally: EndpointReport {
            name: member.name.clone(),
            ..EndpointReport::default()
        },
    }
}

/// The engines that a fault is about, and the endpoint that is gone with them.
fn struck(posts: &[Post], fault: &Fault) -> (Vec<usize>, Option<usize>) {
    let Some(post) = posts.get(fault.member) else {
        return (Vec::new(), None);
    };
    let prefill = post.prefill.into_iter();
    match fault.part {
        Part::Prefill => (prefill.collect(), None),
        Part::Decode => (vec![post.decode], Some(fault.member)),
        Part::Whole => (prefill.chain([post.decode]).collect(), Some(fault.member)),
    }
}
