//! From engine to engine: a request is given to one, comes back, and goes on to the next or ends.

use pointsman_core::exchange::event::{Cause, Effect, End, Event, Outcome, Usage};
use pointsman_core::exchange::life::Life;

use crate::engine::request::{EngineEvent, EngineRequest, EventKind, Refusal, Summary};
use crate::fleet::Fleet;
use crate::fleet::arrival::Arrival;
use crate::fleet::flight::{Flight, Pick, Stage};
use crate::fleet::report::EndpointReport;

/// Status of an answer that an engine completes.
const OK: u16 = 200;

impl Fleet {
    /// A flight for a request that arrives now.
    pub(super) fn begin(&mut self, arrival: &Arrival) -> u32 {
        self.arrived += 1;
        let mut flight = Flight::new(Life::begin(self.now), self.snapshot.clone());
        if let Some(key) = self.spare.pop() {
            let before = &mut self.flights[key as usize];
            std::mem::swap(&mut flight.arrival, &mut before.arrival);
            *before = flight;
            self.keep(key, arrival);
            return key;
        }
        self.flights.push(flight);
        let key = (self.flights.len() - 1) as u32;
        self.keep(key, arrival);
        key
    }

    fn keep(&mut self, key: u32, arrival: &Arrival) {
        if self.keeps {
            self.flights[key as usize].arrival.copy(arrival);
        }
    }

    /// Sends the request where it was decided to go, or says why that cannot be.
    pub(super) fn dispatch(
        &mut self,
        key: u32,
        arrival: &Arrival,
        pick: Pick,
    ) -> Result<(), Cause> {
        self.note_pick(pick.post);
        let decode = self.posts[pick.post].decode;
        if !self.hosts[decode].up {
            return Err(Cause::Connect);
        }
        let prefill = match pick.prefill {
            Some(other) => {
                self.note_pick(other);
                Some(self.posts[other].decode)
            }
            None => self.posts[pick.post].prefill,
        };
        if let Some(prefill) = prefill
            && prefill != decode
            && self.hosts[prefill].up
            && self
                .submit(key, arrival, Stage::Prefill, prefill, None)
                .is_ok()
        {
            return Ok(());
        }
        self.answer(key, arrival, decode, None);
        Ok(())
    }

    fn note_pick(&mut self, post: usize) {
        let in_flight = self.slots.in_flight(self.posts[post].endpoint.slot);
        let tally = &mut self.posts[post].tally;
        tally.picked += 1;
        tally.most_in_flight = tally.most_in_flight.max(in_flight);
    }

    /// The engine `host` answers; `peer` is the engine that its KV cache comes from.
    pub(super) fn answer(&mut self, key: u32, arrival: &Arrival, host: usize, peer: Option<usize>) {
        if let Err(refusal) = self.submit(key, arrival, Stage::Answer, host, peer) {
            self.note_refused(key, &refusal);
        }
    }

    fn submit(
        &mut self,
        key: u32,
        arrival: &Arrival,
        stage: Stage,
        host: usize,
        peer: Option<usize>,
    ) -> Result<(), Refusal> {
        let request = EngineRequest {
            output_tokens: match stage {
                Stage::Prefill => 1,
                _ => arrival.output_tokens,
            },
            remote: peer.map(|peer| peer as u32),
            ..engine_request(key, arrival)
        };
        let engine = &mut self.hosts[host].engine;
        let handle = engine.submit(self.now, &request, &mut self.told)?;
        assert!(self.told.is_empty(), "an engine was behind the clock");
        self.agenda.set(host, engine.next_event());
        self.hosts[host].legs += 1;
        let flight = &mut self.flights[key as usize];
        (flight.stage, flight.host, flight.handle) = (stage, host, handle);
        flight.handed = peer.is_some();
        self.check_host(host);
        Ok(())
    }

    /// The prompt is computed: the decode engine gets it.
    pub(super) fn hand_over(&mut self, key: u32) {
        let flight = &mut self.flights[key as usize];
        assert_eq!(flight.stage, Stage::Between, "handed over out of its time");
        let (peer, arrival) = (flight.host, std::mem::take(&mut flight.arrival));
        if let Some(post) = flight.post {
            self.answer(key, &arrival, self.posts[post].decode, Some(peer));
        }
        self.flights[key as usize].arrival = arrival;
    }

