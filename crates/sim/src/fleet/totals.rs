//! What a run of a fleet has come to so far.

use pointsman_core::time::Span;

use crate::fleet::quantiles::Durations;

/// First tokens within this time are counted apart.
const SOON: Span = Span::from_millis(500);

/// Requests by their ends, and the times of those that were served.
#[derive(Debug, Default)]
pub struct Totals {
    /// Answered by an engine.
    pub served: u64,
    /// Turned away by an engine.
    pub refused: u64,
    /// Turned away by the router.
    pub rejected: u64,
    /// First token within half a second.
    pub within_half_second: u64,
    /// Times to first token.
    pub ttft: Durations,
    /// Times to last token.
    pub e2e: Durations,
}

impl Totals {
    /// Counts a request that was served.
    pub fn add_served(&mut self, first_byte: Span, total: Span) {
        self.served += 1;
        self.within_half_second += u64::from(first_byte <= SOON);
        self.ttft.add(first_byte);
        self.e2e.add(total);
    }

    /// Requests that have ended.
    pub fn ended(&self) -> u64 {
        self.served + self.refused + self.rejected
    }

    /// Forgets all; the memory stays.
    pub fn clear(&mut self) {
        self.ttft.clear();
        self.e2e.clear();
        (self.served, self.refused, self.rejected) = (0, 0, 0);
        self.within_half_second = 0;
    }
}
