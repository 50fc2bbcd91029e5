//! Door 3: the P/D proxy in front of one prefill and one decode engine.
//!
//! A generation request: body read -> prefill leg (a copy that makes one token; its answer is thrown away) -> decode leg (the original
//! body; its answer is passed on as it arrives). Both legs carry the same id. What can go otherwise:
//!
//! | what happens | then |
//! |---|---|
//! | prefill answers 4xx other than 408 and 429 | that answer is the client's; no decode leg |
//! | prefill refuses, breaks, is late, answers anything else | counted and warned; decode computes the prompt itself |
//! | decode cannot be reached, or is late | 502, or 504 |
//! | decode breaks off | an event stream ends in an error event and no `[DONE]`; anything else is reset |
//! | the client leaves | the leg that runs is cancelled: its connection closes with this future |
//!
//! `GET /health` looks at both engines, `GET /metrics` is the decode engine's (else the prefill engine's), every other path goes to decode.

pub mod config;
pub mod health;
pub mod legs;
pub mod refusal;
pub mod tally;
pub mod target;
pub mod unique;

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, EXPECT};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use hyper::body::Incoming;
use parking_lot::Mutex;
use pointsman_core::exchange::event::Cause;
use pointsman_core::model::reject::Reject;
use pointsman_core::rng::Rng;
use pointsman_http::collect::gather;
use pointsman_http::{
    Body, Bound, CollectError, Drain, Fault, FaultSwitch, Frames, Peer, Pool, ServerOptions,
    discard, serve,
};
use pointsman_wire::handoff::{internal_id, prefill_copy};
use tokio::time::Instant;

use crate::door::headers::{X_REQUEST_ID, request_id, strip_hop_by_hop, value};
use crate::door::passage::{Passage, Patience, Watch};
use crate::door::proxy::config::ProxyConfig;
use crate::door::proxy::legs::{Engine, LegFailure};
use crate::door::proxy::tally::Tally;
use crate::door::proxy::target::{Target, TargetError};
use crate::door::proxy::unique::Unique;

/// Read and thrown away after a 413, so that a client that writes first can read the answer.
const DISCARD_BYTES: usize = 64 << 20;
const DISCARD_TIME: Duration = Duration::from_secs(5);

/// A P/D proxy; clones share its connections, so make one per runtime.
#[derive(Clone)]
pub struct Proxy(Arc<Inner>);

struct Inner {
    config: ProxyConfig,
    prefill: Engine,
    decode: Engine,
    faults: FaultSwitch,
    rng: Mutex<Rng>,
    tally: Tally,
}

impl Proxy {
    /// A proxy that has not connected anywhere yet.
    ///
    /// # Errors
    /// When an engine's URL is not `http://host:port`.
    pub fn new(config: ProxyConfig, faults: FaultSwitch) -> Result<Self, TargetError> {
        let pool = Pool::new(config.client.clone());
        let prefill = Engine::new(Target::parse(&config.prefill_url)?, pool.clone());
        let decode = Engine::new(Target::parse(&config.decode_url)?, pool);
        let rng = Mutex::new(Rng::from_seed(config.seed));
        Ok(Self(Arc::new(Inner {
            config,
            prefill,
            decode,
            faults,
            rng,
            tally: Tally::default(),
        })))
    }

    /// What this proxy has counted.
    pub fn tally(&self) -> &Tally {
        &self.0.tally
    }

    /// Answers one request. Dropping the future cancels the leg that runs.
    pub async fn handle(&self, request: Request<Incoming>, peer: Peer) -> Response<Body> {
        let inner = &*self.0;
        let head_or_get = matches!(*request.method(), Method::GET | Method::HEAD);
        match request.uri().path() {
            "/v1/completions" | "/v1/chat/completions" if request.method() == Method::POST => {
                inner.generate(request, peer, &self.0).await
            }
            "/v1/completions" | "/v1/chat/completions" => refusal::method_not_allowed(),
            "/health" if head_or_get => {
                health::health(&inner.config, &inner.prefill, &inner.decode).await
            }
            "/metrics" if head_or_get => {
                health::metrics(&inner.config, &inner.prefill, &inner.decode).await
            }
            _ => inner.pass(request, peer, &self.0).await,
        }
    }
}

