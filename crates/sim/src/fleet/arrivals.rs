//! How requests come to a fleet: from a shape, from a trace, or as many as it can bear.

use pointsman_core::exchange::event::{Deciding, Effect, Event};
use pointsman_core::model::prompt::Prompt;
use pointsman_core::model::reject::Reject;
use pointsman_core::model::request::InferenceRequest;
use pointsman_core::time::Tick;

use crate::engine::block_hash::hash_ids;
use crate::engine::request::EngineRequest;
use crate::fleet::Fleet;
use crate::fleet::prompt::{BYTES_PER_TOKEN, BlockPrompt};
use crate::fleet::report::Report;
use crate::fleet::router::{BuiltIn, Router};
use crate::fleet::trace::{Ask, BLOCK_TOKENS, Trace};
use crate::fleet::workload::{Stream, Workload};

/// The model that all requests ask for.
const MODEL: &str = "fleet";

/// The request that arrives next.
#[derive(Debug, Default)]
struct Arrival {
    at: Tick,
    prompt_tokens: u32,
    output_tokens: u32,
    max_output_tokens: u32,
    ids: Vec<u64>,
    /// Chained hashes of `ids`, for the engines.
    blocks: Vec<u64>,
}

impl Arrival {
    /// Becomes a request of `trace`; only the time stays.
    fn take(&mut self, trace: &Trace, ask: &Ask) {
        self.prompt_tokens = ask.prompt_tokens;
        self.output_tokens = ask.output_tokens;
        self.max_output_tokens = ask.max_output_tokens;
        self.ids.clear();
        self.ids.extend_from_slice(trace.ids(ask));
        self.hash();
    }

    fn hash(&mut self) {
        self.blocks.clear();
        hash_ids(&self.ids, &mut self.blocks);
    }
}

impl Fleet {
    /// Lets `workload` arrive and runs until its last request has ended. A further run goes on with the
    /// caches, gauges and the clock as they are.
    ///
    /// # Panics
    /// An invariant does not hold: a defect of the engine or of the router.
    pub fn run(&mut self, workload: &Workload) -> Report {
        let size = self.block_size;
        self.let_arrive(workload.requests, |_, stream, arrival| {
            arrival.at = arrival.at + stream.gap(workload.rate);
            arrival.prompt_tokens = workload.prompt_tokens;
            arrival.output_tokens = workload.output_tokens;
            arrival.max_output_tokens = workload.output_tokens;
            stream.prompt(workload, size, &mut arrival.ids);
            arrival.hash();
        })
    }

    /// The same with the arrivals of `trace`, `rate` of them per second on average.
    ///
    /// # Panics
    /// As [`Self::run`], and if the engines' blocks are not those of the trace.
    pub fn play(&mut self, trace: &Trace, rate: f64) -> Report {
        assert_eq!(
            self.block_size, BLOCK_TOKENS,
            "a trace has blocks of its own"
        );
        let began = self.now;
        let asks = trace.asks();
        self.let_arrive(asks.len() as u64, |number, _, arrival| {
            let ask = &asks[number];
            arrival.at = Trace::arrival(ask, rate, began);
            arrival.take(trace, ask);
        })
    }

    /// Requests per second that the fleet bears: those of `trace` come one by one, each as soon as fewer than
    /// `under_way` are under way, whatever their times. The first and the last tenth do not count.
    ///
    /// # Panics
    /// As [`Self::play`].
    pub fn sustain(&mut self, trace: &Trace, under_way: u64) -> f64 {
        assert_eq!(
            self.block_size, BLOCK_TOKENS,
            "a trace has blocks of its own"
        );
        self.clear_totals();
        let asks = trace.asks();
        let (from, to) = (asks.len() / 10, asks.len() * 9 / 10);
        let (mut began, mut ended) = (self.now, self.now);
        let mut arrival = Arrival::default();
        for (number, ask) in asks.iter().enumerate() {
            while self.slots.total_in_flight() >= under_way.max(1) {
                let Some((at, _)) = self.agenda.first() else {
                    break;
                };
                self.let_pass(at);
            }
            if number == from {
                began = self.now;
            } else if number == to {
                ended = self.now;
            }
            arrival.at = self.now;
            arrival.take(trace, ask);
            self.arrive(&arrival);
        }
        self.let_pass(Tick(u64::MAX));
        self.check_nothing_left(asks.len() as u64);
        (to - from) as f64 / ended.since(began).as_secs_f64()
    }

    /// Runs until `requests` requests, each as `next` says, have arrived and ended.
    fn let_arrive(
        &mut self,
        requests: u64,
        mut next: impl FnMut(usize, &mut Stream, &mut Arrival),
    ) -> Report {
        let began = self.now;
        self.clear_totals();
        let mut arrival = Arrival {
            at: began,
            ..Arrival::default()
        };
        for number in 0..requests as usize {
            next(number, &mut self.stream, &mut arrival);
            self.let_pass(arrival.at);
            self.now = arrival.at;
            self.arrive(&arrival);
        }
        self.let_pass(Tick(u64::MAX));
        self.check_nothing_left(requests);
        self.report(requests, self.now.since(began))
    }

    /// The request arrives now.
    fn arrive(&mut self, arrival: &Arrival) {
        let key = self.begin();
        self.keep_up();
        let plan = match &self.router {
            Router::Plan(plan) => plan,
            &Router::BuiltIn(rule) => return self.arrive_unplanned(key, arrival, rule),
        };
        let text = BlockPrompt {
            ids: &arrival.ids,
            block_tokens: self.block_size,
            tokens: arrival.prompt_tokens,
        };
        let request = InferenceRequest {
            model: MODEL,
            prompt: Some(Prompt(&text)),
            prompt_bytes: arrival.prompt_tokens as usize * BYTES_PER_TOKEN,
            max_output_tokens: Some(arrival.max_output_tokens),
            stream: true,
            ..InferenceRequest::default()
        };
        let deciding = Deciding {
            plan,
            snapshot: &self.snapshot,
            slots: &self.slots,
            request: &request,
            table: &mut self.table,
            seed: self.decisions.next_seed(),
        };
        match self.lives[key as usize].on(Event::Ready(deciding), self.now) {
            Effect::Forward { row, .. } => {
                let left = self.table.runs().iter().any(|run| run.alive.contains(row));
                assert!(left, "row {row} was picked and no profile had left it");
                self.forward(key, row, &engine_request(key, arrival));
            }
            Effect::Reply(_) => self.note_rejected(key),
            other => panic!("a request that is ready can only be forwarded or answered: {other:?}"),
        }
    }

    /// The request arrives and a built-in rule picks.
    fn arrive_unplanned(&mut self, key: u32, arrival: &Arrival, rule: BuiltIn) {
        let request = engine_request(key, arrival);
        let row = self.chooser.choose(rule, &self.hosts, self.now, &request);
        let event = match row {
            Some(row) => Event::Bypass {
                row,
                snapshot: &self.snapshot,
                slots: &self.slots,
            },
            None => Event::Refused(Reject::NoEndpoints),
        };
        match self.lives[key as usize].on(event, self.now) {
            Effect::Forward { row, .. } => self.forward(key, row, &request),
            _ => self.note_rejected(key),
        }
    }
}

/// The request as engines see it.
fn engine_request(key: u32, arrival: &Arrival) -> EngineRequest<'_> {
    EngineRequest {
        key: u64::from(key),
        prompt_tokens: arrival.prompt_tokens,
        blocks: &arrival.blocks,
        output_tokens: arrival.output_tokens,
        observed: false,
        remote: None,
    }
}
