//! One leg of a request: sending it to an engine within a time, and what can go wrong.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use http::header::HOST;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use pointsman_http::{Body, BodyError, Pool, SendError, SendErrorKind, discard};

use crate::door::proxy::target::Target;

/// Largest answer of a prefill leg that is read for the sake of its connection. One token is some hundred bytes, but asked-for log
/// probabilities of a prompt can be megabytes.
const PREFILL_ANSWER: usize = 16 << 20;

/// Why a leg has no answer.
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
    /// The request's body was larger than allowed.
    #[error("request body too large")]
    TooLarge,
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
}

/// One engine of the pair.
pub struct Engine {
    target: Target,
    pool: Pool,
}

impl Engine {
    /// An engine that is reached through `pool`.
    pub fn new(target: Target, pool: Pool) -> Self {
        Self { target, pool }
    }

    /// The engine's base URL.
    pub fn url(&self) -> &str {
        self.target.url()
    }

    /// Sends a request and waits for the head of the answer for at most `patience`. The URI must be in origin form; `host` is set here.
    ///
    /// # Errors
    /// [`LegFailure`].
    pub async fn send(
        &self,
        request: Request<Body>,
        patience: Duration,
    ) -> Result<Response<Body>, LegFailure> {
        tokio::time::timeout(patience, self.answer(request))
            .await
            .unwrap_or_else(|_| Err(self.late(patience)))
    }

    /// The prefill leg: `None` when it did its work, the answer itself when it blames the client.
    ///
    /// # Errors
    /// [`LegFailure`], for everything after which decode should do without.
    pub async fn prefill(
        &self,
        request: Request<Body>,
        patience: Duration,
    ) -> Result<Option<Response<Body>>, LegFailure> {
        let leg = async {
            let answer = self.answer(request).await?;
            let status = answer.status();
            if status.is_success() {
                // The KV cache is there when the head is; the body is read so that the connection can be used again.
                discard(answer.into_body(), PREFILL_ANSWER, patience).await;
                return Ok(None);
            }
            let passing = !matches!(
                status,
                StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
            );
            if status.is_client_error() && passing {
                return Ok(Some(answer));
            }
            Err(LegFailure::Status {
                url: self.target.url().to_owned(),
                status,
            })
        };
        tokio::time::timeout(patience, leg)
            .await
            .unwrap_or_else(|_| Err(self.late(patience)))
    }

    fn late(&self, after: Duration) -> LegFailure {
        LegFailure::Late {
            url: self.target.url().to_owned(),
            after,
        }
    }

    async fn answer(&self, mut request: Request<Body>) -> Result<Response<Body>, LegFailure> {
        request.headers_mut().insert(HOST, self.target.authority());
        match self.target.literal() {
            Some(addr) => self.pool.send(addr, request).await.map_err(from_send),
            None => self.send_to_any(request).await,
        }
    }

    /// Tries the addresses of a name in turn, as long as it is certain that none of them saw the request.
    async fn send_to_any(&self, request: Request<Body>) -> Result<Response<Body>, LegFailure> {
        let addrs = self
            .target
            .resolve()
            .await
            .map_err(LegFailure::Unresolved)?;
        let Some((last, others)) = addrs.split_last() else {
            return Err(LegFailure::Unresolved("no address".to_owned()));
        };
        for addr in others {
            let Some(copy) = copy(&request) else {
                return self.send_once(*addr, request).await;
            };
            match self.pool.send(*addr, copy).await {
                Err(error) if error.is_unsent() => {}
                answer => return answer.map_err(from_send),
            }
        }
        self.send_once(*last, request).await
    }

    async fn send_once(
        &self,
        addr: SocketAddr,
        request: Request<Body>,
    ) -> Result<Response<Body>, LegFailure> {
        self.pool.send(addr, request).await.map_err(from_send)
    }
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
