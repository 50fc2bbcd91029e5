//! Looking at the beginning of an answer before it is passed on whole.
//!
//! Used for one question only: whether decode declined a request because too little of its prompt was cached. An engine that declines
//! says so in its first bytes; an answer that is longer than what is looked at is an answer.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Response, header};
use http_body::{Frame, SizeHint};
use pointsman_http::{Body, BodyError};
use pointsman_wire::handoff::threshold::{Verdict, verdict};

/// How much of an answer is looked at.
const MOST: usize = 64 * 1024;

/// Reads as much of an answer as it takes to know whether the engine declined: `None` when it did, else the answer with what was read
/// of it in front again.
///
/// # Errors
/// When it breaks off before that.
pub async fn glance(answer: Response<Body>) -> Result<Option<Response<Body>>, BodyError> {
    let (parts, mut rest) = answer.into_parts();
    let events = parts.headers.get(header::CONTENT_TYPE).is_some_and(|kind| {
        kind.as_bytes()
            .to_ascii_lowercase()
            .starts_with(b"text/event-stream")
    });
    let mut read: Vec<Bytes> = Vec::new();
    let mut len = 0;
    while parts.status.is_success() && len < MOST {
        let frame =
            std::future::poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut rest), cx)).await;
        let ended = frame.is_none();
        if let Some(frame) = frame
            && let Ok(data) = frame?.into_data()
        {
            len += data.len();
            read.push(data);
        }
        match verdict(&read, events, ended) {
            Verdict::Declined => return Ok(None),
            Verdict::Answered => break,
            Verdict::Unknown => {}
        }
    }
    read.reverse();
    let body = Body::boxed(Ahead { read, rest });
    Ok(Some(Response::from_parts(parts, body)))
}

/// A body of which the first frames have been read already.
struct Ahead {
    /// They, the first at the end.
    read: Vec<Bytes>,
    rest: Body,
}

impl http_body::Body for Ahead {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.read.pop() {
            Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let read: u64 = self.read.iter().map(|data| data.len() as u64).sum();
        let mut hint = self.rest.size_hint();
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + read);
        }
        hint.set_lower(hint.lower() + read);
        hint
    }
}
