//! The body of a streamed answer: one frame per event, made when the client is ready for it.
//!
//! A slow reader holds up nobody: what it has not read is a count, and is written when it comes back.
//! Dropping the body before its end (the client has left) aborts the request in the engine.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;
use pointsman_http::BodyError;

use crate::server::answer::{Answer, Usage};
use crate::server::lane::Lane;

/// Events from the first token to `[DONE]`.
#[derive(Debug)]
pub struct AnswerBody {
    lanes: Vec<Running>,
    answer: Answer,
    usage: Usage,
    ready: VecDeque<Bytes>,
    closed: bool,
}

/// A choice and how far it has been written.
#[derive(Debug)]
struct Running {
    lane: Lane,
    written: u32,
    ended: bool,
}

impl AnswerBody {
    /// The body of `answer`, whose choices these are.
    pub fn new(answer: Answer, lanes: Vec<Lane>) -> Self {
        let usage = Usage {
            prompt: lanes.iter().filter_map(|lane| lane.prompt).sum(),
            ..Usage::default()
        };
        let lanes = lanes.into_iter().map(|lane| Running {
            lane,
            written: 0,
            ended: false,
        });
        Self {
            lanes: lanes.collect(),
            answer,
            usage,
            ready: VecDeque::new(),
            closed: false,
        }
    }

    /// Writes one event of each choice that has one.
    fn write_ready(&mut self, cx: &mut Context<'_>) {
        for (index, running) in self.lanes.iter_mut().enumerate() {
            if running.ended {
                continue;
            }
            let progress = &running.lane.seat.progress;
            let Poll::Ready(seen) = progress.poll_beyond(cx, running.written) else {
                continue;
            };
            if seen.tokens > running.written {
                if running.written == 0 {
                    self.ready.extend(self.answer.opening(index, self.usage));
                }
                running.written += 1;
                self.usage.completion += 1;
                let event = running.lane.event(index, &self.answer, self.usage);
                self.ready.push_back(event);
            } else if let Some(summary) = seen.summary {
                if running.lane.prompt.is_some() {
                    self.usage.cached += summary.cached_tokens;
                }
                let ending = self.answer.ending(index, running.lane.reason, self.usage);
                self.ready.push_back(ending);
                running.ended = true;
            }
        }
        if self.lanes.iter().all(|running| running.ended) {
            self.ready.extend(self.answer.closing(self.usage));
            self.closed = true;
        }
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
        if this.ready.is_empty() && !this.closed {
            this.write_ready(cx);
        }
        match this.ready.pop_front() {
            Some(event) => Poll::Ready(Some(Ok(Frame::data(event)))),
            None if this.closed => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.closed && self.ready.is_empty()
    }
}
