//! What one engine step costs: the roofline of a model on a piece of hardware.
//!
//! A step with `D` decodes whose contexts sum to `C`, and `P` prefill tokens in chunks, takes
//! `t_fix + t_samp * D + max(t_mem, t_cmp)` with
//! `t_mem = (W(D + P) + kv * C) / (bandwidth * eff_b)` and
//! `t_cmp = (2 * N * (D + P) + 4 * L * d * sum(chunk * (before + chunk / 2))) / (flops * eff_c)`.
//! `W(x) = dense + experts * (1 - (1 - k/E)^x)`: the more tokens a batch holds, the more experts it reads.
//!
//! [`Roofline`] is the description in SI units; [`StepCost`] is the same scaled to integers, ready for
//! the step loop. The scale carries the speed of the simulation and a slow-down by a fault.

use crate::engine::ramp::{FINE_BITS, Fine, Ramp};

/// A model on hardware, in bytes, operations and seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Roofline {
    /// Bytes of weights that every step reads.
    pub dense_bytes: f64,
    /// Bytes of all experts together; 0 for a dense model.
    pub expert_bytes: f64,
    /// Share of the experts that one token activates (`k / E`); 0 for a dense model.
    pub expert_share: f64,
    /// Parameters that take part in the computation of one token.
    pub active_params: f64,
    /// Bytes of keys and values per token.
    pub kv_bytes_per_token: f64,
    /// Layers times the width of attention: `L * d`.
    pub layers_times_width: f64,
    /// Memory bandwidth in bytes per second.
    pub bandwidth: f64,
    /// Dense operations per second.
    pub flops: f64,
    /// Share of the bandwidth that is reached.
    pub bandwidth_efficiency: f64,
    /// Share of the operations that is reached.
    pub flops_efficiency: f64,
    /// Fixed seconds per step (launch and scheduler).
    pub fixed_seconds: f64,
    /// Seconds per decode and step for sampling.
    pub sampling_seconds: f64,
}

/// Batch sizes up to which the cost of reading weights is looked up; beyond it nearly all experts are read.
const TABLE: usize = 512;

/// A [`Roofline`] as integers in [`Fine`] units, times a scale.
#[derive(Clone, Debug)]
pub struct StepCost {
    fixed: Fine,
    sampling: Fine,
    per_token: Fine,
    per_context_token: Fine,
    /// Per (query token x context token), in 2^-16 of a [`Fine`].
    per_pair: u64,
    /// Time to read the weights for a batch of `index` tokens.
    weights: Vec<Fine>,
}

impl StepCost {
    /// The costs of `roofline`, each multiplied by `scale` (2 = half as fast).
    pub fn new(roofline: &Roofline, scale: f64) -> Self {
        let unit = scale * 1e9 * (1u64 << FINE_BITS) as f64;
        let bandwidth = roofline.bandwidth * roofline.bandwidth_efficiency;
        let flops = roofline.flops * roofline.flops_efficiency;
        let weights = (0..=TABLE)
            .map(|x| {
                let read = 1.0 - libm::pow(1.0 - roofline.expert_share, x as f64);
                let bytes = roofline.dense_bytes + roofline.expert_bytes * read;
                (bytes / bandwidth * unit) as Fine
            })
            .collect();
        Self {
            fixed: (roofline.fixed_seconds * unit) as Fine,
            sampling: (roofline.sampling_seconds * unit) as Fine,
            per_token: (2.0 * roofline.active_params / flops * unit) as Fine,
            per_context_token: (roofline.kv_bytes_per_token / bandwidth * unit) as Fine,
            per_pair: (4.0 * roofline.layers_times_width / flops * unit * 65_536.0) as u64,
            weights,
        }
    }

    /// Time to read the weights for `tokens` tokens in a batch.
    fn weights(&self, tokens: u64) -> Fine {
        self.weights[(tokens as usize).min(TABLE)]
    }

    /// Steps of `decodes` decodes whose contexts sum to `context` before the first of them.
    pub fn decode_ramp(&self, decodes: u64, context: u64) -> Ramp {
        Ramp::new(
            self.fixed + self.sampling * decodes,
            self.per_token * decodes,
            self.weights(decodes) + self.per_context_token * context,
            self.per_context_token * decodes,
        )
    }

    /// One step of `decodes` decodes and `prefill` prompt tokens; `pairs` is twice the sum of
    /// `chunk * (before + chunk / 2)` over its chunks.
    pub fn mixed_step(&self, decodes: u64, context: u64, prefill: u64, pairs: u64) -> Fine {
        let tokens = decodes + prefill;
        let memory = self.weights(tokens) + self.per_context_token * context;
        let attention = (u128::from(pairs) * u128::from(self.per_pair)) >> 17;
        let compute = self.per_token * tokens + u64::try_from(attention).unwrap_or(u64::MAX >> 16);
        self.fixed + self.sampling * decodes + memory.max(compute)
    }
}

/// Twice `chunk * (before + chunk / 2)`: the pairs of tokens that attention of a chunk looks at, doubled
/// to stay whole.
pub fn doubled_pairs(before: u64, chunk: u64) -> u64 {
    chunk * (2 * before + chunk)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dense() -> Roofline {
        Roofline {
            dense_bytes: 16e9,
            expert_bytes: 0.0,
            expert_share: 0.0,
            active_params: 8e9,
            kv_bytes_per_token: 131_072.0,
            layers_times_width: 32.0 * 4096.0,
            bandwidth: 4e12,
            flops: 1e15,
            bandwidth_efficiency: 0.5,
            flops_efficiency: 0.5,
            fixed_seconds: 1e-3,
            sampling_seconds: 1e-5,
        }
    }

    fn millis(fine: Fine) -> f64 {
        fine as f64 / 256.0 / 1e6
    }

    #[test]
    fn a_decode_step_is_the_formula() {
        let cost = StepCost::new(&dense(), 1.0);
        // 1 ms + 10 us + (16 GB + 1000 * 128 KiB) / 2 TB/s.
        let expected = 1.0 + 0.01 + (16e9 + 1000.0 * 131_072.0) / 2e12 * 1e3;
        assert!((millis(cost.decode_ramp(1, 1000).total(1)) - expected).abs() < 1e-3);
    }

    #[test]
    fn the_scale_stretches_everything() {
        let (one, three) = (StepCost::new(&dense(), 1.0), StepCost::new(&dense(), 3.0));
        let ratio =
            three.decode_ramp(4, 999).total(50) as f64 / one.decode_ramp(4, 999).total(50) as f64;
        assert!((ratio - 3.0).abs() < 1e-3, "{ratio}");
    }

    #[test]
    fn a_mixed_step_without_prefill_is_a_decode_step() {
        let cost = StepCost::new(&dense(), 1.0);
        assert_eq!(
            cost.mixed_step(7, 900, 0, 0),
            cost.decode_ramp(7, 900).total(1)
        );
    }

    #[test]
    fn two_chunks_look_at_as_many_pairs_as_one() {
        assert_eq!(
            doubled_pairs(0, 300) + doubled_pairs(300, 212),
            doubled_pairs(0, 512)
        );
    }
}
