//! The upstream side: keep-alive HTTP/1.1 connections per address.
//!
//! A pool belongs to the runtime that its connections were opened on: make one per worker. It takes resolved addresses; it does not
//! follow redirects, decode content, or set time bounds beyond the connect (whoever waits for an answer knows how long).

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response, Version};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpStream;

use crate::body::Body;
use crate::lease::{Idle, Unanswered, Wire};
use crate::link::{Link, Pulse};

/// Bounds of a pool.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// How long a connect may take.
    pub connect_timeout: Duration,
    /// How long an unused connection is kept. It should be shorter than what servers allow, or reuse races with their close.
    pub idle_timeout: Duration,
    /// How many unused connections to one address are kept.
    pub max_idle_per_host: usize,
    /// The largest response head in bytes.
    pub max_header_bytes: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(60),
            max_idle_per_host: 1024,
            max_header_bytes: 64 * 1024,
        }
    }
}

/// What kind of failure kept a request from being answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendErrorKind {
    /// The connection was refused or the address is unreachable: nothing was sent.
    Connect,
    /// The connect took too long: nothing was sent.
    ConnectTimeout,
    /// This process has no file descriptor or port left: nothing was sent, and the address is not to blame.
    LocalExhausted,
    /// The connection broke after the request was (perhaps partly) written.
    Reset,
    /// What came back is no HTTP, or a bound was passed.
    Protocol,
}

/// A request that got no response head.
#[derive(Debug, thiserror::Error)]
#[error("{} {addr}: {source}", match kind {
    SendErrorKind::Connect => "cannot connect to",
    SendErrorKind::ConnectTimeout => "no connection in time to",
    SendErrorKind::LocalExhausted => "no file descriptor or port left to connect to",
    SendErrorKind::Reset => "connection broken before the answer of",
    SendErrorKind::Protocol => "no valid HTTP answer from",
})]
pub struct SendError {
    /// The kind of failure.
    pub kind: SendErrorKind,
    /// Where the request was to go.
    pub addr: SocketAddr,
    /// The cause.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl SendError {
    /// Whether it is certain that the server never saw the request.
    pub fn is_unsent(&self) -> bool {
        matches!(
            self.kind,
            SendErrorKind::Connect | SendErrorKind::ConnectTimeout | SendErrorKind::LocalExhausted
        )
    }
}

/// Keep-alive connections, shared by clones.
#[derive(Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

struct Inner {
    options: ClientOptions,
    hosts: Mutex<HashMap<SocketAddr, Arc<Idle<Body>>>>,
    sweeping: AtomicBool,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("options", &self.inner.options)
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// An empty pool.
    pub fn new(options: ClientOptions) -> Self {
        Self {
            inner: Arc::new(Inner {
                options,
                hosts: Mutex::default(),
                sweeping: AtomicBool::new(false),
            }),
        }
    }

