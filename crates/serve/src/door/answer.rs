//! The body of an endpoint's answer on its way to the client.
//!
//! Frames go through as they arrive. Each is shown to the reply scanner, which finds usage and id; the end
//! (or the break, or the client's leaving) is told to the exchange, exactly once. An event stream that
//! breaks off ends in an error event and no `[DONE]`; any other answer that breaks off resets the connection.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Frame, SizeHint};
use pointsman_core::exchange::event::Cause;
use pointsman_core::model::reject::Reject;
use pointsman_http::{Body, BodyError, Peer};
use pointsman_wire::reply::ReplyScanner;
use pointsman_wire::sse::error_event;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::exchange::Exchange;

/// An answer under way.
pub struct Answer {
    upstream: Body,
    exchange: Exchange,
    peer: Peer,
    scanner: Option<ReplyScanner>,
    /// Whether an error event can be appended: an event stream without a declared length.
    can_append: bool,
    idle: Duration,
    deadline: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    frames: u64,
    frames_at_arming: u64,
    finished: bool,
}

impl Answer {
    /// Wraps the body of an answer whose head has been reported to `exchange`.
    pub fn new(
        upstream: Body,
        headers: &HeaderMap,
        exchange: Exchange,
        peer: Peer,
        idle: Duration,
        deadline: Option<Instant>,
    ) -> Self {
        let content_type = headers
            .get(header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .unwrap_or("");
        let events = content_type.starts_with("text/event-stream");
        Self {
            upstream,
            exchange,
            peer,
            scanner: Some(ReplyScanner::new(content_type)),
            can_append: events && !headers.contains_key(header::CONTENT_LENGTH),
            idle,
            deadline,
            timer: None,
            frames: 0,
            frames_at_arming: 0,
            finished: false,
        }
    }

    fn finish(&mut self) {
        if let Some(scanner) = self.scanner.take() {
            let facts = scanner.finish();
            self.exchange.end(facts.usage, facts.id.as_deref());
        }
        self.finished = true;
    }

    fn break_off(&mut self, cause: Cause) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.exchange.broken(cause);
        self.scanner = None;
        self.finished = true;
        if self.can_append {
            self.peer.disconnect_after_response();
            return Poll::Ready(Some(Ok(Frame::data(
                error_event(&Reject::UpstreamBroke).into(),
            ))));
        }
        Poll::Ready(Some(Err(BodyError::Other(Box::new(Reject::UpstreamBroke)))))
    }

    /// Arms or checks the clock that bounds how long an answer may stand still.
    /// It is armed only when there is nothing to pass on, and looks back at what passed when it fires,
    /// so that a busy stream never touches it.
    fn stood_still(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            let timer = self.timer.get_or_insert_with(|| {
                self.frames_at_arming = self.frames;
                let idle = Instant::now() + self.idle;
                Box::pin(sleep_until(self.deadline.map_or(idle, |d| d.min(idle))))
            });
            if timer.as_mut().poll(cx).is_pending() {
                return false;
            }
            let overdue = self.deadline.is_some_and(|d| d <= Instant::now());
            if overdue || self.frames == self.frames_at_arming {
                return true;
            }
            self.timer = None;
        }
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.finished {
            return Poll::Ready(None);
        }
        match Pin::new(&mut this.upstream).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.frames += 1;
                if let (Some(data), Some(scanner)) = (frame.data_ref(), &mut this.scanner) {
                    scanner.chunk(data);
                }
                // An answer of known length is not polled again after its last byte.
                if this.upstream.is_end_stream() {
                    this.finish();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(_))) => this.break_off(Cause::Reset),
            Poll::Ready(None) => {
                this.finish();
                Poll::Ready(None)
            }
            Poll::Pending => {
                if this.stood_still(cx) {
                    return this.break_off(Cause::IdleTimeout);
                }
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.finished
    }

    fn size_hint(&self) -> SizeHint {
        self.upstream.size_hint()
    }
}
