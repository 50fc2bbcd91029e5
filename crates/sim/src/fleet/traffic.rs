//! Three kinds of traffic as traces: shared system prompts, conversations, bursts of unrelated prompts.
//!
//! - *shared*: one of 40 system prompts of about 1,500 tokens, by Zipf's law (the k-th has a share
//!   proportional to 1/k^0.8), and a tail of 32 to 160 tokens of its own; Poisson arrivals.
//! - *multi-turn*: 160 conversations are open at a time. Who has been silent for long speaks next and
//!   sends all that was said; after 2 to 12 turns another conversation takes the place. Poisson arrivals.
//! - *bursty*: nothing shared; lognormal prompt lengths (median 400, sigma 1, at most 8,192 tokens); a
//!   Poisson process that is at twice the mean rate for a quarter of the time, in bursts of 12 on average.
//!
//! Answers are lognormal too (median 50, sigma 0.5), bounded by a `max_tokens` that tells nothing of their length.

use std::collections::VecDeque;

use pointsman_core::rng::{Rng, Seeds};

use crate::fleet::trace::{Ask, BLOCK_TOKENS, Trace};

/// What clients send as `max_tokens`.
const MAX_OUTPUT: u32 = 512;

/// Median length of an answer.
const ANSWER: f64 = 50.0;

/// System prompts of the shared kind.
const SYSTEM_PROMPTS: usize = 40;

/// How fast their shares fall.
const ZIPF: f64 = 0.8;

/// Conversations that are open at once.
const CONVERSATIONS: usize = 160;

/// Mean arrivals of one burst.
const BURST: f64 = 12.0;

/// Share of the time that is burst, and how much denser arrivals then are.
const BURST_SHARE: f64 = 0.25;
const BURST_RATE: f64 = 2.0;

/// A kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// A few system prompts, short tails.
    Shared,
    /// Histories are sent again.
    MultiTurn,
    /// Nothing shared, lengths and arrivals uneven.
    Bursty,
}

impl Traffic {
    /// The first `requests` arrivals of this kind under `seed`.
    pub fn trace(self, seed: u64, requests: usize) -> Trace {
        let mut source = Source {
            chance: Rng::from_seed(Seeds::new(seed, 3).next_seed()),
            drawn: 0,
            trace: Trace::default(),
        };
        match self {
            Self::Shared => source.shared(requests),
            Self::MultiTurn => source.multi_turn(requests),
            Self::Bursty => source.bursty(requests),
        }
        source.trace
    }

    /// Blocks of all prompts that may come again, on average over time: what a cache would have to hold.
    pub fn working_set(self) -> u32 {
        match self {
            Self::Shared => SYSTEM_PROMPTS as u32 * 94,
            Self::MultiTurn => CONVERSATIONS as u32 * 66,
            // Nothing comes again; a cache as large as that of the others.
            Self::Bursty => 4_000,
        }
    }

    /// Blocks that a running request shares with no other, more than most need.
    pub fn own_blocks(self) -> u32 {
        match self {
            Self::Shared => 16,
            Self::MultiTurn => 128,
            Self::Bursty => 64,
        }
    }
}

struct Source {
    chance: Rng,
    drawn: u64,
    trace: Trace,
}

/// One open conversation.
#[derive(Default)]
struct Conversation {
    number: u32,
    turns_left: u32,
    tokens: u32,
    ids: Vec<u64>,
}

