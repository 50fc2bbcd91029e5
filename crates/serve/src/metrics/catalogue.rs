//! Every metric family of the picker, in the order of the page.
//!
//! Those of the reference that belong to what is not built yet (eviction, predicted-latency models, KV
//! events) are absent, not zero.

pub mod flow;
pub mod own;

use crate::metrics::family::Family;

const M: &[(&str, usize)] = &[("model_name", 0), ("target_model_name", 1)];
const MF: &[&str] = &["model_name", "target_model_name", "fairness_id", "priority"];
const PLUGIN: &[&str] = &["plugin_name", "plugin_type"];
const POOL: &[(&str, usize)] = &[("name", 0)];

/// Requests that were scheduled.
pub static REQUESTS: Family = Family::counter(
    "llm_d_epp_request_total",
    MF,
    "Requests that were scheduled.",
)
.formerly(
    "inference_objective_request_total",
    &[("model_name", 0), ("target_model_name", 1), ("priority", 3)],
);

/// Requests that ended in an error, by its code.
pub static REQUEST_ERRORS: Family = Family::counter(
    "llm_d_epp_request_error_total",
    &[
        "model_name",
        "target_model_name",
        "fairness_id",
        "priority",
        "error_code",
    ],
    "Requests that ended in an error, by its code.",
)
.formerly(
    "inference_objective_request_error_total",
    &[
        ("model_name", 0),
        ("target_model_name", 1),
        ("error_code", 4),
    ],
);

/// Time from the head of a request to the end of its answer.
pub static REQUEST_DURATION: Family = Family::histogram(
    "llm_d_epp_request_duration_seconds",
    MF,
    "Time from the head of a request to the end of its answer.",
)
.formerly("inference_objective_request_duration_seconds", M);

/// Sizes of requests' bodies.
pub static REQUEST_SIZE: Family = Family::histogram(
    "llm_d_epp_request_size_bytes",
    MF,
    "Sizes of requests' bodies.",
)
.formerly("inference_objective_request_sizes", M);

/// Sizes of answers.
pub static RESPONSE_SIZE: Family =
    Family::histogram("llm_d_epp_response_size_bytes", MF, "Sizes of answers.")
        .formerly("inference_objective_response_sizes", M);

/// Prompt tokens, as engines report them.
pub static INPUT_TOKENS: Family = Family::histogram(
    "llm_d_epp_request_input_tokens",
    MF,
    "Prompt tokens, as engines report them.",
)
.formerly("inference_objective_input_tokens", M);

/// Generated tokens, as engines report them.
pub static OUTPUT_TOKENS: Family = Family::histogram(
    "llm_d_epp_request_output_tokens",
    MF,
    "Generated tokens, as engines report them.",
)
.formerly("inference_objective_output_tokens", M);

/// Prompt tokens found in the engine's prefix cache, where the engine reports any.
pub static CACHED_TOKENS: Family = Family::histogram(
    "llm_d_epp_request_cached_tokens",
    MF,
    "Prompt tokens found in the engine's prefix cache, where the engine reports any.",
)
.formerly("inference_objective_prompt_cached_tokens", M);

/// Requests under way.
pub static RUNNING: Family = Family::gauge("llm_d_epp_request_running", MF, "Requests under way.")
    .summed()
    .formerly("inference_objective_running_requests", &[("model_name", 0)]);

/// Time of a whole request per generated token.
pub static PER_TOKEN: Family = Family::histogram(
    "llm_d_epp_request_ntpot_seconds",
    MF,
    "Time of a whole request per generated token.",
)
.formerly(
    "inference_objective_normalized_time_per_output_token_seconds",
    M,
);

/// Time from the head of a request to the first part of its answer's body.
pub static FIRST_TOKEN: Family = Family::histogram(
    "llm_d_epp_request_ttft_seconds",
    &[
        "model_name",
        "target_model_name",
        "fairness_id",
        "priority",
        "streaming",
    ],
    "Time from the head of a request to the first part of its answer's body.",
);

/// Time per generated token after the first, of streamed answers.
pub static STREAMED_PER_TOKEN: Family = Family::histogram(
    "llm_d_epp_request_streaming_tpot_seconds",
    MF,
    "Time per generated token after the first, of streamed answers.",
);

/// Time between two parts of a streamed answer.
pub static BETWEEN_TOKENS: Family = Family::histogram(
    "llm_d_epp_request_streaming_itl_seconds",
    MF,
    "Time between two parts of a streamed answer.",
);

