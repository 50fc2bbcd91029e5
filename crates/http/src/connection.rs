//! One accepted connection: which HTTP it speaks, its requests, its clocks, and the signals that end it.
//!
//! A connection is one task; an HTTP/1.1 request runs inside it, so a client that leaves takes its handler's future with it. The bytes
//! pass a guard before they are parsed (`guarded.rs`); the task looks at its clocks (`clocks.rs`) a few times per header timeout.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::authority::Readable;
use crate::body::Body;
use crate::body_error::BodyError;
use crate::clocks::{Clocks, Verdict};
use crate::fault::{Fault, FaultSwitch};
use crate::framing::Framing;
use crate::greeting::accept;
use crate::guarded::{Guarded, STANDS_FOR_REFUSED};
use crate::head::HeadLimits;
use crate::link::{Link, Wire};
use crate::offence::Offence;
use crate::refusal::refusal;
use crate::server_options::ServerOptions;
use crate::severed::Severed;
use crate::state::{Serving, State};
use crate::stream::{Streams, handed_over};

/// Who sent a request.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The client's address.
    pub addr: SocketAddr,
    state: Arc<State>,
}

impl Peer {
    /// Closes the connection after the response that is being made, even when its head has been sent already. HTTP/1.1 only; an HTTP/2
    /// stream ends by itself.
    pub fn disconnect_after_response(&self) {
        self.state.ending.store(true, Ordering::Relaxed);
    }
}

const DRAINING: u64 = 1;
const CROWDED: u64 = 2;
/// Everything above the flags counts resets.
const RESET: u64 = 4;

/// Signals from the server to all its connections.
#[derive(Debug, Default)]
pub(crate) struct Control {
    word: AtomicU64,
    changed: Notify,
}

impl Control {
    pub(crate) fn drain(&self) {
        self.word.fetch_or(DRAINING, Ordering::Release);
        self.changed.notify_waiters();
    }

    pub(crate) fn reset_all(&self) {
        self.word.fetch_add(RESET, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// While crowded, connections close as soon as they have served a request, so that waiting clients get their turn.
    pub(crate) fn set_crowded(&self, crowded: bool) {
        if crowded != self.is_crowded() {
            if crowded {
                self.word.fetch_or(CROWDED, Ordering::Release);
                self.changed.notify_waiters();
            } else {
                self.word.fetch_and(!CROWDED, Ordering::Release);
            }
        }
    }

    pub(crate) fn is_crowded(&self) -> bool {
        self.word.load(Ordering::Acquire) & CROWDED != 0
    }
}

/// What all connections of a server share.
pub(crate) struct House<H> {
    pub(crate) options: Arc<ServerOptions>,
    pub(crate) control: Control,
    pub(crate) faults: FaultSwitch,
    pub(crate) handler: H,
}

/// Serves one connection to its end.
pub(crate) async fn attend<H, F>(house: Arc<House<H>>, stream: TcpStream, addr: SocketAddr)
where
    H: Fn(Request<Incoming>, Peer) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let state = Arc::new(State::default());
    let since = house.control.word.load(Ordering::Acquire);
    if let Some(tls) = &house.options.tls {
        // A client that does not come to terms is left to its own; nothing was asked yet.
        let shaken = until_told(&house, since, accept(tls.config(), stream)).await;
        let Some(Ok(stream)) = shaken else { return };
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let link = Link::over(Wire::Tls(Box::new(stream)), Arc::clone(&state.pulse));
        return converse(&house, link, http2, &state, addr, since).await;
    }
    let Some(Ok(http2)) = until_told(&house, since, speaks_http2(&stream)).await else {
        // Nothing was asked yet, so the connection is just closed; but when all are reset, so is this one.
        if house.control.word.load(Ordering::Acquire) / RESET != since / RESET {
            state.pulse.reset_on_drop();
        }
        drop(Link::new(stream, Arc::clone(&state.pulse)));
        return;
    };
    let link = Link::new(stream, Arc::clone(&state.pulse));
    converse(&house, link, http2, &state, addr, since).await;
}

/// Serves the requests of a connection whose HTTP is known.
async fn converse<H, F>(
    house: &Arc<House<H>>,
    link: Link,
    http2: bool,
    state: &Arc<State>,
    addr: SocketAddr,
    since: u64,
) where
    H: Fn(Request<Incoming>, Peer) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let peer = Peer {
        addr,
        state: Arc::clone(state),
    };
    let service = {
        let house = Arc::clone(house);
        service_fn(move |request| answer(&house, request, &peer))
    };
    let watch = Watch {
        control: &house.control,
        options: &house.options,
        state,
        http2,
        since,
    };
    if http2 {
        let builder = http2_builder(&house.options, &state.streams);
        let guarded = Guarded::http2(link, house.options.h2.allowance);
        let readable = Readable::new(guarded, house.options.h2.bars_in_authority);
        let conn = pin!(builder.serve_connection(TokioIo::new(readable), service));
        watch.drive(conn, |conn| conn.graceful_shutdown()).await;
    } else {
        let options = &house.options;
        let framing = Framing::new(HeadLimits {
            bytes: options.max_header_bytes,
            line: options.max_header_line,
            fields: options.max_headers,
        });
        let link = Guarded::http1(link, framing);
        let conn = pin!(http1_builder(options).serve_connection(TokioIo::new(link), service));
        watch.drive(conn, |conn| conn.graceful_shutdown()).await;
    }
}

