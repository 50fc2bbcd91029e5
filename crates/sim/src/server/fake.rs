//! `--fake-metrics`: a metrics page that says what it is told, whatever the server does.
//!
//! For tests of whoever reads metrics. The three gauges may be functions of time, `NAME:START:END:PERIOD`:
//! `oscillate` goes there and back, `ramp` goes there and stays, `rampreset` goes there and jumps back,
//! `squarewave` is one for half of the period and the other for the rest.

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::fmt::Write;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::flags::duration;
use crate::server::histogram::{FIRST_TOKEN, Histogram, PER_TOKEN, REQUEST, token_bounds};
use crate::server::metrics::escaped;

/// A number, or a function of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wave {
    /// Always the same.
    Constant(f64),
    /// Changes with time.
    Moving {
        /// How.
        shape: Shape,
        /// The value at the beginning.
        start: f64,
        /// The value at the other end.
        end: f64,
        /// How long it takes.
        period: Duration,
    },
}

/// How a number changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// There and back, as a cosine.
    Oscillate,
    /// There, once.
    Ramp,
    /// There, again and again.
    RampReset,
    /// One, then the other.
    SquareWave,
}

impl Default for Wave {
    fn default() -> Self {
        Self::Constant(0.0)
    }
}

impl Wave {
    /// Its value so long after the start.
    pub fn at(&self, elapsed: Duration) -> f64 {
        let (shape, start, end, period) = match *self {
            Self::Constant(value) => return value,
            Self::Moving {
                shape,
                start,
                end,
                period,
            } => (shape, start, end, period),
        };
        let turns = elapsed.as_secs_f64() / period.as_secs_f64();
        let part = turns.fract();
        let share = match shape {
            Shape::Oscillate => (1.0 - libm::cos(TAU * part)) / 2.0,
            Shape::Ramp => turns.min(1.0),
            Shape::RampReset => part,
            Shape::SquareWave => f64::from(u8::from(part >= 0.5)),
        };
        start + (end - start) * share
    }

    fn read(text: &str) -> Result<Self, String> {
        let fault = || {
            format!("{text:?}: must be a number or NAME:START:END:PERIOD, as in oscillate:0:1:10s")
        };
        let [name, start, end, period] = text
            .split(':')
            .collect::<Vec<_>>()
            .try_into()
            .map_err(|_| fault())?;
        let shape = match name {
            "oscillate" => Shape::Oscillate,
            "ramp" => Shape::Ramp,
            "rampreset" => Shape::RampReset,
            "squarewave" => Shape::SquareWave,
            _ => return Err(fault()),
        };
        let number = |text: &str| text.parse::<f64>().ok().filter(|n| n.is_finite());
        let start = number(start).ok_or_else(fault)?;
        let end = number(end).ok_or_else(fault)?;
        let period = duration(period).map_err(|_| fault())?;
        if period.is_zero() {
            return Err(fault());
        }
        Ok(Self::Moving {
            shape,
            start,
            end,
            period,
        })
    }
}

impl<'de> Deserialize<'de> for Wave {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(f64),
            Text(String),
        }
        match Written::deserialize(from)? {
            Written::Number(number) => Ok(Self::Constant(number)),
            Written::Text(text) => Self::read(&text).map_err(serde::de::Error::custom),
        }
    }
}

/// One series of `vllm:lora_requests_info`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct FakeAdapters {
    /// Names with a comma between them.
    pub running: String,
    /// The same.
    pub waiting: String,
    /// Its value; without one, the time of the start.
    pub timestamp: Option<f64>,
}

