//! How few picks are too few to be chance.

use crate::verify::seen::LoadSeen;

/// Below this probability something is no chance.
pub(crate) const UNLIKELY: f64 = 0.01;

/// The largest number of `probes` of which chance, giving each of `candidates` an equal share, would give one of them
/// so few or fewer with a probability below [`UNLIKELY`]; `None` if even none at all would be likely enough.
pub(crate) fn fewest_by_chance(probes: usize, candidates: usize) -> Option<usize> {
    let share = 1.0 / candidates as f64;
    // Binomial terms from k = 0 on, each from the one before it.
    let mut term = (1.0 - share).powi(probes as i32);
    let (mut sum, mut bound) = (0.0, None);
    for k in 0..=probes {
        sum += term;
        if sum >= UNLIKELY {
            return bound;
        }
        bound = Some(k);
        term *= (probes - k) as f64 / (k + 1) as f64 * share / (1.0 - share);
    }
    bound
}

/// How many probes went to the endpoint that was kept busy.
pub(crate) fn picked_all_the_same(load: &LoadSeen) -> usize {
    let victim = load.victim.as_deref().ok();
    let chosen = load.probes.iter().filter(|p| p.chosen() == victim);
    chosen.count()
}

/// Whether so few probes went to the busy endpoint that chance is no explanation.
pub(crate) fn avoids(load: &LoadSeen, candidates: usize) -> bool {
    fewest_by_chance(load.probes.len(), candidates)
        .is_some_and(|bound| picked_all_the_same(load) <= bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_that_of_the_binomial_distribution() {
        // P(X ≤ 5) = 0.0033 and P(X ≤ 6) = 0.0113 for 24 draws of one half.
        assert_eq!(fewest_by_chance(24, 2), Some(5));
        // (3/4)^24 = 0.0010, and with one more 0.0090.
        assert_eq!(fewest_by_chance(24, 4), Some(1));
        assert_eq!(fewest_by_chance(24, 100), None);
        assert_eq!(fewest_by_chance(0, 2), None);
    }
}
