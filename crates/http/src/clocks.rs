//! The clocks of a connection: they are not armed per request, but see what has not moved since the last look.
//!
//! | what has not moved | for | then |
//! |---|---|---|
//! | a head that was begun, or a new connection without a byte | header timeout | closed |
//! | a new HTTP/2 connection without a request | header timeout | closed in order |
//! | nothing at all between requests | keep-alive idle | closed in order |
//! | a write that found the socket full | write timeout | reset |
//! | an HTTP/2 stream with a frame in hand and no window | write timeout | that stream is reset |

use std::sync::atomic::Ordering;

use tokio::time::Instant;

use crate::server_options::ServerOptions;
use crate::state::State;

/// What a look at the clocks says.
pub(crate) enum Verdict {
    Stay,
    Close,
    CloseInOrder,
    Reset,
}

/// What the counters were when they last moved.
pub(crate) struct Clocks {
    /// Whether nobody has looked yet.
    pub(crate) first: bool,
    /// Requests ended at the last look.
    served: u32,
    rest_since: Instant,
    head_since: Option<Instant>,
    writes: u32,
    stuck_since: Option<Instant>,
}

impl Clocks {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self {
            first: true,
            served: 0,
            rest_since: now,
            head_since: Some(now),
            writes: 0,
            stuck_since: None,
        }
    }

    pub(crate) fn look(&mut self, options: &ServerOptions, state: &State, http2: bool) -> Verdict {
        let now = Instant::now();
        let pulse = &state.pulse;
        let active = state.active.load(Ordering::Relaxed);
        let served = state.served.load(Ordering::Relaxed);

        let writes = pulse.writes();
        if !pulse.is_stuck() || writes != self.writes {
            self.writes = writes;
            self.stuck_since = None;
        } else if now - *self.stuck_since.get_or_insert(now) >= options.write_timeout {
            return Verdict::Reset;
        }

        if active > 0 || served != self.served {
            self.served = served;
            self.rest_since = now;
            self.head_since = None;
        }
        if http2 {
            state.streams.cut(now, options.write_timeout);
        }
        if active > 0 {
            return Verdict::Stay;
        }
        if !http2 {
            let begun = pulse.reads() != state.reads_at_rest.load(Ordering::Relaxed);
            if begun && self.head_since.is_none() {
                self.head_since = Some(now);
            }
            if self
                .head_since
                .is_some_and(|since| now - since >= options.header_timeout)
            {
                return Verdict::Close;
            }
        }
        let rest = if http2 && served == 0 {
            options.header_timeout
        } else {
            options.keep_alive_idle
        };
        if now - self.rest_since >= rest {
            Verdict::CloseInOrder
        } else {
            Verdict::Stay
        }
    }
}
