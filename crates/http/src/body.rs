//! The body type of every request and response that is sent.
//!
//! An enum, so that the common ways (a few frames in memory, a body passed through from either side) cost no box and no virtual call.
//! Frames pass through as they arrive: nothing here joins, splits or holds one back.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

use crate::body_error::BodyError;
use crate::channel::{self, BodySender, Receiving};
use crate::frames::Frames;
use crate::lease::Lease;

/// A body in memory and how much of it has been sent.
#[derive(Debug)]
pub struct Playing {
    frames: Frames,
    next: usize,
    left: u64,
}

/// A body of any origin.
#[derive(Default)]
pub enum Body {
    /// No byte.
    #[default]
    Empty,
    /// Bytes held in memory; may be sent again.
    Frames(Playing),
    /// The body of a request that this process serves, or of an answer that came over a [`crate::Line`], passed on as it
    /// arrives.
    Incoming(Incoming),
    /// The body of an upstream's response; gives its connection back to the pool at its end and closes it when dropped earlier.
    Upstream(Lease<Self>),
    /// Bytes that a producer in this process sends while the body is being read.
    Channel(Receiving),
    /// Anything else.
    Boxed(Pin<Box<dyn http_body::Body<Data = Bytes, Error = BodyError> + Send>>),
}

impl Body {
    /// A body without a byte.
    pub fn empty() -> Self {
        Self::Empty
    }

    /// A body of one piece.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self::frames(Frames::from_bytes(bytes.into()))
    }

    /// A body of the given pieces, each sent as one data frame.
    pub fn frames(frames: Frames) -> Self {
        if frames.is_empty() {
            return Self::Empty;
        }
        let left = frames.len() as u64;
        Self::Frames(Playing {
            frames,
            next: 0,
            left,
        })
    }

    /// A body of another type.
    pub fn boxed(
        body: impl http_body::Body<Data = Bytes, Error = BodyError> + Send + 'static,
    ) -> Self {
        Self::Boxed(Box::pin(body))
    }

    /// A body fed through a bounded channel of `capacity` frames (at least one).
    ///
    /// Dropping the sender without [`BodySender::finish`] is an error that breaks off the message.
    pub fn channel(capacity: usize) -> (BodySender, Self) {
        let (sender, receiving) = channel::channel(capacity);
        (sender, Self::Channel(receiving))
    }

    /// The same body once more, when nothing of it has been consumed that could not be produced again.
    pub fn replay(&self) -> Option<Self> {
        match self {
            Self::Empty => Some(Self::Empty),
            Self::Frames(playing) => Some(Self::frames(playing.frames.clone())),
            _ => None,
        }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => "Body::Empty",
            Self::Frames(_) => "Body::Frames",
            Self::Incoming(_) => "Body::Incoming",
            Self::Upstream(_) => "Body::Upstream",
            Self::Channel(_) => "Body::Channel",
            Self::Boxed(_) => "Body::Boxed",
        })
    }
}

impl From<Frames> for Body {
    fn from(frames: Frames) -> Self {
        Self::frames(frames)
    }
}

impl From<Incoming> for Body {
    fn from(incoming: Incoming) -> Self {
        Self::Incoming(incoming)
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Frames(playing) => Poll::Ready(playing.frames.get(playing.next).map(|frame| {
                playing.next += 1;
                playing.left -= frame.len() as u64;
                Ok(Frame::data(frame.clone()))
            })),
            Self::Incoming(incoming) => {
                let frame = ready!(Pin::new(incoming).poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Peer)))
            }
            Self::Upstream(lease) => Pin::new(lease).poll_frame(cx),
            Self::Channel(receiving) => Pin::new(receiving).poll_frame(cx),
            Self::Boxed(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Frames(playing) => playing.left == 0,
            Self::Incoming(incoming) => incoming.is_end_stream(),
            Self::Upstream(lease) => lease.is_end_stream(),
            Self::Channel(_) => false,
            Self::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Frames(playing) => SizeHint::with_exact(playing.left),
            Self::Incoming(incoming) => incoming.size_hint(),
            Self::Upstream(lease) => lease.size_hint(),
            Self::Channel(_) => SizeHint::new(),
            Self::Boxed(body) => body.size_hint(),
        }
    }
}
