//! A client connection while one request has it, and the idle list it goes back to.
//!
//! The connection has no task of its own: whoever waits for the response, or reads its body, turns its crank in the same poll. That saves
//! a wake-up and two channel crossings per event, makes back-pressure direct, and makes cancellation certain: dropping the response (or
//! the future that waits for it) drops the socket, and the server sees the close.
//!
//! States: idle (in [`Idle`]) -> leased (a request is sent or its response read) -> idle again when the end of the response was seen and
//! the connection says that it can take another request; in every other case dropped.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;

use crate::body_error::BodyError;
use crate::link::{Link, Pulse};

/// What a request body must be to be sent over a [`Wire`].
pub trait Sendable: Body<Data = Bytes, Error = BodyError> + Unpin + Send + 'static {}

impl<B: Body<Data = Bytes, Error = BodyError> + Unpin + Send + 'static> Sendable for B {}

/// One HTTP/1.1 client connection.
pub struct Wire<B: Sendable> {
    sender: http1::SendRequest<B>,
    connection: http1::Connection<TokioIo<Link>, B>,
    pulse: Arc<Pulse>,
    home: Arc<Idle<B>>,
}

/// A request that was not answered.
pub(crate) struct Unanswered<B> {
    pub(crate) error: hyper::Error,
    /// The request, when nothing of it was written.
    pub(crate) unsent: Option<Request<B>>,
    /// Whether any byte of an answer came.
    pub(crate) heard: bool,
}

impl<B: Sendable> Wire<B> {
    pub(crate) fn new(
        sender: http1::SendRequest<B>,
        connection: http1::Connection<TokioIo<Link>, B>,
        pulse: Arc<Pulse>,
        home: Arc<Idle<B>>,
    ) -> Box<Self> {
        Box::new(Self {
            sender,
            connection,
            pulse,
            home,
        })
    }

    /// Turns the crank; true when the connection is over.
    fn turn(&mut self, cx: &mut Context<'_>) -> bool {
        Pin::new(&mut self.connection).poll(cx).is_ready()
    }

    /// Sends a request and waits for the head of its response. The body of the response carries the connection.
    pub(crate) async fn send(
        mut self: Box<Self>,
        request: Request<B>,
    ) -> Result<Response<Lease<B>>, Unanswered<B>> {
        let before = self.pulse.reads();
        let pulse = Arc::clone(&self.pulse);
        let mut answer = std::pin::pin!(self.sender.try_send_request(request));
        let mut wire = Some(self);
        let answer: Result<Response<Incoming>, TrySendError<Request<B>>> =
            std::future::poll_fn(|cx| {
                if wire.as_mut().is_some_and(|wire| wire.turn(cx)) {
                    // Dropping the ended connection makes it answer for a request that it never looked at.
                    wire = None;
                }
                answer.as_mut().poll(cx)
            })
            .await;
        match answer {
            Ok(response) => Ok(response.map(|incoming| Lease::new(incoming, wire))),
            Err(mut failed) => {
                let unsent = failed.take_message();
                let error = failed.into_error();
                // An end of stream counts as a read that brought nothing.
                let empty_reads = u32::from(error.is_incomplete_message());
                let heard = pulse.reads().wrapping_sub(before) > empty_reads;
                Err(Unanswered {
                    error,
                    unsent,
                    heard,
                })
            }
        }
    }
}

/// The body of a response, with the connection it comes over.
pub struct Lease<B: Sendable> {
    incoming: Incoming,
    wire: Option<Box<Wire<B>>>,
}

impl<B: Sendable> Lease<B> {
    fn new(incoming: Incoming, wire: Option<Box<Wire<B>>>) -> Self {
        let mut lease = Self { incoming, wire };
        if lease.incoming.is_end_stream() {
            lease.give_back();
        }
        lease
    }

    /// Called once the end of the body was seen. A connection that cannot take another request at once (the server said close, the
    /// request is still being written) is dropped.
    fn give_back(&mut self) {
        if let Some(wire) = self.wire.take()
            && wire.sender.is_ready()
        {
            Idle::put(wire);
        }
    }
}

impl<B: Sendable> Body for Lease<B> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let mut frame = Pin::new(&mut this.incoming).poll_frame(cx);
        if frame.is_pending()
            && let Some(wire) = &mut this.wire
        {
            // The look above told the connection that a frame is wanted; now it may read one.
            if wire.turn(cx) {
                this.wire = None;
            }
            frame = Pin::new(&mut this.incoming).poll_frame(cx);
        }
        match ready!(frame) {
            Some(Ok(frame)) => {
                if this.incoming.is_end_stream() {
                    this.give_back();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                this.wire = None;
                Poll::Ready(Some(Err(BodyError::Peer(error))))
            }
            None => {
                this.give_back();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// The idle connections to one address, the one used last on top.
pub struct Idle<B: Sendable> {
    wires: Mutex<Vec<(Instant, Box<Wire<B>>)>>,
    most: usize,
}

impl<B: Sendable> Idle<B> {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            wires: Mutex::new(Vec::new()),
            most,
        }
    }

    fn put(wire: Box<Wire<B>>) {
        let home = Arc::clone(&wire.home);
        let mut wires = home.wires.lock();
        if wires.len() < home.most {
            wires.push((Instant::now(), wire));
        }
    }

    /// The connection used last that is still alive.
    pub(crate) fn take(&self, cx: &mut Context<'_>) -> Option<Box<Wire<B>>> {
        loop {
            let (_, mut wire) = self.wires.lock().pop()?;
            if !wire.turn(cx) && wire.sender.is_ready() {
                return Some(wire);
            }
        }
    }

    /// Drops the connections that have been idle for `idle` or that the server closed. Returns how many stay.
    pub(crate) fn sweep(&self, idle: Duration) -> usize {
        let now = Instant::now();
        let mut cx = Context::from_waker(Waker::noop());
        let mut wires = self.wires.lock();
        wires.retain_mut(|(since, wire)| {
            now.saturating_duration_since(*since) < idle && !wire.turn(&mut cx)
        });
        wires.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.wires.lock().is_empty()
    }

    /// Drops all idle connections. Returns how many there were.
    pub(crate) fn clear(&self) -> usize {
        let wires = std::mem::take(&mut *self.wires.lock());
        wires.len()
    }
}