/// Mean share of the KV cache in use over the endpoints with metrics younger than 2 s.
pub static AVERAGE_KV: Family = Family::gauge(
    "llm_d_epp_average_kv_cache_utilization",
    &["name"],
    "Mean share of the KV cache in use over the endpoints with metrics younger than 2 s, or than `--metrics-staleness-threshold`.",
)
.formerly("inference_pool_average_kv_cache_utilization", POOL);

/// Mean number of waiting requests over the endpoints with metrics younger than 2 s.
pub static AVERAGE_QUEUE: Family = Family::gauge(
    "llm_d_epp_average_queue_size",
    &["name"],
    "Mean number of waiting requests over the endpoints with metrics younger than 2 s, or than `--metrics-staleness-threshold`.",
)
.formerly("inference_pool_average_queue_size", POOL);

/// Mean number of running requests over the endpoints with metrics younger than 2 s.
pub static AVERAGE_RUNNING: Family = Family::gauge(
    "llm_d_epp_average_running_requests",
    &["name"],
    "Mean number of running requests over the endpoints with metrics younger than 2 s, or than `--metrics-staleness-threshold`.",
)
.formerly("inference_pool_average_running_requests", POOL);

/// Standard deviation of the share of the KV cache in use over the endpoints with metrics younger than 2 s.
pub static DEVIATION_KV: Family = Family::gauge(
    "llm_d_epp_std_dev_kv_cache_utilization",
    &["name"],
    "Standard deviation of the share of the KV cache in use over the endpoints with metrics younger than 2 s, or than `--metrics-staleness-threshold`.",
);

/// Standard deviation of the number of waiting requests over the endpoints with metrics younger than 2 s.
pub static DEVIATION_QUEUE: Family = Family::gauge(
    "llm_d_epp_std_dev_queue_size",
    &["name"],
    "Standard deviation of the number of waiting requests over the endpoints with metrics younger than 2 s, or than `--metrics-staleness-threshold`.",
);

/// Standard deviation of the number of running requests over the endpoints with metrics younger than 2 s.
pub static DEVIATION_RUNNING: Family = Family::gauge(
    "llm_d_epp_std_dev_running_requests",
    &["name"],
    "Standard deviation of the number of running requests over the endpoints with metrics younger than 2 s, or than `--metrics-staleness-threshold`.",
);

/// Endpoints with metrics younger than 2 s.
pub static READY_ENDPOINTS: Family = Family::gauge(
    "llm_d_epp_ready_endpoints",
    &["name"],
    "Endpoints with metrics younger than 2 s, or than `--metrics-staleness-threshold`.",
)
.formerly("inference_pool_ready_pods", POOL);

/// Requests waiting in an engine, as scraped last.
pub static ENDPOINT_QUEUE: Family = Family::gauge(
    "llm_d_epp_per_endpoint_queue_size",
    &["name", "model_server_endpoint"],
    "Requests waiting in an engine, as scraped last.",
)
.formerly(
    "inference_pool_per_pod_queue_size",
    &[("name", 0), ("model_server_pod", 1)],
);

/// Time that a decision takes.
pub static SCHEDULING: Family = Family::histogram(
    "llm_d_epp_scheduler_e2e_duration_seconds",
    &[],
    "Time that a decision takes.",
)
.formerly("inference_extension_scheduler_e2e_duration_seconds", &[]);

/// Decisions, by success and by whom they picked.
pub static ATTEMPTS: Family = Family::counter(
    "llm_d_epp_scheduler_attempts_total",
    &[
        "status",
        "target_model_name",
        "endpoint_name",
        "namespace",
        "port",
    ],
    "Decisions, by success and by whom they picked.",
)
.formerly(
    "inference_extension_scheduler_attempts_total",
    &[
        ("status", 0),
        ("target_model_name", 1),
        ("pod_name", 2),
        ("namespace", 3),
        ("port", 4),
    ],
);

/// Time that one call of a plugin takes; taken in one of 256 decisions, by calling the plugin once more.
pub static PLUGIN_DURATION: Family = Family::histogram("llm_d_epp_plugin_duration_seconds", &["extension_point", "plugin_type", "plugin_name"], "Time that one call of a plugin takes; taken in one of 256 decisions, by calling the plugin once more.").formerly("inference_extension_plugin_duration_seconds", &[("extension_point", 0), ("plugin_type", 1), ("plugin_name", 2)]);

/// Time from the head of a request to its decision, failed ones included.
pub static REQUEST_PROCESSING: Family = Family::histogram(
    "llm_d_epp_request_processing_duration_seconds",
    &[],
    "Time from the head of a request to its decision, failed ones included.",
);

/// Time from the last byte of an answer to the end of its book-keeping.
pub static RESPONSE_PROCESSING: Family = Family::histogram(
    "llm_d_epp_response_processing_duration_seconds",
    &[],
    "Time from the last byte of an answer to the end of its book-keeping.",
);

