//! The part of an exchange that is there only where its request is traced: its span, and that of its decision.

use pointsman_core::exchange::event::{Effect, End, Outcome};
use pointsman_core::model::headers::Headers;
use pointsman_core::model::request::InferenceRequest;
use pointsman_core::rng::Rng;
use pointsman_core::time::Tick;
use pointsman_wire::otlp::KeyValue;

use super::Exchange;
use crate::tracing::context::TRACEPARENT;
use crate::tracing::open::{OpenSpan, Within};
use crate::tracing::traced::Traced;

impl Exchange {
    /// Whether the request is traced, by what its headers say; then the value of `traceparent` that goes on with it.
    pub fn trace(&mut self, headers: Headers<'_>) -> Option<String> {
        let tracer = self.lane.router.tracer()?;
        let mut scratch = self.lane.scratch.lock();
        let trace = tracer.begin(headers.get(TRACEPARENT), &mut scratch.rng)?;
        self.trace = Some(Box::new(Traced {
            trace,
            model: String::new(),
            leg: None,
        }));
        Some(trace.own.header())
    }

    /// The request as those see it who carry it out, if it is traced.
    pub fn within(&self) -> Option<Within> {
        let (traced, router) = (self.trace.as_ref()?, &self.lane.router);
        Some(Within::new(router.tracer()?, traced.trace, router.clock))
    }

    /// The answer of a leg passes, and the leg's span goes on as long as it does.
    pub fn goes_on(&mut self, leg: Option<OpenSpan>) {
        if let Some(traced) = &mut self.trace {
            traced.leg = leg;
        }
    }

    /// Notes a decision of a traced request.
    pub(super) fn trace_decision(
        &mut self,
        request: &InferenceRequest<'_>,
        effect: &Effect,
        (began, ended): (Tick, Tick),
        rng: &mut Rng,
    ) {
        let (Some(traced), Some(tracer)) = (&mut self.trace, self.lane.router.tracer()) else {
            return;
        };
        traced.model = request.model.to_owned();
        let mut said = vec![
            KeyValue::text("gen_ai.request.model", request.model),
            KeyValue::number("pointsman.candidates", self.snapshot.len() as i64),
        ];
        if let Effect::Forward { row, prefill, .. } = effect {
            let name = |row: usize| &*self.snapshot.endpoints[row].name;
            said.push(KeyValue::text("pointsman.endpoint", name(*row)));
            said.extend(prefill.map(|row| KeyValue::text("pointsman.prefill.endpoint", name(row))));
        }
        let at = |tick| self.lane.router.clock.unix_ns(tick);
        let times = (at(began), at(ended));
        tracer.part("schedule", &traced.trace, times, said, rng);
    }

    /// Hands in the span of a traced request that has ended.
    pub(super) fn trace_end(&mut self, outcome: &Outcome) {
        let (Some(mut traced), Some(tracer)) = (self.trace.take(), self.lane.router.tracer())
        else {
            return;
        };
        let mut said = vec![
            KeyValue::text("url.path", &*self.path),
            KeyValue::text("pointsman.request.id", &*self.request_id),
            KeyValue::text("pointsman.door", self.door),
            KeyValue::text("pointsman.outcome", outcome.end.word()),
        ];
        if !traced.model.is_empty() {
            said.push(KeyValue::text("gen_ai.request.model", traced.model));
        }
        if let Some(status) = outcome.status {
            let status = i64::from(status);
            said.push(KeyValue::number("http.response.status_code", status));
        }
        if let Some(usage) = outcome.usage {
            for (name, tokens) in [
                ("gen_ai.usage.input_tokens", usage.prompt_tokens),
                ("gen_ai.usage.output_tokens", usage.completion_tokens),
            ] {
                said.push(KeyValue::number(name, tokens.into()));
            }
        }
        if let (Some(leg), false) = (&mut traced.leg, outcome.end == End::Served) {
            leg.failed(outcome.reason.unwrap_or_else(|| outcome.end.word()));
        }
        drop(traced.leg.take());
        let failed = outcome.end != End::Served || outcome.status.is_some_and(|s| s >= 500);
        let error = failed.then(|| outcome.reason.unwrap_or("status"));
        said.extend(error.map(|why| KeyValue::text("error.type", why)));
        let at = |tick| self.lane.router.clock.unix_ns(tick);
        let times = (at(self.life.arrived()), at(outcome.at));
        tracer.request(&traced.trace, times, said, error);
    }
}
