//! Named engines: a model on hardware, or the timing of the reference simulator.
//!
//! Hardware figures are the vendors' data sheets, models their public configurations; the result is an
//! order of magnitude and not calibrated against a real engine. The number of KV blocks follows from
//! the memory: `(memory * 0.9 - weights - 4 GiB) / (block_size * kv_bytes)`.

use pointsman_core::time::Span;

use crate::engine::config::ReferenceTiming;
use crate::engine::timing::Roofline;

/// One preset.
#[derive(Clone, Debug)]
pub struct Preset {
    /// Its name on the command line.
    pub name: &'static str,
    /// The roofline, or `None` for a reference preset.
    pub roofline: Option<Roofline>,
    /// The reference timing, for `reference-*` presets.
    pub reference: Option<ReferenceTiming>,
    /// Bytes of keys and values per token.
    pub kv_bytes: f64,
    /// Bytes that are left for KV blocks.
    pub kv_memory: f64,
}

/// Names of all presets, in the order of the manual.
pub const PRESET_NAMES: [&str; 10] = [
    "lab",
    "qwen3-coder-30b-h100-nvl",
    "qwen3-coder-30b-h100",
    "roofline-8b-h100",
    "roofline-8b-a100",
    "roofline-8b-l40s",
    "roofline-70b-h100-tp8",
    "reference-8b-h100",
    "reference-70b-h100-tp8",
    "reference-small-l40s",
];

impl Preset {
    /// The preset of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        let name = PRESET_NAMES.into_iter().find(|known| *known == name)?;
        Some(match name {
            "lab" | "qwen3-coder-30b-h100-nvl" => roofline(name, &QWEN3_CODER_30B, &H100_NVL, 1.0),
            "qwen3-coder-30b-h100" => roofline(name, &QWEN3_CODER_30B, &H100_SXM, 1.0),
            "roofline-8b-a100" => roofline(name, &LLAMA_8B, &A100, 1.0),
            "roofline-8b-l40s" => roofline(name, &LLAMA_8B, &L40S, 1.0),
            "roofline-70b-h100-tp8" => roofline(name, &LLAMA_70B, &H100_SXM, 8.0),
            "reference-8b-h100" => reference(
                name,
                &LLAMA_8B,
                &H100_SXM,
                1.0,
                [30.0, 0.25, 12.0, 2.0, 0.003, 2.0],
            ),
            "reference-70b-h100-tp8" => reference(
                name,
                &LLAMA_70B,
                &H100_SXM,
                8.0,
                [80.0, 0.5, 25.0, 4.0, 0.008, 3.0],
            ),
            "reference-small-l40s" => reference(
                name,
                &LLAMA_8B,
                &L40S,
                1.0,
                [20.0, 0.35, 15.0, 2.0, 0.012, 2.0],
            ),
            _ => roofline(name, &LLAMA_8B, &H100_SXM, 1.0),
        })
    }

    /// How many blocks of `block_size` tokens fit the memory.
    pub fn kv_blocks(&self, block_size: u32) -> u32 {
        (self.kv_memory / (f64::from(block_size.max(1)) * self.kv_bytes)) as u32
    }
}

/// A model's public configuration.
struct Model {
    dense_params: f64,
    expert_params: f64,
    expert_share: f64,
    layers: f64,
    attention_width: f64,
    kv_heads: f64,
    head_dim: f64,
}

const LLAMA_8B: Model = Model {
    dense_params: 8.03e9,
    expert_params: 0.0,
    expert_share: 0.0,
    layers: 32.0,
    attention_width: 4096.0,
    kv_heads: 8.0,
    head_dim: 128.0,
};

const LLAMA_70B: Model = Model {
    dense_params: 70.6e9,
    expert_params: 0.0,
    expert_share: 0.0,
    layers: 80.0,
    attention_width: 8192.0,
    kv_heads: 8.0,
    head_dim: 128.0,
};

/// 48 layers, each with 128 experts of 3 * 2048 * 768 parameters of which 8 are active.
const QWEN3_CODER_30B: Model = Model {
    dense_params: 1.53e9,
    expert_params: 48.0 * 128.0 * 3.0 * 2048.0 * 768.0,
    expert_share: 8.0 / 128.0,
    layers: 48.0,
    attention_width: 4096.0,
    kv_heads: 4.0,
    head_dim: 128.0,
};

/// A GPU's data sheet: bytes of memory, bytes per second, dense bf16 operations per second.
struct Hardware {
    memory: f64,
    bandwidth: f64,
    flops: f64,
}

const H100_SXM: Hardware = Hardware {
    memory: 80e9,
    bandwidth: 3.35e12,
    flops: 989e12,
};
const H100_NVL: Hardware = Hardware {
    memory: 94e9,
    bandwidth: 3.9e12,
    flops: 835e12,
};
const A100: Hardware = Hardware {
    memory: 80e9,
    bandwidth: 2.0e12,
    flops: 312e12,
};
const L40S: Hardware = Hardware {
    memory: 48e9,
    bandwidth: 0.864e12,
    flops: 362e12,
};