/// The running build; always 1.
pub static INFO: Family = Family::gauge(
    "llm_d_epp_info",
    &["commit", "build_ref"],
    "The running build; always 1.",
)
.formerly(
    "inference_extension_info",
    &[("commit", 0), ("build_ref", 1)],
);

/// Scrapes of endpoints that gave no readings.
pub static POLL_ERRORS: Family = Family::counter(
    "llm_d_epp_datalayer_poll_errors_total",
    &["source_type"],
    "Scrapes of endpoints that gave no readings.",
)
.formerly(
    "llm_d_inference_scheduler_datalayer_poll_errors_total",
    &[("source_type", 0)],
);

/// Decisions about where prefill and decode run.
pub static PD_DECISIONS: Family = Family::counter(
    "llm_d_epp_pd_decision_total",
    &["plugin_name", "plugin_type", "model_name", "decision_type"],
    "Decisions about where prefill and decode run.",
)
.formerly(
    "llm_d_inference_scheduler_pd_decision_total",
    &[("model_name", 2), ("decision_type", 3)],
);

/// The same under its newer name.
pub static DISAGG_DECISIONS: Family = Family::counter(
    "llm_d_epp_disagg_decision_total",
    &["plugin_name", "plugin_type", "model_name", "decision_type"],
    "The same under its newer name.",
)
.formerly(
    "llm_d_inference_scheduler_disagg_decision_total",
    &[("model_name", 2), ("decision_type", 3)],
);

/// Blocks in a prefix index, over all endpoints.
pub static PREFIX_SIZE: Family = Family::gauge(
    "llm_d_epp_prefix_indexer_size",
    PLUGIN,
    "Blocks in a prefix index, over all endpoints.",
)
.formerly("inference_extension_prefix_indexer_size", &[]);

/// Share of the prompt's blocks that the picked endpoint was believed to hold.
pub static PREFIX_RATIO: Family = Family::histogram(
    "llm_d_epp_prefix_indexer_hit_ratio",
    PLUGIN,
    "Share of the prompt's blocks that the picked endpoint was believed to hold.",
)
.formerly("inference_extension_prefix_indexer_hit_ratio", &[]);

/// Size of the prompt's part that the picked endpoint was believed to hold: four times its tokens.
pub static PREFIX_BYTES: Family = Family::histogram("llm_d_epp_prefix_indexer_hit_bytes", PLUGIN, "Size of the prompt's part that the picked endpoint was believed to hold: four times its tokens.").formerly("inference_extension_prefix_indexer_hit_bytes", &[]);

/// Requests under way on an endpoint that this process sent there.
pub static INFLIGHT: Family = Family::gauge(
    "llm_d_epp_inflight_requests",
    &[
        "endpoint_name",
        "namespace",
        "producer_name",
        "fairness_id",
        "priority",
    ],
    "Requests under way on an endpoint that this process sent there.",
);

/// Tokens of the requests under way on an endpoint, as a producer counts them.
pub static INFLIGHT_TOKENS: Family = Family::gauge(
    "llm_d_epp_inflight_tokens",
    &[
        "endpoint_name",
        "namespace",
        "producer_name",
        "fairness_id",
        "priority",
    ],
    "Tokens of the requests under way on an endpoint, as a producer counts them; not told apart by fairness id.",
);

/// Pages of endpoints that hold none of the metrics looked for.
pub static EXTRACT_ERRORS: Family = Family::counter(
    "llm_d_epp_datalayer_extract_errors_total",
    &["source_type", "extractor_type"],
    "Pages of endpoints in which nothing was found that could be read.",
)
.formerly(
    "llm_d_inference_scheduler_datalayer_extract_errors_total",
    &[("source_type", 0), ("extractor_type", 1)],
);

/// Models put in the place of those that clients named.
pub static REWRITES: Family = Family::counter(
    "llm_d_epp_model_rewrite_decisions_total",
    &["model_rewrite_name", "model_name", "target_model"],
    "Requests for which a rule put another model in the place of the one named, or the same one.",
)
.formerly(
    "inference_extension_model_rewrite_decisions_total",
    &[
        ("model_rewrite_name", 0),
        ("model_name", 1),
        ("target_model", 2),
    ],
);

/// Streams that gateways have open.
pub static STREAMS: Family = Family::gauge(
    "llm_d_epp_extproc_streams_inflight",
    &[],
    "Streams that gateways have open; with `--enable-grpc-stream-metrics`.",
);

/// Time that a stream is open.
pub static STREAM_DURATION: Family = Family::histogram(
    "llm_d_epp_extproc_stream_duration_seconds",
    &[],
    "Time that a stream is open; with `--enable-grpc-stream-metrics`.",
);