    /// Sends a request over an idle connection or a new one and waits for the head of the response.
    ///
    /// The URI must be in origin form (path and query); the caller sets `host`. Dropping the future, or the response's body before its
    /// end, closes the connection, which is how the server learns that nobody waits any more. When a reused connection turns out to be
    /// closed before any byte of an answer came, the request goes once over a fresh one, if its body can be produced again.
    ///
    /// # Errors
    /// [`SendError`], by the kind of what went wrong.
    pub async fn send(
        &self,
        addr: SocketAddr,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, SendError> {
        *request.version_mut() = Version::HTTP_11;
        let host = self.inner.host(addr);
        // An idle connection is only looked at, never waited for, so this is always ready at once.
        let reused = poll_fn(|cx| Poll::Ready(host.take(cx))).await;
        if let Some(wire) = reused {
            let spare = copy(&request);
            match wire.send(request).await {
                Ok(response) => return Ok(response.map(Body::Upstream)),
                Err(unanswered) => request = again(addr, unanswered, spare)?,
            }
        }
        // Boxed: connecting is rare and needs much room, which every request's future would have to carry.
        let wire = Box::pin(self.connect(addr, host)).await?;
        match wire.send(request).await {
            Ok(response) => Ok(response.map(Body::Upstream)),
            Err(unanswered) => Err(answerless(addr, unanswered.error)),
        }
    }

    /// Closes the unused connections to `addr`, for an endpoint that has left.
    pub fn forget(&self, addr: SocketAddr) {
        let gone = self.inner.hosts.lock().remove(&addr);
        drop(gone);
    }

    async fn connect(
        &self,
        addr: SocketAddr,
        host: Arc<Idle<Body>>,
    ) -> Result<Box<Wire<Body>>, SendError> {
        let options = &self.inner.options;
        let open = || async move {
            let connected =
                tokio::time::timeout(options.connect_timeout, TcpStream::connect(addr)).await;
            match connected {
                Ok(Ok(stream)) => Ok(stream),
                Ok(Err(error)) if is_exhaustion(&error) => Err(SendError {
                    kind: SendErrorKind::LocalExhausted,
                    addr,
                    source: error.into(),
                }),
                Ok(Err(error)) => Err(SendError {
                    kind: SendErrorKind::Connect,
                    addr,
                    source: error.into(),
                }),
                Err(elapsed) => Err(SendError {
                    kind: SendErrorKind::ConnectTimeout,
                    addr,
                    source: elapsed.into(),
                }),
            }
        };
        let stream = match open().await {
            // The idle connections to other hosts are the only descriptors that can be given up without harm.
            Err(error) if error.kind == SendErrorKind::LocalExhausted && self.inner.shed() > 0 => {
                open().await?
            }
            other => other?,
        };
        // Without it a short frame waits for the acknowledgement of the one before: 40 ms per token. A failure costs only that.
        let _ = stream.set_nodelay(true);
        let pulse = Arc::new(Pulse::default());
        let (sender, connection) = http1::Builder::new()
            .max_header_size(options.max_header_bytes)
            .handshake::<_, Body>(TokioIo::new(Link::new(stream, Arc::clone(&pulse))))
            .await
            .map_err(|error| answerless(addr, error))?;
        self.keep_swept();
        Ok(Wire::new(sender, connection, pulse, host))
    }

    /// Starts the sweeper with the first connection; it ends when the last clone of the pool is gone.
    fn keep_swept(&self) {
        if self.inner.sweeping.swap(true, Ordering::Relaxed) {
            return;
        }
        let idle = self.inner.options.idle_timeout;
        let pause = (idle / 4).clamp(Duration::from_millis(10), Duration::from_secs(5));
        let weak = Arc::downgrade(&self.inner);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(pause).await;
                let Some(inner) = weak.upgrade() else { return };
                let hosts: Vec<_> = inner
                    .hosts
                    .lock()
                    .iter()
                    .map(|(addr, host)| (*addr, Arc::clone(host)))
                    .collect();
                for (addr, host) in hosts {
                    if host.sweep(idle) == 0 {
                        drop(host);
                        inner.forget_unused(addr);
                    }
                }
            }
        });
    }
}

impl Inner {
    fn host(&self, addr: SocketAddr) -> Arc<Idle<Body>> {
        let mut hosts = self.hosts.lock();
        Arc::clone(
            hosts
                .entry(addr)
                .or_insert_with(|| Arc::new(Idle::new(self.options.max_idle_per_host))),
        )
    }

    /// Addresses come and go; an entry that nobody holds and nothing idles in would only grow the map.
    fn forget_unused(&self, addr: SocketAddr) {
        let mut hosts = self.hosts.lock();
        if hosts
            .get(&addr)
            .is_some_and(|host| Arc::strong_count(host) == 1 && host.is_empty())
        {
            hosts.remove(&addr);
        }
    }

    fn shed(&self) -> usize {
        let hosts: Vec<_> = self.hosts.lock().values().cloned().collect();
        hosts.iter().map(|host| host.clear()).sum()
    }
}

/// The request once more, when its body can be produced again.
fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    let mut copy = Request::new(request.body().replay()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

/// The request to send again after a reused connection failed, or the error when that is not allowed.
fn again(
    addr: SocketAddr,
    unanswered: Unanswered<Body>,
    spare: Option<Request<Body>>,
) -> Result<Request<Body>, SendError> {
    let Unanswered {
        error,
        unsent,
        heard,
    } = unanswered;
    if let Some(request) = unsent {
        return Ok(request);
    }
    // A user error is one of the request's own body: it would fail again.
    match spare {
        Some(request) if !heard && !error.is_user() && !error.is_parse() => Ok(request),
        _ => Err(answerless(addr, error)),
    }
}

fn answerless(addr: SocketAddr, error: hyper::Error) -> SendError {
    let kind = if error.is_parse() || error.is_user() {
        SendErrorKind::Protocol
    } else {
        SendErrorKind::Reset
    };
    SendError {
        kind,
        addr,
        source: error.into(),
    }
}

fn is_exhaustion(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let Some(code) = error.raw_os_error() else {
        return false;
    };
    [
        Errno::MFILE,
        Errno::NFILE,
        Errno::ADDRNOTAVAIL,
        Errno::NOBUFS,
    ]
    .iter()
    .any(|errno| errno.raw_os_error() == code)
}
