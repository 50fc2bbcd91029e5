//! Door 3: the P/D proxy in front of prefill and decode engines.
//!
//! A generation request: body read -> prefill leg (a copy that makes one token; its answer is thrown away) -> decode leg (the original
//! body; its answer is passed on as it arrives), in the variations of its dialect ([`crate::handoff`]). What can go otherwise:
//!
//! | what happens | then |
//! |---|---|
//! | prefill answers 4xx other than 408 and 429 | that answer is the client's; no decode leg |
//! | prefill refuses, breaks, is late, answers anything else | the next prefill; without one decode computes the prompt itself, or 502/504 |
//! | prefill does not say where the KV cache lies, in dialects that need it | decode computes the prompt itself |
//! | the KV cache is nearly as old as its lease before decode starts | prefill again |
//! | decode cannot be reached | another decode with a fresh prefill; without one 502 |
//! | decode is late | 504 |
//! | decode breaks off | an event stream ends in an error event and no `[DONE]`; anything else is reset |
//! | the client leaves | the legs that run are cancelled: their connections close with this future |
//!
//! `GET /health` looks at the engines, `GET /metrics` is a decode engine's (else a prefill engine's) with this proxy's counters behind
//! it, every other path goes to decode.

mod attempts;
pub mod config;
mod health;
pub mod refusal;
mod station;
pub mod tally;

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, EXPECT};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use hyper::body::Incoming;
use parking_lot::Mutex;
use pointsman_core::exchange::event::Cause;
use pointsman_core::model::reject::Reject;
use pointsman_core::rng::Rng;
use pointsman_feeds::clock::Clock;
use pointsman_http::collect::gather;
use pointsman_http::{
    Body, Bound, CollectError, Drain, Fault, FaultSwitch, Peer, Pool, ServerOptions, discard, serve,
};
use pointsman_wire::error_form::ErrorForm;
use pointsman_wire::otlp::KeyValue;
use tokio::time::Instant;

use crate::door::headers::{X_REQUEST_ID, request_id, strip_hop_by_hop, strip_steering, value};
use crate::door::passage::{Passage, Patience, Watch};
use crate::door::proxy::attempts::{Attempts, Exhausted};
use crate::door::proxy::config::{PREFILL_FALLBACK, PREFILL_TIMEOUT, ProxyConfig};
use crate::door::proxy::health::Asking;
use crate::door::proxy::station::Stage;
use crate::door::proxy::tally::{Outcome, Tally, Ticket};
use crate::handoff::leg::{LegFailure, bounded, send};
use crate::handoff::target::TargetError;
use crate::handoff::timing;
use crate::handoff::unique::Unique;
use crate::handoff::{Carried, HandoffFailure, Leg, Limits, Order};
use crate::tracing::context::TRACEPARENT;
use crate::tracing::open::{OpenSpan, Within};

/// Read and thrown away after a 413, so that a client that writes first can read the answer.
const DISCARD_BYTES: usize = 64 << 20;
const DISCARD_TIME: Duration = Duration::from_secs(5);

/// A P/D proxy; clones share its connections, so make one per runtime.
#[derive(Clone)]
pub struct Proxy(Arc<Inner>);

struct Inner {
    config: ProxyConfig,
    prefills: Stage,
    decodes: Stage,
    pool: Pool,
    faults: FaultSwitch,
    clock: Clock,
    rng: Mutex<Rng>,
}

impl Proxy {
    /// A proxy that has not connected anywhere yet.
    ///
    /// # Errors
    /// When an engine's URL is not `http://host:port`.
    pub fn new(config: ProxyConfig, faults: FaultSwitch) -> Result<Self, TargetError> {
        let (prefill, decode) = (&config.prefill_url, &config.decode_url);
        let prefills = Stage::new(prefill, &config.prefill_name, &config.more_prefills)?;
        let decodes = Stage::new(decode, &config.decode_name, &config.more_decodes)?;
        let pool = Pool::new(config.client.clone());
        let rng = Mutex::new(Rng::from_seed(config.seed));
        Ok(Self(Arc::new(Inner {
            config,
            prefills,
            decodes,
            pool,
            faults,
            clock: Clock::start(),
            rng,
        })))
    }

    /// What this proxy has counted.
    pub fn tally(&self) -> &Tally {
        &self.0.config.tally
    }

