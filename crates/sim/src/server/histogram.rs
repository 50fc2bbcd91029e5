//! A histogram as Prometheus wants it, with vLLM's bucket bounds.

use std::fmt::Write;

/// Bounds of times to first token, in seconds.
pub const FIRST_TOKEN: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
];

/// Bounds of times between tokens, in seconds.
pub const PER_TOKEN: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0,
];

/// Bounds of times of whole requests and their parts, in seconds.
pub const REQUEST: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0, 1920.0, 7680.0,
];

/// Bounds of numbers of tokens: 1, 2, 5, 10, ... up to `most`.
pub fn token_bounds(most: u32) -> Vec<f64> {
    let most = f64::from(most);
    let mut bounds = Vec::new();
    let mut decade = 1.0;
    while decade <= most {
        bounds.extend(
            [decade, 2.0 * decade, 5.0 * decade]
                .into_iter()
                .filter(|&bound| bound <= most),
        );
        decade *= 10.0;
    }
    bounds
}

/// Counts of observations by bucket, and their sum.
#[derive(Clone, Debug)]
pub struct Histogram {
    bounds: Vec<f64>,
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    /// An empty histogram with these upper bounds, ascending; `+Inf` is added.
    pub fn new(bounds: &[f64]) -> Self {
        Self {
            bounds: bounds.to_vec(),
            counts: vec![0; bounds.len() + 1],
            sum: 0.0,
        }
    }

    /// A histogram whose buckets hold these counts, one after the other; the rest holds none. Each observation
    /// counts with its bucket's bound.
    pub fn told(bounds: &[f64], counts: &[u64]) -> Self {
        let mut histogram = Self::new(bounds);
        let last = bounds.last().copied().unwrap_or(0.0);
        for (index, &count) in counts.iter().take(bounds.len() + 1).enumerate() {
            histogram.counts[index] = count;
            histogram.sum += count as f64 * bounds.get(index).copied().unwrap_or(last);
        }
        histogram
    }

    /// Counts `times` observations of `value`.
    pub fn observe(&mut self, value: f64, times: u64) {
        let bucket = self.bounds.partition_point(|&bound| bound < value);
        self.counts[bucket] += times;
        self.sum += value * times as f64;
    }

    /// Writes the family `name` with this label.
    pub fn write(&self, name: &str, help: &str, label: &str, out: &mut String) {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
        let mut total = 0;
        for (index, count) in self.counts.iter().enumerate() {
            total += count;
            let bound = self
                .bounds
                .get(index)
                .map_or_else(|| "+Inf".to_owned(), |bound| format!("{bound:?}"));
            let _ = writeln!(out, "{name}_bucket{{le=\"{bound}\",{label}}} {total}");
        }
        let _ = writeln!(
            out,
            "{name}_count{{{label}}} {total}\n{name}_sum{{{label}}} {:?}",
            self.sum
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_bounds_inclusive() {
        let mut histogram = Histogram::new(&[0.5, 1.0]);
        histogram.observe(0.5, 2);
        histogram.observe(0.7, 1);
        histogram.observe(9.0, 1);
        let mut out = String::new();
        histogram.write("h", "help", "m=\"x\"", &mut out);
        let lines: Vec<_> = out.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "h_bucket{le=\"0.5\",m=\"x\"} 2",
                "h_bucket{le=\"1.0\",m=\"x\"} 3",
                "h_bucket{le=\"+Inf\",m=\"x\"} 4",
                "h_count{m=\"x\"} 4",
                "h_sum{m=\"x\"} 10.7",
            ]
        );
    }

    #[test]
    fn token_bounds_go_by_one_two_five() {
        assert_eq!(token_bounds(64), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0]);
    }
}
