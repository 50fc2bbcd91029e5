//! How a run went, in one number: which verdicts, and sizes by their order of magnitude.
//!
//! The engine on stable Rust does not see which code ran. A new combination of verdicts stands in for new code, so a
//! shape must be coarse: with every count in it every input would look new.

use xxhash_rust::xxh64::xxh64;

/// The shape of a run, built up from what it met.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shape(u64);

impl Shape {
    /// Adds a verdict: a name, a message without what is particular to the input.
    pub fn word(&mut self, word: &str) {
        self.0 = xxh64(word.as_bytes(), self.0);
    }

    /// Adds a size, of which only the order of magnitude counts.
    pub fn size(&mut self, size: usize) {
        self.number(u64::from(usize::BITS - size.leading_zeros()));
    }

    /// Adds a small number as it is.
    pub fn number(&mut self, number: u64) {
        self.0 = xxh64(&number.to_le_bytes(), self.0);
    }

    /// Adds a message: its first and last words, without what it quotes and without numbers.
    pub fn message(&mut self, message: &str) {
        let before = message.split(['\'', '"', '`']).next().unwrap_or_default();
        let after = message.rsplit(['\'', '"', '`']).next().unwrap_or_default();
        for part in [before, after] {
            let plain: String = part
                .chars()
                .filter(|c| !c.is_ascii_digit())
                .take(40)
                .collect();
            self.word(&plain);
        }
    }

    /// The number.
    pub fn done(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn particulars_do_not_make_a_shape() {
        let of = |message: &str| {
            let mut shape = Shape::default();
            shape.message(message);
            shape.done()
        };
        assert_eq!(of("byte 17 of 'abc' is bad"), of("byte 2 of 'x'y' is bad"));
        assert_ne!(of("byte 17 is bad"), of("byte 17 is good"));
    }
}