/// What the page says, by the reference's keys.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct FakeMetrics {
    running_requests: Wave,
    waiting_requests: Wave,
    kv_cache_usage: Wave,
    loras: Vec<FakeAdapters>,
    ttft_buckets_values: Vec<u64>,
    tpot_buckets_values: Vec<u64>,
    e2erl_buckets_values: Vec<u64>,
    queue_time_buckets_values: Vec<u64>,
    inf_time_buckets_values: Vec<u64>,
    prefill_time_buckets_values: Vec<u64>,
    decode_time_buckets_values: Vec<u64>,
    request_prompt_tokens: Vec<u64>,
    request_generation_tokens: Vec<u64>,
    request_params_max_tokens: Vec<u64>,
    request_max_generation_tokens: Vec<u64>,
    request_success_total: BTreeMap<String, u64>,
    total_prompt_tokens: u64,
    total_generation_tokens: u64,
    prefix_cache_hits: u64,
    prefix_cache_queries: u64,
}

/// What the page needs to know of its server.
#[derive(Clone, Copy, Debug)]
pub struct FakeScene<'a> {
    /// The served model.
    pub model: &'a str,
    /// Longest context.
    pub max_model_len: u32,
    /// Tokens per block, and blocks.
    pub blocks: (u32, u32),
    /// Most adapters in one batch.
    pub max_loras: u32,
    /// What the label with the reason of an end is called.
    pub reason_label: &'static str,
    /// Start, in seconds since 1970.
    pub started: f64,
    /// Time since then.
    pub elapsed: Duration,
}

impl FakeMetrics {
    /// The page.
    pub fn expose(&self, scene: &FakeScene<'_>) -> String {
        let mut out = String::new();
        let label = format!("model_name=\"{}\"", escaped(scene.model));
        let head = |out: &mut String, kind: &str, name: &str| {
            let _ = writeln!(out, "# HELP {name} As told.\n# TYPE {name} {kind}");
        };
        for (name, wave) in [
            ("vllm:num_requests_running", &self.running_requests),
            ("vllm:num_requests_waiting", &self.waiting_requests),
            ("vllm:kv_cache_usage_perc", &self.kv_cache_usage),
        ] {
            head(&mut out, "gauge", name);
            let mut value = wave.at(scene.elapsed);
            if name != "vllm:kv_cache_usage_perc" {
                value = value.round();
            }
            let _ = writeln!(out, "{name}{{{label}}} {value:?}");
        }
        let name = "vllm:cache_config_info";
        head(&mut out, "gauge", name);
        let (size, count) = scene.blocks;
        let _ = writeln!(
            out,
            "{name}{{block_size=\"{size}\",num_gpu_blocks=\"{count}\",{label}}} 1.0"
        );
        let name = "vllm:lora_requests_info";
        if !self.loras.is_empty() {
            head(&mut out, "gauge", name);
        }
        for lora in &self.loras {
            let _ = writeln!(
                out,
                "{name}{{max_lora=\"{}\",running_lora_adapters=\"{}\",waiting_lora_adapters=\"{}\"}} {:?}",
                scene.max_loras,
                escaped(&lora.running),
                escaped(&lora.waiting),
                lora.timestamp.unwrap_or(scene.started),
            );
        }
        for (name, count) in [
            ("vllm:prompt_tokens_total", self.total_prompt_tokens),
            ("vllm:generation_tokens_total", self.total_generation_tokens),
            ("vllm:prefix_cache_hits_total", self.prefix_cache_hits),
            ("vllm:prefix_cache_queries_total", self.prefix_cache_queries),
        ] {
            head(&mut out, "counter", name);
            let _ = writeln!(out, "{name}{{{label}}} {:?}", count as f64);
        }
        let name = "vllm:request_success_total";
        head(&mut out, "counter", name);
        for (reason, count) in &self.request_success_total {
            let _ = writeln!(
                out,
                "{name}{{{}=\"{}\",{label}}} {:?}",
                scene.reason_label,
                escaped(reason),
                *count as f64
            );
        }
        for (name, counts, bounds) in self.families(&token_bounds(scene.max_model_len)) {
            Histogram::told(bounds, counts).write(name, "As told.", &label, &mut out);
        }
        let name = "process_start_time_seconds";
        head(&mut out, "gauge", name);
        let _ = writeln!(out, "{name} {:?}", scene.started);
        out
    }

