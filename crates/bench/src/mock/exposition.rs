//! The `/metrics` page of a mock: the gauges that routers read, and as much beside them as a real vLLM has.

use std::fmt::Write;

/// Length of the page, near that of a vLLM with its histograms.
const PAGE_BYTES: usize = 20_000;

/// The part of the page that never changes: histograms of which a reader has to skip every line.
pub(crate) fn padding(model: &str) -> String {
    let mut page = String::with_capacity(PAGE_BYTES + 256);
    let families = [
        "time_to_first_token_seconds",
        "time_per_output_token_seconds",
        "e2e_request_latency_seconds",
        "request_queue_time_seconds",
        "request_prompt_tokens",
        "request_generation_tokens",
    ];
    for (number, family) in (1..).zip(families.iter().cycle()) {
        let name = format!("vllm:{family}_{number}");
        let _ = writeln!(page, "# HELP {name} Distribution of {family}.");
        let _ = writeln!(page, "# TYPE {name} histogram");
        for bucket in 0..16u32 {
            let le = 0.001 * f64::from(1 << bucket);
            let _ = writeln!(
                page,
                "{name}_bucket{{engine=\"0\",le=\"{le}\",model_name=\"{model}\"}} 0.0"
            );
            if page.len() >= PAGE_BYTES {
                return page;
            }
        }
        let _ = writeln!(
            page,
            "{name}_count{{engine=\"0\",model_name=\"{model}\"}} 0.0"
        );
        let _ = writeln!(
            page,
            "{name}_sum{{engine=\"0\",model_name=\"{model}\"}} 0.0"
        );
    }
    page
}

/// The gauges in front of the padding.
pub(crate) fn gauges(model: &str, running: u32) -> String {
    let mut page = String::with_capacity(1024);
    let cache = f64::from(running.min(100)) / 100.0;
    for (name, help, value) in [
        (
            "num_requests_running",
            "Requests in execution batches.",
            f64::from(running),
        ),
        (
            "num_requests_waiting",
            "Requests waiting to be processed.",
            0.0,
        ),
        (
            "kv_cache_usage_perc",
            "Used part of the KV cache, 0 to 1.",
            cache,
        ),
    ] {
        let _ = write!(
            page,
            "# HELP vllm:{name} {help}\n# TYPE vllm:{name} gauge\nvllm:{name}{{engine=\"0\",model_name=\"{model}\"}} {value:?}\n"
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_is_as_long_as_a_real_one_and_says_the_load() {
        let page = padding("m");
        assert!((PAGE_BYTES..PAGE_BYTES + 200).contains(&page.len()));
        assert!(page.ends_with('\n'));
        let gauges = gauges("m", 3);
        assert!(
            gauges.contains("\nvllm:num_requests_running{engine=\"0\",model_name=\"m\"} 3.0\n")
        );
        assert!(
            gauges.contains("\nvllm:kv_cache_usage_perc{engine=\"0\",model_name=\"m\"} 0.03\n")
        );
    }
}
