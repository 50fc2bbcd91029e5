//! The search on stable Rust: inputs are changed at random, and those that show something new are changed further.
//!
//! ```text
//! corpus -> pick one -> mutate (with words of the format and parts of another) -> run
//!    ^                                                                            |
//!    +------------------------- its shape is new ---------------------------------+
//! ```
//! The sequence of inputs follows from seed and corpus; a bound in seconds only says where it stops. There is no
//! measure of coverage: that is what the fuzzer in `libfuzzer/` is for.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::Result;
use pointsman_core::rng::Rng;

use crate::minimise::minimise;
use crate::mutation::{Source, mutate};
use crate::target::Target;
use crate::trial::{Fault, run};

/// Inputs that are kept at once.
const MOST_KEPT: usize = 4096;
/// Different failures after which a target is given up: it is broken, and each one costs time to make small.
const MOST_FAILURES: usize = 5;

/// Where a search ends.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Longest time.
    pub time: Duration,
    /// Most runs.
    pub runs: u64,
    /// Longest input, in bytes.
    pub longest: usize,
}

/// A failure that was found.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The input, made small.
    pub input: Vec<u8>,
    /// How it fails.
    pub fault: Fault,
}

/// What came of a search.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Runs of the target, those of making failures small left out.
    pub runs: u64,
    /// Inputs in the corpus at the beginning.
    pub seeds: usize,
    /// Inputs whose shape was new.
    pub found: usize,
    /// Failures, each at a place of its own.
    pub failures: Vec<Failure>,
}

/// Searches from `seeds`. `note` hears of every input before it is run.
///
/// # Errors
/// What `note` says.
pub fn search(
    target: &Target,
    seeds: Vec<Vec<u8>>,
    seed: u64,
    bounds: &Bounds,
    mut note: impl FnMut(&[u8]) -> Result<()>,
) -> Result<Outcome> {
    let begun = Instant::now();
    let mut rng = Rng::from_seed(seed);
    let mut shapes = HashSet::new();
    let mut places = HashSet::new();
    let mut outcome = Outcome {
        seeds: seeds.len(),
        ..Outcome::default()
    };
    let mut corpus: Vec<Vec<u8>> = Vec::new();
    let mut waiting = seeds.into_iter();
    let mut input = Vec::new();
    while outcome.runs < bounds.runs && outcome.failures.len() < MOST_FAILURES {
        let given = waiting.next();
        let is_given = given.is_some();
        match given {
            Some(given) => input = given,
            None if begun.elapsed() >= bounds.time => break,
            None => next(&mut input, &corpus, target, bounds.longest, &mut rng),
        }
        note(&input)?;
        outcome.runs += 1;
        match run(target, &input) {
            Ok(shape) => {
                let new = shapes.insert(shape);
                outcome.found += usize::from(new && !is_given);
                if is_given || (new && corpus.len() < MOST_KEPT) {
                    corpus.push(input.clone());
                } else if new {
                    let at = rng.below(corpus.len());
                    corpus[at].clone_from(&input);
                }
            }
            Err(fault) if places.insert(fault.place.clone()) => {
                let small = minimise(&input, |candidate| {
                    note(candidate).is_ok()
                        && run(target, candidate).is_err_and(|other| other.place == fault.place)
                });
                // The words of the small one.
                let fault = run(target, &small).err().unwrap_or(fault);
                outcome.failures.push(Failure {
                    input: small,
                    fault,
                });
            }
            Err(_) => {}
        }
    }
    Ok(outcome)
}

/// The next input: a changed one of the corpus. The younger half is picked more often, where the search is under way.
fn next(input: &mut Vec<u8>, corpus: &[Vec<u8>], target: &Target, longest: usize, rng: &mut Rng) {
    input.clear();
    let mut pick = || {
        let from = if rng.below(2) == 0 {
            0
        } else {
            corpus.len() / 2
        };
        corpus
            .get(from + rng.below(corpus.len() - from))
            .map_or(&[][..], Vec::as_slice)
    };
    let (one, other) = (pick(), pick());
    input.extend_from_slice(one);
    let source = Source {
        words: target.words,
        other,
        longest,
    };
    mutate(input, &source, rng);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::shape::Shape;

    fn planted(input: &[u8]) -> u64 {
        let mut shape = Shape::default();
        let quotes = input.iter().filter(|byte| **byte == b'"').count();
        shape.number(quotes.min(4) as u64);
        assert!(
            !(quotes >= 3 && input.windows(4).any(|four| four == b"word")),
            "planted"
        );
        shape.done()
    }

    const PLANTED: Target = Target {
        name: "planted",
        what: "a fault that takes three steps to reach",
        run: planted,
        words: &["word"],
        also: &[],
    };

    #[test]
    fn a_planted_fault_is_found_made_small_and_found_again() {
        crate::trial::silence();
        let bounds = Bounds {
            time: Duration::from_secs(60),
            runs: 20_000,
            longest: 256,
        };
        let once = || search(&PLANTED, vec![b"seed".to_vec()], 7, &bounds, |_| Ok(())).unwrap();
        let outcome = once();
        assert_eq!(outcome.failures.len(), 1, "{outcome:?}");
        let failure = &outcome.failures[0];
        assert_eq!(failure.input.len(), 7, "{failure:?}");
        assert_eq!(failure.fault.message, "planted");
        let again = once();
        assert_eq!((again.runs, again.found), (outcome.runs, outcome.found));
        assert_eq!(again.failures[0].input, failure.input);
    }
}
