//! Many engines and the whole router in virtual time, from one seed.
//!
//! ```text
//!  arrival ─► Life(Ready) ─► pick ─► Engine::submit ··► FirstToken ─► Life(Head) ··► Finished ─► Life(End)
//! ```
//! Requests come from a shape ([`workload`], drawn as it goes) or from a [`trace`] (fixed beforehand, for
//! comparisons of policies). The router sees the text of a prompt and its engines' gauges; lengths of answers,
//! speeds and caches only as answers show them. A built-in rule may pick instead of the plan.
//! Time to first token is queueing and prefill, both on the engine as it is loaded; the network costs nothing.
//!
//! The decision table, the plan, the life of a request and the in-flight counts are the server's own
//! code; only sockets and clocks are replaced: by [`Engine`]s, and by a clock that jumps to whatever is
//! next: an engine's event, the reading of an engine's gauges, an arrival (of equal times in this
//! order). Equal configurations give equal reports, to the byte.
//!
//! Checked as it goes, by panic: every pick is a row that the filters left; the router's count of an
//! engine's requests is the engine's own; every request ends exactly once; in the end nothing is in flight.
//!
//! Not modelled: the network, failures of engines, clients that leave, and prefill and decode on
//! different engines. Files: [`config`], [`workload`], [`trace`], [`traffic`] (the traces), [`prompt`] (their
//! text), [`scenario`] (fleet and traffic), [`comparison`] (policies against each other), [`router`] and
//! [`oracle`] (who picks), [`capacity`] (what 100 % load is), [`agenda`] (whose turn it is), [`host`] (an
//! engine and its tally), [`totals`], [`quantiles`], [`report`]; how requests arrive is in the child `arrivals`.

pub mod agenda;

mod arrivals;

pub mod capacity;

pub mod comparison;

pub mod config;

pub mod host;

pub mod oracle;

pub mod prompt;

pub mod quantiles;

pub mod report;

pub mod router;

pub mod scenario;

pub mod totals;

pub mod trace;

pub mod traffic;

pub mod workload;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use pointsman_core::contract::table::Table;
use pointsman_core::exchange::event::{Effect, End, Event, Outcome, Usage};
use pointsman_core::exchange::life::Life;
use pointsman_core::model::endpoint::Endpoint;
use pointsman_core::model::pool::Snapshot;
use pointsman_core::model::slots::{CacheConfig, Reading, ScrapeState, Slot, Slots};
use pointsman_core::rng::Seeds;
use pointsman_core::time::{Span, Tick};

use crate::engine::front::Engine;
use crate::engine::request::{EngineEvent, EngineRequest, EventKind, Refusal, Summary};
use crate::fleet::agenda::Agenda;
use crate::fleet::config::{FleetConfig, Member};
use crate::fleet::host::Host;
use crate::fleet::quantiles::Durations;
use crate::fleet::report::{EndpointReport, Report};
use crate::fleet::router::{Chooser, Router};
use crate::fleet::totals::Totals;
use crate::fleet::trace::BLOCK_TOKENS;
use crate::fleet::workload::Stream;

/// How often a plan's producers and learners put their house in order, at most.
const UPKEEP: Span = Span::from_millis(1000);

/// Status of an answer that an engine completes.
const OK: u16 = 200;

