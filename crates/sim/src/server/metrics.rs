//! The metric families of one server, by vLLM's names.
//!
//! Times are the engine's own (virtual ticks that the server plays in real time), so they hold no noise
//! of this machine. `pointsman_sim_*` tell the true state of the simulation.

use std::fmt::Write;

use pointsman_core::time::Span;

use crate::engine::request::{Counters, Gauges, Summary};
use crate::server::adapters::AdapterLoad;
use crate::server::histogram::{FIRST_TOKEN, Histogram, PER_TOKEN, REQUEST, token_bounds};

/// What the server has seen of its requests.
#[derive(Clone, Debug)]
pub struct Metrics {
    first_token: Histogram,
    inter_token: Histogram,
    mean_token: Histogram,
    whole: Histogram,
    queue: Histogram,
    inference: Histogram,
    prefill: Histogram,
    decode: Histogram,
    prompt_tokens: Histogram,
    generation_tokens: Histogram,
    max_tokens: Histogram,
    planned_tokens: Histogram,
    /// Requests ended for `stop`, `length`, `remote_decode`.
    ended: [u64; 3],
}

/// Why answers end.
pub const REASONS: [&str; 3] = ["stop", "length", "remote_decode"];

/// What does not change, or is asked for at the moment of the exposition.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// The served model.
    pub model: &'a str,
    /// Tokens per block.
    pub block_size: u32,
    /// Whether prefixes are reused.
    pub prefix_caching: bool,
    /// Load now.
    pub gauges: Gauges,
    /// Done so far.
    pub counters: Counters,
    /// When the server started, in seconds since 1970.
    pub started: f64,
    /// Faults switched on so far.
    pub faults: u64,
    /// Requests whose KV was fetched after its time.
    pub stale: u64,
    /// Whether the engine sleeps.
    pub asleep: bool,
    /// What the label with the reason of an end is called.
    pub reason_label: &'static str,
    /// Most adapters in one batch, as configured.
    pub max_loras: u32,
    /// Which adapters have requests.
    pub adapters: &'a AdapterLoad,
}

impl Metrics {
    /// Nothing seen yet; token counts are bucketed up to `max_model_len`.
    pub fn new(max_model_len: u32) -> Self {
        let tokens = token_bounds(max_model_len);
        Self {
            first_token: Histogram::new(FIRST_TOKEN),
            inter_token: Histogram::new(PER_TOKEN),
            mean_token: Histogram::new(PER_TOKEN),
            whole: Histogram::new(REQUEST),
            queue: Histogram::new(REQUEST),
            inference: Histogram::new(REQUEST),
            prefill: Histogram::new(REQUEST),
            decode: Histogram::new(REQUEST),
            prompt_tokens: Histogram::new(&tokens),
            generation_tokens: Histogram::new(&tokens),
            max_tokens: Histogram::new(&tokens),
            planned_tokens: Histogram::new(&tokens),
            ended: [0; 3],
        }
    }

    /// A first token came so long after its request.
    pub fn saw_first_token(&mut self, after: Span) {
        self.first_token.observe(after.as_secs_f64(), 1);
    }

    /// A further token came so long after the last.
    pub fn saw_token(&mut self, after: Span) {
        self.inter_token.observe(after.as_secs_f64(), 1);
    }

    /// A request ended. `asked` is its `max_tokens`, `watched` whether its tokens were seen one by one.
    pub fn saw_end(&mut self, summary: &Summary, asked: Option<u32>, watched: bool, reason: usize) {
        let seconds = |span: Span| span.as_secs_f64();
        let decode = summary.finished - summary.first_token;
        let gaps = u64::from(summary.output_tokens.saturating_sub(1));
        if gaps > 0 {
            let mean = seconds(decode) / gaps as f64;
            self.mean_token.observe(mean, 1);
            if !watched {
                self.inter_token.observe(mean, gaps);
            }
        }
        self.whole
            .observe(seconds(summary.finished - summary.arrived), 1);
        self.queue
            .observe(seconds(summary.scheduled - summary.arrived), 1);
        self.inference
            .observe(seconds(summary.finished - summary.scheduled), 1);
        self.prefill
            .observe(seconds(summary.first_token - summary.scheduled), 1);
        self.decode.observe(seconds(decode), 1);
        self.prompt_tokens
            .observe(f64::from(summary.prompt_tokens), 1);
        self.generation_tokens
            .observe(f64::from(summary.output_tokens), 1);
        self.planned_tokens
            .observe(f64::from(summary.output_tokens), 1);
        if let Some(asked) = asked {
            self.max_tokens.observe(f64::from(asked), 1);
        }
        self.ended[reason] += 1;
    }

