//! What the requests of a connection and the task that drives it know of one another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::link::Pulse;
use crate::stream::Streams;

/// Counters and flags of one connection. All orderings are relaxed: nothing else is ordered by them.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) pulse: Arc<Pulse>,
    /// Requests taken and not yet ended.
    pub(crate) active: AtomicU32,
    /// Requests ended.
    pub(crate) served: AtomicU32,
    /// Reads when the last request ended; a read after that is the head of the next one.
    pub(crate) reads_at_rest: AtomicU32,
    /// Whether the connection is to end after the response that is being made.
    pub(crate) ending: AtomicBool,
    /// The streams of an HTTP/2 connection.
    pub(crate) streams: Streams,
}

/// One request that is being served.
pub(crate) struct Serving(Arc<State>);

impl Serving {
    pub(crate) fn new(state: &Arc<State>) -> Self {
        state.active.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(state))
    }

    pub(crate) fn state(&self) -> &State {
        &self.0
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0
            .reads_at_rest
            .store(self.0.pulse.reads(), Ordering::Relaxed);
        self.0.served.fetch_add(1, Ordering::Relaxed);
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}