    pub(super) fn hear(&mut self, host: usize, event: &EngineEvent) {
        let key = event.key as u32;
        let flight = &mut self.flights[key as usize];
        assert_eq!(flight.host, host, "an engine tells of a request of another");
        let prefill = flight.stage == Stage::Prefill;
        match event.kind {
            EventKind::Token(_) => {}
            EventKind::FirstToken if prefill => {}
            EventKind::FirstToken => {
                let effect = flight.life.on(Event::Head { status: OK }, event.at);
                assert_eq!(effect, Effect::Nothing, "a head had an effect");
                flight.answered = true;
                self.let_helpers_go(key);
            }
            EventKind::Finished(summary) => {
                self.hosts[host].legs -= 1;
                let tally = &mut self.posts[self.hosts[host].post].tally;
                tally.preemptions += u64::from(summary.preemptions);
                if prefill {
                    tally.prefilled += 1;
                    note_prompt(tally, &summary);
                    self.flights[key as usize].stage = Stage::Between;
                    self.due.push_back(key);
                } else {
                    self.note_served(host, key, &summary);
                }
            }
        }
    }

    /// The engine `host` has answered.
    fn note_served(&mut self, host: usize, key: u32, summary: &Summary) {
        let post = self.hosts[host].post;
        let flight = &mut self.flights[key as usize];
        assert_eq!(
            flight.post,
            Some(post),
            "an endpoint ended a request that another one has"
        );
        let usage = Some(Usage {
            prompt_tokens: summary.prompt_tokens,
            completion_tokens: summary.output_tokens,
            cached_tokens: Some(summary.cached_tokens),
        });
        let (arrived, handed) = (flight.life.arrived(), flight.handed);
        let effect = flight.life.on(Event::End { usage }, self.now);
        let outcome = self.close(key, effect);
        assert_eq!(
            outcome.end,
            End::Served,
            "an answer that is whole is served"
        );
        let first_byte = outcome.first_byte.unwrap_or_default();
        self.totals
            .add_served(arrived, first_byte, outcome.total, summary.output_tokens);
        let tally = &mut self.posts[post].tally;
        tally.served += 1;
        tally.output_tokens += u64::from(summary.output_tokens);
        if !handed {
            note_prompt(tally, summary);
        }
    }

    /// Takes the outcome of a request that has ended; its row is free again.
    pub(super) fn close(&mut self, key: u32, effect: Effect) -> Outcome {
        let Effect::Note(outcome) = effect else {
            panic!("request {key} ended twice or before it began: {effect:?}");
        };
        self.let_go(key);
        self.flights[key as usize].stage = Stage::Nowhere;
        self.spare.push(key);
        outcome
    }

    /// The router no longer counts the request anywhere.
    pub(super) fn let_go(&mut self, key: u32) {
        self.let_helpers_go(key);
        if let Some(post) = self.flights[key as usize].post.take() {
            self.posts[post].held -= 1;
        }
    }

    fn let_helpers_go(&mut self, key: u32) {
        for helper in &mut self.flights[key as usize].helpers {
            if let Some(post) = helper.take() {
                self.posts[post].held -= 1;
            }
        }
    }

    /// The router answers the request itself.
    pub(super) fn note_rejected(&mut self, key: u32) {
        let life = &mut self.flights[key as usize].life;
        let effect = life.on(Event::End { usage: None }, self.now);
        let outcome = self.close(key, effect);
        assert_eq!(outcome.end, End::Rejected, "a rejected request ended so");
        self.totals.rejected += 1;
    }

    /// The engine answers with an error; to the router that is an answer like any other.
    fn note_refused(&mut self, key: u32, refusal: &Refusal) {
        let status = match refusal {
            Refusal::NeverFits { .. } => 400,
            Refusal::QueueFull { .. } => 429,
        };
        let life = &mut self.flights[key as usize].life;
        let _ = life.on(Event::Head { status }, self.now);
        let effect = life.on(Event::End { usage: None }, self.now);
        let outcome = self.close(key, effect);
        assert_eq!(outcome.status, Some(status), "a refused request ended so");
        self.totals.refused += 1;
    }
}

fn note_prompt(tally: &mut EndpointReport, summary: &Summary) {
    tally.prompt_tokens += u64::from(summary.prompt_tokens);
    tally.cached_tokens += u64::from(summary.cached_tokens);
}

/// The request as engines see it.
pub(super) fn engine_request(key: u32, arrival: &Arrival) -> EngineRequest<'_> {
    EngineRequest {
        key: u64::from(key),
        prompt_tokens: arrival.prompt_tokens,
        blocks: &arrival.blocks,
        output_tokens: arrival.output_tokens,
        observed: false,
        remote: None,
    }
}
