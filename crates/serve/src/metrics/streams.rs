//! What one worker counts of the streams that gateways open.

use pointsman_wire::extproc::frame_fault::Code;

use crate::metrics::buckets;
use crate::metrics::histogram::{Counter, Histogram};

/// Codes that a stream ends with, in gRPC's words; the last one stands for a stream that was cut off.
pub const CODES: [&str; 5] = [
    "OK",
    "Internal",
    "ResourceExhausted",
    "Unimplemented",
    "Canceled",
];

/// The counts.
#[derive(Debug)]
pub struct StreamTally {
    /// Streams opened.
    pub opened: Counter,
    /// Streams ended, by place in [`CODES`].
    pub ended: [Counter; CODES.len()],
    /// Seconds that streams were open.
    pub duration: Histogram,
}

impl Default for StreamTally {
    fn default() -> Self {
        Self {
            opened: Counter::default(),
            ended: Default::default(),
            duration: Histogram::new(&buckets::STREAM),
        }
    }
}

impl StreamTally {
    /// A stream ended with a code, or was cut off.
    pub fn end(&self, code: Option<Code>, seconds: f64) {
        let at = match code {
            Some(Code::Ok) => 0,
            Some(Code::ResourceExhausted) => 2,
            Some(Code::Unimplemented) => 3,
            Some(Code::Cancelled) | None => 4,
            Some(Code::Unknown | Code::Internal | Code::Unavailable) => 1,
        };
        self.duration.observe(seconds);
        self.ended[at].add(1);
    }
}