    fn families<'a>(&'a self, tokens: &'a [f64]) -> [(&'static str, &'a [u64], &'a [f64]); 13] {
        [
            (
                "vllm:time_to_first_token_seconds",
                &self.ttft_buckets_values,
                FIRST_TOKEN,
            ),
            (
                "vllm:inter_token_latency_seconds",
                &self.tpot_buckets_values,
                PER_TOKEN,
            ),
            (
                "vllm:time_per_output_token_seconds",
                &self.tpot_buckets_values,
                PER_TOKEN,
            ),
            (
                "vllm:e2e_request_latency_seconds",
                &self.e2erl_buckets_values,
                REQUEST,
            ),
            (
                "vllm:request_queue_time_seconds",
                &self.queue_time_buckets_values,
                REQUEST,
            ),
            (
                "vllm:request_inference_time_seconds",
                &self.inf_time_buckets_values,
                REQUEST,
            ),
            (
                "vllm:request_prefill_time_seconds",
                &self.prefill_time_buckets_values,
                REQUEST,
            ),
            (
                "vllm:request_decode_time_seconds",
                &self.decode_time_buckets_values,
                REQUEST,
            ),
            (
                "vllm:request_prompt_tokens",
                &self.request_prompt_tokens,
                tokens,
            ),
            (
                "vllm:request_generation_tokens",
                &self.request_generation_tokens,
                tokens,
            ),
            (
                "vllm:request_params_max_tokens",
                &self.request_params_max_tokens,
                tokens,
            ),
            (
                "vllm:max_num_generation_tokens",
                &self.request_max_generation_tokens,
                tokens,
            ),
            (
                "vllm:request_max_num_generation_tokens",
                &self.request_max_generation_tokens,
                tokens,
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_move_with_time() {
        let at =
            |text: &str, seconds: u64| Wave::read(text).unwrap().at(Duration::from_secs(seconds));
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(near(at("oscillate:0:1:10s", 5), 1.0) && near(at("oscillate:0:1:10s", 10), 0.0));
        assert!(near(at("ramp:2:4:10s", 5), 3.0) && near(at("ramp:2:4:10s", 50), 4.0));
        assert!(near(at("rampreset:0:10:10s", 25), 5.0));
        assert!(near(at("squarewave:1:2:10s", 4), 1.0) && near(at("squarewave:1:2:10s", 6), 2.0));
        for wrong in [
            "5",
            "ramp:0:1",
            "jump:0:1:1s",
            "ramp:0:1:0s",
            "ramp:NaN:1:1s",
        ] {
            assert!(Wave::read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_page_says_what_it_is_told() {
        let fake: FakeMetrics = serde_json::from_str(
            r#"{"running-requests": 16, "waiting-requests": "ramp:0:8:10s", "kv-cache-usage": 0.3,
                "loras": [{"running": "a,b", "waiting": "c", "timestamp": 7}],
                "ttft-buckets-values": [10, 20], "total-prompt-tokens": 1000,
                "request-success-total": {"stop": 20}}"#,
        )
        .unwrap();
        let page = fake.expose(&FakeScene {
            model: "m",
            max_model_len: 64,
            blocks: (16, 100),
            max_loras: 2,
            reason_label: "finish_reason",
            started: 5.0,
            elapsed: Duration::from_secs(5),
        });
        for line in [
            "vllm:num_requests_running{model_name=\"m\"} 16.0",
            "vllm:num_requests_waiting{model_name=\"m\"} 4.0",
            "vllm:kv_cache_usage_perc{model_name=\"m\"} 0.3",
            "vllm:lora_requests_info{max_lora=\"2\",running_lora_adapters=\"a,b\",waiting_lora_adapters=\"c\"} 7.0",
            "vllm:time_to_first_token_seconds_bucket{le=\"0.005\",model_name=\"m\"} 30",
            "vllm:prompt_tokens_total{model_name=\"m\"} 1000.0",
            "vllm:request_success_total{finish_reason=\"stop\",model_name=\"m\"} 20.0",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
        }
    }
}
