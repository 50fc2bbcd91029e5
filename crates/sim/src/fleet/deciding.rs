//! Where a request goes: the plan's decision or a built-in rule's choice, and again when that cannot be.

use pointsman_core::exchange::event::{Cause, Deciding, Effect, Event};
use pointsman_core::model::prompt::Prompt;
use pointsman_core::model::reject::Reject;
use pointsman_core::model::request::InferenceRequest;

use crate::fleet::Fleet;
use crate::fleet::arrival::Arrival;
use crate::fleet::flight::{Flight, Pick};
use crate::fleet::legs::engine_request;
use crate::fleet::oracle::Field;
use crate::fleet::prompt::{BYTES_PER_TOKEN, BlockPrompt};
use crate::fleet::router::{BuiltIn, Router};

/// The model that all requests ask for.
const MODEL: &str = "fleet";

impl Fleet {
    /// The request arrives now.
    pub(super) fn arrive(&mut self, arrival: &Arrival) {
        let key = self.begin(arrival);
        self.keep_up();
        self.send(key, arrival, None);
        self.check_conservation();
    }

    /// The attempt under way has failed: another endpoint is asked, or the request ends.
    pub(super) fn send_again(&mut self, key: u32, cause: Cause) {
        let arrival = std::mem::take(&mut self.flights[key as usize].arrival);
        self.send(key, &arrival, Some(cause));
        self.flights[key as usize].arrival = arrival;
    }

    fn send(&mut self, key: u32, arrival: &Arrival, mut failed: Option<Cause>) {
        loop {
            if failed.is_some() {
                self.totals.failed_attempts += 1;
                self.let_go(key);
            }
            let pick = match self.router {
                Router::Plan(_) => self.decide(key, arrival, failed),
                Router::BuiltIn(rule) => self.choose(key, arrival, rule, failed),
            };
            let Some(pick) = pick else {
                return self.note_rejected(key);
            };
            let flight = &mut self.flights[key as usize];
            flight.post = Some(pick.post);
            self.posts[pick.post].held += 1;
            if matches!(self.router, Router::Plan(_)) {
                flight.helpers = [pick.prefill, pick.encode];
                for helper in flight.helpers.into_iter().flatten() {
                    self.posts[helper].held += 1;
                }
            }
            match self.dispatch(key, arrival, pick) {
                Ok(()) => return,
                Err(cause) => failed = Some(cause),
            }
        }
    }

    /// The plan decides, on the membership that the request began with.
    fn decide(&mut self, key: u32, arrival: &Arrival, failed: Option<Cause>) -> Option<Pick> {
        let Router::Plan(plan) = &self.router else {
            return None;
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
        let Flight { life, snapshot, .. } = &mut self.flights[key as usize];
        let deciding = Deciding {
            plan,
            snapshot,
            slots: &self.slots,
            request: &request,
            table: &mut self.table,
            seed: self.decisions.next_seed(),
        };
        let event = match failed {
            None => Event::Ready(deciding),
            Some(cause) => {
                let most = plan.own.retries.max as usize;
                let more = most == 0 || life.attempts().len() < most;
                let retry = more.then_some(deciding);
                Event::AttemptFailed { cause, retry }
            }
        };
        match life.on(event, self.now) {
            Effect::Forward {
                row,
                prefill,
                encode,
                ..
            } => {
                let left = self.table.runs().iter().any(|run| run.alive.contains(row));
                assert!(left, "row {row} was picked and no profile had left it");
                let number = |row: usize| snapshot.slots()[row].0 as usize;
                let pick = Pick {
                    post: number(row),
                    prefill: prefill.map(number),
                    encode: encode.first().map(|&row| number(row as usize)),
                };
                let listed = failed.is_some() || self.posts[pick.post].listed;
                assert!(listed, "an endpoint was picked that has left");
                Some(pick)
            }
            Effect::Reply(_) => None,
            other => panic!("a request that is ready can only be forwarded or answered: {other:?}"),
        }
    }

    /// A built-in rule picks; after a failure among those that were not tried.
    fn choose(
        &mut self,
        key: u32,
        arrival: &Arrival,
        rule: BuiltIn,
        failed: Option<Cause>,
    ) -> Option<Pick> {
        let Flight { life, snapshot, .. } = &mut self.flights[key as usize];
        if let Some(cause) = failed {
            // Without a plan the life cannot choose again by itself: it gives up, and is sent on its way anew.
            let _ = life.on(Event::AttemptFailed { cause, retry: None }, self.now);
        }
        let tried = |number: usize| {
            let slots = snapshot.slots();
            let mut attempts = life.attempts().iter();
            attempts.any(|attempt| slots[attempt.row as usize].0 as usize == number)
        };
        let numbers = || snapshot.slots().iter().map(|slot| slot.0 as usize);
        let answering = numbers().filter(|&at| self.posts[at].answers() && !tried(at));
        let field = Field {
            hosts: &self.hosts,
            posts: &self.posts,
            now: self.now,
        };
        let request = engine_request(key, arrival);
        let post = self.chooser.choose(rule, &field, answering, &request);
        let prefilling = numbers().filter(|&at| self.posts[at].prefills_for_others());
        let prefill = match post {
            Some(post) if self.posts[post].prefill.is_none() => {
                self.chooser.choose(rule, &field, prefilling, &request)
            }
            _ => None,
        };
        let row = post.and_then(|post| numbers().position(|at| at == post));
        let event = match row {
            Some(row) => Event::Bypass {
                row,
                snapshot,
                slots: &self.slots,
            },
            None => Event::Refused(Reject::NoEndpoints),
        };
        let _ = life.on(event, self.now);
        post.map(|post| Pick {
            post,
            prefill,
            encode: None,
        })
    }
}
