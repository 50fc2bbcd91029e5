//! Door 2: the embedded HTTP gateway with the picker inside.
//!
//! A request is routed, read whole within bounds, looked into without being parsed into a tree, decided
//! and forwarded frame by frame; the answer streams back as it comes. If the picked endpoint cannot be
//! reached, the next best is tried, before the first byte. When the client leaves, everything it
//! started is dropped and so cancelled at the endpoint.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header};
use http_body::Body as _;
use hyper::body::Incoming;
use pointsman_core::exchange::event::{Cause, Effect};
use pointsman_core::model::endpoint::Endpoint;
use pointsman_core::model::reject::Reject;
use pointsman_core::model::request::InferenceRequest;
use pointsman_http::collect::gather;
use pointsman_http::{Body, CollectError, Frames, Peer, SendErrorKind, discard};
use pointsman_wire::request::openai::{ApiKind, classify, read};
use pointsman_wire::status::{DROPPED_REASON, openai_error};
use tokio::time::{Instant, timeout};

use crate::door::answer::Answer;
use crate::door::headers::{X_REQUEST_ID, request_id, strip_hop_by_hop, strip_steering, value};
use crate::door::models;
use crate::door::passage::{Passage, Patience};
use crate::door::route::{Target, rows_of_service};
use crate::exchange::Exchange;
use crate::router::Lane;

/// Bounds of the gateway.
#[derive(Clone, Copy, Debug)]
pub struct GatewayLimits {
    /// Largest request body in bytes.
    pub max_body: usize,
    /// Longest pause while a request body is read.
    pub body_idle: Duration,
    /// Longest wait for the head of an answer, per attempt.
    pub first_byte: Duration,
    /// Longest pause within an answer.
    pub answer_idle: Duration,
}

impl Default for GatewayLimits {
    fn default() -> Self {
        Self {
            max_body: 32 << 20,
            body_idle: Duration::from_secs(30),
            first_byte: Duration::from_secs(300),
            answer_idle: Duration::from_secs(300),
        }
    }
}

/// How much of an unread body is taken in after a refusal, so that a client that writes first can read the answer.
const DISCARD_BYTES: usize = 64 << 20;
const DISCARD_TIME: Duration = Duration::from_secs(5);

/// While this process has no file descriptor left, an attempt is repeated this often.
const EXHAUSTED_RETRIES: u32 = 100;
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// What a request is, as far as the gateway is concerned.
enum Kind {
    /// A generation call that the picker understands.
    Inference(ApiKind),
    /// The list of models.
    Models,
    /// Anything else.
    Other,
}

/// Serves one request. Never fails: whatever goes wrong becomes an answer.
pub async fn handle(
    lane: Arc<Lane>,
    limits: GatewayLimits,
    request: Request<Incoming>,
    peer: Peer,
) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    let (id, lot) = {
        let mut scratch = lane.scratch.lock();
        (
            request_id(&parts.headers, &mut scratch.rng),
            scratch.rng.unit(),
        )
    };
    let mut exchange = Exchange::begin(&lane, &id, parts.uri.path());
    let mut body = Some(body);
    let mut response = match serve(&lane, limits, &mut parts, &mut body, &mut exchange, lot).await {
        Ok(Served::Whole(response)) => {
            exchange.end(None, None);
            response
        }
        Ok(Served::Streaming {
            mut response,
            deadline,
        }) => {
            strip_hop_by_hop(response.headers_mut());
            exchange.logged().await;
            let (head, upstream) = response.into_parts();
            if upstream.is_end_stream() {
                exchange.end(None, None);
                Response::from_parts(head, upstream)
            } else {
                let patience = Patience {
                    idle: limits.answer_idle,
                    deadline,
                };
                let watch = Answer::new(&head.headers, exchange);
                let passage = Passage::new(upstream, &head.headers, peer, patience, watch);
                Response::from_parts(head, Body::boxed(passage))
            }
        }
        Err(reject) => refusal(&mut exchange, &reject),
    };
    if let Some(rest) = body.filter(|rest| !rest.is_end_stream()) {
        tokio::spawn(discard(rest, DISCARD_BYTES, DISCARD_TIME));
    }
    response.headers_mut().insert(X_REQUEST_ID, value(&id));
    response
}

enum Served {
    /// An answer of the gateway's own, held whole.
    Whole(Response<Body>),
    /// An endpoint's answer.
    Streaming {
        response: Response<Body>,
        deadline: Option<Instant>,
    },
}