impl Inner {
    async fn generate(
        &self,
        request: Request<Incoming>,
        peer: Peer,
        own: &Arc<Self>,
    ) -> Response<Body> {
        let (mut parts, mut incoming) = request.into_parts();
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
                return refusal::refuse(&Reject::BodyTooLarge { limit }, None);
            }
            Err(error) => return refusal::refuse(&Reject::Malformed(error.to_string()), None),
        };
        let copy = match prefill_copy(body.as_slice()) {
            Ok(copy) => copy,
            Err(error) => {
                return refusal::refuse(&Reject::Malformed(error.to_string()), error.field());
            }
        };
        let unique = Unique::draw(&mut self.rng.lock());
        let id = internal_id(
            &self.config.prefill_name,
            &self.config.decode_name,
            unique.hex(),
        );
        let client_id = self.client_id(&parts.headers, &unique);
        clean(&mut parts.headers);
        parts.headers.insert(X_REQUEST_ID, value(&id));
        let path = parts.uri.path_and_query().cloned();
        let leg = |method, headers, body| {
            let mut request = Request::new(body);
            *request.method_mut() = method;
            *request.headers_mut() = headers;
            if let Some(path) = &path {
                *request.uri_mut() = path.clone().into();
            }
            request
        };

        self.tally.request();
        let started = Instant::now();
        let prefill = leg(
            Method::POST,
            parts.headers.clone(),
            Body::frames(Frames::from_bytes(copy.into())),
        );
        match self
            .prefill
            .prefill(prefill, self.config.prefill_timeout)
            .await
        {
            Ok(None) => {}
            Ok(Some(refused)) => {
                self.tally.prefill_refused();
                return self.finish(refused, &client_id, peer, own);
            }
            Err(failure) => {
                self.tally.prefill_failed();
                self.config.warn(&format!(
                    "prefill failed, decode computes the prompt itself: {failure} (proxy {}, request {id})",
                    self.config.name
                ));
            }
        }

        let decode = leg(Method::POST, parts.headers, Body::frames(body));
        let answer = self
            .decode
            .send(decode, self.config.first_byte_timeout)
            .await;
        self.slow_down(started).await;
        match answer {
            Ok(answer) => self.finish(answer, &client_id, peer, own),
            Err(failure) => self.decode_failed(&failure, &id, &client_id),
        }
    }

    /// The id that the client knows its request by: its own if it is valid, else `unique`.
    fn client_id(&self, headers: &HeaderMap, unique: &Unique) -> HeaderValue {
        if headers.contains_key(X_REQUEST_ID) {
            return value(&request_id(headers, &mut self.rng.lock()));
        }
        unique.uuid()
    }

    /// Any other request: to the decode engine, streamed both ways.
    async fn pass(
        &self,
        request: Request<Incoming>,
        peer: Peer,
        own: &Arc<Self>,
    ) -> Response<Body> {
        if request.method() == Method::CONNECT {
            return refusal::method_not_allowed();
        }
        let started = Instant::now();
        let unique = Unique::draw(&mut self.rng.lock());
        let client_id = self.client_id(request.headers(), &unique);
        let limit = self.config.max_body;
        let (mut parts, incoming) = request.into_parts();
        if http_body::Body::size_hint(&incoming).lower() > limit as u64 {
            tokio::spawn(discard(incoming, DISCARD_BYTES, DISCARD_TIME));
            return refusal::refuse(&Reject::BodyTooLarge { limit }, None);
        }
        let length = parts.headers.remove(CONTENT_LENGTH);
        clean(&mut parts.headers);
        if let Some(length) = length {
            parts.headers.insert(CONTENT_LENGTH, length);
        }
        let mut onward = Request::new(legs::bounded(incoming, limit));
        *onward.method_mut() = parts.method;
        *onward.headers_mut() = parts.headers;
        if let Some(path) = parts.uri.path_and_query() {
            *onward.uri_mut() = path.clone().into();
        }
        let answer = self
            .decode
            .send(onward, self.config.first_byte_timeout)
            .await;
        self.slow_down(started).await;
        match answer {
            Ok(answer) => self.finish(answer, &client_id, peer, own),
            Err(LegFailure::TooLarge) => refusal::refuse(&Reject::BodyTooLarge { limit }, None),
            Err(failure) => {
                let id = client_id.to_str().unwrap_or_default().to_owned();
                self.decode_failed(&failure, &id, &client_id)
            }
        }
    }

    /// An engine's answer on its way to the client.
    fn finish(
        &self,
        mut answer: Response<Body>,
        client_id: &HeaderValue,
        peer: Peer,
        own: &Arc<Self>,
    ) -> Response<Body> {
        strip_hop_by_hop(answer.headers_mut());
        answer.headers_mut().insert(X_REQUEST_ID, client_id.clone());
        let (parts, body) = answer.into_parts();
        if http_body::Body::is_end_stream(&body) {
            // The length of an answer without a body (to HEAD) is in its headers.
            return Response::from_parts(parts, body);
        }
        let patience = Patience {
            idle: self.config.stall_timeout,
            deadline: None,
        };
        let passage = Passage::new(
            body,
            &parts.headers,
            peer,
            patience,
            DecodeWatch(Arc::clone(own)),
        );
        Response::from_parts(parts, Body::boxed(passage))
    }

    fn decode_failed(
        &self,
        failure: &LegFailure,
        id: &str,
        client_id: &HeaderValue,
    ) -> Response<Body> {
        self.tally.decode_failed();
        self.config.warn(&format!(
            "decode failed: {failure} (proxy {}, request {id})",
            self.config.name
        ));
        let reject = if failure.is_timeout() {
            Reject::UpstreamTimeout
        } else {
            Reject::UpstreamUnreachable { tried: 1 }
        };
        let mut response = refusal::refuse(&reject, None);
        response
            .headers_mut()
            .insert(X_REQUEST_ID, client_id.clone());
        response
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

/// Removes what must not reach an engine: what belongs to the client's connection, and framing that is set anew.
fn clean(headers: &mut HeaderMap) {
    strip_hop_by_hop(headers);
    headers.remove(CONTENT_LENGTH);
    headers.remove(EXPECT);
}

/// Counts and tells answers that decode broke off.
struct DecodeWatch(Arc<Inner>);

impl Watch for DecodeWatch {
    fn broken(&mut self, _: Cause, why: &str) {
        self.0.tally.broken();
        self.0.config.warn(&format!(
            "decode broke off its answer: {why} (proxy {})",
            self.0.config.name
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
