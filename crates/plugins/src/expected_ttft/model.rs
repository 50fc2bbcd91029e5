//! What is known of one model, over all endpoints: what a prefill takes, a further token, how long answers get.
//!
//! ```text
//!  prefill(u, ahead, n) = a + b·u + c·ahead + (d + e·u)·n     ms, on an endpoint of the fleet's speed
//!  token(n)             = f + g·n                             ms
//! ```
//! `u` are the tokens that are not cached, `ahead` those of prompts that the endpoint is still working on, `n` the
//! requests under way there. `c` is near nothing where prefills do not disturb each other, and near `b` where they
//! go one by one. Answers that are not streamed tell only their whole time; it is split in the
//! proportions of a regression on prompt and answer.

// Taken when an answer begins or ends; a pick reads only what is published.
#[allow(clippy::disallowed_types)]
use std::sync::Mutex;
use std::sync::{MutexGuard, PoisonError};

use crate::expected_ttft::lengths::{Lengths, Survival};
use crate::expected_ttft::number::Number;
use crate::expected_ttft::regression::Regression;

/// Shrinkage of features that predictions begin with, and of those that refine them.
const FIRM: f64 = 0.01;
const SOFT: f64 = 1.0;

/// Milliseconds per token where nothing has been seen.
const TOKEN_MS: f64 = 15.0;

/// Bytes per token where nothing has been seen.
const TOKEN_BYTES: f64 = 4.0;

/// Share of a new sample in the bytes per token.
const BYTES_SHARE: f64 = 0.05;

/// Answers that are not streamed after which their whole times can be split.
const SPLITTABLE: f64 = 8.0;

/// What a prefill depends on.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Work {
    /// Tokens of the prompt that are not cached.
    pub uncached: f64,
    /// Tokens of other prompts that the endpoint is working on.
    pub ahead: f64,
    /// Other requests under way there.
    pub load: f64,
}

impl Work {
    const fn features(&self) -> [f64; 5] {
        [
            1.0,
            self.uncached,
            self.ahead,
            self.load,
            self.load * self.uncached,
        ]
    }
}

/// The published coefficients of a prefill, taken once per decision.
#[derive(Clone, Copy, Debug, Default)]
pub struct Prefill(pub [f64; 5]);

impl Prefill {
    /// Milliseconds on an endpoint of the fleet's speed.
    pub fn millis(&self, work: &Work) -> f64 {
        let Self([a, b, c, d, e]) = self;
        a + b * work.uncached + c * work.ahead + (d + e * work.uncached) * work.load
    }
}

/// What is being learned.
#[derive(Clone, Debug)]
pub struct Learned {
    prefill: Regression<5>,
    token: Regression<2>,
    whole: Regression<3>,
    lengths: Lengths,
    errors: Lengths,
    bytes_per_token: f64,
}

/// One model.
#[derive(Debug)]
#[allow(clippy::disallowed_types)]
pub struct Model {
    name: Box<str>,
    prefill: [Number; 5],
    prefill_samples: Number,
    token: [Number; 2],
    token_samples: Number,
    bytes_per_token: Number,
    survival: Survival,
    learned: Mutex<Learned>,
}

