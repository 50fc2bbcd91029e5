//! Carrying out a handoff: the two legs of one request, by the dialect of its engines.
//!
//! | step | what can happen | then |
//! |---|---|---|
//! | prefill leg | 4xx other than 408 and 429 | that answer is the client's, no decode leg |
//! | | refused, broke, late, any other status | [`HandoffFailure::Prefill`]: [`through`] tries another, or [`carry_locally`], or gives up |
//! | | no usable `kv_transfer_params`, where the dialect needs them | decode computes the prompt itself |
//! | between | what prefill computed is nearly as old as its lease | prefill again, once |
//! | decode leg | refused, broke, late | [`HandoffFailure::Decode`]: the caller may carry to another one; all of it is done afresh, under another id |
//! | | any answer | passed on |
//!
//! Dropping the future cancels whichever leg runs: its connection closes, which is how the engine learns of it. Which engines, how
//! often and what to do without a prefill is the caller's to say; nothing here chooses, counts or logs. Both doors that hand off go
//! [`through::through`] with every request that the dialect takes, whether a prefill engine was chosen or not.

pub mod addresses;
pub mod glance;
pub mod leg;
pub mod target;
pub mod through;
pub mod timing;
pub mod unique;

use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use pointsman_core::model::reject::Reject;
use pointsman_http::{Body, CollectError, Frames, Pool, collect, discard};
use pointsman_wire::handoff::dialect::{Dialect, Meeting};
use pointsman_wire::handoff::internal_id;
use pointsman_wire::handoff::transfer::{NoTransfer, transfer_params};
use pointsman_wire::otlp::KeyValue;
use pointsman_wire::request::error::RequestError;
use tokio::time::Instant;

use crate::door::headers::{X_REQUEST_ID, value};
use crate::handoff::glance::glance;
use crate::handoff::leg::{Engine, LegFailure, Mishap, answer, late, send};
use crate::handoff::unique::Unique;
use crate::tracing::context::TRACEPARENT;
use crate::tracing::open::{Kind, OpenSpan, Within};

/// Largest answer of a prefill leg that is read. One token is some hundred bytes, but asked-for log probabilities of a prompt can be
/// megabytes.
const PREFILL_ANSWER: usize = 16 << 20;

/// How often a prefill whose result became too old is done again.
const REDONE: u32 = 1;

/// Bounds of a handoff.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The whole prefill leg.
    pub prefill: Duration,
    /// From the start of the decode leg to the head of its answer.
    pub first_byte: Duration,
    /// How long a prefill engine keeps a KV cache that nobody has fetched; `None` where nothing is said by a time.
    pub lease: Option<Duration>,
    /// Longest connect, which is part of the way from prefill to decode.
    pub connect: Duration,
}

impl Limits {
    /// Up to which age what prefill computed is worth a decode leg: so that it is still there when the longest connect has passed.
    fn usable(&self) -> Option<Duration> {
        let lease = self.lease?;
        Some(lease.saturating_sub(self.connect).max(lease / 2))
    }
}

/// A request to be handed off.
#[derive(Clone, Copy)]
pub struct Order<'a> {
    /// Connections of the calling worker.
    pub pool: &'a Pool,
    /// What the engines speak.
    pub dialect: Dialect,
    /// Port of the prefill engines' bootstrap server, for sglang.
    pub bootstrap_port: u16,
    /// Bounds.
    pub limits: Limits,
    /// Path and headers of both legs, rid of what belongs to the client's connection; the request id is set here.
    pub parts: &'a Parts,
    /// The client's body.
    pub body: &'a Frames,
    /// Draws what makes an id unique; called once per try, and once per leg of a traced request.
    pub draw: &'a (dyn Fn() -> Unique + Sync),
    /// The request's place in a trace, if it is traced: each leg is a span of its own, and the engine is told of it.
    pub within: Option<&'a Within>,
}

/// One of the two legs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leg {
    /// Computes the prompt.
    Prefill,
    /// Makes the answer.
    Decode,
}

/// A handoff that has an answer.
#[derive(Debug)]
pub struct Carried {
    /// The answer, as the engine gave it.
    pub answer: Response<Body>,
    /// The leg that gave it; prefill when it blames the client.
    pub by: Leg,
    /// The id of the leg that answered.
    pub id: String,
    /// Why decode computed the prompt itself, where a prefill was to.
    pub local: Option<Mishap>,
    /// What the prefill answer lacked, where that was why.
    pub missing: Option<NoTransfer>,
    /// How often prefill was done again because of its age.
    pub redone: u32,
    /// How long the prefill leg took.
    pub prefill: Option<Duration>,
    /// The span of the leg that answered, which goes on as long as its answer, if the request is traced.
    pub span: Option<OpenSpan>,
}

