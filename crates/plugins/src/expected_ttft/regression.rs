//! Least squares that forget: a few features, one number to explain, the newest samples count most.
//!
//! ```text
//!  β = (Σ w x xᵀ + Λ)⁻¹ Σ w x y,  β ≥ 0
//! ```
//! Weights `w` are relative (`1 / ŷ²`), fall by [`DECAY`] with every sample, and are smaller for samples that
//! lie far off (Huber). `Λ` shrinks each coefficient as so many samples of size zero would; features that only refine
//! get more of it. Where a coefficient would be negative its feature is left out.

/// What is left of a sample's weight after the next one: some 250 samples count.
const DECAY: f64 = 1.0 - 1.0 / 256.0;

/// Relative deviation from which on a sample counts less.
const HUBER: f64 = 0.4;

/// Samples that are taken as they are, for want of anything to measure them by.
const TRUSTING: f64 = 6.0;

/// A regression on `N` features.
#[derive(Clone, Debug)]
pub struct Regression<const N: usize> {
    squares: [[f64; N]; N],
    products: [f64; N],
    shrink: [f64; N],
    samples: f64,
    beta: [f64; N],
}

impl<const N: usize> Regression<N> {
    /// Knows nothing; `shrink` is in samples.
    pub const fn new(shrink: [f64; N]) -> Self {
        Self {
            squares: [[0.0; N]; N],
            products: [0.0; N],
            shrink,
            samples: 0.0,
            beta: [0.0; N],
        }
    }

    /// The coefficients; all zero without samples.
    pub const fn coefficients(&self) -> &[f64; N] {
        &self.beta
    }

    /// Samples that count, older ones in part.
    pub const fn samples(&self) -> f64 {
        self.samples
    }

    /// What the features predict.
    pub fn predict(&self, features: &[f64; N]) -> f64 {
        features.iter().zip(&self.beta).map(|(x, b)| x * b).sum()
    }

    /// Learns that `features` came to `value`. Values that are not above zero are ignored.
    pub fn learn(&mut self, features: &[f64; N], value: f64) {
        if !(value.is_finite() && value > 0.0) {
            return;
        }
        let expected = self.predict(features);
        let mut weight = 1.0 / (value * value);
        if self.samples >= TRUSTING && expected > 0.0 {
            let off = ((value - expected) / expected).abs();
            weight = (HUBER / off.max(HUBER)) / (expected * expected);
        }
        for (i, &x) in features.iter().enumerate() {
            for (square, y) in self.squares[i].iter_mut().zip(features) {
                *square = *square * DECAY + weight * x * y;
            }
            self.products[i] = self.products[i] * DECAY + weight * x * value;
        }
        self.samples = self.samples * DECAY + 1.0;
        self.solve();
    }

    /// Multiplies everything that was learned by `factor`, as if all values had been that much larger.
    pub fn scale(&mut self, factor: f64) {
        for product in &mut self.products {
            *product *= factor;
        }
        for beta in &mut self.beta {
            *beta *= factor;
        }
    }

    fn solve(&mut self) {
        let mut used = [true; N];
        loop {
            let beta = self.solve_for(&used);
            let worst = (0..N)
                .filter(|&i| used[i] && beta[i] < 0.0)
                .min_by(|&i, &j| self.share(&beta, i).total_cmp(&self.share(&beta, j)));
            match worst {
                Some(at) => used[at] = false,
                None => {
                    self.beta = beta;
                    return;
                }
            }
        }
    }

    /// How much of a typical value the feature explains.
    fn share(&self, beta: &[f64; N], at: usize) -> f64 {
        beta[at] * self.squares[at][at].sqrt()
    }

