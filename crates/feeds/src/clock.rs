//! The one monotonic clock of a process, in the core's ticks, and its relation to wall-clock time.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use pointsman_core::time::Tick;

/// Reads ticks since the clock was made. Copies agree with each other.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    unix_ns_at_origin: u64,
}

impl Clock {
    /// A clock whose tick 0 is now.
    pub fn start() -> Self {
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            origin: Instant::now(),
            unix_ns_at_origin: unix.as_nanos() as u64,
        }
    }

    /// The current tick.
    pub fn now(&self) -> Tick {
        Tick(self.origin.elapsed().as_nanos() as u64)
    }

    /// The wall-clock time of a tick, in nanoseconds since 1970. Steps of the wall clock after the start
    /// are not followed, so order is kept.
    pub fn unix_ns(&self, at: Tick) -> u64 {
        self.unix_ns_at_origin + at.0
    }
}