/// Engines behind a router, in virtual time.
pub struct Fleet {
    seed: u64,
    router: Router,
    chooser: Chooser,
    snapshot: Snapshot,
    slots: Arc<Slots>,
    table: Table,
    decisions: Seeds,
    hosts: Vec<Host>,
    agenda: Agenda,
    /// Requests under way by key; ended ones wait in `spare` for their row to be used again.
    lives: Vec<Life>,
    spare: Vec<u32>,
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

impl Fleet {
    /// An idle fleet at time zero.
    ///
    /// # Panics
    /// The engines' block sizes differ: ids of blocks would mean different text.
    pub fn new(config: FleetConfig) -> Self {
        let mut engine_seeds = Seeds::new(config.seed, 1);
        let mut told = Vec::new();
        let (mut hosts, mut endpoints) = (Vec::<Host>::new(), Vec::new());
        for (row, member) in config.members.into_iter().enumerate() {
            let Member {
                name,
                labels,
                engine,
                slow,
            } = member;
            let mut engine = Engine::new(engine, engine_seeds.next_seed());
            engine.set_slow(Tick(0), slow, &mut told);
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let slot = Slot(row as u32);
            endpoints.push(Endpoint::new(&name, address, labels, slot));
            let tally = EndpointReport {
                name,
                ..EndpointReport::default()
            };
            hosts.push(Host { engine, tally });
        }
        let engines = hosts.len();
        let slots = Slots::new(engines);
        let sizes = |host: &Host| host.engine.config().block_size;
        let block_size = hosts.first().map_or(BLOCK_TOKENS, sizes);
        for (row, host) in hosts.iter().enumerate() {
            assert_eq!(
                sizes(host),
                block_size,
                "engines of one fleet have blocks of one size"
            );
            let blocks = host.engine.config().kv_blocks;
            slots.set_cache_config(Slot(row as u32), CacheConfig { block_size, blocks });
        }
        Self {
            seed: config.seed,
            router: config.router,
            chooser: Chooser::new(config.seed),
            snapshot: Snapshot::new(1, endpoints),
            slots: Arc::new(slots),
            table: Table::default(),
            decisions: Seeds::new(config.seed, 2),
            hosts,
            agenda: Agenda::new(engines),
            lives: Vec::new(),
            spare: Vec::new(),
            stream: Stream::new(config.seed),
            block_size,
            next_upkeep: Tick(0),
            // One engine at a time, so that each is read once per interval.
            scrape: config
                .scrape
                .filter(|_| engines > 0)
                .map(|every| Span((every.0 / engines as u64).max(1))),
            next_scrape: Tick(0),
            scraped: 0,
            now: Tick(0),
            totals: Totals::default(),
            told,
        }
    }

    /// Times to first token of the last run.
    pub fn ttft(&self) -> &Durations {
        &self.totals.ttft
    }

    /// Live readings, as the router sees them.
    pub fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Engine events and scrapes up to `until`, and no further than there is anything to do.
    fn let_pass(&mut self, until: Tick) {
        loop {
            let first = self.agenda.first();
            if let Some((at, row)) = first
                && at <= until
                && (self.scrape.is_none() || at <= self.next_scrape)
            {
                self.now = at;
                self.advance(row);
            } else if let Some(every) = self.scrape
                && self.next_scrape <= until
                && (first.is_some() || until != Tick(u64::MAX))
            {
                if first.is_none() {
                    self.skip_idle_scrapes(every, until);
                }
                self.now = self.next_scrape;
                self.read_gauges();
                self.next_scrape = self.next_scrape + every;
            } else {
                return;
            }
        }
    }

    /// Lets the engine of `row` come to now and passes on what it tells.
    fn advance(&mut self, row: usize) {
        let mut told = std::mem::take(&mut self.told);
        let engine = &mut self.hosts[row].engine;
        engine.advance(self.now, &mut told);
        self.agenda.set(row, engine.next_event());
        for event in told.drain(..) {
            debug_assert_eq!(event.at, self.now, "an engine's event out of its time");
            self.hear(row, &event);
        }
        self.told = told;
    }

    fn hear(&mut self, row: usize, event: &EngineEvent) {
        let key = event.key as u32;
        let life = &mut self.lives[key as usize];
        match event.kind {
            EventKind::FirstToken => {
                let effect = life.on(Event::Head { status: OK }, event.at);
                assert_eq!(effect, Effect::Nothing, "a head had an effect");
            }
            EventKind::Token(_) => {}
            EventKind::Finished(summary) => {
                let usage = Some(Usage {
                    prompt_tokens: summary.prompt_tokens,
                    completion_tokens: summary.output_tokens,
                    cached_tokens: Some(summary.cached_tokens),
                });
                let effect = life.on(Event::End { usage }, event.at);
                self.note_served(row, key, effect, &summary);
            }
        }
    }

    fn note_served(&mut self, row: usize, key: u32, effect: Effect, summary: &Summary) {
        let outcome = self.close(key, effect);
        assert_eq!(
            (outcome.end, outcome.served),
            (End::Served, Some(row as u32)),
            "an engine ended a request that another one has"
        );
        let first_byte = outcome.first_byte.unwrap_or_default();
        self.totals.add_served(first_byte, outcome.total);
        let tally = &mut self.hosts[row].tally;
        tally.served += 1;
        tally.prompt_tokens += u64::from(summary.prompt_tokens);
        tally.cached_tokens += u64::from(summary.cached_tokens);
        tally.output_tokens += u64::from(summary.output_tokens);
        tally.preemptions += u64::from(summary.preemptions);
    }

