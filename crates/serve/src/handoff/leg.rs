//! One leg of a handoff: sending a request to an engine within a time, and what can go wrong.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use http::header::HOST;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use pointsman_core::exchange::event::Cause;
use pointsman_http::{Body, BodyError, Pool, SendError, SendErrorKind};
use pointsman_wire::handoff::transfer::NoTransfer;

use crate::handoff::target::Target;

/// While this process has no file descriptor left, a request is sent again this often.
const EXHAUSTED_RETRIES: u32 = 100;
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// Where an engine is.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// At an address that somebody has resolved.
    Fixed {
        /// The address.
        addr: SocketAddr,
        /// The value of `host` in requests.
        authority: &'a str,
    },
    /// At a URL, whose host is resolved when a request is sent.
    Named(&'a Target),
}

/// An engine as a handoff sees it.
#[derive(Clone, Copy, Debug)]
pub struct Engine<'a> {
    /// Where it is.
    pub place: Place<'a>,
    /// Its name in ids that name a pair.
    pub name: &'a str,
}

impl Place<'_> {
    /// The place in messages.
    pub fn shown(&self) -> String {
        match self {
            Self::Fixed { authority, .. } => format!("http://{authority}"),
            Self::Named(target) => target.url().to_owned(),
        }
    }

    /// The host that another engine can connect to.
    pub fn host(&self) -> String {
        match self {
            Self::Fixed { addr, .. } => addr.ip().to_string(),
            Self::Named(target) => target.host().to_owned(),
        }
    }

    fn authority(&self) -> HeaderValue {
        match self {
            Self::Fixed { authority, .. } => {
                HeaderValue::from_str(authority).unwrap_or(HeaderValue::from_static("-"))
            }
            Self::Named(target) => target.authority(),
        }
    }

    fn literal(&self) -> Option<SocketAddr> {
        match self {
            Self::Fixed { addr, .. } => Some(*addr),
            Self::Named(target) => target.literal(),
        }
    }
}

/// Why a leg has no answer, or none that is of use.
#[derive(Debug, thiserror::Error)]
pub enum LegFailure {
    /// The engine's host has no known address.
    #[error("{0}")]
    Unresolved(String),
    /// The engine could not be reached, or broke before the head of its answer.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The engine took too long.
    #[error("{url} gave no answer within {} s", after.as_secs_f64())]
    Late {
        /// The engine.
        url: String,
        /// The time it had.
        after: Duration,
    },
    /// The engine answered with something that is no success and not the client's fault.
    #[error("{url} answered {status}")]
    Status {
        /// The engine.
        url: String,
        /// What it answered.
        status: StatusCode,
    },
    /// The answer broke off before it could be used.
    #[error("{url} broke off its answer: {why}")]
    Broken {
        /// The engine.
        url: String,
        /// What was seen.
        why: String,
    },
    /// What a prefill computed is too old to be fetched; it was computed again and is again.
    #[error(
        "the KV cache was {} s old when decode could start; it is kept for {} s",
        age.as_secs_f64(),
        lease.as_secs_f64()
    )]
    Stale {
        /// How old it was.
        age: Duration,
        /// How long the engine keeps it.
        lease: Duration,
    },
    /// A prefill answered well and said nothing that decode could use.
    #[error(transparent)]
    NoTransfer(#[from] NoTransfer),
    /// The request's body was larger than allowed.
    #[error("request body too large")]
    TooLarge,
}

/// The kinds of failures of a prefill leg, as they are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// Not reached: refused, unknown host, no connection in time.
    Unreachable,
    /// The connection broke before or within the answer, or it was no HTTP.
    Broke,
    /// No answer in time.
    Timeout,
    /// 408 or 429.
    Busy,
    /// Any other status that is no success and not the client's fault.
    Error,
    /// What it computed was too old.
    Stale,
    /// It did not say where its KV cache lies.
    MissingParams,
}

impl Mishap {
    /// All of them, in the order in which they are numbered.
    pub const ALL: [Self; 7] = [
        Self::Unreachable,
        Self::Broke,
        Self::Timeout,
        Self::Busy,
        Self::Error,
        Self::Stale,
        Self::MissingParams,
    ];

    /// A short word for metrics and headers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Broke => "broke",
            Self::Timeout => "timeout",
            Self::Busy => "busy",
            Self::Error => "error",
            Self::Stale => "stale",
            Self::MissingParams => "missing-params",
        }
    }
}