impl Model {
    /// A model of this name that nothing is known of.
    #[allow(clippy::disallowed_types)]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            prefill: Default::default(),
            prefill_samples: Number::default(),
            token: [Number::new(TOKEN_MS as f32), Number::default()],
            token_samples: Number::default(),
            bytes_per_token: Number::new(TOKEN_BYTES as f32),
            survival: Survival::default(),
            learned: Mutex::new(Learned {
                prefill: Regression::new([10.0 * FIRM, FIRM, SOFT, SOFT, SOFT]),
                token: Regression::new([FIRM, SOFT]),
                whole: Regression::new([SOFT, FIRM, FIRM]),
                lengths: Lengths::default(),
                errors: Lengths::default(),
                bytes_per_token: TOKEN_BYTES,
            }),
        }
    }

    /// Its name; empty for the one that stands for all.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Prefills that were seen, older ones in part.
    pub fn prefill_samples(&self) -> f64 {
        self.prefill_samples.get()
    }

    /// Times between tokens that were seen, older ones in part.
    pub fn token_samples(&self) -> f64 {
        self.token_samples.get()
    }

    /// What a prefill takes.
    pub fn prefill(&self) -> Prefill {
        Prefill(std::array::from_fn(|i| self.prefill[i].get()))
    }

    /// Milliseconds per token with `load` other requests under way, at the fleet's speed.
    pub fn token_millis(&self, load: f64) -> f64 {
        (self.token[0].get() + self.token[1].get() * load).max(0.01)
    }

    /// Bytes of text per token.
    pub fn bytes_per_token(&self) -> f64 {
        self.bytes_per_token.get()
    }

    /// How long its answers get.
    pub const fn survival(&self) -> &Survival {
        &self.survival
    }

    fn learned(&self) -> MutexGuard<'_, Learned> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A prefill took `millis` at the fleet's speed.
    pub fn learn_prefill(&self, work: &Work, millis: f64) {
        let mut learned = self.learned();
        learned.prefill.learn(&work.features(), millis);
        self.publish(&learned);
    }

    /// A token took `millis` at the fleet's speed.
    pub fn learn_token(&self, load: f64, millis: f64) {
        let mut learned = self.learned();
        learned.token.learn(&[1.0, load], millis);
        self.publish(&learned);
    }

    /// An answer of `tokens` tokens that was not streamed took `millis` in all, at the fleet's speed. Gives what of it
    /// is likely to be prefill.
    pub fn learn_whole(&self, uncached: f64, tokens: f64, millis: f64) -> Option<f64> {
        let mut learned = self.learned();
        learned.whole.learn(&[1.0, uncached, tokens], millis);
        let &[a, b, c] = learned.whole.coefficients();
        let (prefill, answer) = (a + b * uncached, c * tokens);
        (learned.whole.samples() >= SPLITTABLE && prefill + answer > 0.0)
            .then(|| millis * prefill / (prefill + answer))
    }

    /// An answer had so many tokens.
    pub fn learn_length(&self, tokens: f64) {
        let mut learned = self.learned();
        learned.lengths.learn(tokens);
        learned.lengths.publish(&self.survival);
    }

    /// A prompt of `bytes` had so many tokens.
    pub fn learn_bytes(&self, bytes: f64, tokens: f64) {
        let ratio = bytes / tokens;
        if !(0.25..=64.0).contains(&ratio) {
            return;
        }
        let mut learned = self.learned();
        learned.bytes_per_token += (ratio - learned.bytes_per_token) * BYTES_SHARE;
        self.bytes_per_token.set(learned.bytes_per_token);
    }

    /// A time to first token was predicted this far off.
    pub fn learn_error(&self, millis: f64) {
        self.learned().errors.learn(millis);
    }

    /// Makes all prefills and all tokens as many times as long.
    pub fn scale(&self, by: (f64, f64)) {
        let mut learned = self.learned();
        learned.prefill.scale(by.0);
        learned.token.scale(by.1);
        self.publish(&learned);
    }

    fn publish(&self, learned: &Learned) {
        for (to, &from) in self.prefill.iter().zip(learned.prefill.coefficients()) {
            to.set(from);
        }
        self.prefill_samples.set(learned.prefill.samples());
        self.token_samples.set(learned.token.samples());
        if learned.token.samples() > 0.0 {
            for (to, &from) in self.token.iter().zip(learned.token.coefficients()) {
                to.set(from);
            }
        }
    }

    /// Lengths of answers and errors of predictions in milliseconds, as they are now.
    pub fn distributions(&self) -> (Lengths, Lengths) {
        let learned = self.learned();
        (learned.lengths.clone(), learned.errors.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefills_that_go_one_by_one_cost_what_is_ahead() {
        let model = Model::new("m");
        for n in 0..400 {
            let work = Work {
                uncached: f64::from(n * 37 % 11) * 200.0,
                ahead: f64::from(n * 53 % 7) * 300.0,
                load: f64::from(n * 29 % 5),
            };
            model.learn_prefill(&work, 20.0 + 0.1 * (work.uncached + work.ahead));
        }
        let Prefill([a, b, c, ..]) = model.prefill();
        assert!((15.0..25.0).contains(&a), "{a}");
        assert!(
            (0.09..0.11).contains(&b) && (0.09..0.11).contains(&c),
            "{b} {c}"
        );
    }

    #[test]
    fn a_load_factor_is_found() {
        let model = Model::new("m");
        for n in 0..600 {
            let (uncached, load) = (f64::from(n * 37 % 11) * 150.0, f64::from(n * 29 % 6));
            let work = Work {
                uncached,
                ahead: f64::from(n * 31 % 3) * 100.0,
                load,
            };
            model.learn_prefill(&work, (30.0 + 0.25 * uncached) * (1.0 + load / 5.0));
        }
        for (uncached, load, expected) in
            [(0.0, 0.0, 30.0), (0.0, 5.0, 60.0), (1_500.0, 5.0, 810.0)]
        {
            let found = model.prefill().millis(&Work {
                uncached,
                ahead: 0.0,
                load,
            });
            assert!(
                (found / expected - 1.0).abs() < 0.15,
                "{found}, not {expected}"
            );
        }
    }

    #[test]
    fn whole_times_are_split() {
        let model = Model::new("m");
        let mut last = None;
        for n in 0..200 {
            let (uncached, tokens) = (
                f64::from(n % 13) * 100.0,
                f64::from(n * 7 % 17) * 10.0 + 1.0,
            );
            let all = 30.0 + 0.25 * uncached + 12.0 * tokens;
            last = model
                .learn_whole(uncached, tokens, all)
                .map(|found| found / (30.0 + 0.25 * uncached));
        }
        assert!(
            last.is_some_and(|ratio| (0.8..1.2).contains(&ratio)),
            "{last:?}"
        );
    }
}