    /// Takes the outcome of a request that has ended; its row is free again.
    fn close(&mut self, key: u32, effect: Effect) -> Outcome {
        let Effect::Note(outcome) = effect else {
            panic!("request {key} ended twice or before it began: {effect:?}");
        };
        self.spare.push(key);
        outcome
    }

    /// The router answers the request itself.
    fn note_rejected(&mut self, key: u32) {
        self.totals.rejected += 1;
        let effect = self.lives[key as usize].on(Event::End { usage: None }, self.now);
        let outcome = self.close(key, effect);
        assert_eq!(outcome.end, End::Rejected, "a rejected request ended so");
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

    /// A row of `lives` with a request that arrives now.
    fn begin(&mut self) -> u32 {
        let life = Life::begin(self.now);
        if let Some(key) = self.spare.pop() {
            self.lives[key as usize] = life;
            return key;
        }
        self.lives.push(life);
        (self.lives.len() - 1) as u32
    }

    fn forward(&mut self, key: u32, row: usize, request: &EngineRequest<'_>) {
        let in_flight = self.slots.in_flight(self.snapshot.slots()[row]);
        let host = &mut self.hosts[row];
        host.tally.picked += 1;
        host.tally.most_in_flight = host.tally.most_in_flight.max(in_flight);
        match host.engine.submit(self.now, request, &mut self.told) {
            Ok(_) => self.agenda.set(row, host.engine.next_event()),
            Err(refusal) => self.note_refused(key, &refusal),
        }
        assert!(self.told.is_empty(), "an engine was behind the clock");
    }

    /// The engine answers with an error; to the router that is an answer like any other.
    fn note_refused(&mut self, key: u32, refusal: &Refusal) {
        self.totals.refused += 1;
        let status = match refusal {
            Refusal::NeverFits { .. } => 400,
            Refusal::QueueFull { .. } => 429,
        };
        let life = &mut self.lives[key as usize];
        let _ = life.on(Event::Head { status }, self.now);
        let effect = life.on(Event::End { usage: None }, self.now);
        let outcome = self.close(key, effect);
        assert_eq!(outcome.status, Some(status), "a refused request ended so");
    }

    /// Writes the gauges of the engine whose turn it is where the scrape task writes them.
    fn read_gauges(&mut self) {
        let row = self.scraped;
        self.scraped = (row + 1) % self.hosts.len();
        let gauges = self.hosts[row].engine.gauges(self.now);
        let slot = self.snapshot.slots()[row];
        assert_eq!(
            self.slots.in_flight(slot),
            gauges.running + gauges.waiting,
            "the router and the engine of row {row} count differently"
        );
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
        let round = every.0.saturating_mul(self.hosts.len() as u64);
        let rounds = until.since(self.next_scrape).0 / round;
        self.next_scrape = self.next_scrape + Span(rounds.saturating_sub(1) * round);
    }

    fn check_nothing_left(&self, requests: u64) {
        assert_eq!(
            self.totals.ended(),
            requests,
            "a request was lost or ended twice"
        );
        assert_eq!(self.spare.len(), self.lives.len(), "a request has no end");
        assert_eq!(self.slots.total_in_flight(), 0, "something stays in flight");
        for (row, host) in self.hosts.iter().enumerate() {
            let gauges = host.engine.gauges(self.now);
            assert_eq!(
                (gauges.running, gauges.waiting, gauges.used_blocks),
                (0, 0, 0),
                "the engine of row {row} still holds something"
            );
        }
    }

    fn clear_totals(&mut self) {
        self.totals.clear();
        for Host { tally, .. } in &mut self.hosts {
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
            within_half_second: self.totals.within_half_second,
            virtual_seconds: seconds,
            served_per_second: if took.0 > 0 {
                self.totals.served as f64 / seconds
            } else {
                0.0
            },
            ttft: self.totals.ttft.quantiles(),
            e2e: self.totals.e2e.quantiles(),
            endpoints: self.hosts.iter().map(|host| host.tally.clone()).collect(),
        }
    }
}