/// A handoff without an answer.
#[derive(Debug, thiserror::Error)]
pub enum HandoffFailure {
    /// The body is not what the dialect could change.
    #[error(transparent)]
    Malformed(#[from] RequestError),
    /// The prefill leg failed; decode was not asked, or has been cancelled.
    #[error("prefill failed: {0}")]
    Prefill(LegFailure),
    /// The decode leg failed before the head of an answer.
    #[error("decode failed: {0}")]
    Decode(LegFailure),
}

impl HandoffFailure {
    /// What the client is told when nothing else is tried; `tried` counts engines.
    pub fn reject(&self, tried: usize) -> Reject {
        match self {
            Self::Malformed(error) => Reject::Malformed(error.to_string()),
            Self::Prefill(failure) | Self::Decode(failure) if failure.is_timeout() => {
                Reject::UpstreamTimeout
            }
            Self::Prefill(_) | Self::Decode(_) => Reject::UpstreamUnreachable { tried },
        }
    }
}

/// Has `prefill` compute the prompt and `decode` answer.
///
/// # Errors
/// [`HandoffFailure`].
pub async fn carry(
    order: &Order<'_>,
    prefill: Engine<'_>,
    decode: Engine<'_>,
) -> Result<Carried, HandoffFailure> {
    if order.dialect.is_concurrent() {
        return Box::pin(together(order, prefill, decode)).await;
    }
    if order.dialect.asks_decode_first(order.body.as_slice())?
        && let Some(carried) = Box::pin(ask_first(order, decode)).await?
    {
        return Ok(carried);
    }
    let mut redone = 0;
    loop {
        let id = order.id(prefill, decode);
        let body = order.prefill_body(&NOWHERE)?;
        let began = Instant::now();
        let worked = prefill_leg(order, prefill, &id, body).await;
        let (done, params, mut transfer) = match worked.map_err(HandoffFailure::Prefill)? {
            Worked::Done {
                at,
                params,
                transfer,
            } => (at, params, transfer),
            Worked::Refused(answer, span) => {
                return Ok(Carried {
                    redone,
                    prefill: Some(began.elapsed()),
                    ..Carried::of(answer, Leg::Prefill, id, span)
                });
            }
        };
        let took = Some(began.elapsed());
        let params = match params {
            Ok(params) => params,
            Err(lacking) => {
                end(transfer, Some(Mishap::MissingParams.word()));
                let local = carry_locally(order, decode, Some(Mishap::MissingParams));
                let carried = Box::pin(local).await?;
                return Ok(Carried {
                    missing: Some(lacking),
                    redone,
                    prefill: took,
                    ..carried
                });
            }
        };
        if let (Some(usable), Some(lease)) = (order.limits.usable(), order.limits.lease) {
            let age = done.elapsed();
            if age > usable {
                end(transfer.take(), Some(Mishap::Stale.word()));
            }
            if age > usable && redone == REDONE {
                return Err(HandoffFailure::Prefill(LegFailure::Stale { age, lease }));
            }
            if age > usable {
                redone += 1;
                continue;
            }
        }
        let body = order.decode_body(&params, &NOWHERE)?;
        end(transfer, None);
        let (answer, span) = order.decode_leg(decode, &id, body, None).await?;
        return Ok(Carried {
            redone,
            prefill: took,
            ..Carried::of(answer, Leg::Decode, id, span)
        });
    }
}

/// Has `decode` compute the prompt itself, under an id that names no pair: an engine that finds one would wait for a KV cache.
///
/// # Errors
/// [`HandoffFailure`], never of the prefill leg.
pub async fn carry_locally(
    order: &Order<'_>,
    decode: Engine<'_>,
    because: Option<Mishap>,
) -> Result<Carried, HandoffFailure> {
    let id = order.plain_id();
    let body = if order.dialect.changes_decode() {
        let pieces = order.dialect.local_body(order.body.as_slice())?;
        pieces.into_iter().collect()
    } else {
        order.body.clone()
    };
    let (answer, span) = order.decode_leg(decode, &id, body, because).await?;
    Ok(Carried {
        local: because,
        ..Carried::of(answer, Leg::Decode, id, span)
    })
}

/// The meeting place in dialects that need none.
const NOWHERE: Meeting<'static> = Meeting {
    host: "",
    port: 0,
    room: 0,
};

impl Carried {
    const fn of(answer: Response<Body>, by: Leg, id: String, span: Option<OpenSpan>) -> Self {
        Self {
            answer,
            by,
            id,
            local: None,
            missing: None,
            redone: 0,
            prefill: None,
            span,
        }
    }
}

