//! What a run of a fleet has come to so far.

use pointsman_core::time::{Span, Tick};

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
    /// Broken off after its first token.
    pub broken: u64,
    /// Attempts that failed, and after which another endpoint was asked or the router gave up.
    pub failed_attempts: u64,
    /// First token within half a second.
    pub within_half_second: u64,
    /// Times to first token.
    pub ttft: Durations,
    /// Times to last token.
    pub e2e: Durations,
    /// Times per token behind the first, of each answer that has some.
    pub tpot: Durations,
    /// Arrival and time to first token of each answer, where that is asked for.
    pub samples: Option<Vec<(Tick, Span)>>,
}

impl Totals {
    /// Counts a request that was served.
    pub fn add_served(&mut self, arrived: Tick, first_byte: Span, total: Span, tokens: u32) {
        self.served += 1;
        self.within_half_second += u64::from(first_byte <= SOON);
        self.ttft.add(first_byte);
        self.e2e.add(total);
        if tokens > 1 {
            let behind = total.0.saturating_sub(first_byte.0);
            self.tpot.add(Span(behind / u64::from(tokens - 1)));
        }
        if let Some(samples) = &mut self.samples {
            samples.push((arrived, first_byte));
        }
    }

    /// Requests that have ended.
    pub fn ended(&self) -> u64 {
        self.served + self.refused + self.rejected + self.broken
    }

    /// Forgets all; the memory stays.
    pub fn clear(&mut self) {
        self.ttft.clear();
        self.e2e.clear();
        self.tpot.clear();
        if let Some(samples) = &mut self.samples {
            samples.clear();
        }
        (self.broken, self.failed_attempts) = (0, 0);
        (self.served, self.refused, self.rejected) = (0, 0, 0);
        self.within_half_second = 0;
    }
}
