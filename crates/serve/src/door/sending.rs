//! Sending a request to one endpoint after another, until one answers.
//!
//! The picker's choice comes first; while an endpoint cannot be reached (or answers that it is overloaded, where the
//! settings say so) the next best is asked, before the first byte went to the client. Where the plan picks an
//! endpoint for the prefill too, the decode endpoint is told of it in a header, or both legs are carried out here.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, Version, header};
use pointsman_core::config::own::Handoff;
use pointsman_core::contract::table::Picks;
use pointsman_core::exchange::event::{Cause, Effect};
use pointsman_core::model::endpoint::Endpoint;
use pointsman_core::model::pool::Snapshot;
use pointsman_core::model::reject::Reject;
use pointsman_core::model::request::InferenceRequest;
use pointsman_core::schedule::plan::{Part, Plan};
use pointsman_http::{Body, Frames};
use pointsman_wire::handoff::dialect::Dialect;
use tokio::time::{Instant, timeout, timeout_at};

use crate::door::headers::value;
use crate::door::limits::GatewayLimits;
use crate::door::renamed::renamed;
use crate::exchange::Exchange;
use crate::handoff::leg::{Engine, LegFailure, Place, persistently};
use crate::handoff::through::{Prefilling, through};
use crate::handoff::timing;
use crate::handoff::unique::Unique;
use crate::handoff::{HandoffFailure, Limits, Order};
use crate::router::Lane;
use crate::tracing::open::{OpenSpan, Within};

/// Tells the decode endpoint's sidecar who prefills.
const PREFILLER: HeaderName = HeaderName::from_static("x-prefiller-host-port");

/// Tells it who encodes images and the like.
const ENCODERS: HeaderName = HeaderName::from_static("x-encoder-hosts-ports");

/// Tells the endpoint's first rank which rank is meant.
const DATA_PARALLEL: HeaderName = HeaderName::from_static("x-data-parallel-host-port");

/// The label with the port on which an engine's KV transfer listens, and the port of those without it.
const KV_PORT_LABEL: &str = "llm-d.ai/kv-port";
const KV_PORT: &str = "14579";

/// Longest prefill leg, and the connect that is part of the way from prefill to decode.
const PREFILL: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(2);

/// What came of a request.
pub enum Served {
    /// An answer of the gateway's own, held whole.
    Whole(Response<Body>),
    /// An endpoint's answer.
    Streaming {
        /// Its head, and its body as it comes.
        response: Response<Body>,
        /// When it must have ended.
        deadline: Option<Instant>,
    },
}

impl Served {
    /// The same with the client's name for the model in the place of the engine's.
    pub fn renamed(self, engines: &str, clients: &str) -> Self {
        match self {
            Self::Streaming { response, deadline } => Self::Streaming {
                response: renamed(response, engines, clients),
                deadline,
            },
            whole @ Self::Whole(_) => whole,
        }
    }
}

/// Everything that one attempt after another needs.
pub struct Sending<'a> {
    /// The worker.
    pub lane: &'a Arc<Lane>,
    /// The plan that the request goes by.
    pub plan: &'a Plan,
    /// Bounds.
    pub limits: GatewayLimits,
    /// Method, path and headers to send.
    pub parts: &'a Parts,
    /// The body.
    pub frames: &'a Frames,
    /// When the route's time is over.
    pub deadline: Option<Instant>,
}

/// Who an attempt goes to.
struct Rows {
    row: usize,
    prefill: Option<usize>,
    encode: Picks,
}

impl Rows {
    /// One endpoint alone.
    fn only(row: usize) -> Self {
        Self {
            row,
            prefill: None,
            encode: Picks::new(),
        }
    }
}

/// What an attempt brought.
struct Got {
    response: Response<Body>,
    /// The span of the leg that answered, where the gateway carried it out and the request is traced.
    span: Option<OpenSpan>,
}

/// Why an attempt has no answer.
enum Failed {
    /// The endpoint did not give one.
    Endpoint(Cause),
    /// No endpoint can.
    Request(Reject),
}

