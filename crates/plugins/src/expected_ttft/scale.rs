//! Costs as scores: the best candidate gets 1, the others less, the dearer the less.
//!
//! `score = 0.98 × least cost / cost` for all but the best. Candidates within 2 % of the least cost are as good as it:
//! of them those with the fewest requests under way get 1, so that a picker that draws among equals draws among them.

use pointsman_core::index::row_set::RowSet;

/// Costs this close to the least are equal to it.
const TIE: f64 = 1.02;

/// Score of a cost that equals the least of a candidate that is busier.
const NEXT: f64 = 0.98;

/// Turns the costs in `out` of all `rows`, each above zero, into scores.
pub fn scores(rows: &RowSet, in_flight: impl Fn(usize) -> f64, out: &mut [f64]) {
    let mut least = f64::INFINITY;
    rows.for_each(|row| least = least.min(out[row]));
    let tie = least * TIE;
    let mut fewest = f64::INFINITY;
    rows.for_each(|row| {
        if out[row] <= tie {
            fewest = fewest.min(in_flight(row));
        }
    });
    rows.for_each(|row| {
        let cost = out[row];
        out[row] = if cost <= tie && in_flight(row) <= fewest {
            1.0
        } else {
            NEXT * least / cost
        };
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(costs: &[f64], in_flight: &[f64], expected: &[f64]) {
        let mut out = costs.to_vec();
        let mut rows = RowSet::default();
        rows.fill(costs.len());
        scores(&rows, |row| in_flight[row], &mut out);
        assert_eq!(out, expected);
    }

    #[test]
    fn the_least_cost_gets_one_and_ties_go_to_who_has_less_to_do() {
        check(&[100.0, 200.0], &[9.0, 0.0], &[1.0, 0.49]);
        check(&[101.0, 100.0], &[1.0, 2.0], &[1.0, 0.98]);
        check(&[101.0, 100.0, 100.5], &[1.0, 1.0, 1.0], &[1.0, 1.0, 1.0]);
        check(&[5.0], &[3.0], &[1.0]);
    }

    proptest! {
        #[test]
        fn scores_fall_with_cost_and_one_is_the_best(costs in prop::collection::vec((0.1f64..1e6, 0u32..9), 1..20)) {
            let mut rows = RowSet::default();
            rows.fill(costs.len());
            let mut out: Vec<f64> = costs.iter().map(|(cost, _)| *cost).collect();
            scores(&rows, |row| f64::from(costs[row].1), &mut out);
            prop_assert!(out.iter().all(|s| (0.0..=1.0).contains(s)));
            prop_assert!(out.contains(&1.0));
            for (a, x) in costs.iter().zip(&out) {
                for (b, y) in costs.iter().zip(&out) {
                    prop_assert!(a.0 * TIE >= b.0 || x > y, "{a:?} {x} {b:?} {y}");
                }
            }
        }
    }
}