    /// Answers one request. Dropping the future cancels the legs that run.
    pub async fn handle(&self, request: Request<Incoming>, peer: Peer) -> Response<Body> {
        let inner = &*self.0;
        let head_or_get = matches!(*request.method(), Method::GET | Method::HEAD);
        let form = ErrorForm::of(request.uri().path());
        match request.uri().path() {
            path if inner.config.kind.takes(path) => {
                if request.method() == Method::POST {
                    inner.generate(request, peer, &self.0).await
                } else {
                    refusal::method_not_allowed(form)
                }
            }
            "/health" if head_or_get => Box::pin(health::health(&inner.asking())).await,
            "/metrics" if head_or_get => {
                let own = inner.config.tally.exposition();
                Box::pin(health::metrics(&inner.asking(), own)).await
            }
            _ => inner.pass(request, peer, &self.0).await,
        }
    }
}

impl Inner {
    fn asking(&self) -> Asking<'_> {
        Asking {
            pool: &self.pool,
            prefills: self.prefills.all(),
            decodes: self.decodes.all(),
            patience: self.config.probe_timeout,
        }
    }

    async fn generate(
        &self,
        request: Request<Incoming>,
        peer: Peer,
        own: &Arc<Self>,
    ) -> Response<Body> {
        let mut ticket = self.config.tally.request();
        let form = ErrorForm::of(request.uri().path());
        let (mut parts, mut incoming) = request.into_parts();
        let mut refused = |reject: &Reject, param: Option<&str>| {
            ticket.will_be(Outcome::Rejected);
            refusal::refuse(form, reject, param)
        };
        let prefill_timeout = match self.prefill_timeout(&mut parts.headers) {
            Ok(timeout) => timeout,
            Err(reject) => {
                tokio::spawn(discard(incoming, DISCARD_BYTES, DISCARD_TIME));
                return refused(&reject, None);
            }
        };
        let body = match gather(
            std::pin::Pin::new(&mut incoming),
            self.config.max_body,
            self.config.body_idle,
        )
        .await
        {
            Ok(body) => body,
            Err(CollectError::TooLarge { limit }) => {
                tokio::spawn(discard(incoming, DISCARD_BYTES, DISCARD_TIME));
                return refused(&Reject::BodyTooLarge { limit }, None);
            }
            Err(error) => return refused(&Reject::Malformed(error.to_string()), None),
        };
        let client_id = self.client_id(&parts.headers, || self.unique());
        let wanted = parts.headers.remove(PREFILLER);
        clean(&mut parts.headers);

        let within = self.within(&parts.headers);
        let mut whole = within.as_ref().map(|within| within.own("proxy.request"));
        if let Some(whole) = &mut whole {
            whole.say(KeyValue::text("url.path", parts.uri.path()));
            let id = client_id.to_str().unwrap_or_default();
            whole.say(KeyValue::text("pointsman.request.id", id));
        }

        let started = Instant::now();
        let order = Order {
            pool: &self.pool,
            dialect: self.config.kind,
            bootstrap_port: self.config.bootstrap_port,
            limits: Limits {
                prefill: prefill_timeout,
                first_byte: self.config.first_byte_timeout,
                lease: self.config.kv_lease,
                connect: self.config.client.connect_timeout,
            },
            parts: &parts,
            body: &body,
            draw: &|| self.unique(),
            within: within.as_ref(),
        };
        let attempts = Attempts {
            config: &self.config,
            prefills: &self.prefills,
            decodes: &self.decodes,
            wanted: wanted.as_ref().and_then(first_of),
            request_id: &client_id,
            prefill_timeout,
        };
        let carried = attempts.carry(&order).await;
        self.slow_down(started).await;
        match carried {
            Ok(mut carried) => {
                if let Some(whole) = &mut whole {
                    whole.answered(carried.answer.status());
                }
                let spans = [carried.span.take(), whole];
                let watch = self.watch(&carried, ticket, own, spans);
                self.finish_carried(carried, &client_id, peer, form, watch)
            }
            Err(exhausted) => {
                let answer = self.give_up(&exhausted, &client_id, form, &mut ticket);
                if let Some(whole) = &mut whole {
                    whole.answered(answer.status());
                }
                answer
            }
        }
    }

    /// The request's place in a trace, if it is traced.
    fn within(&self, headers: &HeaderMap) -> Option<Within> {
        let tracer = self.config.tracer.as_ref()?;
        let parent = headers.get(TRACEPARENT);
        let parent = parent.and_then(|parent| parent.to_str().ok());
        Within::begin(tracer, parent, self.clock, &mut self.rng.lock())
    }

    fn unique(&self) -> Unique {
        Unique::draw(&mut self.rng.lock())
    }

    /// The bound of the prefill stage: the request's own, taken out of its headers, up to the most that is allowed.
    fn prefill_timeout(&self, headers: &mut HeaderMap) -> Result<Duration, Reject> {
        let Some(asked) = headers.remove(PREFILL_TIMEOUT) else {
            return Ok(self.config.prefill_timeout);
        };
        let millis = asked.to_str().ok().and_then(|text| text.parse().ok());
        match millis {
            Some(millis @ 1..) => {
                Ok(Duration::from_millis(millis).min(self.config.max_prefill_timeout))
            }
            _ => Err(Reject::Malformed(format!(
                "header {PREFILL_TIMEOUT} is no number of milliseconds; send a whole number from 1"
            ))),
        }
    }

    /// Counts what is carried, and how its answer ends.
    fn watch(
        &self,
        carried: &Carried,
        mut ticket: Ticket,
        own: &Arc<Self>,
        spans: [Option<OpenSpan>; 2],
    ) -> DecodeWatch {
        let outcome = match (carried.by, carried.local) {
            (Leg::Prefill, _) => {
                self.config.tally.prefill_refused();
                Outcome::Rejected
            }
            (Leg::Decode, Some(_)) => Outcome::Local,
            (Leg::Decode, None) => Outcome::HandedOff,
        };
        ticket.will_be(Outcome::AbortedWithin);
        DecodeWatch {
            own: Arc::clone(own),
            ticket: Some((ticket, outcome)),
            spans: Some(Passing::new(spans)),
        }
    }

    /// The answer of a leg on its way to the client.
    fn finish_carried(
        &self,
        carried: Carried,
        client_id: &HeaderValue,
        peer: Peer,
        form: ErrorForm,
        watch: DecodeWatch,
    ) -> Response<Body> {
        let mut answer = self.finish(carried.answer, client_id, peer, form, watch);
        if let Some(took) = carried.prefill {
            timing::tell(answer.headers_mut(), took);
        }
        if let Some(mishap) = carried.local {
            let why = HeaderValue::from_static(mishap.word());
            answer.headers_mut().insert(PREFILL_FALLBACK, why);
        }
        answer
    }

    /// The answer to a client that no engine answered.
    fn give_up(
        &self,
        exhausted: &Exhausted,
        client_id: &HeaderValue,
        form: ErrorForm,
        ticket: &mut Ticket,
    ) -> Response<Body> {
        let failure = &exhausted.failure;
        let (outcome, param) = match failure {
            HandoffFailure::Malformed(error) => (Outcome::Rejected, error.field()),
            _ => (Outcome::Failed, None),
        };
        ticket.will_be(outcome);
        let mut response = refusal::refuse(form, &failure.reject(exhausted.tried), param);
        response
            .headers_mut()
            .insert(X_REQUEST_ID, client_id.clone());
        response
    }

    /// The id that the client knows its request by: its own if it is valid, else a new one.
    fn client_id(&self, headers: &HeaderMap, draw: impl FnOnce() -> Unique) -> HeaderValue {
        if headers.contains_key(X_REQUEST_ID) {
            return value(&request_id(headers, &mut self.rng.lock()));
        }
        draw().uuid()
    }

    /// Any other request: to a decode engine, streamed both ways.
    async fn pass(
        &self,
        request: Request<Incoming>,
        peer: Peer,
        own: &Arc<Self>,
    ) -> Response<Body> {
        let form = ErrorForm::of(request.uri().path());
        if request.method() == Method::CONNECT {
            return refusal::method_not_allowed(form);
        }
        let started = Instant::now();
        let client_id = self.client_id(request.headers(), || self.unique());
        let limit = self.config.max_body;
        let (mut parts, incoming) = request.into_parts();
        if http_body::Body::size_hint(&incoming).lower() > limit as u64 {
            tokio::spawn(discard(incoming, DISCARD_BYTES, DISCARD_TIME));
            return refusal::refuse(form, &Reject::BodyTooLarge { limit }, None);
        }
        let length = parts.headers.remove(CONTENT_LENGTH);
        clean(&mut parts.headers);
        if let Some(length) = length {
            parts.headers.insert(CONTENT_LENGTH, length);
        }
        let mut onward = Request::new(bounded(incoming, limit));
        *onward.method_mut() = parts.method;
        *onward.headers_mut() = parts.headers;
        // As it is known to the client: what it sent for one may be anything.
        onward.headers_mut().insert(X_REQUEST_ID, client_id.clone());
        if let Some(path) = parts.uri.path_and_query() {
            *onward.uri_mut() = path.clone().into();
        }
        let Some(decode) = self.decodes.round(None).next() else {
            return refusal::refuse(form, &Reject::NoEndpoints, None);
        };
        let place = decode.engine().place;
        let answer = send(&self.pool, place, onward, self.config.first_byte_timeout).await;
        self.slow_down(started).await;
        match answer {
            Ok(answer) => {
                let watch = DecodeWatch {
                    own: Arc::clone(own),
                    ticket: None,
                    spans: None,
                };
                self.finish(answer, &client_id, peer, form, watch)
            }
            Err(LegFailure::TooLarge) => {
                refusal::refuse(form, &Reject::BodyTooLarge { limit }, None)
            }
            Err(failure) => {
                let failure = HandoffFailure::Decode(failure);
                self.config
                    .warn(&format!("{failure} (proxy {})", self.config.name));
                let mut response = refusal::refuse(form, &failure.reject(1), None);
                response.headers_mut().insert(X_REQUEST_ID, client_id);
                response
            }
        }
    }

    /// An engine's answer on its way to the client.
    fn finish(
        &self,
        mut answer: Response<Body>,
        client_id: &HeaderValue,
        peer: Peer,
        form: ErrorForm,
        mut watch: DecodeWatch,
    ) -> Response<Body> {
        strip_hop_by_hop(answer.headers_mut());
        answer.headers_mut().insert(X_REQUEST_ID, client_id.clone());
        let (parts, body) = answer.into_parts();
        if http_body::Body::is_end_stream(&body) {
            // The length of an answer without a body (to HEAD) is in its headers.
            watch.ended();
            return Response::from_parts(parts, body);
        }
        let patience = Patience {
            idle: self.config.stall_timeout,
            deadline: None,
        };
        let passage =
            Passage::new(body, &parts.headers, peer, patience, watch).for_clients_of(form);
        Response::from_parts(parts, Body::boxed(passage))
    }

    /// Under the fault `slow(f)` an answer comes f times as late.
    async fn slow_down(&self, started: Instant) {
        if let Fault::Slow(factor) = self.faults.current() {
            let longer = started.elapsed().as_secs_f64() * (factor - 1.0);
            if let Ok(longer) = Duration::try_from_secs_f64(longer) {
                tokio::time::sleep(longer).await;
            }
        }
    }
}