async fn serve(
    lane: &Arc<Lane>,
    limits: GatewayLimits,
    parts: &mut Parts,
    body: &mut Option<Incoming>,
    exchange: &mut Exchange,
    lot: f64,
) -> Result<Served, Reject> {
    let path = parts.uri.path();
    let Some(matched) = lane
        .router
        .routes
        .find(&parts.method, path, &parts.headers, lot)
    else {
        return Err(Reject::NoRoute);
    };
    let target = matched.target.clone();
    let deadline = matched.timeout.map(|t| Instant::now() + t);
    let kind = kind_of(path, &parts.method)?;
    if matches!((&kind, &target), (Kind::Models, Target::Pool)) {
        if exchange.snapshot().is_empty() {
            return Err(Reject::NoEndpoints);
        }
        let tried = exchange.snapshot().len();
        let merged = models::merged(exchange, &lane.pool)
            .await
            .ok_or(Reject::UpstreamUnreachable { tried })?;
        exchange.head(200);
        return Ok(Served::Whole(merged));
    }
    let frames = whole_body(&parts.headers, body, limits).await?;
    prepare_headers(parts, exchange.request_id());
    let sending = Sending {
        lane,
        limits,
        parts,
        frames: &frames,
        deadline,
    };
    match (kind, target) {
        (Kind::Inference(_), _) if frames.is_empty() => Err(Reject::Malformed(
            "the request has no body; send a JSON object".to_owned(),
        )),
        (Kind::Inference(api), Target::Pool) => {
            let facts =
                read(api, frames.as_slice()).map_err(|e| Reject::Malformed(e.to_string()))?;
            let id = exchange.request_id().to_owned();
            let request = InferenceRequest {
                id: &id,
                model: &facts.model,
                prompt: None,
                cache_salt: facts.cache_salt.as_deref().unwrap_or(""),
                prompt_bytes: facts.prompt_bytes,
                max_output_tokens: facts.max_tokens,
                stream: facts.stream,
            };
            sending.picked(exchange, &request).await
        }
        (_, Target::Pool) => {
            let rows = (0..exchange.snapshot().len()).collect();
            sending.least_busy(exchange, rows).await
        }
        (_, Target::Service(service)) => {
            let rows = rows_of_service(exchange.snapshot(), &service).collect();
            sending.least_busy(exchange, rows).await
        }
    }
}

fn kind_of(path: &str, method: &Method) -> Result<Kind, Reject> {
    if let Some(api) = classify(path) {
        return if method == Method::POST {
            Ok(Kind::Inference(api))
        } else {
            Err(Reject::MethodNotAllowed)
        };
    }
    Ok(if path == "/v1/models" && method == Method::GET {
        Kind::Models
    } else {
        Kind::Other
    })
}

async fn whole_body(
    headers: &HeaderMap,
    body: &mut Option<Incoming>,
    limits: GatewayLimits,
) -> Result<Frames, Reject> {
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > limits.max_body) {
        return Err(Reject::BodyTooLarge {
            limit: limits.max_body,
        });
    }
    let Some(incoming) = body.as_mut() else {
        return Ok(Frames::default());
    };
    let read = gather(
        std::pin::Pin::new(incoming),
        limits.max_body,
        limits.body_idle,
    )
    .await;
    match read {
        Ok(frames) => {
            *body = None;
            Ok(frames)
        }
        Err(CollectError::TooLarge { limit }) => Err(Reject::BodyTooLarge { limit }),
        Err(CollectError::Idle) => Err(Reject::Malformed(
            "the request body did not arrive in time".to_owned(),
        )),
        Err(CollectError::Read(why)) => Err(Reject::Malformed(format!(
            "the request body broke off: {why}"
        ))),
    }
}

/// Makes the client's headers fit to be sent on.
fn prepare_headers(parts: &mut Parts, request_id: &str) {
    strip_hop_by_hop(&mut parts.headers);
    strip_steering(&mut parts.headers);
    // The body is sent from memory with its exact length, and the expectation has been met here.
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.remove(header::EXPECT);
    parts.headers.insert(X_REQUEST_ID, value(request_id));
}

/// Everything that one attempt after another needs.
struct Sending<'a> {
    lane: &'a Arc<Lane>,
    limits: GatewayLimits,
    parts: &'a Parts,
    frames: &'a Frames,
    deadline: Option<Instant>,
}

