//! From a whole request to a decision: whose body it is, what is in it, whether it is let in, who gets it.

use std::sync::Arc;

use pointsman_core::exchange::event::Effect;
use pointsman_core::model::headers::Headers;
use pointsman_core::model::prompt::Prompt;
use pointsman_core::model::reject::Reject;
use pointsman_core::model::request::InferenceRequest;
use pointsman_core::schedule::plan::Plan;
use pointsman_http::Frames;
use pointsman_wire::extproc::answer::Route;
use pointsman_wire::extproc::body::{Claim, NO_MODEL, claim, kind_without_path, read};
use pointsman_wire::extproc::head::RequestHead;
use pointsman_wire::extproc::rewrite::with_model;
use pointsman_wire::request::vllm_grpc::{self, Call, CallFacts};

use super::{Answer, Conversation, Decided, Extent, Question};
use crate::admission::claims::Claims;
use crate::door::extproc::routing::{self, route};
use crate::door::render;
use crate::exchange::Asking;
use crate::rewriting::decreed;

impl Conversation {
    /// Reads the body and chooses; `None` where the request has to wait to be let in.
    pub(super) fn look_into(
        &mut self,
        head: &RequestHead,
        frames: &Frames,
        extent: Extent,
    ) -> Result<Option<Decided>, Reject> {
        let Some(exchange) = &self.exchange else {
            return Err(Reject::Internal("no way on".to_owned()));
        };
        let plan = Arc::clone(exchange.plan());
        let unread = |route: Option<Route>, aside: bool| {
            route.map(|route| Decided {
                route,
                changed: None,
                aside,
            })
        };
        let bytes = frames.len();
        if extent == Extent::Unread {
            let route = self.choose(head, bytes, InferenceRequest::default())?;
            return Ok(unread(route, false));
        }
        let kind = match claim(&head.path(), &plan.parsers).map_err(Reject::Malformed)? {
            Claim::Read(kind) if head.names_path() => kind,
            Claim::Read(_) => kind_without_path(frames.as_slice()),
            Claim::Call(call) => return self.look_into_call(head, frames, extent, call),
            claim => {
                let route = self.choose(head, bytes, InferenceRequest::default())?;
                return Ok(unread(route, claim == Claim::Aside));
            }
        };
        let facts = match read(kind, frames.as_slice()) {
            Ok(facts) => facts,
            // The beginning of a body is no JSON; it goes where there is least to do.
            Err(_) if extent == Extent::Beginning => {
                let route = self.choose(head, bytes, InferenceRequest::default())?;
                return Ok(unread(route, false));
            }
            Err(why) => return Err(Reject::Malformed(why)),
        };
        let decreed = self.decreed(&plan, &facts.model);
        let model = decreed
            .as_deref()
            .or_else(|| head.rewrite())
            .unwrap_or(&facts.model);
        if model.is_empty() {
            return Err(Reject::Malformed(NO_MODEL.to_owned()));
        }
        self.streamed = facts.stream;
        let prompt = facts.prompt_view(frames.as_slice());
        let prompt = prompt.counted_by(plan.assets.told_by(Headers::of(head)));
        if self.rendered.is_none()
            && let Some(asked) = render::question(&self.lane, &plan, kind, &facts, frames)
        {
            self.waiting = Some(Box::pin(async move { Answer::Tokens(asked.await) }));
            return Ok(None);
        }
        let rendered = self.rendered.clone().flatten();
        let request = InferenceRequest {
            model,
            asked_model: &facts.model,
            prompt: Some(match &rendered {
                Some(tokens) => Prompt(&**tokens),
                None => Prompt(&prompt),
            }),
            cache_salt: facts.cache_salt.as_deref().unwrap_or(""),
            prompt_bytes: facts.prompt_bytes,
            max_output_tokens: facts.max_tokens,
            stream: facts.stream,
            ..InferenceRequest::default()
        };
        let Some(route) = self.choose(head, bytes, request)? else {
            return Ok(None);
        };
        let changed = (model != facts.model).then(|| {
            if !facts.model.is_empty() {
                self.names = Some((model.to_owned(), facts.model.to_string()));
            }
            with_model(frames.as_slice(), &facts.model_at, model)
        });
        Ok(Some(Decided {
            route,
            changed,
            aside: false,
        }))
    }

