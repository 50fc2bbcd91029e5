//! How few hits a picker that knows nothing of load could have by luck.

/// Chance below which luck is ruled out.
const LUCK: f64 = 0.01;

/// The largest count that a picker choosing with probability `share` reaches at most with less than 1 % chance in
/// `tries` independent picks, and that chance; `None` when not even 0 is so unlikely.
pub(crate) fn bound(tries: u32, share: f64) -> Option<(u32, f64)> {
    let mut best = None;
    let (mut term, mut sum) = ((1.0 - share).powi(tries as i32), 0.0);
    for count in 0..=tries {
        sum += term;
        if sum >= LUCK {
            break;
        }
        best = Some((count, sum));
        term *= f64::from(tries - count) / f64::from(count + 1) * share / (1.0 - share);
    }
    best
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_bound_is_the_last_count_below_one_in_a_hundred() {
        let (most, chance) = bound(24, 0.5).unwrap();
        assert_eq!(most, 5);
        // (1 + 24 + 276 + 2024 + 10626 + 42504) / 2^24
        assert!((chance - 55_455.0 / 16_777_216.0).abs() < 1e-9);
        assert_eq!(bound(24, 0.25).unwrap().0, 1);
        assert_eq!(bound(24, 0.2).unwrap().0, 0);
        assert_eq!(bound(24, 0.1), None);
    }
}
