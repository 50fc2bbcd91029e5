//! Reading a body to its end within bounds, or throwing the rest of one away.
//!
//! Bounds are the number of bytes and the time between two frames. The clock is only armed when a frame is really waited for: most
//! bodies lie in the socket's buffer already when they are asked for.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep};

use crate::frames::Frames;

/// Why a body could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// It is larger than allowed.
    #[error("body larger than {limit} bytes")]
    TooLarge {
        /// The bound that was passed, in bytes.
        limit: usize,
    },
    /// No frame came for the allowed time.
    #[error("no byte of the body came for too long")]
    Idle,
    /// It broke off.
    #[error("body broke off: {0}")]
    Read(String),
}

/// Reads a body to its end: at most `limit` bytes, at most `idle` between two frames.
///
/// # Errors
/// [`CollectError`]; after `TooLarge` the rest is still unread, see [`discard`].
pub async fn collect<B>(body: B, limit: usize, idle: Duration) -> Result<Frames, CollectError>
where
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let mut body = pin!(body);
    gather(body.as_mut(), limit, idle).await
}

/// As [`collect`], from a borrowed body, so that the rest can be discarded when it was too large.
///
/// # Errors
/// [`CollectError`].
pub async fn gather<B>(
    mut body: Pin<&mut B>,
    limit: usize,
    idle: Duration,
) -> Result<Frames, CollectError>
where
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    if body.size_hint().lower() > limit as u64 {
        return Err(CollectError::TooLarge { limit });
    }
    let mut frames = Frames::default();
    let mut alarm = Alarm::new(idle);
    while !body.is_end_stream() {
        let Some(frame) = poll_fn(|cx| alarm.watch(body.as_mut(), cx))
            .await
            .ok_or(CollectError::Idle)?
        else {
            break;
        };
        let frame = frame.map_err(|error| CollectError::Read(error.to_string()))?;
        if let Ok(data) = frame.into_data() {
            if frames.len() + data.len() > limit {
                return Err(CollectError::TooLarge { limit });
            }
            frames.push(data);
        }
    }
    Ok(frames)
}

/// Reads and drops a body until its end, `limit` bytes, or `time`, whichever is first. True when the end was seen.
///
/// Wanted after a 413: a client that writes its whole body before it reads must be able to, or it never sees the answer.
pub async fn discard<B>(body: B, limit: usize, time: Duration) -> bool
where
    B: Body<Data = Bytes>,
{
    let mut body = pin!(body);
    let drained = async {
        let mut seen = 0;
        while !body.is_end_stream() {
            match poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
                None => break,
                Some(Err(_)) => return false,
                Some(Ok(frame)) => seen += frame.data_ref().map_or(0, Bytes::len),
            }
            if seen > limit {
                return false;
            }
        }
        true
    };
    tokio::time::timeout(time, drained).await.unwrap_or(false)
}

/// The clock between two frames.
struct Alarm {
    idle: Duration,
    pending: u32,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    fn new(idle: Duration) -> Self {
        Self {
            idle,
            pending: 0,
            sleep: None,
        }
    }

    /// The next frame, or `None` when the time is over.
    #[allow(clippy::type_complexity)]
    fn watch<B: Body>(
        &mut self,
        body: Pin<&mut B>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Option<Result<Frame<B::Data>, B::Error>>>> {
        if let Poll::Ready(frame) = body.poll_frame(cx) {
            self.pending = 0;
            self.sleep = None;
            return Poll::Ready(Some(frame));
        }
        self.pending += 1;
        if self.pending == 1 {
            // The first look at an HTTP/1 body only asks the connection for it; the connection then answers from its buffer in its next
            // turn, which it takes anyway. Arming a timer for that would cost more than the read.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let idle = self.idle;
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + idle)));
        sleep.as_mut().poll(cx).map(|()| None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Body as AnyBody;

    fn pieces(pieces: &[&'static str]) -> AnyBody {
        AnyBody::frames(
            pieces
                .iter()
                .map(|piece| Bytes::from_static(piece.as_bytes()))
                .collect(),
        )
    }

    #[tokio::test]
    async fn the_bound_is_inclusive() {
        let idle = Duration::from_secs(1);
        assert_eq!(
            collect(pieces(&["ab", "cd"]), 4, idle)
                .await
                .expect("fits")
                .joined()
                .as_ref(),
            b"abcd"
        );
        assert!(matches!(
            collect(pieces(&["ab", "cde"]), 4, idle).await,
            Err(CollectError::TooLarge { limit: 4 })
        ));
        assert!(
            collect(AnyBody::empty(), 0, idle)
                .await
                .expect("nothing")
                .is_empty()
        );
    }

    #[tokio::test]
    async fn a_body_of_unknown_length_is_bounded_too() {
        let (sender, body) = AnyBody::channel(8);
        for _ in 0..3 {
            sender.send("abc").await.expect("read later");
        }
        let error = collect(body, 8, Duration::from_secs(1))
            .await
            .expect_err("nine bytes");
        assert!(matches!(error, CollectError::TooLarge { limit: 8 }));
    }

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn waiting_is_bounded_between_frames_not_in_all() {
        let (sender, body) = AnyBody::channel(1);
        let producer = tokio::spawn(async move {
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_secs(7)).await;
                sender.send("x").await.expect("read");
            }
            sender.closed().await;
        });
        let start = Instant::now();
        let error = collect(body, 100, Duration::from_secs(10))
            .await
            .expect_err("silence at the end");
        assert!(matches!(error, CollectError::Idle));
        assert_eq!(start.elapsed().as_secs(), 45);
        producer.await.expect("told that the reader left");
    }

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn discard_stops_at_each_of_its_bounds() {
        assert!(discard(pieces(&["abc", "def"]), 6, Duration::from_secs(5)).await);
        assert!(!discard(pieces(&["abc", "def"]), 5, Duration::from_secs(5)).await);
        let (_sender, silent) = AnyBody::channel(1);
        assert!(!discard(silent, 5, Duration::from_secs(5)).await);
    }
}