impl Sending<'_> {
    /// Sends to the picker's choice, and to the next best while one cannot be reached.
    async fn picked(
        &self,
        exchange: &mut Exchange,
        request: &InferenceRequest<'_>,
    ) -> Result<Served, Reject> {
        let mut effect = exchange.ready(request);
        loop {
            let row = match effect {
                Effect::Forward { row, .. } => row,
                Effect::Reply(reject) => return Err(reject),
                Effect::Note(_) | Effect::Nothing => {
                    return Err(Reject::Internal("no way on".to_owned()));
                }
            };
            match self.attempt(exchange, row).await {
                Ok(served) => return Ok(served),
                Err(cause) if self.is_over() => {
                    exchange.failed(cause, None);
                    return Err(Reject::UpstreamTimeout);
                }
                Err(cause) => effect = exchange.failed(cause, Some(request)),
            }
        }
    }

    /// Sends to the row with the fewest requests in flight, and to the next while one cannot be reached.
    async fn least_busy(
        &self,
        exchange: &mut Exchange,
        mut rows: Vec<usize>,
    ) -> Result<Served, Reject> {
        let slots = Arc::clone(self.lane.router.membership.slots());
        let mut last = Reject::NoEndpoints;
        while let Some(at) = {
            let snapshot = exchange.snapshot();
            (0..rows.len()).min_by_key(|&at| slots.in_flight(snapshot.endpoints[rows[at]].slot))
        } {
            let row = rows.swap_remove(at);
            exchange.bypass(row);
            match self.attempt(exchange, row).await {
                Ok(served) => return Ok(served),
                Err(cause) => {
                    if let Effect::Reply(reject) = exchange.failed(cause, None) {
                        last = reject;
                    }
                    if self.is_over() {
                        break;
                    }
                }
            }
        }
        Err(last)
    }

    fn is_over(&self) -> bool {
        self.deadline.is_some_and(|d| d <= Instant::now())
    }

    async fn attempt(&self, exchange: &mut Exchange, row: usize) -> Result<Served, Cause> {
        let snapshot = Arc::clone(exchange.snapshot());
        let endpoint = &snapshot.endpoints[row];
        let left = self.deadline.map_or(self.limits.first_byte, |d| {
            d.saturating_duration_since(Instant::now())
                .min(self.limits.first_byte)
        });
        let sent = timeout(left, self.send(endpoint))
            .await
            .map_err(|_| Cause::FirstByteTimeout)?;
        let response = sent?;
        exchange.head(response.status().as_u16());
        Ok(Served::Streaming {
            response,
            deadline: self.deadline,
        })
    }

    async fn send(&self, endpoint: &Endpoint) -> Result<Response<Body>, Cause> {
        let mut tries = 0;
        loop {
            match self
                .lane
                .pool
                .send(endpoint.address, self.request(endpoint))
                .await
            {
                Ok(response) => return Ok(response),
                Err(error) => match error.kind {
                    // Our own lack of file descriptors says nothing about the endpoint.
                    SendErrorKind::LocalExhausted if tries < EXHAUSTED_RETRIES => {
                        tries += 1;
                        tokio::time::sleep(EXHAUSTED_PAUSE).await;
                    }
                    SendErrorKind::ConnectTimeout => return Err(Cause::ConnectTimeout),
                    SendErrorKind::Connect | SendErrorKind::LocalExhausted => {
                        return Err(Cause::Connect);
                    }
                    _ => return Err(Cause::Reset),
                },
            }
        }
    }

    fn request(&self, endpoint: &Endpoint) -> Request<Body> {
        let mut request = Request::new(Body::frames(self.frames.clone()));
        *request.method_mut() = self.parts.method.clone();
        *request.version_mut() = Version::HTTP_11;
        *request.uri_mut() = self.origin_form();
        *request.headers_mut() = self.parts.headers.clone();
        request
            .headers_mut()
            .insert(header::HOST, value(&endpoint.authority));
        request
    }

    /// Path and query only: what an origin server is asked for.
    fn origin_form(&self) -> http::Uri {
        if self.parts.uri.authority().is_none() {
            return self.parts.uri.clone();
        }
        self.parts
            .uri
            .path_and_query()
            .map_or_else(http::Uri::default, |pq| http::Uri::from(pq.clone()))
    }
}

fn refusal(exchange: &mut Exchange, reject: &Reject) -> Response<Body> {
    let refused = openai_error(reject, None);
    exchange.refuse(reject.clone());
    exchange.rejected(reject, refused.status);
    let mut response = Response::new(Body::bytes(refused.body));
    *response.status_mut() =
        StatusCode::from_u16(refused.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/json"),
    );
    if let Some(reason) = refused.dropped_reason {
        headers.insert(DROPPED_REASON, header::HeaderValue::from_static(reason));
    }
    if let Some(seconds) = refused.retry_after_s {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    if *reject == Reject::MethodNotAllowed {
        headers.insert(header::ALLOW, header::HeaderValue::from_static("POST"));
    }
    response
}