/// Header by which a picker names the prefill engine of its choice.
const PREFILLER: &str = "x-prefiller-host-port";

/// The first of a list of values.
fn first_of(value: &HeaderValue) -> Option<&str> {
    let text = value.to_str().ok()?;
    text.split(',').next().map(str::trim)
}

/// Removes what must not reach an engine: what belongs to the client's connection or to the parts of a fleet, and framing that is set
/// anew.
fn clean(headers: &mut HeaderMap) {
    strip_hop_by_hop(headers);
    strip_steering(headers);
    headers.remove(CONTENT_LENGTH);
    headers.remove(EXPECT);
}

/// Counts how answers end, and tells of those that decode broke off.
struct DecodeWatch {
    own: Arc<Inner>,
    /// A generation request, and what it counts as when its answer has passed whole.
    ticket: Option<(Ticket, Outcome)>,
    /// The spans that go on as long as the answer.
    spans: Option<Passing>,
}

/// Spans of an answer that passes; where it does not come to its end, its client has left.
struct Passing([Option<OpenSpan>; 2]);

impl Passing {
    fn new(spans: [Option<OpenSpan>; 2]) -> Self {
        Self(spans)
    }

    fn broke(&mut self, why: &str) {
        let spans = self.0.iter_mut().flatten();
        spans.for_each(|span| span.failed(why));
        self.ended();
    }

