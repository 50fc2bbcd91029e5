//! Answers to gRPC calls that are not a conversation: one message, or a status alone.

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body::Frame;
use pointsman_http::{Body, BodyError};
use pointsman_wire::extproc::frame_fault::Code;
use pointsman_wire::extproc::grpc::Outbox;
use prost::Message;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::door::extproc::stream::trailers;

/// An answer whose body follows.
pub fn opened(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    response
}

/// An answer that is a status alone.
pub fn finished(code: Code, why: &str) -> Response<Body> {
    let mut response = opened(Body::empty());
    response.headers_mut().extend(trailers(code, why));
    response
}

/// An answer of one message.
pub fn replied(message: &impl Message) -> Response<Body> {
    let mut out = Outbox::default();
    out.message(message);
    opened(Body::boxed(Single {
        message: out.take(),
        ended: false,
    }))
}

/// A message and the status that all is well.
struct Single {
    message: Option<Bytes>,
    ended: bool,
}

impl http_body::Body for Single {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = match self.message.take() {
            Some(message) => Some(Frame::data(message)),
            None if self.ended => None,
            None => {
                self.ended = true;
                Some(Frame::trailers(trailers(Code::Ok, "")))
            }
        };
        Poll::Ready(frame.map(Ok))
    }
}