    /// The exposition.
    pub fn expose(&self, scene: &Scene<'_>) -> String {
        let mut out = String::with_capacity(24 * 1024);
        let label = format!("model_name=\"{}\"", escaped(scene.model));
        let (gauges, counters) = (&scene.gauges, &scene.counters);
        let one = |out: &mut String, kind: &str, name: &str, help: &str, value: f64| {
            let _ = writeln!(
                out,
                "# HELP {name} {help}\n# TYPE {name} {kind}\n{name}{{{label}}} {value:?}"
            );
        };
        for (name, help, value) in [
            (
                "vllm:num_requests_running",
                "Requests in the batch.",
                f64::from(gauges.running),
            ),
            (
                "vllm:num_requests_waiting",
                "Requests waiting for a slot, blocks or their KV.",
                f64::from(gauges.waiting),
            ),
            (
                "vllm:kv_cache_usage_perc",
                "Share of KV blocks that running requests use.",
                gauges.kv_usage(),
            ),
            (
                "vllm:engine_sleep_state",
                "Whether the engine sleeps.",
                f64::from(u8::from(scene.asleep)),
            ),
        ] {
            one(&mut out, "gauge", name, help, value);
        }
        let _ = writeln!(
            out,
            "# HELP vllm:cache_config_info The KV cache.\n# TYPE vllm:cache_config_info gauge\n\
             vllm:cache_config_info{{block_size=\"{}\",enable_prefix_caching=\"{}\",num_gpu_blocks=\"{}\",{label}}} 1.0",
            scene.block_size,
            if scene.prefix_caching {
                "True"
            } else {
                "False"
            },
            gauges.total_blocks,
        );
        for (name, help, value) in [
            (
                "vllm:prompt_tokens_total",
                "Prompt tokens computed or reused.",
                counters.prompt_tokens,
            ),
            (
                "vllm:generation_tokens_total",
                "Tokens generated.",
                counters.generation_tokens,
            ),
            (
                "vllm:prefix_cache_queries_total",
                "Prompt tokens looked up.",
                counters.prefix_queries,
            ),
            (
                "vllm:prefix_cache_hits_total",
                "Prompt tokens found.",
                counters.prefix_hits,
            ),
            (
                "vllm:num_preemptions_total",
                "Requests put back into the queue.",
                counters.preemptions,
            ),
        ] {
            one(&mut out, "counter", name, help, value as f64);
        }
        let name = "vllm:request_success_total";
        let _ = writeln!(out, "# HELP {name} Requests ended.\n# TYPE {name} counter");
        for (reason, count) in REASONS.iter().zip(self.ended) {
            let _ = writeln!(
                out,
                "{name}{{{}=\"{reason}\",{label}}} {:?}",
                scene.reason_label, count as f64
            );
        }
        write_adapters(scene, &mut out);
        for (name, help, histogram) in self.families() {
            histogram.write(name, help, &label, &mut out);
        }
        let free = gauges
            .total_blocks
            .saturating_sub(gauges.used_blocks + gauges.cached_blocks);
        one(
            &mut out,
            "gauge",
            "pointsman_sim_free_blocks",
            "KV blocks that hold nothing.",
            f64::from(free),
        );
        let cached = f64::from(gauges.cached_blocks);
        one(
            &mut out,
            "gauge",
            "pointsman_sim_cached_blocks",
            "KV blocks that hold an unused prefix.",
            cached,
        );
        for (name, help, value) in [
            (
                "pointsman_sim_aborted_total",
                "Requests whose client left.",
                counters.aborted,
            ),
            ("pointsman_sim_steps_total", "Engine steps.", counters.steps),
            (
                "pointsman_sim_transferred_tokens_total",
                "Prompt tokens taken over from a peer.",
                counters.transferred_tokens,
            ),
            (
                "pointsman_sim_faults_total",
                "Faults switched on.",
                scene.faults,
            ),
            (
                "pointsman_sim_stale_transfers_total",
                "Requests whose KV was fetched after its time.",
                scene.stale,
            ),
        ] {
            one(&mut out, "counter", name, help, value as f64);
        }
        let name = "process_start_time_seconds";
        let _ = writeln!(
            out,
            "# HELP {name} Start of the server.\n# TYPE {name} gauge\n{name} {:?}",
            scene.started
        );
        out
    }

