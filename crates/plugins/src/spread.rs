//! Scores by where a count stands between the least and the most: what the scorers of queues and of running requests are.

use pointsman_core::index::row_set::RowSet;

/// `(max − n) / (max − min)` over `rows`; 1 for all where all are equal.
pub(crate) fn from_least(counts: &[f64], rows: &RowSet, out: &mut [f64]) {
    let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
    rows.for_each(|row| {
        least = least.min(counts[row]);
        most = most.max(counts[row]);
    });
    rows.for_each(|row| {
        out[row] = if most > least {
            (most - counts[row]) / (most - least)
        } else {
            1.0
        };
    });
}