impl LegFailure {
    /// Whether time ran out, as opposed to a refusal or a break.
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::Late { .. } => true,
            Self::Send(error) => error.kind == SendErrorKind::ConnectTimeout,
            _ => false,
        }
    }

    /// Whether another engine may do better, within the time that is left.
    pub fn is_curable_elsewhere(&self) -> bool {
        !matches!(self, Self::Late { .. } | Self::TooLarge)
    }

    /// The kind of failure.
    pub fn mishap(&self) -> Mishap {
        match self {
            Self::Unresolved(_) => Mishap::Unreachable,
            Self::Send(error) if error.is_unsent() => Mishap::Unreachable,
            Self::Send(_) | Self::Broken { .. } | Self::TooLarge => Mishap::Broke,
            Self::Late { .. } => Mishap::Timeout,
            Self::Status { status, .. } => match *status {
                StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Mishap::Busy,
                _ => Mishap::Error,
            },
            Self::Stale { .. } => Mishap::Stale,
            Self::NoTransfer(_) => Mishap::MissingParams,
        }
    }

    /// The failure in the words of a request's life.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Late { .. } => Cause::FirstByteTimeout,
            Self::Send(error) => match error.kind {
                SendErrorKind::ConnectTimeout => Cause::ConnectTimeout,
                SendErrorKind::Connect | SendErrorKind::LocalExhausted => Cause::Connect,
                SendErrorKind::Reset | SendErrorKind::Protocol => Cause::Reset,
            },
            Self::Unresolved(_) => Cause::Connect,
            _ => Cause::Reset,
        }
    }
}

/// Sends a request and waits for the head of the answer for at most `patience`. The URI must be in origin form; `host` is set here.
///
/// # Errors
/// [`LegFailure`].
pub async fn send(
    pool: &Pool,
    place: Place<'_>,
    request: Request<Body>,
    patience: Duration,
) -> Result<Response<Body>, LegFailure> {
    tokio::time::timeout(patience, answer(pool, place, request))
        .await
        .unwrap_or_else(|_| Err(late(place, patience)))
}

/// The failure of an engine that had `after`.
pub fn late(place: Place<'_>, after: Duration) -> LegFailure {
    LegFailure::Late {
        url: place.shown(),
        after,
    }
}

/// As [`send`], for as long as it takes.
///
/// # Errors
/// [`LegFailure`].
pub async fn answer(
    pool: &Pool,
    place: Place<'_>,
    mut request: Request<Body>,
) -> Result<Response<Body>, LegFailure> {
    request.headers_mut().insert(HOST, place.authority());
    match (place, place.literal()) {
        (Place::Named(target), None) => Box::pin(send_to_any(pool, target, request)).await,
        (_, Some(addr)) | (Place::Fixed { addr, .. }, None) => {
            let spare = copy(&request);
            let again = move || spare.as_ref().and_then(copy);
            let sent = persistently(pool, addr, request, again).await;
            sent.map_err(from_send)
        }
    }
}

/// Sends a request. Our own lack of file descriptors says nothing about the engine: what `again` makes is sent then, for a while.
///
/// # Errors
/// [`SendError`].
pub async fn persistently(
    pool: &Pool,
    addr: SocketAddr,
    mut request: Request<Body>,
    mut again: impl FnMut() -> Option<Request<Body>>,
) -> Result<Response<Body>, SendError> {
    let mut tries = 0;
    loop {
        let error = match pool.send(addr, request).await {
            Err(error) if error.kind == SendErrorKind::LocalExhausted => error,
            sent => return sent,
        };
        tries += 1;
        match again().filter(|_| tries <= EXHAUSTED_RETRIES) {
            Some(next) => request = next,
            None => return Err(error),
        }
        tokio::time::sleep(EXHAUSTED_PAUSE).await;
    }
}

/// Tries the addresses of a name in turn, as long as it is certain that none of them saw the request.
async fn send_to_any(
    pool: &Pool,
    target: &Target,
    request: Request<Body>,
) -> Result<Response<Body>, LegFailure> {
    let addrs = target.resolve().await.map_err(LegFailure::Unresolved)?;
    let Some((last, others)) = addrs.split_last() else {
        return Err(LegFailure::Unresolved("no address".to_owned()));
    };
    for addr in others {
        let Some(copy) = copy(&request) else {
            return pool.send(*addr, request).await.map_err(from_send);
        };
        match pool.send(*addr, copy).await {
            Err(error) if error.is_unsent() => {}
            answer => return answer.map_err(from_send),
        }
    }
    pool.send(*last, request).await.map_err(from_send)
}

fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    let mut copy = Request::new(request.body().replay()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

/// A streamed request body that breaks off beyond `limit` bytes. A body of known length was checked before.
pub fn bounded(incoming: Incoming, limit: usize) -> Body {
    if http_body::Body::size_hint(&incoming).exact().is_some() {
        return Body::Incoming(incoming);
    }
    Body::boxed(Limited::new(incoming, limit).map_err(BodyError::Other))
}

/// Finds out whether it was our own bound that broke the request.
fn from_send(error: SendError) -> LegFailure {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&*error.source);
    while let Some(at) = cause {
        let too_large = match at.downcast_ref() {
            Some(BodyError::Other(inner)) => inner.is::<LengthLimitError>(),
            _ => at.is::<LengthLimitError>(),
        };
        if too_large {
            return LegFailure::TooLarge;
        }
        cause = at.source();
    }
    LegFailure::Send(error)
}
