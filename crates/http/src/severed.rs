//! A body that breaks off half-way, for the fault that does so.
//!
//! With a known length it lets half of the bytes through, else the first data frame; then it waits one turn, so that what was let through
//! is written, and fails. The length that was promised stays promised.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use crate::body::Body;
use crate::body_error::BodyError;

/// A body cut short.
#[derive(Debug)]
pub struct Severed {
    body: Body,
    hint: SizeHint,
    /// Bytes that may still pass; `None` until the first data frame when the length is unknown.
    left: Option<u64>,
    waited: bool,
}

impl Severed {
    /// Cuts a body; an empty one breaks off at once.
    pub fn new(body: Body) -> Self {
        let hint = if body.is_end_stream() {
            SizeHint::new()
        } else {
            body.size_hint()
        };
        let left = hint.exact().map(|len| len / 2);
        Self {
            body,
            hint,
            left,
            waited: false,
        }
    }
}

impl http_body::Body for Severed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.left == Some(0) || self.body.is_end_stream() {
            if !self.waited {
                self.waited = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            return Poll::Ready(Some(Err(BodyError::Cut)));
        }
        match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => Poll::Ready(Some(Ok(match frame.into_data() {
                Ok(mut data) => {
                    let most = self.left.unwrap_or(data.len() as u64);
                    data.truncate(usize::try_from(most).unwrap_or(usize::MAX));
                    self.left = Some(self.left.map_or(0, |left| left - data.len() as u64));
                    Frame::data(data)
                }
                Err(frame) => frame,
            }))),
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None => Poll::Ready(Some(Err(BodyError::Cut))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}
