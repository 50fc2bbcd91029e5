//! A list of arrivals that is fixed before anything is decided, so that every policy meets the same one.
//!
//! Time is in units of the mean gap between arrivals: a trace has no rate of its own and is played at one.
//! A prompt is a list of block ids of [`BLOCK_TOKENS`] tokens each; equal ids at equal places are equal
//! text. Tokens after the last full block belong to no block and are never reused.

use std::ops::Range;

use pointsman_core::time::{Span, Tick};

/// Tokens that one id stands for.
pub const BLOCK_TOKENS: u32 = 16;

/// One arrival.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// When, in mean gaps since the beginning.
    pub at: f64,
    /// Length of the prompt.
    pub prompt_tokens: u32,
    /// Length of the answer, which nobody but the engine knows.
    pub output_tokens: u32,
    /// The client's bound on it.
    pub max_output_tokens: u32,
    /// Requests of one conversation have one number.
    pub conversation: u32,
    blocks: Range<usize>,
}

/// Arrivals in order of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    asks: Vec<Ask>,
    ids: Vec<u64>,
}

impl Trace {
    /// Appends an arrival `gap` mean gaps after the last one. The blocks are those of `ids` that are full.
    pub fn push(&mut self, gap: f64, ask: Ask, ids: &[u64]) {
        let full = ids.len().min((ask.prompt_tokens / BLOCK_TOKENS) as usize);
        let from = self.ids.len();
        self.ids.extend_from_slice(&ids[..full]);
        self.asks.push(Ask {
            at: self.asks.last().map_or(0.0, |last| last.at) + gap,
            blocks: from..from + full,
            ..ask
        });
    }

    /// The arrivals.
    pub fn asks(&self) -> &[Ask] {
        &self.asks
    }

    /// Ids of the full blocks of a prompt of this trace.
    pub fn ids(&self, ask: &Ask) -> &[u64] {
        &self.ids[ask.blocks.clone()]
    }

    /// When an arrival comes if `rate` come per second and the first could come at `began`.
    pub fn arrival(ask: &Ask, rate: f64, began: Tick) -> Tick {
        began + Span::from_secs_f64(ask.at / rate)
    }
}

impl Ask {
    /// An arrival of these lengths; place and time come with [`Trace::push`].
    pub fn new(prompt_tokens: u32, output_tokens: u32, max_output_tokens: u32) -> Self {
        Self {
            at: 0.0,
            prompt_tokens,
            output_tokens,
            max_output_tokens,
            conversation: 0,
            blocks: 0..0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_full_blocks_count_and_time_is_scaled_by_the_rate() {
        let mut trace = Trace::default();
        trace.push(1.5, Ask::new(40, 3, 10), &[7, 8, 9]);
        trace.push(0.5, Ask::new(16, 3, 10), &[7, 8, 9]);
        let [first, second] = trace.asks() else {
            panic!("two were pushed");
        };
        assert_eq!(
            (trace.ids(first), trace.ids(second)),
            (&[7, 8][..], &[7][..])
        );
        let at = Trace::arrival(second, 4.0, Tick(5));
        assert_eq!(at, Tick(500_000_005));
    }
}
