//! Numbers that one worker counts and others read: counters and histograms without locked instructions.
//!
//! Only the worker that owns a cell writes to it, so a load and a store do where a locked addition would cost ten
//! times as much. Readers see each number as it was a moment ago; relaxed order is enough for that. A second writer
//! would lose counts, nothing else.

use std::sync::atomic::{AtomicU64, Ordering};

/// A count that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.store(self.get().wrapping_add(n), Ordering::Relaxed);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How often values fell into which bucket, and their sum.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// By bucket, not cumulated; the last holds what is above all bounds.
    counts: Box<[Counter]>,
    /// Bits of the sum.
    sum: AtomicU64,
}

impl Histogram {
    /// An empty histogram with these upper bounds.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: (0..=bounds.len()).map(|_| Counter::default()).collect(),
            sum: AtomicU64::new(0),
        }
    }

    /// Takes in a value; one that is no number is passed over.
    pub fn observe(&self, value: f64) {
        if value.is_nan() {
            return;
        }
        let at = self.bounds.partition_point(|&bound| bound < value);
        self.counts[at].add(1);
        let sum = f64::from_bits(self.sum.load(Ordering::Relaxed)) + value;
        self.sum.store(sum.to_bits(), Ordering::Relaxed);
    }
}

/// The sum of several histograms with equal bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct Summed {
    /// Upper bounds of the buckets.
    pub bounds: &'static [f64],
    /// Counts by bucket, not cumulated; the last is above all bounds.
    pub counts: Vec<u64>,
    /// Sum of the values.
    pub sum: f64,
}

impl Summed {
    /// Nothing yet.
    pub fn empty(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: vec![0; bounds.len() + 1],
            sum: 0.0,
        }
    }

    /// What one histogram holds.
    pub fn of(histogram: &Histogram) -> Self {
        let mut summed = Self::empty(histogram.bounds);
        summed.add(histogram);
        summed
    }

    /// Adds what a histogram holds.
    pub fn add(&mut self, histogram: &Histogram) {
        for (sum, count) in self.counts.iter_mut().zip(&histogram.counts) {
            *sum += count.get();
        }
        self.sum += f64::from_bits(histogram.sum.load(Ordering::Relaxed));
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(&other.counts) {
            *sum += count;
        }
        self.sum += other.sum;
    }

    /// How many values.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static BOUNDS: [f64; 3] = [1.0, 2.0, 4.0];

    #[test]
    fn a_value_on_a_bound_belongs_below_it() {
        let histogram = Histogram::new(&BOUNDS);
        for value in [0.0, 1.0, 1.5, 4.0, 4.1, f64::NAN, f64::INFINITY] {
            histogram.observe(value);
        }
        let mut summed = Summed::of(&histogram);
        assert_eq!(summed.counts, [2, 1, 1, 2]);
        summed.add(&histogram);
        assert_eq!((summed.count(), summed.counts[0]), (12, 4));
    }
}