/// Bytes per parameter and per element of the cache (bf16).
const BYTES: f64 = 2.0;

fn kv_bytes(model: &Model) -> f64 {
    2.0 * model.layers * model.kv_heads * model.head_dim * BYTES
}

fn kv_memory(model: &Model, hardware: &Hardware, gpus: f64) -> f64 {
    let weights = (model.dense_params + model.expert_params) * BYTES;
    hardware.memory * gpus * 0.9 - weights - 4.0 * 1024.0 * 1024.0 * 1024.0 * gpus
}

fn roofline(name: &'static str, model: &Model, hardware: &Hardware, gpus: f64) -> Preset {
    let roofline = Roofline {
        dense_bytes: model.dense_params * BYTES,
        expert_bytes: model.expert_params * BYTES,
        expert_share: model.expert_share,
        active_params: model.dense_params + model.expert_params * model.expert_share,
        kv_bytes_per_token: kv_bytes(model),
        layers_times_width: model.layers * model.attention_width,
        bandwidth: hardware.bandwidth * gpus,
        flops: hardware.flops * gpus,
        bandwidth_efficiency: 0.75,
        flops_efficiency: 0.5,
        fixed_seconds: 2.5e-3,
        sampling_seconds: 10e-6,
    };
    Preset {
        name,
        roofline: Some(roofline),
        reference: None,
        kv_bytes: kv_bytes(model),
        kv_memory: kv_memory(model, hardware, gpus),
    }
}

/// `numbers`: prefill overhead, prefill per token, inter-token latency and its deviation, transfer per
/// token (all in ms), factor under load.
fn reference(
    name: &'static str,
    model: &Model,
    hardware: &Hardware,
    gpus: f64,
    numbers: [f64; 6],
) -> Preset {
    let [
        overhead,
        per_token,
        itl,
        itl_deviation,
        transfer_per_token,
        under_load,
    ] = numbers;
    let ms = |n: f64| Span::from_secs_f64(n / 1e3);
    Preset {
        name,
        roofline: None,
        reference: Some(ReferenceTiming {
            prefill_overhead: ms(overhead),
            prefill_per_token: ms(per_token),
            inter_token: ms(itl),
            inter_token_deviation: ms(itl_deviation),
            transfer_per_token: ms(transfer_per_token),
            factor_under_load: under_load,
            ..ReferenceTiming::default()
        }),
        kv_bytes: kv_bytes(model),
        kv_memory: kv_memory(model, hardware, gpus),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::timing::{StepCost, doubled_pairs};

    #[test]
    fn every_name_has_a_preset_with_room_for_blocks() {
        for name in PRESET_NAMES {
            let preset = Preset::by_name(name).unwrap();
            assert_eq!(preset.name, name);
            assert!(
                preset.roofline.is_some() != preset.reference.is_some(),
                "{name}"
            );
            assert!(
                preset.kv_blocks(16) > 500,
                "{name}: {}",
                preset.kv_blocks(16)
            );
        }
        assert!(Preset::by_name("roofline-9b").is_none());
    }

    #[test]
    fn kv_sizes_are_those_of_the_public_configurations() {
        let kib = |name| Preset::by_name(name).unwrap().kv_bytes / 1024.0;
        assert!((kib("roofline-8b-h100") - 128.0).abs() < 1e-9);
        assert!((kib("roofline-70b-h100-tp8") - 320.0).abs() < 1e-9);
        assert!((kib("lab") - 96.0).abs() < 1e-9);
        let blocks = Preset::by_name("roofline-8b-h100").unwrap().kv_blocks(16);
        assert!((23_000..27_000).contains(&blocks), "{blocks}");
    }

    fn millis(name: &str, step: impl Fn(&StepCost) -> u64) -> f64 {
        let preset = Preset::by_name(name).unwrap();
        step(&StepCost::new(preset.roofline.as_ref().unwrap(), 1.0)) as f64 / 256.0 / 1e6
    }

    #[test]
    fn a_prefill_of_the_8b_model_costs_about_its_roofline() {
        // 8192 tokens * 2 * 8.03e9 / (989e12 * 0.5) = 266 ms, and attention on top.
        let prefill = millis("roofline-8b-h100", |c| {
            c.mixed_step(0, 0, 8192, doubled_pairs(0, 8192))
        });
        assert!((266.0..330.0).contains(&prefill), "{prefill} ms");
        let decode = millis("roofline-8b-h100", |c| c.decode_ramp(1, 512).total(1));
        assert!((8.0..10.0).contains(&decode), "{decode} ms");
    }

    #[test]
    fn a_larger_batch_of_a_mixture_reads_more_experts() {
        let one = millis("lab", |c| c.decode_ramp(1, 100).total(1));
        let many = millis("lab", |c| c.decode_ramp(64, 6400).total(1));
        assert!(many > 2.0 * one, "{one} ms, {many} ms");
        assert!(one < 6.0, "{one} ms");
    }
}
