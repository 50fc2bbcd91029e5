//! An engine's answer on its way through the proxy: frames as they arrive, and an honest end.
//!
//! A break after the head cannot become a status any more. In an event stream it becomes a last event that says so, without `[DONE]`;
//! anything else is reset, so that it never looks whole. An answer that stands still for too long counts as broken.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Frame, SizeHint};
use pointsman_core::model::reject::Reject;
use pointsman_http::{Body, BodyError, Peer};
use pointsman_wire::sse::error_event;
use tokio::time::{Instant, Sleep};

/// The body of an answer, and what to do when it breaks.
pub struct Passage<F> {
    upstream: Body,
    /// Whether an event can still be appended: an event stream whose length was not promised.
    appendable: bool,
    peer: Peer,
    stall: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    frames: u64,
    /// Frames passed when the timer was armed.
    frames_then: u64,
    broken: F,
    ended: bool,
}

impl<F: FnMut(&str)> Passage<F> {
    /// Wraps an answer's body. `stall` is how long it may stand still, `broken` is called with the cause if it breaks.
    pub fn new(
        upstream: Body,
        headers: &HeaderMap,
        peer: Peer,
        stall: Duration,
        broken: F,
    ) -> Self {
        let events = headers.get(header::CONTENT_TYPE).is_some_and(|kind| {
            kind.as_bytes()
                .to_ascii_lowercase()
                .starts_with(b"text/event-stream")
        });
        let appendable = events && !headers.contains_key(header::CONTENT_LENGTH);
        Self {
            upstream,
            appendable,
            peer,
            stall,
            timer: None,
            frames: 0,
            frames_then: 0,
            broken,
            ended: false,
        }
    }

    fn break_off(&mut self, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        (self.broken)(&error.to_string());
        self.ended = true;
        // The engine learns at once that nobody reads on.
        self.upstream = Body::empty();
        if self.appendable {
            self.peer.disconnect_after_response();
            return Poll::Ready(Some(Ok(Frame::data(
                error_event(&Reject::UpstreamBroke).into(),
            ))));
        }
        Poll::Ready(Some(Err(error)))
    }

    /// Whether nothing passed for too long. Armed when there is nothing to pass, and not touched by what passes; when it fires it looks
    /// whether anything has.
    fn stands_still(&mut self, cx: &mut Context<'_>) -> bool {
        let stall = self.stall;
        let timer = self.timer.get_or_insert_with(|| {
            self.frames_then = self.frames;
            Box::pin(tokio::time::sleep(stall))
        });
        loop {
            if timer.as_mut().poll(cx).is_pending() {
                return false;
            }
            if self.frames == self.frames_then {
                return true;
            }
            self.frames_then = self.frames;
            timer.as_mut().reset(Instant::now() + stall);
        }
    }
}

impl<F: FnMut(&str) + Unpin> http_body::Body for Passage<F> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        match Pin::new(&mut this.upstream).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.frames += 1;
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => this.break_off(error),
            Poll::Ready(None) => {
                this.ended = true;
                Poll::Ready(None)
            }
            Poll::Pending if this.stands_still(cx) => {
                let stall = this.stall.as_secs_f64();
                this.break_off(BodyError::Other(
                    format!("nothing came for {stall} s").into(),
                ))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.upstream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.upstream.size_hint()
    }
}