/// Streams by how they ended.
pub static STREAMS_ENDED: Family = Family::counter(
    "llm_d_epp_extproc_streams_total",
    &["code"],
    "Streams by the code that they ended with; with `--enable-grpc-stream-metrics`.",
);

/// All families.
pub static ALL: &[&Family] = &[
    &REQUESTS,
    &REQUEST_ERRORS,
    &REQUEST_DURATION,
    &REQUEST_SIZE,
    &RESPONSE_SIZE,
    &INPUT_TOKENS,
    &OUTPUT_TOKENS,
    &CACHED_TOKENS,
    &RUNNING,
    &PER_TOKEN,
    &FIRST_TOKEN,
    &STREAMED_PER_TOKEN,
    &BETWEEN_TOKENS,
    &AVERAGE_KV,
    &AVERAGE_QUEUE,
    &AVERAGE_RUNNING,
    &DEVIATION_KV,
    &DEVIATION_QUEUE,
    &DEVIATION_RUNNING,
    &READY_ENDPOINTS,
    &ENDPOINT_QUEUE,
    &SCHEDULING,
    &ATTEMPTS,
    &PLUGIN_DURATION,
    &REQUEST_PROCESSING,
    &RESPONSE_PROCESSING,
    &INFO,
    &POLL_ERRORS,
    &EXTRACT_ERRORS,
    &PD_DECISIONS,
    &DISAGG_DECISIONS,
    &PREFIX_SIZE,
    &PREFIX_RATIO,
    &PREFIX_BYTES,
    &INFLIGHT,
    &INFLIGHT_TOKENS,
    &REWRITES,
    &STREAMS,
    &STREAM_DURATION,
    &STREAMS_ENDED,
    &flow::QUEUE_DURATION,
    &flow::ENQUEUE_DURATION,
    &flow::ROUND_DURATION,
    &flow::QUEUE_SIZE,
    &flow::QUEUE_BYTES,
    &flow::SATURATION,
    &flow::STALE,
    &flow::BAND_REQUESTS,
    &flow::BAND_BYTES,
    &flow::ALL_REQUESTS,
    &flow::ALL_BYTES,
    &flow::OUTCOMES,
    &flow::REVOKED,
    &flow::REVOCATIONS,
    &flow::RECLAIM_TARGET,
    &flow::PENDING_RECLAIM,
    &flow::REVOCATION_TIME,
    &own::CPU,
    &own::MEMORY,
    &own::DESCRIPTORS,
    &own::STARTED,
    &own::DECISIONS,
    &own::BYPASSED,
    &own::FAILED_ATTEMPTS,
    &own::SERVED_ELSEWHERE,
    &own::RENDERS,
    &own::SPANS,
    &own::LOG_DROPPED,
    &own::OUTCOMES,
    &own::ENDPOINT_IN_FLIGHT,
    &own::ENDPOINT_AGE,
    &own::STALE,
    &own::STALE_BY_REASON,
    &own::SCRAPES,
    &own::PLAN_INFO,
    &own::PLAN_RELOADS,
    &own::DISCOVERY_WATCH,
    &own::PREFIX_EXPIRED,
    &own::PREFIX_MEMORY,
    &own::PREDICTED_HITS,
    &own::ACTUAL_HITS,
    &own::FALSE_HITS,
    &own::PREDICTION_ERROR,
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::metrics::family::{Kind, markdown};
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_well_formed() {
        let mut names = BTreeSet::new();
        for family in ALL {
            let formerly = family.legacy.as_ref().map(|legacy| legacy.name);
            for name in [Some(family.name), formerly].into_iter().flatten() {
                assert!(names.insert(name), "{name} is there twice");
                assert!(
                    name.chars()
                        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'),
                    "{name}"
                );
            }
            assert_eq!(
                family.name.ends_with("_total"),
                family.kind == Kind::Counter,
                "{}",
                family.name
            );
            let places = family.legacy.iter().flat_map(|legacy| legacy.labels);
            assert!(
                places.into_iter().all(|(_, at)| *at < family.labels.len()),
                "{}",
                family.name
            );
        }
    }

    /// Rewritten when `POINTSMAN_GENERATE` is set, and compared otherwise.
    #[test]
    fn generated_page_of_metrics_is_what_the_code_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
        let page = markdown(ALL);
        if std::env::var_os("POINTSMAN_GENERATE").is_some() {
            std::fs::write(path, &page).unwrap();
        }
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(
            found, page,
            "docs/metrics.md is stale; run `cargo xtask generate`"
        );
    }
}
