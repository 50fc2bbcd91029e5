//! Names and numbers that differ from request to request.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use pointsman_core::rng::splitmix;

/// Where a server's ids and draws come from.
#[derive(Debug)]
pub struct Chance {
    seed: u64,
    deterministic: bool,
    /// Counts what was drawn; relaxed, as only the difference between two values matters.
    count: AtomicU64,
    numbers: AtomicU64,
}

impl Chance {
    /// Draws from `seed`; deterministic ones depend on nothing but the prompt.
    pub fn new(seed: u64, deterministic: bool) -> Self {
        Self {
            seed,
            deterministic,
            count: AtomicU64::new(0),
            numbers: AtomicU64::new(0),
        }
    }

    /// The seed of what is drawn for the request with this prompt.
    pub fn draw(&self, tokens: &[u32]) -> u64 {
        let mut state = self.seed;
        if self.deterministic {
            for &token in tokens {
                state = splitmix(&mut state) ^ u64::from(token);
            }
        } else {
            let count = self.count.fetch_add(1, Ordering::Relaxed);
            state ^= count.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        splitmix(&mut state)
    }

    /// The next number of a sequence that the seed decides, whatever is asked.
    pub fn number(&self) -> u64 {
        let count = self.numbers.fetch_add(1, Ordering::Relaxed);
        let mut state = self.seed ^ count.wrapping_mul(0xd134_2543_de82_ef95);
        splitmix(&mut state)
    }

    /// A random UUID as 32 hexadecimal digits, never the same, whatever the seed.
    pub fn unique(&self) -> String {
        // The standard library's hasher keys come from the operating system and change with each use.
        let half = || RandomState::new().hash_one(self.count.fetch_add(1, Ordering::Relaxed));
        // Version 4, variant 1.
        let high = (half() & 0xffff_ffff_ffff_0fff) | 0x4000;
        let low = (half() & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000;
        format!("{high:016x}{low:016x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids_and_differ() {
        let chance = Chance::new(1, true);
        let (a, b) = (chance.unique(), chance.unique());
        assert!(a != b && a.len() == 32 && a.as_bytes()[12] == b'4');
    }

    #[test]
    fn deterministic_draws_depend_on_the_prompt_alone() {
        let fixed = Chance::new(1, true);
        assert_eq!(fixed.draw(&[1, 2]), fixed.draw(&[1, 2]));
        assert_ne!(fixed.draw(&[1, 2]), fixed.draw(&[2, 1]));
        let free = Chance::new(1, false);
        assert_ne!(free.draw(&[1, 2]), free.draw(&[1, 2]));
    }
}
