//! HTTP/2 streams whose client takes nothing.
//!
//! A stream without window waits with a frame in hand, and polls neither its body nor any clock of it. So each stream's task has a mark on
//! which its body notes that a frame was handed over, or that it waits for one; the connection's clock looks at the marks and ends the
//! task of a stream that has held a frame for too long. The end of the task resets the stream, and drops the answer and what it came from.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

tokio::task_local! {
    static MARK: Arc<Mark>;
}

/// What the clock sees of a stream.
#[derive(Debug, Default)]
struct Mark {
    /// Odd while a frame is in hand. Relaxed: it is a hint, looked at again before anything is done.
    turns: AtomicU32,
    cut: Notify,
}

/// The streams of a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Streams {
    marks: Arc<Mutex<Vec<Watched>>>,
}

#[derive(Debug)]
struct Watched {
    mark: Arc<Mark>,
    turns: u32,
    since: Instant,
}

/// Notes on the mark of the current stream, if this is the task of one, whether its body has handed over a frame.
pub(crate) fn handed_over(frame: bool) {
    // Without a mark it is an HTTP/1.1 answer, whose clock is that of the socket.
    let _ = MARK.try_with(|mark| {
        let turns = mark.turns.load(Ordering::Relaxed);
        if frame || turns % 2 == 1 {
            let next = turns.wrapping_add(if frame && turns % 2 == 1 { 2 } else { 1 });
            mark.turns.store(next, Ordering::Relaxed);
        }
    });
}

impl Streams {
    /// Ends the streams that have held the same frame for so long.
    pub(crate) fn cut(&self, now: Instant, patience: Duration) {
        self.marks.lock().retain_mut(|watched| {
            // The task is gone.
            if Arc::strong_count(&watched.mark) == 1 {
                return false;
            }
            let turns = watched.mark.turns.load(Ordering::Relaxed);
            if turns != watched.turns || turns % 2 == 0 {
                watched.turns = turns;
                watched.since = now;
            } else if now - watched.since >= patience {
                watched.mark.cut.notify_one();
            }
            true
        });
    }
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, stream: F) {
        let mark = Arc::new(Mark::default());
        self.marks.lock().push(Watched {
            mark: Arc::clone(&mark),
            turns: 0,
            since: Instant::now(),
        });
        tokio::spawn(async move {
            let stream = MARK.scope(Arc::clone(&mark), stream);
            tokio::select! {
                biased;
                _ = stream => {}
                () = mark.cut.notified() => {}
            }
        });
    }
}
