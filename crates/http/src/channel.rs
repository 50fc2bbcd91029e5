//! A body whose frames a producer in this process sends while the peer reads.
//!
//! The channel is bounded: a slow reader stops the producer. The producer learns that the reader left (`closed`), and a producer that
//! goes away without saying `finish` breaks the body off, so that half an answer never looks like a whole one.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;
use tokio::sync::mpsc;

use crate::body_error::BodyError;

/// The producer's end of a channel body.
#[derive(Debug)]
pub struct BodySender {
    frames: mpsc::Sender<Bytes>,
    finished: Arc<AtomicBool>,
}

/// The reader's end of a channel body.
#[derive(Debug)]
pub struct Receiving {
    frames: mpsc::Receiver<Bytes>,
    finished: Arc<AtomicBool>,
    failed: bool,
}

/// The reader left: nothing sent from now on arrives.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the reader of this body has left")]
pub struct ReaderLeft;

pub(crate) fn channel(capacity: usize) -> (BodySender, Receiving) {
    let (sender, receiver) = mpsc::channel(capacity.max(1));
    let finished = Arc::new(AtomicBool::new(false));
    (
        BodySender {
            frames: sender,
            finished: Arc::clone(&finished),
        },
        Receiving {
            frames: receiver,
            finished,
            failed: false,
        },
    )
}

impl BodySender {
    /// Sends one data frame, waiting while the channel is full.
    ///
    /// # Errors
    /// [`ReaderLeft`] when the body was dropped.
    pub async fn send(&self, frame: impl Into<Bytes>) -> Result<(), ReaderLeft> {
        self.frames.send(frame.into()).await.map_err(|_| ReaderLeft)
    }

    /// Sends one data frame if there is room now; gives it back if there is none.
    ///
    /// # Errors
    /// `Err(Some(frame))` when the channel is full, `Err(None)` when the reader left.
    pub fn try_send(&self, frame: Bytes) -> Result<(), Option<Bytes>> {
        self.frames.try_send(frame).map_err(|error| match error {
            mpsc::error::TrySendError::Full(frame) => Some(frame),
            mpsc::error::TrySendError::Closed(_) => None,
        })
    }

    /// Ends the body as whole.
    pub fn finish(self) {
        // Release pairs with the Acquire of the reader, which looks only after the channel is closed by the drop of `self`.
        self.finished.store(true, Ordering::Release);
    }

    /// Resolves when the reader left.
    pub async fn closed(&self) {
        self.frames.closed().await;
    }

    /// Whether the reader left.
    pub fn is_closed(&self) -> bool {
        self.frames.is_closed()
    }
}

impl http_body::Body for Receiving {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(match ready!(self.frames.poll_recv(cx)) {
            Some(frame) => Some(Ok(Frame::data(frame))),
            None if self.failed || self.finished.load(Ordering::Acquire) => None,
            None => {
                self.failed = true;
                Some(Err(BodyError::Abandoned))
            }
        })
    }
}