/// A span that ends now: well, or in this error.
fn end(span: Option<OpenSpan>, error: Option<&str>) {
    if let Some(mut span) = span {
        match error {
            None => span.done(),
            Some(why) => span.failed(why),
        }
    }
}

impl Order<'_> {
    fn id(&self, prefill: Engine<'_>, decode: Engine<'_>) -> String {
        let unique = (self.draw)();
        if self.dialect.names_pair() {
            internal_id(prefill.name, decode.name, unique.hex())
        } else {
            unique.dashed()
        }
    }

    fn plain_id(&self) -> String {
        (self.draw)().dashed()
    }

    fn prefill_body(&self, meeting: &Meeting<'_>) -> Result<Bytes, RequestError> {
        let path = self.parts.uri.path();
        let body = self
            .dialect
            .prefill_body(path, self.body.as_slice(), meeting)?;
        Ok(body.into())
    }

    fn decode_body(&self, params: &[u8], meeting: &Meeting<'_>) -> Result<Frames, RequestError> {
        if !self.dialect.changes_decode() {
            return Ok(self.body.clone());
        }
        let pieces = self
            .dialect
            .decode_body(self.body.as_slice(), params, meeting)?;
        Ok(pieces.into_iter().collect())
    }

    /// The span of a leg that begins now, if the request is traced.
    fn span(&self, name: &'static str, engine: Engine<'_>) -> Option<OpenSpan> {
        let mut span = self.part(name, Kind::Client)?;
        span.say(KeyValue::text("url.full", engine.place.shown()));
        Some(span)
    }

    fn part(&self, name: &'static str, kind: Kind) -> Option<OpenSpan> {
        let id = || (self.draw)().number();
        self.within.map(|within| within.part(name, kind, id()))
    }

    fn request(&self, id: &str, body: Frames, span: Option<&OpenSpan>) -> Request<Body> {
        let mut request = Request::new(Body::frames(body));
        *request.method_mut() = Method::POST;
        *request.headers_mut() = self.parts.headers.clone();
        request.headers_mut().insert(X_REQUEST_ID, value(id));
        if let Some(span) = span {
            request.headers_mut().insert(TRACEPARENT, span.header());
        }
        if let Some(path) = self.parts.uri.path_and_query() {
            *request.uri_mut() = path.clone().into();
        }
        request
    }

    async fn decode_leg(
        &self,
        decode: Engine<'_>,
        id: &str,
        body: Frames,
        because: Option<Mishap>,
    ) -> Result<(Response<Body>, Option<OpenSpan>), HandoffFailure> {
        let mut span = self.span("decode", decode);
        if let (Some(span), Some(mishap)) = (&mut span, because) {
            span.say(KeyValue::text("pointsman.prefill.fallback", mishap.word()));
        }
        let request = self.request(id, body, span.as_ref());
        let sent = send(self.pool, decode.place, request, self.limits.first_byte).await;
        note(&mut span, sent.as_ref());
        Ok((sent.map_err(HandoffFailure::Decode)?, span))
    }
}

/// Notes in a leg's span what came of it.
fn note(span: &mut Option<OpenSpan>, sent: Result<&Response<Body>, &LegFailure>) {
    match (span, sent) {
        (Some(span), Ok(answer)) => span.answered(answer.status()),
        (Some(span), Err(failure)) => span.failed(failure.mishap().word()),
        (None, _) => {}
    }
}

/// What a prefill leg brought.
enum Worked {
    /// The prompt is computed.
    Done {
        /// Since when.
        at: Instant,
        /// What decode must be told; empty where it needs nothing.
        params: Result<Vec<u8>, NoTransfer>,
        /// The span of what comes between the legs.
        transfer: Option<OpenSpan>,
    },
    /// The engine blames the client.
    Refused(Response<Body>, Option<OpenSpan>),
}