impl Source {
    fn shared(&mut self, requests: usize) {
        let prompts: Vec<Vec<u64>> = (0..SYSTEM_PROMPTS)
            .map(|_| {
                let blocks = self.between(84, 104);
                self.fresh(blocks as usize)
            })
            .collect();
        let weights: Vec<f64> = (1..=SYSTEM_PROMPTS)
            .map(|k| libm::pow(k as f64, -ZIPF))
            .collect();
        let all: f64 = weights.iter().sum();
        for _ in 0..requests {
            let mut left = self.chance.unit() * all;
            let mut which = 0;
            while which + 1 < SYSTEM_PROMPTS && left >= weights[which] {
                left -= weights[which];
                which += 1;
            }
            let own = self.between(32, 160);
            let mut ids = prompts[which].clone();
            let tokens = ids.len() as u32 * BLOCK_TOKENS + own;
            ids.extend(self.fresh((own / BLOCK_TOKENS) as usize));
            let output = self.length(ANSWER, 0.5, MAX_OUTPUT);
            let gap = self.gap(1.0);
            self.trace
                .push(gap, Ask::new(tokens, output, MAX_OUTPUT), &ids);
        }
    }

    fn multi_turn(&mut self, requests: usize) {
        let mut silent = VecDeque::new();
        let mut opened = 0;
        for _ in 0..CONVERSATIONS {
            let mut conversation = self.open(&mut opened);
            // At the beginning conversations are anywhere in their course, but nobody has heard of them.
            conversation.turns_left = self.between(1, conversation.turns_left);
            silent.push_back(conversation);
        }
        for _ in 0..requests {
            let at = self.chance.below(CONVERSATIONS / 2);
            let mut speaker = silent.swap_remove_front(at).unwrap_or_default();
            let said = self.length(120.0, 0.7, 1_000);
            self.say(&mut speaker, said);
            let output = self.length(ANSWER, 0.5, MAX_OUTPUT);
            let mut ask = Ask::new(speaker.tokens, output, MAX_OUTPUT);
            ask.conversation = speaker.number;
            let gap = self.gap(1.0);
            self.trace.push(gap, ask, &speaker.ids);
            self.say(&mut speaker, output);
            speaker.turns_left -= 1;
            if speaker.turns_left == 0 {
                speaker = self.open(&mut opened);
            }
            silent.push_back(speaker);
        }
    }

    /// A new conversation, with instructions of its own.
    fn open(&mut self, opened: &mut u32) -> Conversation {
        *opened += 1;
        let mut conversation = Conversation {
            number: *opened,
            turns_left: self.between(2, 12),
            ..Conversation::default()
        };
        let instructions = self.length(250.0, 0.6, 1_500);
        self.say(&mut conversation, instructions);
        conversation
    }

    /// Adds `tokens` to what was said.
    fn say(&mut self, to: &mut Conversation, tokens: u32) {
        to.tokens += tokens;
        let full = (to.tokens / BLOCK_TOKENS) as usize;
        let more = self.fresh(full - to.ids.len());
        to.ids.extend(more);
    }

    fn bursty(&mut self, requests: usize) {
        let calm_rate = (1.0 - BURST_SHARE * BURST_RATE) / (1.0 - BURST_SHARE);
        let burst_length = BURST / BURST_RATE;
        let calm_length = burst_length * (1.0 - BURST_SHARE) / BURST_SHARE;
        let mut bursting = false;
        let mut left = self.gap(1.0 / calm_length);
        for _ in 0..requests {
            let mut gap = 0.0;
            loop {
                let rate = if bursting { BURST_RATE } else { calm_rate };
                let step = self.gap(rate);
                if step < left {
                    (gap, left) = (gap + step, left - step);
                    break;
                }
                // The phase ends before the arrival: draw again, as the process has no memory.
                gap += left;
                bursting = !bursting;
                let length = if bursting { burst_length } else { calm_length };
                left = self.gap(1.0 / length);
            }
            let tokens = self.length(400.0, 1.0, 8_192);
            let output = self.length(ANSWER, 0.5, MAX_OUTPUT);
            let ids = self.fresh((tokens / BLOCK_TOKENS) as usize);
            self.trace
                .push(gap, Ask::new(tokens, output, MAX_OUTPUT), &ids);
        }
    }

