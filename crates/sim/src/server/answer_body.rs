//! The body of a streamed answer: one frame per event, made when the client is ready for it.
//!
//! A slow reader holds up nobody: what it has not read is a count, and is written when it comes back.
//! Dropping the body before its end (the client has left) aborts the request in the engine.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;
use pointsman_http::BodyError;

use crate::server::answer::{Answer, Usage};
use crate::server::answer_text::AnswerText;
use crate::server::host::Seat;

/// Events from the first token to `[DONE]`.
#[derive(Debug)]
pub struct AnswerBody {
    seat: Seat,
    answer: Answer,
    text: AnswerText,
    /// Text that stands before the first token (completions with `echo`).
    prefix: String,
    reason: &'static str,
    usage: Usage,
    ready: VecDeque<Bytes>,
    closed: bool,
}

impl AnswerBody {
    /// The body of `answer`, which says `text` and ends for `reason`.
    pub fn new(
        seat: Seat,
        answer: Answer,
        text: AnswerText,
        prefix: String,
        reason: &'static str,
        prompt: u32,
    ) -> Self {
        let usage = Usage {
            prompt,
            ..Usage::default()
        };
        Self {
            seat,
            answer,
            text,
            prefix,
            reason,
            usage,
            ready: VecDeque::new(),
            closed: false,
        }
    }

    fn write_token(&mut self) {
        if self.usage.completion == 0 {
            self.ready.extend(self.answer.opening(self.usage));
        }
        self.usage.completion += 1;
        let mut text = std::mem::take(&mut self.prefix);
        self.text.next_token(&mut text);
        self.ready.push_back(self.answer.token(&text, self.usage));
    }
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        loop {
            if let Some(event) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(event))));
            }
            if this.closed {
                return Poll::Ready(None);
            }
            let seen = ready!(this.seat.progress.poll_beyond(cx, this.usage.completion));
            if seen.tokens > this.usage.completion {
                this.write_token();
            } else if let Some(summary) = seen.summary {
                this.usage.cached = summary.cached_tokens;
                this.ready
                    .extend(this.answer.closing(this.reason, this.usage));
                this.closed = true;
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.closed && self.ready.is_empty()
    }
}
