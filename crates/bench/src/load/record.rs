//! Answers one by one, for pictures: a bounded number of them, evenly chosen.

use serde::Serialize;

/// One answer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Record {
    /// When it should have started, in seconds of the window.
    pub at_s: f64,
    /// Time to the first byte, in milliseconds.
    pub ttft_ms: f64,
    /// Time to the end, in milliseconds.
    pub total_ms: f64,
}

/// Most that are kept.
const MOST: usize = 1 << 15;

/// What is kept: every n-th, where n doubles whenever there are too many.
#[derive(Debug, Default)]
pub(crate) struct Records {
    kept: Vec<Record>,
    seen: u64,
    every: u64,
}

impl Records {
    pub(crate) fn push(&mut self, record: Record) {
        self.every = self.every.max(1);
        if self.seen.is_multiple_of(self.every) {
            if self.kept.len() == MOST {
                let mut number = 0;
                self.kept.retain(|_| {
                    number += 1;
                    number % 2 == 1
                });
                self.every *= 2;
            }
            self.kept.push(record);
        }
        self.seen += 1;
    }

    pub(crate) fn list(&self) -> Vec<Record> {
        self.kept.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_and_even() {
        let mut records = Records::default();
        for number in 0..200_000u32 {
            records.push(Record {
                at_s: f64::from(number),
                ttft_ms: 1.0,
                total_ms: 2.0,
            });
        }
        let kept = records.list();
        assert!(
            kept.len() <= MOST && kept.len() > MOST / 4,
            "{}",
            kept.len()
        );
        let half = kept.iter().filter(|record| record.at_s < 100_000.0).count();
        assert!(
            (half as f64 / kept.len() as f64 - 0.5).abs() < 0.05,
            "{half}"
        );
    }
}
