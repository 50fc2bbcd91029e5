//! What is asked of a fleet: how many requests of what shape, how often.
//!
//! Arrivals are a Poisson process. A prompt is a list of block ids, as in public traces: the leading
//! ids may be those of one of a few shared prefixes, the rest are the request's own. No text, no tokens.

use pointsman_core::rng::{Rng, Seeds};
use pointsman_core::time::Span;

/// Prefixes that many prompts begin with, as system prompts do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedPrefix {
    /// How many different ones there are; each request draws one.
    pub groups: u32,
    /// Their length in tokens; only full blocks count.
    pub tokens: u32,
}

/// Requests of one shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Workload {
    /// How many.
    pub requests: u64,
    /// Mean arrivals per second of virtual time, over the whole fleet.
    pub rate: f64,
    /// Length of each prompt.
    pub prompt_tokens: u32,
    /// Tokens each answer has.
    pub output_tokens: u32,
    /// What prompts have in common; `None`: nothing.
    pub shared: Option<SharedPrefix>,
}

impl Workload {
    /// `requests` arrivals at `rate` per second, each with a prompt of 512 tokens of its own and an
    /// answer of 64.
    pub fn new(requests: u64, rate: f64) -> Self {
        Self {
            requests,
            rate,
            prompt_tokens: 512,
            output_tokens: 64,
            shared: None,
        }
    }
}

/// The endless stream behind a workload: gaps between arrivals and prompts, from one seed.
#[derive(Clone, Debug)]
pub struct Stream {
    chance: Rng,
    drawn: u64,
}

impl Stream {
    /// The stream of this seed.
    pub fn new(seed: u64) -> Self {
        Self {
            chance: Rng::from_seed(Seeds::new(seed, 0).next_seed()),
            drawn: 0,
        }
    }

    /// Time until the next arrival: exponential with mean `1 / rate`. A rate that is no positive number
    /// means that all come at once.
    pub fn gap(&mut self, rate: f64) -> Span {
        let gap = -libm::log(1.0 - self.chance.unit());
        if rate > 0.0 {
            Span::from_secs_f64(gap / rate)
        } else {
            Span(0)
        }
    }

    /// Puts the ids of the full blocks of the next prompt into `ids`.
    pub fn prompt(&mut self, workload: &Workload, block_size: u32, ids: &mut Vec<u64>) {
        let block_size = block_size.max(1);
        let full = workload.prompt_tokens / block_size;
        let (prefix, shared) = match workload.shared {
            Some(SharedPrefix { groups, tokens }) => (
                self.chance.below(groups as usize) as u64,
                (tokens / block_size).min(full),
            ),
            None => (0, 0),
        };
        // The top bit keeps ids of prefixes and of single requests apart.
        let own = (1 << 63) | (self.drawn << 20);
        self.drawn += 1;
        ids.clear();
        ids.extend((0..shared).map(|at| (prefix << 20) | u64::from(at)));
        ids.extend((shared..full).map(|at| own | u64::from(at)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_have_the_mean_of_their_rate() {
        let mut stream = Stream::new(5);
        let total: f64 = (0..20_000).map(|_| stream.gap(50.0).as_secs_f64()).sum();
        assert!((total / 20_000.0 - 0.02).abs() < 0.0005, "{total}");
        assert_eq!(stream.gap(0.0), Span(0));
        assert_eq!(stream.gap(f64::NAN), Span(0));
    }

    #[test]
    fn prompts_share_their_prefix_and_nothing_else() {
        let mut stream = Stream::new(5);
        let shared = SharedPrefix {
            groups: 1,
            tokens: 100,
        };
        let workload = Workload {
            prompt_tokens: 170,
            shared: Some(shared),
            ..Workload::new(1, 1.0)
        };
        let mut next = |workload: &Workload| {
            let mut ids = Vec::new();
            stream.prompt(workload, 16, &mut ids);
            ids
        };
        let a = next(&workload);
        let b = next(&workload);
        assert_eq!((a.len(), b.len()), (10, 10));
        assert_eq!(a[..6], b[..6]);
        assert!(a[6..].iter().all(|block| !b.contains(block)));
        let alone = Workload::new(1, 1.0);
        let c = next(&alone);
        assert_eq!(c.len(), 32);
        assert!(next(&alone).iter().all(|block| !c.contains(block)));
    }
}
