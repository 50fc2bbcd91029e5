//! How fast one endpoint is beside the fleet: the factor on the times that the fleet's model gives.
//!
//! Two factors are kept: `pace` from times between tokens, `prefill` from times to first token. As most of what makes an
//! engine slow makes it slow in both, the prefill factor begins at the pace and leaves it as samples of its own
//! come in. Steps are bounded, so that one odd answer does little. Without new samples both go back to 1, so that
//! an endpoint that has recovered is tried again. If an endpoint's own factor predicts worse than none, none is used.

/// Weight of the pace in the prefill factor, in samples.
const PACE_WEIGHT: f64 = 4.0;

/// Samples after which a factor moves no slower.
const INERTIA: f64 = 12.0;

/// Largest step up and down, as factors.
const STEP: (f64, f64) = (4.0, 0.25);

/// Factors stay within these.
const RANGE: (f64, f64) = (0.02, 50.0);

/// One factor, learned from ratios of what was seen to what was expected.
#[derive(Clone, Debug)]
struct Factor {
    value: f64,
    samples: f64,
}

impl Factor {
    const ONE: Self = Self {
        value: 1.0,
        samples: 0.0,
    };

    fn learn(&mut self, ratio: f64) {
        let step = (ratio / self.value).clamp(STEP.1, STEP.0);
        self.samples = (self.samples + 1.0).min(INERTIA);
        self.value *= 1.0 + (step - 1.0) / self.samples;
        self.value = self.value.clamp(RANGE.0, RANGE.1);
    }
}

/// What is known of one endpoint's speed.
#[derive(Clone, Debug)]
pub struct Speed {
    pace: Factor,
    prefill: Factor,
    /// Mean relative error of predictions, with the endpoint's factor and without.
    error: (f64, f64),
    judged: f64,
}

impl Default for Speed {
    fn default() -> Self {
        Self {
            pace: Factor::ONE,
            prefill: Factor::ONE,
            error: (0.0, 0.0),
            judged: 0.0,
        }
    }
}

impl Speed {
    /// Times between tokens were `ratio` times what the fleet's are.
    pub fn learn_pace(&mut self, ratio: f64) {
        if ratio.is_finite() && ratio > 0.0 {
            self.pace.learn(ratio);
        }
    }

    /// The time to first token was `ratio` times what the fleet's would be.
    pub fn learn_prefill(&mut self, ratio: f64) {
        if !(ratio.is_finite() && ratio > 0.0) {
            return;
        }
        let off = |factor: f64| ((ratio - factor) / ratio.max(factor)).abs();
        self.judged = (self.judged + 1.0).min(INERTIA * 2.0);
        let (own, none) = (off(self.blended()), off(1.0));
        self.error.0 += (own - self.error.0) / self.judged;
        self.error.1 += (none - self.error.1) / self.judged;
        self.prefill.learn(ratio);
    }

    fn blended(&self) -> f64 {
        let pace = if self.pace.samples > 0.0 {
            PACE_WEIGHT
        } else {
            0.0
        };
        let all = pace + self.prefill.samples;
        if all > 0.0 {
            (pace * self.pace.value + self.prefill.samples * self.prefill.value) / all
        } else {
            1.0
        }
    }

    /// Whether the endpoint's own factor is worse than none.
    pub fn drifted(&self) -> bool {
        self.judged >= 8.0 && self.error.0 > self.error.1 * 1.25 + 0.05
    }

    /// The factor on prefill times.
    pub fn prefill(&self) -> f64 {
        if self.drifted() { 1.0 } else { self.blended() }
    }

    /// The factor on times between tokens.
    pub const fn pace(&self) -> f64 {
        self.pace.value
    }

    /// Samples of both kinds.
    pub fn samples(&self) -> f64 {
        self.pace.samples + self.prefill.samples
    }

    /// Samples of times to first token.
    pub const fn prefill_samples(&self) -> f64 {
        self.prefill.samples
    }

    /// Mean relative error of predictions.
    pub const fn error(&self) -> f64 {
        self.error.0
    }

    /// Goes a `share` of the way back to the fleet's speed.
    pub fn relax(&mut self, share: f64) {
        for factor in [&mut self.pace, &mut self.prefill] {
            factor.value += (1.0 - factor.value) * share;
            factor.samples *= 1.0 - share;
        }
    }

    /// The fleet's model has become `by` times as slow; what was learned still means the same.
    pub fn rebase(&mut self, by: (f64, f64)) {
        self.prefill.value = (self.prefill.value / by.0).clamp(RANGE.0, RANGE.1);
        self.pace.value = (self.pace.value / by.1).clamp(RANGE.0, RANGE.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_samples_tell_most_and_the_pace_stands_in() {
        let mut speed = Speed::default();
        assert!((speed.prefill() - 1.0).abs() < 1e-9);
        speed.learn_pace(3.0);
        assert!((speed.prefill() - 3.0).abs() < 1e-9);
        for _ in 0..40 {
            speed.learn_prefill(2.0);
        }
        assert!((2.0..2.4).contains(&speed.prefill()), "{}", speed.prefill());
        assert!((speed.pace() - 3.0).abs() < 1e-9);
    }

    #[test]
    fn one_stray_answer_does_little_and_time_heals() {
        let mut speed = Speed::default();
        for _ in 0..30 {
            speed.learn_prefill(1.0);
        }
        speed.learn_prefill(40.0);
        assert!(speed.prefill() < 1.3, "{}", speed.prefill());
        for _ in 0..30 {
            speed.learn_prefill(3.0);
        }
        for _ in 0..200 {
            speed.relax(0.02);
        }
        assert!(speed.prefill() < 1.1, "{}", speed.prefill());
    }

    #[test]
    fn a_factor_that_predicts_worse_than_none_is_not_used() {
        let mut speed = Speed::default();
        // Alternating between very slow and ordinary: the factor is always behind.
        for n in 0..60 {
            speed.learn_prefill(if n % 6 == 0 { 30.0 } else { 1.0 });
        }
        assert!(speed.drifted() || speed.prefill() < 2.0);
    }
}
