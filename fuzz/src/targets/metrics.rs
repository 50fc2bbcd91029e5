//! Metrics pages: nothing but finite numbers in their range gets out, however the page is cut.

use std::sync::Arc;

use pointsman_wire::prometheus::dialect::Dialect;
use pointsman_wire::prometheus::lexicon::Lexicon;
use pointsman_wire::prometheus::reader::Reader;
use pointsman_wire::prometheus::{NotExposition, Readings, parse};

use crate::cuts::{WAYS, cut};
use crate::shape::Shape;
use crate::target::Target;

/// The target.
pub const TARGET: Target = Target {
    name: "metrics",
    what: "Prometheus text of every known engine",
    run,
    words: &[
        "vllm:num_requests_waiting",
        "vllm:num_requests_running",
        "vllm:kv_cache_usage_perc",
        "vllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"9\"} 1\n",
        "vllm:request_success_total",
        "process_start_time_seconds",
        "sglang:num_queue_reqs",
        "sglang:num_running_reqs",
        "sglang:token_usage",
        "sglang:cache_config_info{page_size=\"64\",num_pages=\"9\"} 1\n",
        "sglang:num_requests_total",
        "trtllm_num_requests_waiting",
        "nv_trt_llm_request_metrics{request_type=\"waiting\"}",
        "nv_inference_pending_request_count",
        "{engine=\"0\",model_name=\"m\"}",
        " NaN\n",
        " +Inf\n",
        " -Inf\n",
        " -1\n",
        " 1e308\n",
        " 0x10\n",
        " 1_000\n",
        " 1e-400\n",
        " 3 1700000000\n",
        " # {trace_id=\"a\"} 0.5 1\n",
        "# EOF\n",
        "# HELP ",
        "# TYPE ",
        "\\\"",
        "\\n",
        "=\"",
        "\"}",
        "{",
        "}",
        ",",
        "\r\n",
        "\t",
        "None",
        "infinity",
    ],
    also: &["crates/wire/corpus/metrics"],
};

fn run(input: &[u8]) -> u64 {
    let mut shape = Shape::default();
    let frames = WAYS.map(|way| cut(input, way));
    for (dialect, word) in Dialect::ALL {
        let said = parse(dialect, input);
        // One reader for all, as it is used: nothing of a page may be left for the next.
        let mut reader = Reader::new(Arc::new(Lexicon::of_dialect(dialect)));
        for frames in &frames {
            reader.feed(b"vllm:num_requests_waiting 77\nsglang:num_queue");
            reader.begin();
            frames.iter().for_each(|frame| reader.feed(frame));
            assert_eq!(said, reader.finish(), "{word}: the frames matter");
            assert_eq!(
                reader.finish(),
                Err(NotExposition),
                "{word}: a page is left"
            );
        }
        match said {
            Ok(readings) => good(&readings, &mut shape),
            Err(NotExposition) => shape.word("none"),
        }
    }
    shape.done()
}

fn good(readings: &Readings, shape: &mut Shape) {
    let Readings {
        waiting,
        running,
        kv_usage,
        block_size,
        num_blocks,
        start_time,
        served,
        problems,
    } = *readings;
    for value in [waiting, running, kv_usage, start_time, served]
        .into_iter()
        .flatten()
    {
        assert!(value.is_finite() && value >= 0.0, "{readings:?}");
    }
    assert!(kv_usage.is_none_or(|usage| usage <= 1.0), "{readings:?}");
    assert!(
        [waiting, running]
            .into_iter()
            .flatten()
            .all(|count| count.fract() == 0.0),
        "{readings:?}"
    );
    assert!(
        block_size != Some(0) && num_blocks != Some(0),
        "{readings:?}"
    );
    let there = [
        waiting.is_some(),
        running.is_some(),
        kv_usage.is_some(),
        block_size.is_some(),
        num_blocks.is_some(),
        start_time.is_some(),
        served.is_some(),
    ];
    shape.number(
        there
            .iter()
            .fold(0, |bits, there| bits << 1 | u64::from(*there)),
    );
    shape.size(problems as usize);
}
