//! Exposition text of a model server: the few gauges we read, by what the engine calls them.
//!
//! A page is looked through line by line as its frames arrive, and only lines whose name is wanted are
//! parsed, so a page costs what it takes to find its line ends; frames are not joined (a line that two
//! frames share is kept aside). Of several series of one name the one with the largest explicit timestamp
//! counts, the first on ties, as the reference picker does: series of several models are *not* summed. Those of several
//! data-parallel ranks (label `engine` or `dp_rank`) are: they share the endpoint. Counts of served requests, which only tell a restart, are summed.
//!
//! A value that is not a finite number in its range (NaN, infinite, negative, usage above 1, text)
//! is left out and counted as a problem; it never gets out as a value. Exemplars, comments and
//! `# EOF` of OpenMetrics are passed over.

pub mod dialect;
pub mod lexicon;
pub mod metric_spec;
pub mod reader;
pub mod readings;
pub(crate) mod report;
pub(crate) mod series;

use crate::prometheus::dialect::Dialect;
use crate::prometheus::lexicon::Lexicon;
use crate::prometheus::reader::Reader;
pub use crate::prometheus::readings::{NotExposition, Readings};

/// Reads one whole page of a known engine.
///
/// # Errors
/// The page is no exposition text.
pub fn parse(dialect: Dialect, page: &[u8]) -> Result<Readings, NotExposition> {
    let mut reader = Reader::new(Lexicon::of_dialect(dialect).into());
    reader.feed(page);
    reader.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Reads lines of a page as `waiting/running/kv/block_size/num_blocks/start/problems`.
    #[track_caller]
    fn check(dialect: Dialect, page: &str, expected: &str) {
        let readings = parse(dialect, page.as_bytes()).unwrap();
        let show = |value: Option<f64>| value.map_or_else(|| "-".into(), |value| value.to_string());
        let got = [
            show(readings.waiting),
            show(readings.running),
            show(readings.kv_usage),
            show(readings.block_size.map(f64::from)),
            show(readings.num_blocks.map(f64::from)),
            show(readings.start_time),
            readings.problems.to_string(),
        ];
        assert_eq!(got.join("/"), expected, "{page}");
    }

    #[track_caller]
    fn vllm(page: &str, expected: &str) {
        check(Dialect::Vllm, page, expected);
        check(Dialect::Vllm, &page.replace('\n', "\r\n"), expected);
    }

    #[test]
    fn a_page_of_vllm() {
        vllm(
            "# HELP vllm:num_requests_running Number of requests\n\
             # TYPE vllm:num_requests_running gauge\n\
             vllm:num_requests_running{engine=\"0\",model_name=\"a,b}\\\"=\"} 3.0\n\
             vllm:num_requests_waiting{engine=\"0\",model_name=\"m\"} 2.9\n\
             vllm:num_requests_waiting_by_reason{reason=\"capacity\"} 7\n\
             vllm:kv_cache_usage_perc{model_name=\"m\"} 0.25\n\
             vllm:cache_config_info{a=\"x\",block_size=\"16\",num_gpu_blocks=\"1024\",z=\"\"} 1.0\n\
             process_start_time_seconds 1.76e9\n",
            "2/3/0.25/16/1024/1760000000/0",
        );
    }

    #[test]
    fn other_engines() {
        check(
            Dialect::Sglang,
            "sglang:num_queue_reqs 1\nsglang:num_running_reqs 2\nsglang:token_usage 0.5\n\
             sglang:cache_config_info{page_size=\"64\",num_pages=\"9\"} 1\nvllm:num_requests_waiting 8\n",
            "1/2/0.5/64/9/-/0",
        );
        check(
            Dialect::TrtllmServe,
            "trtllm_num_requests_waiting 1\ntrtllm_num_requests_running 2\ntrtllm_kv_cache_utilization 0\n\
             trtllm_kv_cache_tokens_per_block 32\ntrtllm_kv_cache_max_blocks 100\n",
            "1/2/0/32/100/-/0",
        );
        check(
            Dialect::TritonTensorrtLlm,
            "nv_trt_llm_request_metrics{model=\"m\",request_type=\"waiting\"} 1\n\
             nv_trt_llm_request_metrics{model=\"m\",request_type=\"scheduled\"} 2\n\
             nv_trt_llm_request_metrics{model=\"m\",request_type=\"max\"} 99\n\
             nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"fraction\"} 0.75\n\
             nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"tokens_per\"} 64\n\
             nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"max\"} 7\n",
            "1/2/0.75/64/7/-/0",
        );
        check(
            Dialect::Triton,
            "nv_inference_pending_request_count 4\nnv_inference_exec_count 5\n",
            "4/5/-/-/-/-/0",
        );
        for (dialect, name) in Dialect::ALL {
            assert_eq!(Dialect::of_engine_type(name), dialect);
        }
        assert_eq!(Dialect::of_engine_type("new"), Dialect::Vllm);
    }

    #[test]
    fn of_several_series_the_latest_counts_and_the_first_on_ties() {
        let series = |stamps: [&str; 3]| {
            let lines = stamps.iter().zip(1..).map(|(stamp, n)| {
                format!("vllm:num_requests_waiting{{model_name=\"{n}\"}} {n} {stamp}\n")
            });
            lines.collect::<String>()
        };
        vllm(&series(["", "", ""]), "1/-/-/-/-/-/0");
        vllm(&series(["", "5", "5"]), "2/-/-/-/-/-/0");
        vllm(&series(["5", "7.5", ""]), "2/-/-/-/-/-/0");
        vllm(&series(["-5", "", "1 # {t=\"x\"} 0.5 2"]), "3/-/-/-/-/-/0");
        vllm(
            "vllm:num_requests_waiting 1 # {trace_id=\"abc\"} 0.67\n# EOF\n",
            "1/-/-/-/-/-/0",
        );
    }

    #[test]
    fn bad_values_never_get_out() {
        for bad in ["NaN", "nan", "+Inf", "-Inf", "-1", "1e300", "-0.5"] {
            vllm(
                &format!("vllm:num_requests_waiting {bad}\nvllm:kv_cache_usage_perc {bad}\n"),
                "-/-/-/-/-/-/2",
            );
        }
        vllm(
            "vllm:kv_cache_usage_perc 37\nvllm:num_requests_waiting 1\n",
            "1/-/-/-/-/-/1",
        );
        vllm("vllm:kv_cache_usage_perc 1.0000001\n", "-/-/1/-/-/-/0");
        // A latest series that is bad hides the others: the endpoint is unknown, not idle.
        vllm(
            "vllm:num_requests_waiting NaN\nvllm:num_requests_waiting{a=\"b\"} 3\n",
            "-/-/-/-/-/-/1",
        );
        vllm(
            "# x\nvllm:num_requests_waiting\nvllm:num_requests_waiting \n",
            "-/-/-/-/-/-/1",
        );
        vllm(
            "# x\nvllm:num_requests_waiting{a=\"b 3\nvllm:num_requests_waiting{a=\"b\\\" 3\n",
            "-/-/-/-/-/-/2",
        );
        vllm(
            "# x\nvllm:num_requests_waiting five\nvllm:num_requests_waiting 3 late\n",
            "-/-/-/-/-/-/2",
        );
        vllm(
            "vllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"None\"} 1\n",
            "-/-/-/16/-/-/0",
        );
        vllm(
            "vllm:cache_config_info{block_size=\"0\",num_gpu_blocks=\"x\"} 1\n",
            "-/-/-/-/-/-/2",
        );
        vllm(
            "vllm:cache_config_info 1\nvllm:cache_config_info{block_size=16} 1\n",
            "-/-/-/-/-/-/0",
        );
        vllm("process_start_time_seconds -3\n", "-/-/-/-/-/-/1");
    }

    #[test]
    fn what_is_no_metrics_page_is_told_apart() {
        for page in [
            "",
            "\n\n",
            "<!DOCTYPE html>\n<p>404</p>",
            "404 page not found",
            "Not Found\n",
            "{\"detail\":\"Not Found\"}",
            "\u{1f}\u{8b}\u{8}\0",
            "ok",
            "0",
            ":",
        ] {
            assert_eq!(
                parse(Dialect::Vllm, page.as_bytes()),
                Err(NotExposition),
                "{page:?}"
            );
        }
        for page in [
            "# EOF\n",
            "python_info{version=\"3\"} 1",
            "up 1\n<p>",
            "\n\nx NaN\n",
            "<p>\nvllm:num_requests_waiting 1",
        ] {
            assert!(parse(Dialect::Vllm, page.as_bytes()).is_ok(), "{page:?}");
        }
    }
}
