//! An upstream's answer on its way through a door: frames as they arrive, and an honest end.
//!
//! A break after the head cannot become a status any more. In an event stream it becomes a last event that
//! says so, without `[DONE]`; anything else is reset, so that it never looks whole. An answer that stands
//! still for too long counts as broken. Whoever watches is told of each frame, and exactly once of the
//! end; a passage that is dropped before has lost its client.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Frame, SizeHint};
use pointsman_core::exchange::event::Cause;
use pointsman_core::model::reject::Reject;
use pointsman_http::{Body, BodyError, Peer};
use pointsman_wire::error_form::ErrorForm;
use tokio::time::{Instant, Sleep};

/// What a door wants to know of an answer that passes.
pub trait Watch: Send + Unpin + 'static {
    /// These bytes have just been forwarded.
    fn passed(&mut self, _data: &Bytes) {}

    /// Ready when the answer has to end for the sake of another request.
    fn poll_evicted(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    /// The answer came to its natural end.
    fn ended(&mut self) {}

    /// The answer broke off; `why` says it in words.
    fn broken(&mut self, cause: Cause, why: &str);
}

/// How long an answer may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Longest pause within it.
    pub idle: Duration,
    /// When it must have ended.
    pub deadline: Option<Instant>,
}

/// The body of an answer, and what to do when it breaks.
pub struct Passage<W> {
    upstream: Body,
    /// Whether an event can still be appended: an event stream whose length was not promised.
    appendable: bool,
    form: ErrorForm,
    peer: Peer,
    patience: Patience,
    timer: Option<Pin<Box<Sleep>>>,
    frames: u64,
    /// Frames passed when the timer was armed.
    frames_then: u64,
    watch: W,
    ended: bool,
}

impl<W: Watch> Passage<W> {
    /// Wraps an answer's body.
    pub fn new(
        upstream: Body,
        headers: &HeaderMap,
        peer: Peer,
        patience: Patience,
        watch: W,
    ) -> Self {
        const EVENTS: &[u8] = b"text/event-stream";
        let events = headers.get(header::CONTENT_TYPE).is_some_and(|kind| {
            kind.as_bytes()
                .get(..EVENTS.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(EVENTS))
        });
        let appendable = events && !headers.contains_key(header::CONTENT_LENGTH);
        Self {
            upstream,
            appendable,
            form: ErrorForm::default(),
            peer,
            patience,
            timer: None,
            frames: 0,
            frames_then: 0,
            watch,
            ended: false,
        }
    }

    /// Errors are told in the form that these clients read.
    pub fn for_clients_of(self, form: ErrorForm) -> Self {
        Self { form, ..self }
    }

    fn end(&mut self) {
        self.ended = true;
        self.watch.ended();
    }

    fn break_off(
        &mut self,
        cause: Cause,
        error: BodyError,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.watch.broken(cause, &error.to_string());
        self.ended = true;
        // The endpoint learns at once that nobody reads on.
        self.upstream = Body::empty();
        if self.appendable {
            let told = match cause {
                Cause::Evicted => Reject::Evicted,
                _ => Reject::UpstreamBroke,
            };
            self.peer.disconnect_after_response();
            return Poll::Ready(Some(Ok(Frame::data(self.form.event(&told).into()))));
        }
        Poll::Ready(Some(Err(error)))
    }

    /// Whether nothing passed for too long, or the time is over. The timer is armed when there is nothing to
    /// pass, and a busy answer never touches it; when it fires it looks whether anything has passed.
    fn stands_still(&mut self, cx: &mut Context<'_>) -> bool {
        let Patience { idle, deadline } = self.patience;
        let next = || {
            let still = Instant::now() + idle;
            deadline.map_or(still, |deadline| deadline.min(still))
        };
        let timer = self.timer.get_or_insert_with(|| {
            self.frames_then = self.frames;
            Box::pin(tokio::time::sleep_until(next()))
        });
        loop {
            if timer.as_mut().poll(cx).is_pending() {
                return false;
            }
            if self.frames == self.frames_then
                || deadline.is_some_and(|deadline| deadline <= Instant::now())
            {
                return true;
            }
            self.frames_then = self.frames;
            timer.as_mut().reset(next());
        }
    }
}

impl<W: Watch> http_body::Body for Passage<W> {
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
        if this.watch.poll_evicted(cx).is_ready() {
            let why = Reject::Evicted.to_string();
            return this.break_off(Cause::Evicted, BodyError::Other(why.into()));
        }
        match Pin::new(&mut this.upstream).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.frames += 1;
                if let Some(data) = frame.data_ref() {
                    this.watch.passed(data);
                }
                // An answer of known length is not polled again after its last byte.
                if this.upstream.is_end_stream() {
                    this.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => this.break_off(Cause::Reset, error),
            Poll::Ready(None) => {
                this.end();
                Poll::Ready(None)
            }
            Poll::Pending if this.stands_still(cx) => {
                let why = format!("nothing came for {} s", this.patience.idle.as_secs_f64());
                this.break_off(Cause::IdleTimeout, BodyError::Other(why.into()))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.upstream.size_hint()
    }
}
