//! Step times that scatter: a lognormal factor with mean 1, drawn from a seeded generator.
//!
//! One step has the factor `exp(sigma * z - sigma^2 / 2)`. A jump of `k` steps draws once with
//! `sigma / sqrt(k)`, as the mean of `k` independent steps would scatter. Normal numbers by Marsaglia's
//! polar method, with `libm` so that equal seeds give equal bytes on every machine.

use pointsman_core::rng::Rng;

/// Fractional bits of a [`Jitter::factor`].
pub const FACTOR_BITS: u32 = 20;

/// A seeded source of factors around 1.
#[derive(Clone, Debug)]
pub struct Jitter {
    rng: Rng,
    sigma: f64,
    spare: Option<f64>,
}

impl Jitter {
    /// Factors of relative deviation `sigma`; 0 gives 1 always and draws nothing.
    pub fn new(seed: u64, sigma: f64) -> Self {
        Self {
            rng: Rng::from_seed(seed),
            sigma,
            spare: None,
        }
    }

    /// The factor of a jump of `steps` steps, in 2^-[`FACTOR_BITS`]; `None` means exactly 1.
    pub fn factor(&mut self, steps: u64) -> Option<u64> {
        if self.sigma <= 0.0 {
            return None;
        }
        let sigma = self.sigma / libm::sqrt(steps.max(1) as f64);
        let factor = libm::exp(sigma * self.normal() - sigma * sigma / 2.0);
        Some((factor * (1u64 << FACTOR_BITS) as f64) as u64)
    }

    /// A normal number of this mean and deviation, clamped to 70 % around the mean.
    pub fn clamped_normal(&mut self, mean: f64, deviation: f64) -> f64 {
        if deviation <= 0.0 {
            return mean;
        }
        (mean + deviation * self.normal()).clamp(0.3 * mean, 1.7 * mean)
    }

    /// A standard normal number.
    pub fn normal(&mut self) -> f64 {
        if let Some(z) = self.spare.take() {
            return z;
        }
        loop {
            let u = 2.0 * self.rng.unit() - 1.0;
            let v = 2.0 * self.rng.unit() - 1.0;
            let s = u * u + v * v;
            if s > 0.0 && s < 1.0 {
                let scale = libm::sqrt(-2.0 * libm::log(s) / s);
                self.spare = Some(v * scale);
                return u * scale;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_scatter_around_one_with_the_asked_deviation() {
        let mut jitter = Jitter::new(3, 0.03);
        let n = 20_000;
        let scale = (1u64 << FACTOR_BITS) as f64;
        let draws: Vec<f64> = (0..n)
            .map(|_| jitter.factor(1).unwrap() as f64 / scale)
            .collect();
        let mean = draws.iter().sum::<f64>() / f64::from(n);
        let deviation =
            (draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / f64::from(n)).sqrt();
        assert!((mean - 1.0).abs() < 0.002, "{mean}");
        assert!((deviation - 0.03).abs() < 0.002, "{deviation}");
    }

    #[test]
    fn no_deviation_draws_nothing() {
        assert_eq!(Jitter::new(3, 0.0).factor(1), None);
        assert!((Jitter::new(3, 0.1).clamped_normal(5.0, 0.0) - 5.0).abs() < 1e-12);
    }

    #[test]
    fn clamped_numbers_stay_within_seventy_percent() {
        let mut jitter = Jitter::new(5, 0.0);
        assert!((0..1000).all(|_| (30.0..=170.0).contains(&jitter.clamped_normal(100.0, 90.0))));
    }
}
