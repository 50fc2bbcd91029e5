//! What an answer says and how long it is.
//!
//! Length with `max_tokens` given: exactly that (`exact`), or drawn as the reference simulator does
//! (`random`): six buckets with weights 20, 30, 20, 5, 10, 15 %, of equal width up to 120 tokens; above
//! that the fourth takes what the others, 20 wide each, leave. Without `max_tokens`: a normal number
//! with mean 40 and deviation 20, at least 1, at most what the context leaves.

use pointsman_core::rng::Rng;

use crate::engine::jitter::Jitter;
use crate::flags::Length;
use crate::server::tokens::pieces;

const WORDS: &[&str] = &[
    "The ", "train ", "waits ", "at ", "the ", "signal ", "until ", "the ", "points ", "are ",
    "set, ", "then ", "it ", "rolls ", "on ", "towards ", "the ", "next ", "station ", "while ",
    "another ", "one ", "takes ", "the ", "other ", "track. ",
];

/// How many tokens an answer gets, and whether that is because of the limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Planned {
    /// Tokens, at least 1.
    pub tokens: u32,
    /// Whether it ends for `length` (else for `stop`).
    pub cut: bool,
}

/// Plans the length of an answer: `asked` is the request's `max_tokens`, `room` what the context leaves.
pub fn plan(asked: Option<u32>, ignore_eos: bool, room: u32, length: Length, seed: u64) -> Planned {
    let limit = asked.unwrap_or(room).clamp(1, room.max(1));
    let tokens = match (asked, length) {
        (Some(_), Length::Exact) => limit,
        _ if ignore_eos => limit,
        (Some(_), Length::Random) => bucket(limit, &mut Rng::from_seed(seed)),
        (None, _) => {
            let drawn = 40.0 + 20.0 * Jitter::new(seed, 0.0).normal();
            (drawn.round().max(1.0) as u32).min(limit)
        }
    };
    Planned {
        tokens,
        cut: tokens == limit,
    }
}

fn bucket(limit: u32, rng: &mut Rng) -> u32 {
    const WEIGHTS: [u32; 6] = [20, 30, 20, 5, 10, 15];
    let drawn = rng.below(100) as u32;
    let mut sum = 0;
    let place = WEIGHTS.iter().position(|weight| {
        sum += weight;
        drawn < sum
    });
    let place = place.unwrap_or(WEIGHTS.len() - 1) as u32;
    let bound = |place: u32| match limit {
        // Fewer tokens than buckets: whatever the bucket, the answer is within the limit.
        0..=120 => limit * place / 6,
        _ if place <= 3 => place * 20,
        _ => limit - (6 - place) * 20,
    };
    let (low, high) = (bound(place), bound(place + 1));
    (low + 1 + rng.below((high - low).max(1) as usize) as u32).min(limit)
}

/// The words of one answer.
#[derive(Clone, Debug)]
pub struct AnswerText {
    /// Text that is echoed instead of made-up words.
    echo: Option<String>,
    at: usize,
    word: usize,
}

impl AnswerText {
    /// Made-up words, the same for the same seed.
    pub fn words(seed: u64) -> Self {
        Self {
            echo: None,
            at: 0,
            word: (seed % WORDS.len() as u64) as usize,
        }
    }

    /// The given text, again and again.
    pub fn echo(text: String) -> Self {
        Self {
            echo: (!text.is_empty()).then_some(text),
            at: 0,
            word: 0,
        }
    }

    /// Appends the text of the next token.
    pub fn next_token(&mut self, out: &mut String) {
        let Some(text) = &self.echo else {
            out.push_str(WORDS[self.word]);
            self.word = (self.word + 1) % WORDS.len();
            return;
        };
        if self.at >= text.len() {
            self.at = 0;
            out.push(' ');
        }
        if let Some(piece) = pieces(&text[self.at..]).next() {
            out.push_str(piece);
            self.at += piece.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_lengths_are_exact_and_cut() {
        assert_eq!(
            plan(Some(8), false, 1000, Length::Exact, 1),
            Planned {
                tokens: 8,
                cut: true
            }
        );
        assert_eq!(
            plan(Some(80), false, 10, Length::Exact, 1),
            Planned {
                tokens: 10,
                cut: true
            }
        );
        assert_eq!(
            plan(None, true, 99, Length::Exact, 1),
            Planned {
                tokens: 99,
                cut: true
            }
        );
    }

    #[test]
    fn without_a_limit_about_forty_tokens_are_drawn() {
        let mean = (0..2000)
            .map(|s| plan(None, false, 4000, Length::Exact, s * 977).tokens)
            .sum::<u32>()
            / 2000;
        assert!((38..=43).contains(&mean), "{mean}");
        assert!((0..500).all(|s| plan(None, false, 12, Length::Exact, s).tokens <= 12));
    }

    #[test]
    fn random_lengths_follow_the_buckets() {
        for limit in [1, 5, 60, 120, 121, 400] {
            assert!((0..500).all(|s| {
                (1..=limit).contains(&plan(Some(limit), false, 4096, Length::Random, s).tokens)
            }));
        }
        let below_60 = (0..4000)
            .filter(|&s| plan(Some(600), false, 4096, Length::Random, s * 31).tokens <= 60)
            .count();
        assert!(
            (2600..3000).contains(&below_60),
            "70 % lie in the first three buckets: {below_60}"
        );
    }

    #[test]
    fn an_echo_repeats_the_prompt() {
        let mut text = AnswerText::echo("go home".to_owned());
        let mut out = String::new();
        (0..3).for_each(|_| text.next_token(&mut out));
        assert_eq!(out, "go home go ");
    }
}