    /// Reads a call over gRPC and chooses; `None` as above.
    fn look_into_call(
        &mut self,
        head: &RequestHead,
        frames: &Frames,
        extent: Extent,
        call: Call,
    ) -> Result<Option<Decided>, Reject> {
        let facts = match vllm_grpc::read(call, frames.as_slice()) {
            Ok(facts) => facts,
            Err(_) if extent == Extent::Beginning => CallFacts::default(),
            Err(why) => return Err(Reject::Malformed(why)),
        };
        self.call = Some(call);
        self.streamed = facts.stream;
        let request = InferenceRequest {
            prompt: Some(Prompt(&facts.prompt)),
            prompt_bytes: facts.prompt.bytes(),
            max_output_tokens: facts.max_tokens,
            stream: facts.stream,
            ..InferenceRequest::default()
        };
        let route = self.choose(head, frames.len(), request)?;
        Ok(route.map(|route| Decided {
            route,
            changed: None,
            aside: false,
        }))
    }

    /// What rules put in place of a model; a request that had to wait keeps what was drawn for it.
    fn decreed(&mut self, plan: &Plan, model: &str) -> Option<String> {
        let lane = &self.lane;
        self.decreed
            .get_or_insert_with(|| decreed(lane, plan, model))
            .clone()
    }

    /// Asks the picker; `None` where the request has to wait to be let in.
    fn choose(
        &mut self,
        head: &RequestHead,
        bytes: usize,
        request: InferenceRequest<'_>,
    ) -> Result<Option<Route>, Reject> {
        let Some(exchange) = &mut self.exchange else {
            return Err(Reject::Internal("no way on".to_owned()));
        };
        let mut stranded = false;
        if let Some(subset) = &self.subset {
            let anybody = !exchange.snapshot().is_empty();
            exchange.narrow(|endpoint| subset.allows(endpoint.address));
            // Waiting helps where a pool is empty, not where none of it may be picked.
            stranded = anybody && exchange.snapshot().is_empty();
        }
        let id = exchange.request_id().to_owned();
        let (headers, plan) = (Headers::of(head), Arc::clone(exchange.plan()));
        let declared = self.lane.router.directives.load();
        let claims = Claims::of(headers, &plan, &declared.objectives);
        let request = InferenceRequest {
            id: &id,
            only_cached: head.only_cached,
            headers,
            priority: claims.priority,
            flow: claims.flow,
            ..request
        };
        if stranded {
            exchange.wants(&request);
            return Err(Reject::NoEndpoints);
        }
        if !self.arrived {
            self.arrived = true;
            match exchange.arrive(&request, bytes) {
                Effect::Nothing => {}
                Effect::AskAdmission => {
                    self.waiting = Some(admission(exchange.asking(&request)));
                    return Ok(None);
                }
                Effect::Reply(reject) => return Err(reject),
                Effect::Forward { .. } | Effect::Note(_) => {
                    return Err(Reject::Internal("no way on".to_owned()));
                }
            }
        }
        let snapshot = Arc::clone(exchange.snapshot());
        let (mut told, marks) = (Route::default(), &mut self.marks);
        let emit_scores = self.settings.emit_scores;
        let effect = exchange.ready_and_look(&request, |table, effect| {
            told = route(&plan, &snapshot, table, effect, emit_scores);
            *marks = routing::marks(&plan, &snapshot, effect);
        });
        match effect {
            Effect::Forward { .. } => {
                told.request_id.clone_from(&self.given_id);
                told.traceparent.clone_from(&self.traceparent);
                told.unwanted.clone_from(&head.unwanted);
                Ok(Some(told))
            }
            // The room it was given went to somebody else.
            Effect::AskAdmission => {
                self.waiting = Some(admission(exchange.asking(&request)));
                Ok(None)
            }
            Effect::Reply(reject) => Err(reject),
            Effect::Note(_) | Effect::Nothing => Err(Reject::Internal("no way on".to_owned())),
        }
    }
}

/// A question to the gatekeeper as one that a conversation waits for.
fn admission(asking: Asking) -> Question {
    Box::pin(async move { Answer::Admission(asking.await) })
}