    fn families(&self) -> [(&'static str, &'static str, &Histogram); 14] {
        [
            (
                "vllm:time_to_first_token_seconds",
                "Time to first token.",
                &self.first_token,
            ),
            (
                "vllm:inter_token_latency_seconds",
                "Time between two tokens.",
                &self.inter_token,
            ),
            (
                "vllm:time_per_output_token_seconds",
                "Time between two tokens (older name).",
                &self.inter_token,
            ),
            (
                "vllm:request_time_per_output_token_seconds",
                "Mean time per token of a request.",
                &self.mean_token,
            ),
            (
                "vllm:e2e_request_latency_seconds",
                "Time of whole requests.",
                &self.whole,
            ),
            (
                "vllm:request_queue_time_seconds",
                "Time in the queue.",
                &self.queue,
            ),
            (
                "vllm:request_inference_time_seconds",
                "Time out of the queue.",
                &self.inference,
            ),
            (
                "vllm:request_prefill_time_seconds",
                "Time from the queue to the first token.",
                &self.prefill,
            ),
            (
                "vllm:request_decode_time_seconds",
                "Time from the first token to the last.",
                &self.decode,
            ),
            (
                "vllm:request_prompt_tokens",
                "Prompt tokens of a request.",
                &self.prompt_tokens,
            ),
            (
                "vllm:request_generation_tokens",
                "Tokens generated for a request.",
                &self.generation_tokens,
            ),
            (
                "vllm:request_params_max_tokens",
                "Requests' max_tokens.",
                &self.max_tokens,
            ),
            (
                "vllm:max_num_generation_tokens",
                "Most tokens a request could get.",
                &self.planned_tokens,
            ),
            (
                "vllm:request_max_num_generation_tokens",
                "The same by its newer name.",
                &self.planned_tokens,
            ),
        ]
    }
}

/// The adapters with requests, if there ever were adapters. The value says since when, as in vLLM.
fn write_adapters(scene: &Scene<'_>, out: &mut String) {
    let load = scene.adapters;
    if load.changed > 0.0 {
        let name = "vllm:lora_requests_info";
        let _ = writeln!(
            out,
            "# HELP {name} Adapters with requests.\n# TYPE {name} gauge\n\
             {name}{{max_lora=\"{}\",running_lora_adapters=\"{}\",waiting_lora_adapters=\"{}\"}} {:?}",
            scene.max_loras,
            escaped(&load.running.join(",")),
            escaped(&load.waiting.join(",")),
            load.changed,
        );
    }
}

/// A label value.
pub fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_core::time::Tick;

    #[test]
    fn the_exposition_holds_what_was_seen() {
        let mut metrics = Metrics::new(100);
        metrics.saw_first_token(Span::from_millis(50));
        let ms = |n: u64| Tick(n * 1_000_000);
        let summary = Summary {
            prompt_tokens: 7,
            cached_tokens: 0,
            output_tokens: 3,
            preemptions: 0,
            arrived: ms(0),
            scheduled: ms(10),
            first_token: ms(50),
            finished: ms(250),
        };
        metrics.saw_end(&summary, Some(3), false, 1);
        let scene = Scene {
            model: "a\"b",
            block_size: 16,
            prefix_caching: true,
            gauges: Gauges {
                running: 2,
                waiting: 1,
                used_blocks: 25,
                cached_blocks: 5,
                total_blocks: 100,
            },
            counters: Counters {
                aborted: 4,
                ..Counters::default()
            },
            started: 12.5,
            faults: 0,
            stale: 0,
            asleep: false,
            reason_label: "finished_reason",
            max_loras: 4,
            adapters: &AdapterLoad {
                running: vec!["a".to_owned(), "b".to_owned()],
                waiting: Vec::new(),
                changed: 7.5,
            },
        };
        let text = metrics.expose(&scene);
        for line in [
            "vllm:num_requests_running{model_name=\"a\\\"b\"} 2.0",
            "vllm:kv_cache_usage_perc{model_name=\"a\\\"b\"} 0.25",
            "vllm:time_to_first_token_seconds_sum{model_name=\"a\\\"b\"} 0.05",
            "vllm:inter_token_latency_seconds_count{model_name=\"a\\\"b\"} 2",
            "vllm:inter_token_latency_seconds_bucket{le=\"0.1\",model_name=\"a\\\"b\"} 2",
            "vllm:request_success_total{finished_reason=\"length\",model_name=\"a\\\"b\"} 1.0",
            "pointsman_sim_aborted_total{model_name=\"a\\\"b\"} 4.0",
            "vllm:lora_requests_info{max_lora=\"4\",running_lora_adapters=\"a,b\",waiting_lora_adapters=\"\"} 7.5",
            "pointsman_sim_free_blocks{model_name=\"a\\\"b\"} 70.0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