async fn prefill_leg(
    order: &Order<'_>,
    prefill: Engine<'_>,
    id: &str,
    body: Bytes,
) -> Result<Worked, LegFailure> {
    let patience = order.limits.prefill;
    let mut span = order.span("prefill", prefill);
    let request = order.request(id, Frames::from_bytes(body), span.as_ref());
    let open = &mut span;
    let leg = async {
        let sent = answer(order.pool, prefill.place, request).await;
        note(open, sent.as_ref());
        let answer = sent?;
        let status = answer.status();
        if status.is_success() {
            // The KV cache is there when the head is, and ages from then on; the body is read for what it says, or so that the
            // connection can be used again.
            let at = Instant::now();
            *open = None;
            let transfer = order.part("transfer", Kind::Internal);
            let body = answer.into_body();
            if !order.dialect.needs_params() {
                discard(body, PREFILL_ANSWER, patience).await;
                return Ok(Worked::Done {
                    at,
                    params: Ok(Vec::new()),
                    transfer,
                });
            }
            let params = match collect(body, PREFILL_ANSWER, patience).await {
                Ok(frames) => transfer_params(frames.as_slice()),
                Err(CollectError::TooLarge { .. }) => Err(NoTransfer::Unreadable),
                Err(error) => {
                    end(transfer, Some(Mishap::Broke.word()));
                    return Err(LegFailure::Broken {
                        url: prefill.place.shown(),
                        why: error.to_string(),
                    });
                }
            };
            return Ok(Worked::Done {
                at,
                params,
                transfer,
            });
        }
        let busy = matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
        );
        if status.is_client_error() && !busy {
            return Ok(Worked::Refused(answer, open.take()));
        }
        Err(LegFailure::Status {
            url: prefill.place.shown(),
            status,
        })
    };
    let worked = tokio::time::timeout(patience, leg).await;
    worked.unwrap_or_else(|_| {
        end(span, Some(Mishap::Timeout.word()));
        Err(late(prefill.place, patience))
    })
}

/// Asks decode with the body as it came; `None` when it declined for want of cached tokens.
async fn ask_first(
    order: &Order<'_>,
    decode: Engine<'_>,
) -> Result<Option<Carried>, HandoffFailure> {
    // An id of its own: the engine may not have let go of it when the same one comes again.
    let id = order.plain_id();
    let patience = order.limits.first_byte;
    let mut span = order.span("decode", decode);
    let request = order.request(&id, order.body.clone(), span.as_ref());
    let asked = async {
        let answer = answer(order.pool, decode.place, request).await?;
        glance(answer).await.map_err(|error| LegFailure::Broken {
            url: decode.place.shown(),
            why: error.to_string(),
        })
    };
    let seen = tokio::time::timeout(patience, asked)
        .await
        .unwrap_or_else(|_| Err(late(decode.place, patience)));
    match &seen {
        Err(failure) => note(&mut span, Err(failure)),
        Ok(Some(answer)) => note(&mut span, Ok(answer)),
        Ok(None) => end(span.take(), None),
    }
    let seen = seen.map_err(HandoffFailure::Decode)?;
    Ok(seen.map(|answer| Carried::of(answer, Leg::Decode, id, span)))
}

/// Both legs at the same time. Decode's answer is held until prefill has done its part: without that it would wait for a KV cache that
/// never comes. Whichever leg fails, the other is cancelled with this future.
async fn together(
    order: &Order<'_>,
    prefill: Engine<'_>,
    decode: Engine<'_>,
) -> Result<Carried, HandoffFailure> {
    let host = prefill.place.host();
    let meeting = Meeting {
        host: &host,
        port: order.bootstrap_port,
        // Engines keep it in a signed number.
        room: (order.draw)().number() >> 1,
    };
    let id = order.id(prefill, decode);
    let copy = order.prefill_body(&meeting)?;
    let body = order.decode_body(&[], &meeting)?;
    let began = Instant::now();
    let patience = order.limits.prefill + order.limits.first_byte;
    let mut first = std::pin::pin!(prefill_leg(order, prefill, &id, copy));
    let mut span = order.span("decode", decode);
    let request = order.request(&id, body, span.as_ref());
    let mut second = std::pin::pin!(send(order.pool, decode.place, request, patience));
    let (mut took, mut answered) = (None, None);
    loop {
        tokio::select! {
            worked = &mut first, if took.is_none() => match worked.map_err(HandoffFailure::Prefill)? {
                // Both legs run at the same time: nothing comes between them.
                Worked::Done { transfer, .. } => {
                    end(transfer, None);
                    took = Some(began.elapsed());
                }
                Worked::Refused(answer, span) => {
                    return Ok(Carried::of(answer, Leg::Prefill, id.clone(), span));
                }
            },
            sent = &mut second, if answered.is_none() => {
                note(&mut span, sent.as_ref());
                answered = Some(sent.map_err(HandoffFailure::Decode)?);
            }
        }
        // An error of decode does not wait for prefill.
        let failed = |answer: &Response<Body>| !answer.status().is_success();
        if (took.is_some() || answered.as_ref().is_some_and(failed))
            && let Some(answer) = answered.take()
        {
            return Ok(Carried {
                prefill: took,
                ..Carried::of(answer, Leg::Decode, id.clone(), span.take())
            });
        }
    }
}