    /// Gaussian elimination with pivoting over the features that are used; the others get 0.
    fn solve_for(&self, used: &[bool; N]) -> [f64; N] {
        let (mut matrix, mut right) = (self.squares, self.products);
        for i in 0..N {
            matrix[i][i] += self.shrink[i] * self.squares[i][i] / self.samples.max(1.0);
            if !used[i] || matrix[i][i] <= 0.0 {
                matrix[i] = [0.0; N];
                for row in &mut matrix {
                    row[i] = 0.0;
                }
                (matrix[i][i], right[i]) = (1.0, 0.0);
            }
        }
        // Features of very different sizes: brought to a diagonal of ones first.
        let size: [f64; N] = std::array::from_fn(|i| matrix[i][i].sqrt());
        for i in 0..N {
            for j in 0..N {
                matrix[i][j] /= size[i] * size[j];
            }
            right[i] /= size[i];
        }
        for column in 0..N {
            let pivot = (column..N)
                .max_by(|&i, &j| matrix[i][column].abs().total_cmp(&matrix[j][column].abs()))
                .unwrap_or(column);
            if matrix[pivot][column].abs() < 1e-12 {
                continue;
            }
            matrix.swap(column, pivot);
            right.swap(column, pivot);
            for row in column + 1..N {
                let factor = matrix[row][column] / matrix[column][column];
                let above = matrix[column];
                for (value, pivot) in matrix[row].iter_mut().zip(above).skip(column) {
                    *value -= factor * pivot;
                }
                right[row] -= factor * right[column];
            }
        }
        let mut beta = [0.0; N];
        for i in (0..N).rev() {
            let known: f64 = (i + 1..N).map(|j| matrix[i][j] * beta[j]).sum();
            if matrix[i][i].abs() >= 1e-12 {
                beta[i] = (right[i] - known) / matrix[i][i];
            }
        }
        std::array::from_fn(|i| beta[i] / size[i])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn close(found: f64, expected: f64, share: f64) {
        assert!(
            (found - expected).abs() <= share * expected.abs(),
            "{found}, not {expected}"
        );
    }

    #[test]
    fn finds_the_line_behind_the_samples_and_follows_when_it_moves() {
        let mut fit = Regression::new([0.01, 0.01]);
        for n in 0..200 {
            let u = f64::from(n % 20) * 100.0;
            fit.learn(&[1.0, u], 30.0 + 0.25 * u);
        }
        close(fit.predict(&[1.0, 0.0]), 30.0, 0.02);
        close(fit.predict(&[1.0, 4_000.0]), 1_030.0, 0.02);
        for n in 0..2_000 {
            let u = f64::from(n % 20) * 100.0;
            fit.learn(&[1.0, u], 60.0 + 0.5 * u);
        }
        close(fit.predict(&[1.0, 1_000.0]), 560.0, 0.05);
    }

    #[test]
    fn one_sample_in_ten_that_is_far_off_moves_little() {
        let mut fit = Regression::new([0.01, 0.01]);
        for n in 0..500 {
            let u = f64::from(n % 17) * 100.0;
            let stray = if n % 10 == 9 { 5.0 } else { 1.0 };
            fit.learn(&[1.0, u], stray * (30.0 + 0.25 * u));
        }
        close(fit.predict(&[1.0, 800.0]), 230.0, 0.15);
    }

    #[test]
    fn one_sample_is_predicted_again_and_nothing_is_negative() {
        let mut fit = Regression::new([0.01, 0.01, 1.0]);
        fit.learn(&[1.0, 1_500.0, 0.0], 405.0);
        close(fit.predict(&[1.0, 1_500.0, 0.0]), 405.0, 0.02);
        assert!(fit.coefficients().iter().all(|&b| b >= 0.0));
        for n in 0..100 {
            let load = f64::from(n % 5);
            fit.learn(&[1.0, 1_500.0, load], 405.0 - 50.0 * load);
        }
        assert!(fit.coefficients()[2].abs() < 1e-9);
    }

    #[test]
    fn what_is_no_time_is_not_learned() {
        let mut fit = Regression::new([0.01]);
        for value in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            fit.learn(&[1.0], value);
        }
        assert!(fit.samples().abs() < 1e-12);
        fit.learn(&[1.0], 8.0);
        fit.scale(0.5);
        close(fit.predict(&[1.0]), 4.0, 0.05);
    }
}