    fn ended(&mut self) {
        self.0 = [None, None];
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        self.broke("client-gone");
    }
}

impl Watch for DecodeWatch {
    fn ended(&mut self) {
        if let Some(spans) = &mut self.spans {
            spans.ended();
        }
        if let Some((mut ticket, outcome)) = self.ticket.take() {
            ticket.will_be(outcome);
        }
    }

    fn broken(&mut self, cause: Cause, why: &str) {
        if let Some(spans) = &mut self.spans {
            spans.broke(cause.word());
        }
        if let Some((mut ticket, _)) = self.ticket.take() {
            ticket.will_be(Outcome::Broken);
        }
        self.own.config.warn(&format!(
            "decode broke off its answer: {why} (proxy {})",
            self.own.config.name
        ));
    }
}

/// Serves a proxy until the drain has started and its connections have ended.
///
/// # Errors
/// When an engine's URL is not `http://host:port`; nothing was served then.
pub async fn serve_proxy(
    bound: Bound,
    config: ProxyConfig,
    options: Arc<ServerOptions>,
    faults: FaultSwitch,
    drain: Drain,
) -> Result<(), TargetError> {
    let proxy = Proxy::new(config, faults.clone())?;
    serve(bound, options, faults, drain, move |request, peer| {
        let proxy = proxy.clone();
        async move { proxy.handle(request, peer).await }
    })
    .await;
    Ok(())
}
