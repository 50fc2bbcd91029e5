//! Spans that are still open: the request they belong to, and what is known of them so far.
//!
//! A span is handed in when it is dropped; one of which nobody said how it ended was cancelled.

use std::sync::Arc;

use http::{HeaderValue, StatusCode};
use pointsman_core::rng::Rng;
use pointsman_feeds::clock::Clock;
use pointsman_wire::otlp::KeyValue;

use crate::door::headers::value;
use crate::tracing::context::Context;
use crate::tracing::tracer::{Trace, Tracer};

/// What a span is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Something inside the process.
    Internal,
    /// A request that came in.
    Server,
    /// A request that went out.
    Client,
}

impl Kind {
    pub(super) const fn number(self) -> i32 {
        match self {
            Self::Internal => 1,
            Self::Server => 2,
            Self::Client => 3,
        }
    }
}

/// A traced request, as those see it who do something for it.
#[derive(Clone, Debug)]
pub struct Within {
    tracer: Arc<Tracer>,
    trace: Trace,
    clock: Clock,
}

impl Within {
    /// The request of this place.
    pub fn new(tracer: &Arc<Tracer>, trace: Trace, clock: Clock) -> Self {
        Self {
            tracer: Arc::clone(tracer),
            trace,
            clock,
        }
    }

    /// A request that has just come in with this `traceparent`; `None` where it is not recorded.
    pub fn begin(
        tracer: &Arc<Tracer>,
        parent: Option<&str>,
        clock: Clock,
        rng: &mut Rng,
    ) -> Option<Self> {
        let trace = tracer.begin(parent, rng)?;
        Some(Self::new(tracer, trace, clock))
    }

    /// The span of the request itself, from now on.
    pub fn own(&self, name: &'static str) -> OpenSpan {
        self.open(name, Kind::Server, self.trace.own, self.trace.parent)
    }

    /// A span of something that is done for it, from now on; `id` tells it from all others of the trace.
    pub fn part(&self, name: &'static str, kind: Kind, id: u64) -> OpenSpan {
        let own = self.trace.own;
        let context = Context {
            span: id.max(1),
            ..own
        };
        self.open(name, kind, context, own.span)
    }

    fn open(&self, name: &'static str, kind: Kind, context: Context, parent: u64) -> OpenSpan {
        OpenSpan {
            tracer: Arc::clone(&self.tracer),
            clock: self.clock,
            context,
            parent,
            name,
            kind,
            began: self.clock.unix_ns(self.clock.now()),
            said: Vec::new(),
            end: Some("cancelled".to_owned()),
        }
    }
}

/// A span that is still open.
#[derive(Debug)]
pub struct OpenSpan {
    tracer: Arc<Tracer>,
    clock: Clock,
    context: Context,
    parent: u64,
    name: &'static str,
    kind: Kind,
    began: u64,
    said: Vec<KeyValue>,
    /// The error that it ended in, if it were to end now.
    end: Option<String>,
}

impl OpenSpan {
    /// Its place, for whoever does the work.
    pub fn header(&self) -> HeaderValue {
        value(&self.context.header())
    }

    /// Something is known of it.
    pub fn say(&mut self, what: KeyValue) {
        self.said.push(what);
    }

    /// It ends well, unless something is said of it yet.
    pub fn done(&mut self) {
        self.end = None;
    }

    /// It ends, or goes on, with an answer of this status.
    pub fn answered(&mut self, status: StatusCode) {
        let number = i64::from(status.as_u16());
        self.say(KeyValue::number("http.response.status_code", number));
        let bad = status.is_server_error() || self.kind == Kind::Client && status.as_u16() >= 400;
        self.end = bad.then(|| status.as_str().to_owned());
    }

    /// It ends in this error.
    pub fn failed(&mut self, why: &str) {
        self.end = Some(why.to_owned());
    }
}

impl Drop for OpenSpan {
    fn drop(&mut self) {
        let mut said = std::mem::take(&mut self.said);
        let error = self.end.take();
        let kind = error.as_ref().map(|why| KeyValue::text("error.type", why));
        said.extend(kind);
        let times = (self.began, self.clock.unix_ns(self.clock.now()));
        let place = (self.context, self.parent);
        self.tracer
            .span(self.name, self.kind.number(), place, times, said, error);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::tracing::settings::Settings;

    fn within() -> (Arc<Tracer>, Within) {
        let settings = Settings::of(&|name| match name {
            "OTEL_EXPORTER_OTLP_ENDPOINT" => Some("http://a:1".to_owned()),
            "OTEL_TRACES_SAMPLER_ARG" => Some("1".to_owned()),
            _ => None,
        });
        let tracer = Arc::new(Tracer::new(settings.unwrap().unwrap()));
        let mut rng = Rng::from_seed(1);
        let within = Within::begin(&tracer, None, Clock::start(), &mut rng).unwrap();
        (tracer, within)
    }

    #[test]
    fn a_span_ends_as_was_said_last_and_else_was_cancelled() {
        let (tracer, within) = within();
        let mut outlet = tracer.take_outlet().unwrap();
        let mut end = |say: &dyn Fn(&mut OpenSpan)| {
            let mut span = within.part("decode", Kind::Client, 7);
            say(&mut span);
            drop(span);
            let span = outlet.try_recv().unwrap();
            assert_eq!((&*span.name, span.kind), ("decode", 3));
            assert_eq!(span.span_id[..], 7_u64.to_be_bytes());
            assert_eq!(span.parent_span_id[..], within.trace.own.span.to_be_bytes());
            span.status.map(|status| status.message)
        };
        assert_eq!(end(&|_| ()).as_deref(), Some("cancelled"));
        assert_eq!(end(&|span| span.done()), None);
        assert_eq!(end(&|span| span.answered(StatusCode::OK)), None);
        let bad = end(&|span| span.answered(StatusCode::BAD_GATEWAY));
        assert_eq!(bad.as_deref(), Some("502"));
        let broken = end(&|span| {
            span.answered(StatusCode::OK);
            span.failed("reset");
        });
        assert_eq!(broken.as_deref(), Some("reset"));
    }

    #[test]
    fn whoever_does_the_work_is_told_its_own_place() {
        let (_, within) = within();
        let span = within.part("prefill", Kind::Client, 0xab);
        let told = Context::read(span.header().to_str().unwrap()).unwrap();
        assert_eq!(
            (told.trace, told.span),
            (within.trace.own.trace, 0xab),
            "and not that of the whole request"
        );
    }
}