    /// Ids that nothing else has.
    fn fresh(&mut self, blocks: usize) -> Vec<u64> {
        let from = self.drawn + 1;
        self.drawn += blocks as u64;
        (from..=self.drawn).collect()
    }

    /// An exponential time with mean `1 / rate`.
    fn gap(&mut self, rate: f64) -> f64 {
        -libm::log(1.0 - self.chance.unit()) / rate
    }

    /// A whole number of `low..=high`.
    fn between(&mut self, low: u32, high: u32) -> u32 {
        low + self.chance.below((high - low + 1) as usize) as u32
    }

    /// A lognormal length with this median, at least 4 and at most `most`.
    fn length(&mut self, median: f64, sigma: f64, most: u32) -> u32 {
        // Sum of twelve uniform numbers: normal as far as lengths need it.
        let z = (0..12).map(|_| self.chance.unit()).sum::<f64>() - 6.0;
        ((median * libm::exp(sigma * z)) as u32).clamp(4, most)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_trace_follows_from_its_seed_and_has_one_arrival_per_unit_of_time() {
        for traffic in [Traffic::Shared, Traffic::MultiTurn, Traffic::Bursty] {
            let trace = traffic.trace(4, 20_000);
            assert_eq!(trace, traffic.trace(4, 20_000));
            assert_ne!(trace, traffic.trace(5, 20_000));
            let mean = trace.asks().last().unwrap().at / 20_000.0;
            assert!((0.93..1.07).contains(&mean), "{traffic:?}: {mean}");
        }
    }

    /// Share of full prompt blocks that stood in an earlier prompt at the same place.
    fn repeated(traffic: Traffic) -> f64 {
        let trace = traffic.trace(1, 6_000);
        let mut seen = std::collections::HashSet::new();
        let (mut again, mut all) = (0, 0);
        for ask in trace.asks() {
            for &id in trace.ids(ask) {
                all += 1;
                again += u64::from(!seen.insert(id));
            }
        }
        again as f64 / f64::from(all)
    }

    #[test]
    fn kinds_differ_in_what_is_sent_again() {
        assert!((0.90..0.97).contains(&repeated(Traffic::Shared)));
        assert!((0.65..0.9).contains(&repeated(Traffic::MultiTurn)));
        assert!(repeated(Traffic::Bursty).abs() < f64::EPSILON);
    }

    #[test]
    fn bursts_are_denser_than_chance() {
        // Arrivals in windows of ten units: their variance over their mean is 1 for a Poisson process.
        let spread = |traffic: Traffic| {
            let mut counts = vec![0.0_f64; 2_000];
            for ask in traffic.trace(9, 21_000).asks() {
                if let Some(count) = counts.get_mut((ask.at / 10.0) as usize) {
                    *count += 1.0;
                }
            }
            let mean = counts.iter().sum::<f64>() / 2_000.0;
            counts.iter().map(|c| (c - mean) * (c - mean)).sum::<f64>() / 2_000.0 / mean
        };
        assert!((0.8..1.2).contains(&spread(Traffic::Shared)));
        assert!(spread(Traffic::Bursty) > 2.0);
    }

    #[test]
    fn conversations_grow_and_stay_apart() {
        let trace = Traffic::MultiTurn.trace(2, 6_000);
        let mut last: std::collections::HashMap<u32, Ask> = std::collections::HashMap::new();
        for ask in trace.asks() {
            if let Some(before) = last.insert(ask.conversation, ask.clone()) {
                assert!(trace.ids(ask).starts_with(trace.ids(&before)));
                assert!(ask.prompt_tokens >= before.prompt_tokens + before.output_tokens);
                assert!(ask.at > before.at);
            }
        }
        let mean: f64 = trace
            .asks()
            .iter()
            .map(|a| f64::from(a.prompt_tokens))
            .sum::<f64>()
            / 6_000.0;
        // The working set is 66 blocks for each open conversation.
        assert!((900.0..1_250.0).contains(&mean), "{mean}");
    }
}
