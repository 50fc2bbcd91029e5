//! How far one request is: written by the engine, read by whoever writes its answer.
//!
//! It holds a count, not the tokens, so a reader that does not read costs no memory and never holds up
//! the engine: it finds all that happened meanwhile when it comes back.

use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::engine::request::Summary;

/// The state of one request.
#[derive(Debug, Default)]
pub struct Progress {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    seen: Seen,
    reader: Option<Waker>,
}

/// What a reader finds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Tokens generated.
    pub tokens: u32,
    /// Set when that was all.
    pub summary: Option<Summary>,
}

impl Progress {
    /// A token is there.
    pub fn tell_tokens(&self, tokens: u32) {
        let mut state = self.state.lock();
        state.seen.tokens = tokens;
        wake(&mut state);
    }

    /// The request has ended.
    pub fn tell_end(&self, summary: Summary) {
        let mut state = self.state.lock();
        state.seen = Seen {
            tokens: summary.output_tokens,
            summary: Some(summary),
        };
        wake(&mut state);
    }

    /// Ready when more than `tokens` tokens are there or the request has ended.
    pub fn poll_beyond(&self, cx: &mut Context<'_>, tokens: u32) -> Poll<Seen> {
        let mut state = self.state.lock();
        if state.seen.tokens > tokens || state.seen.summary.is_some() {
            return Poll::Ready(state.seen);
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Waits for the end.
    pub async fn ended(&self) -> Summary {
        std::future::poll_fn(|cx| match self.poll_beyond(cx, u32::MAX) {
            Poll::Ready(Seen {
                summary: Some(summary),
                ..
            }) => Poll::Ready(summary),
            Poll::Ready(_) | Poll::Pending => Poll::Pending,
        })
        .await
    }
}

fn wake(state: &mut State) {
    if let Some(reader) = state.reader.take() {
        reader.wake();
    }
}