impl Sending<'_> {
    /// Sends to the picker's choice, and to the next best while one cannot be reached.
    ///
    /// # Errors
    /// Why nobody answered.
    pub async fn picked(
        &self,
        exchange: &mut Exchange,
        request: &InferenceRequest<'_>,
    ) -> Result<Served, Reject> {
        let mut effect = match exchange.arrive(request, self.frames.len()) {
            Effect::Nothing => exchange.ready(request),
            other => other,
        };
        if effect == Effect::AskAdmission {
            effect = self.let_in(exchange, request).await;
        }
        // Whoever had to wait goes by the plan that it was let in under.
        let plan = Arc::clone(exchange.plan());
        let sending = Sending {
            plan: &plan,
            ..*self
        };
        sending.decided(exchange, request, effect).await
    }

    /// Sends to where the first decision says, and to the next best while that one cannot be reached.
    async fn decided(
        &self,
        exchange: &mut Exchange,
        request: &InferenceRequest<'_>,
        mut effect: Effect,
    ) -> Result<Served, Reject> {
        let mut overloaded = None;
        for tried in 1.. {
            if effect == Effect::AskAdmission {
                effect = self.let_in(exchange, request).await;
            }
            let rows = match effect {
                Effect::Forward {
                    row,
                    prefill,
                    encode,
                    ..
                } => Rows {
                    row,
                    prefill,
                    encode,
                },
                Effect::Reply(reject) => return self.given_up(exchange, reject, overloaded),
                Effect::Note(_) | Effect::Nothing | Effect::AskAdmission => {
                    return Err(Reject::Internal("no way on".to_owned()));
                }
            };
            let last = self.is_last(tried);
            let cause = match self.unless_evicted(exchange, &rows).await {
                Ok(got) if last || !self.tries_elsewhere(got.response.status()) => {
                    return Ok(self.answered(exchange, got, &rows));
                }
                Ok(got) => {
                    overloaded = Some((got, rows));
                    Cause::Overloaded
                }
                Err(Failed::Endpoint(cause)) => cause,
                Err(Failed::Request(reject)) => return Err(reject),
            };
            if self.is_over() || last {
                let over = self.is_over() || cause.is_timeout();
                exchange.failed(cause, None);
                let reject = if over {
                    Reject::UpstreamTimeout
                } else {
                    Reject::UpstreamUnreachable {
                        tried: tried as usize,
                    }
                };
                return self.given_up(exchange, reject, overloaded);
            }
            effect = exchange.failed(cause, Some(request));
        }
        Err(Reject::Internal("no way on".to_owned()))
    }

    /// Nobody else is asked. An endpoint that said no is a better answer than that none is left, unless the time for answers is over.
    fn given_up(
        &self,
        exchange: &mut Exchange,
        reject: Reject,
        overloaded: Option<(Got, Rows)>,
    ) -> Result<Served, Reject> {
        match overloaded {
            Some((got, rows)) if !self.is_over() => {
                // Its answer is still to come whole, so it counts in flight again, and as the one that served.
                exchange.bypass(rows.row);
                Ok(self.answered(exchange, got, &rows))
            }
            _ => Err(reject),
        }
    }

    /// Waits until the gatekeeper lets the request in, or the route's time is over.
    async fn let_in(&self, exchange: &mut Exchange, request: &InferenceRequest<'_>) -> Effect {
        // Boxed, so that it takes no room in the future of every other request.
        let waiting = Box::pin(exchange.wait(request));
        match self.deadline {
            None => waiting.await,
            Some(deadline) => match timeout_at(deadline, waiting).await {
                Ok(effect) => effect,
                Err(_) => exchange.refuse(Reject::UpstreamTimeout),
            },
        }
    }

    /// Sends to the row with the fewest requests in flight, and to the next while one cannot be reached.
    ///
    /// # Errors
    /// Why nobody answered.
    pub async fn least_busy(
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
            let rows = Rows::only(row);
            let snapshot = Arc::clone(exchange.snapshot());
            let within = exchange.within();
            match self.attempt(&snapshot, &rows, within.as_ref()).await {
                Ok(got) => {
                    exchange.head(got.response.status().as_u16());
                    exchange.goes_on(got.span);
                    return Ok(self.streaming(got.response));
                }
                Err(Failed::Request(reject)) => return Err(reject),
                Err(Failed::Endpoint(cause)) => {
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

    fn is_last(&self, tried: u32) -> bool {
        let most = self.plan.own.retries.max;
        most > 0 && tried >= most
    }

    /// Whether an answer of this status is asked of another endpoint instead of being passed on.
    fn tries_elsewhere(&self, status: StatusCode) -> bool {
        self.plan.own.retries.on_status
            && (status.is_server_error()
                || matches!(
                    status,
                    StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
                ))
    }

    fn answered(&self, exchange: &mut Exchange, got: Got, rows: &Rows) -> Served {
        let mut response = got.response;
        exchange.head(response.status().as_u16());
        exchange.prefilled(timing::told(response.headers()));
        exchange.goes_on(got.span);
        if !self.plan.announcers.is_empty() {
            self.announce(response.headers_mut(), exchange.snapshot(), rows);
        }
        self.streaming(response)
    }

    /// Adds what the plan's plugins put on answers.
    fn announce(&self, headers: &mut HeaderMap, snapshot: &Snapshot, rows: &Rows) {
        for (announcer, part) in &self.plan.announcers {
            let row = match part {
                Part::Answer => Some(rows.row),
                Part::Prefill => rows.prefill,
                Part::Encode => rows.encode.first().map(|&row| row as usize),
            };
            let name = HeaderName::from_bytes(announcer.header().as_bytes());
            if let (Some(row), Ok(name)) = (row, name) {
                let mut text = String::new();
                announcer.write(&snapshot.endpoints[row], &mut text);
                headers.insert(name, value(&text));
            }
        }
    }

    fn streaming(&self, response: Response<Body>) -> Served {
        Served::Streaming {
            response,
            deadline: self.deadline,
        }
    }

    /// One attempt, which ends when the request has to give way to another one.
    async fn unless_evicted(&self, exchange: &mut Exchange, rows: &Rows) -> Result<Got, Failed> {
        let snapshot = Arc::clone(exchange.snapshot());
        let within = exchange.within();
        let attempt = self.attempt(&snapshot, rows, within.as_ref());
        tokio::select! {
            biased;
            answer = attempt => answer,
            () = poll_fn(|cx| exchange.poll_evicted(cx)) => Err(Failed::Request(Reject::Evicted)),
        }
    }

    async fn attempt(
        &self,
        snapshot: &Arc<Snapshot>,
        rows: &Rows,
        within: Option<&Within>,
    ) -> Result<Got, Failed> {
        let left = self.deadline.map_or(self.limits.first_byte, |d| {
            d.saturating_duration_since(Instant::now())
                .min(self.limits.first_byte)
        });
        let late = |_| Err(Failed::Endpoint(Cause::FirstByteTimeout));
        if let Some(dialect) = self.carries() {
            // Boxed, because it is large: the future of a request is copied once, with room for every way it can go.
            let carried = Box::pin(self.carry(dialect, snapshot, rows, (left, within)));
            return match self.deadline {
                None => carried.await,
                Some(deadline) => timeout_at(deadline, carried).await.unwrap_or_else(late),
            };
        }
        timeout(left, self.send(snapshot, rows))
            .await
            .unwrap_or_else(late)
    }

    /// In which dialect the gateway carries prefill and decode of this request out itself, if it does.
    fn carries(&self) -> Option<Dialect> {
        let dialect = match self.plan.own.gateway.handoff {
            Handoff::Header => return None,
            Handoff::Nixlv2 => Dialect::NixlV2,
            Handoff::SharedStorage => Dialect::SharedStorage,
            Handoff::P2p => Dialect::P2p,
        };
        let Parts { method, uri, .. } = self.parts;
        (method == Method::POST && dialect.takes(uri.path())).then_some(dialect)
    }

    /// Both legs, or decode's alone where no prefill was picked or the one that was fails. Prefill gets half of the time, so that decode
    /// has some left without it.
    async fn carry(
        &self,
        dialect: Dialect,
        snapshot: &Snapshot,
        rows: &Rows,
        (first_byte, traced): (Duration, Option<&Within>),
    ) -> Result<Got, Failed> {
        let mut parts = self.parts.clone();
        // Nobody behind this gateway is to carry anything over.
        let told = Rows {
            prefill: None,
            encode: rows.encode.clone(),
            ..*rows
        };
        self.steer(&mut parts.headers, snapshot, &told);
        let within = PREFILL.min(first_byte / 2);
        let order = Order {
            pool: &self.lane.pool,
            dialect,
            bootstrap_port: 0,
            limits: Limits {
                prefill: within,
                first_byte,
                lease: dialect
                    .lease_s()
                    .map(|seconds| Duration::from_secs(seconds.into())),
                connect: CONNECT,
            },
            parts: &parts,
            body: self.frames,
            draw: &|| Unique::draw(&mut self.lane.scratch.lock().rng),
            within: traced,
        };
        let prefill = rows.prefill.map(|row| &snapshot.endpoints[row]);
        let decode = &snapshot.endpoints[rows.row];
        let names = (prefill.map(kv_name).unwrap_or_default(), kv_name(decode));
        let prefill = prefill.map(|prefill| Engine {
            place: place(prefill, prefill.address),
            name: &names.0,
        });
        let decode = Engine {
            place: place(decode, self.address(decode)),
            name: &names.1,
        };
        let prefilling = Prefilling {
            within,
            else_locally: true,
            failed: &mut |_, _| (),
        };
        match through(&order, prefill.into_iter(), decode, prefilling).await {
            Ok(mut carried) => {
                if let Some(took) = carried.prefill {
                    timing::tell(carried.answer.headers_mut(), took);
                }
                Ok(Got {
                    response: carried.answer,
                    span: carried.span,
                })
            }
            Err(HandoffFailure::Decode(failure) | HandoffFailure::Prefill(failure)) => {
                Err(Failed::Endpoint(failure.cause()))
            }
            // It would be no other for the next endpoint.
            Err(HandoffFailure::Malformed(error)) => {
                Err(Failed::Request(Reject::Malformed(error.to_string())))
            }
        }
    }

    async fn send(&self, snapshot: &Snapshot, rows: &Rows) -> Result<Got, Failed> {
        let endpoint = &snapshot.endpoints[rows.row];
        let request = || {
            let mut request = self.request(endpoint);
            self.steer(request.headers_mut(), snapshot, rows);
            request
        };
        persistently(&self.lane.pool, self.address(endpoint), request(), || {
            Some(request())
        })
        .await
        .map(|response| Got {
            response,
            span: None,
        })
        .map_err(|error| Failed::Endpoint(LegFailure::Send(error).cause()))
    }

    /// Where an endpoint takes requests: where the first of its ranks does, if the plan says so.
    fn address(&self, endpoint: &Endpoint) -> SocketAddr {
        let mut address = endpoint.address;
        if let Some(port) = self.plan.handler.plugin.primary_port() {
            address.set_port(port);
        }
        address
    }

    /// Adds what the endpoint is told about the picks.
    fn steer(&self, headers: &mut HeaderMap, snapshot: &Snapshot, rows: &Rows) {
        let authority = |row: usize| &*snapshot.endpoints[row].authority;
        if let Some(prefill) = rows.prefill.filter(|_| self.plan.prefill_header) {
            headers.insert(PREFILLER, value(authority(prefill)));
        }
        if self.plan.encode_header && !rows.encode.is_empty() {
            let encoders = rows.encode.iter().map(|&row| authority(row as usize));
            headers.insert(ENCODERS, value(&encoders.collect::<Vec<_>>().join(",")));
        }
        if self.plan.handler.plugin.primary_port().is_some() {
            headers.insert(DATA_PARALLEL, value(authority(rows.row)));
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

fn place(endpoint: &Endpoint, addr: SocketAddr) -> Place<'_> {
    Place::Fixed {
        addr,
        authority: &endpoint.authority,
    }
}

/// The address under which an engine's KV transfer is found, for ids that name a pair.
fn kv_name(endpoint: &Endpoint) -> String {
    let port = endpoint.labels.get(KV_PORT_LABEL).unwrap_or(KV_PORT);
    format!("{}:{port}", endpoint.address.ip())
}