fn http1_builder(options: &ServerOptions) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .max_headers(options.max_headers)
        .max_header_size(options.max_header_bytes);
    builder
}

fn http2_builder(options: &ServerOptions, streams: &Streams) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(streams.clone());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(options.h2.max_concurrent_streams)
        .initial_stream_window_size(options.h2.stream_window)
        .initial_connection_window_size(options.h2.connection_window)
        .max_send_buf_size(options.h2.send_buffer)
        .max_frame_size(options.h2.max_frame)
        .header_table_size(options.h2.header_table)
        .max_pending_accept_reset_streams(options.h2.pending_resets)
        .max_local_error_reset_streams(options.h2.faulty_resets)
        .max_header_list_size(u32::try_from(options.max_header_bytes).unwrap_or(u32::MAX));
    builder
}

/// What `opening` comes to; none when it takes too long, or when the server drains or resets its connections.
///
/// That the server is crowded is no reason to send a client away that has not been heard yet.
async fn until_told<H, O>(house: &House<H>, since: u64, opening: O) -> Option<O::Output>
where
    O: Future,
{
    let mut opened = pin!(tokio::time::timeout(house.options.header_timeout, opening));
    loop {
        // Made before the word is read, so that no change in between is missed.
        let changed = house.control.changed.notified();
        let word = house.control.word.load(Ordering::Acquire);
        if word & DRAINING != 0 || word / RESET != since / RESET {
            return None;
        }
        tokio::select! {
            () = changed => {}
            opened = &mut opened => return opened.ok(),
        }
    }
}

/// Whether the client opens with the preface of HTTP/2. Looks without taking: the bytes stay for whoever parses them.
async fn speaks_http2(stream: &TcpStream) -> io::Result<bool> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut seen = [0; PREFACE.len()];
    loop {
        let len = stream.peek(&mut seen).await?;
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if seen[..len] != PREFACE[..len] {
            return Ok(false);
        }
        if len == PREFACE.len() {
            return Ok(true);
        }
        // The socket stays readable, so nothing wakes this task when the next byte comes; only a client that dribbles gets here.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A response's body, counted as being served until it is dropped.
struct Served {
    body: Body,
    _serving: Serving,
}

impl http_body::Body for Served {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        handed_over(matches!(polled, Poll::Ready(Some(_))));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// How a request is met.
enum Meeting<F> {
    /// Boxed, because the future of a handler is kilobytes, and it would be moved whole several times before it is first polled.
    Handle(Pin<Box<F>>),
    Refuse(Offence),
    NotFound,
    Hang,
}

/// Answers one request: by the handler, or as a fault demands.
fn answer<H, F>(
    house: &Arc<House<H>>,
    request: Request<Incoming>,
    peer: &Peer,
) -> impl Future<Output = Result<Response<Served>, Infallible>> + Send + use<H, F>
where
    H: Fn(Request<Incoming>, Peer) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let serving = Serving::new(&peer.state);
    let fault = house.faults.current();
    let http1 = request.version() <= Version::HTTP_11;
    let offence = if http1 {
        let refused = request.method().as_str() == STANDS_FOR_REFUSED;
        refused.then(|| peer.state.pulse.offence()).flatten()
    } else {
        offence_of(&request, house.options.max_headers)
    };
    let meeting = if let Some(offence) = offence {
        Meeting::Refuse(offence)
    } else if fault == Fault::Hang {
        Meeting::Hang
    } else if fault == Fault::MetricsNotFound
        && request.method() == Method::GET
        && request.uri().path() == "/metrics"
    {
        Meeting::NotFound
    } else {
        Meeting::Handle(Box::pin((house.handler)(request, peer.clone())))
    };
    let house = Arc::clone(house);
    async move {
        let mut response = match meeting {
            Meeting::Handle(handled) => handled.await,
            Meeting::Refuse(offence) => {
                let mut response = refusal(&offence);
                if !http1 {
                    response.headers_mut().remove(CONNECTION);
                }
                response
            }
            Meeting::Hang => std::future::pending().await,
            Meeting::NotFound => {
                let mut response = Response::new(Body::Empty);
                *response.status_mut() = StatusCode::NOT_FOUND;
                response
            }
        };
        if http1 && (house.control.is_crowded() || serving.state().pulse.is_spoiled()) {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if fault == Fault::DieMidStream {
            response = response.map(|body| Body::boxed(Severed::new(body)));
        }
        Ok(response.map(|body| Served {
            body,
            _serving: serving,
        }))
    }
}

/// What the parser of HTTP/2 lets through and a head of HTTP/1.1 must not have either.
fn offence_of<B>(request: &Request<B>, most: usize) -> Option<Offence> {
    let headers = request.headers();
    if headers.len() > most {
        return Some(Offence::large("the request has too many header fields"));
    }
    if headers.keys().any(|name| name.as_str().contains('_')) {
        return Some(Offence::bad("a header field's name contains an underscore"));
    }
    let hosts = headers.get_all(HOST);
    let ambiguous = match (hosts.iter().count(), request.uri().authority()) {
        (0, authority) => authority.is_none(),
        (1, None) => false,
        (1, Some(authority)) => {
            let named = authority.as_str().as_bytes();
            !hosts
                .iter()
                .all(|host| host.as_bytes().eq_ignore_ascii_case(named))
        }
        _ => true,
    };
    ambiguous.then_some(Offence::bad("the request has no Host, or several"))
}

/// What a connection's task looks at beside the connection itself.
struct Watch<'a> {
    control: &'a Control,
    options: &'a ServerOptions,
    state: &'a State,
    http2: bool,
    since: u64,
}

impl Watch<'_> {
    /// Polls the connection to its end, and ends it when a signal or a clock says so.
    async fn drive<C>(&self, mut conn: Pin<&mut C>, shutdown: impl Fn(Pin<&mut C>))
    where
        C: Future<Output = hyper::Result<()>>,
    {
        let mut changed = pin!(self.control.changed.notified());
        let mut alarm = pin!(tokio::time::sleep(self.options.header_timeout / 5));
        let mut clocks = Clocks::new();
        // Both futures wake the task by a waker that stays the same, so they are polled once each time they are armed; a turn of the
        // connection then costs two loads, not two locks.
        let mut armed = false;
        let mut seen = self.since;
        let mut closing = false;
        poll_fn(|cx| {
            if !armed {
                armed = true;
                let _ = changed.as_mut().poll(cx);
            }
            let word = self.control.word.load(Ordering::Acquire);
            if word != seen {
                if word / RESET != self.since / RESET {
                    self.state.pulse.reset_on_drop();
                    return Poll::Ready(());
                }
                seen = word;
                changed.set(self.control.changed.notified());
                let _ = changed.as_mut().poll(cx);
                // Nothing is lost between the load above and this line: a later change notifies the new future, and one in between is
                // seen by this second load.
                if self.control.word.load(Ordering::Acquire) != seen {
                    cx.waker().wake_by_ref();
                }
            }
            if clocks.first || alarm.is_elapsed() {
                if !clocks.first {
                    match clocks.look(self.options, self.state, self.http2) {
                        Verdict::Stay => {}
                        Verdict::Close => return Poll::Ready(()),
                        Verdict::Reset => {
                            self.state.pulse.reset_on_drop();
                            return Poll::Ready(());
                        }
                        Verdict::CloseInOrder if closing => return Poll::Ready(()),
                        Verdict::CloseInOrder => {
                            closing = true;
                            shutdown(conn.as_mut());
                        }
                    }
                    alarm
                        .as_mut()
                        .reset(Instant::now() + self.options.header_timeout / 5);
                }
                clocks.first = false;
                let _ = alarm.as_mut().poll(cx);
            }
            loop {
                match conn.as_mut().poll(cx) {
                    Poll::Ready(Ok(())) => return Poll::Ready(()),
                    Poll::Ready(Err(error)) => {
                        // The response's body broke off: an orderly close could look like its end.
                        if error.is_user() {
                            self.state.pulse.reset_on_drop();
                        }
                        return Poll::Ready(());
                    }
                    Poll::Pending => {}
                }
                if closing || !self.should_end(seen) {
                    return Poll::Pending;
                }
                closing = true;
                shutdown(conn.as_mut());
            }
        })
        .await;
    }

    fn should_end(&self, word: u64) -> bool {
        let state = self.state;
        (word & DRAINING != 0)
            || (!self.http2 && state.ending.load(Ordering::Relaxed))
            || (word & CROWDED != 0
                && state.active.load(Ordering::Relaxed) == 0
                && state.served.load(Ordering::Relaxed) > 0)
    }
}
