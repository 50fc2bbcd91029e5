//! What the dashboard shows: the rows that users know from the inference gateway's, then what only this router tells.

use pointsman_serve::metrics::catalogue as of;
use pointsman_serve::metrics::catalogue::{flow, own};
use serde_json::Value;

use crate::board::{Panel, Row, dashboard};
use crate::query::{Query, gauge, mean, quantile, rate, ratio, volume};

fn panel(
    title: &'static str,
    about: &'static str,
    unit: &'static str,
    lines: Vec<(Query, &'static str)>,
) -> Panel {
    Panel {
        title,
        about,
        unit,
        lines,
    }
}

/// The router's dashboard.
pub fn router() -> Value {
    let rows = [
        pool(),
        objective(),
        servers(),
        decisions(),
        prefixes(),
        pd(),
        flow(),
        cost(),
    ];
    dashboard(
        "pointsman-router",
        "Pointsman router",
        "Where requests go and why, what they get, and what deciding costs. Generated from the metric registry.",
        &rows,
    )
}

fn pool() -> Row {
    Row {
        title: "Inference Pool",
        panels: vec![
            panel(
                "Average KV cache utilization",
                "Mean over endpoints with fresh metrics.",
                "percentunit",
                vec![
                    (gauge("avg", &of::AVERAGE_KV, &["name"]), "{{name}}"),
                    (
                        gauge("avg", &of::DEVIATION_KV, &["name"]),
                        "{{name}} deviation",
                    ),
                ],
            ),
            panel(
                "Average queue",
                "Waiting and running requests of an engine, on average.",
                "short",
                vec![
                    (
                        gauge("avg", &of::AVERAGE_QUEUE, &["name"]),
                        "{{name}} waiting",
                    ),
                    (
                        gauge("avg", &of::AVERAGE_RUNNING, &["name"]),
                        "{{name}} running",
                    ),
                ],
            ),
            panel(
                "Queue per endpoint",
                "Requests waiting in each engine, as scraped last.",
                "short",
                vec![(
                    gauge("max", &of::ENDPOINT_QUEUE, &["model_server_endpoint"]),
                    "{{model_server_endpoint}}",
                )],
            ),
            panel(
                "Ready endpoints",
                "Endpoints with fresh metrics.",
                "short",
                vec![(gauge("min", &of::READY_ENDPOINTS, &["name"]), "{{name}}")],
            ),
            panel(
                "In flight per endpoint",
                "Requests that the router has sent to each endpoint and that have not ended.",
                "short",
                vec![(
                    gauge("sum", &own::ENDPOINT_IN_FLIGHT, &["endpoint"]),
                    "{{endpoint}}",
                )],
            ),
        ],
    }
}

fn objective() -> Row {
    const MODEL: &[&str] = &["model_name", "target_model_name"];
    Row {
        title: "Inference Objective",
        panels: vec![
            panel(
                "Request duration p95",
                "From the head of a request to the end of its answer.",
                "s",
                vec![(
                    quantile(0.95, &of::REQUEST_DURATION, MODEL, &[]),
                    "{{model_name}} {{target_model_name}}",
                )],
            ),
            panel(
                "Requests per second",
                "Requests that were scheduled.",
                "reqps",
                vec![(
                    rate(&of::REQUESTS, MODEL, &[]),
                    "{{model_name}} {{target_model_name}}",
                )],
            ),
            panel(
                "Errors per second",
                "Requests that ended in an error, by its code.",
                "reqps",
                vec![(
                    rate(&of::REQUEST_ERRORS, &["error_code"], &[]),
                    "{{error_code}}",
                )],
            ),
            panel(
                "Request size p95",
                "Prompts in bytes.",
                "bytes",
                vec![(quantile(0.95, &of::REQUEST_SIZE, &[], &[]), "p95")],
            ),
            panel(
                "Response size p95",
                "Answers in bytes.",
                "bytes",
                vec![(quantile(0.95, &of::RESPONSE_SIZE, &[], &[]), "p95")],
            ),
            panel(
                "Requests by outcome",
                "How requests ended at this router.",
                "reqps",
                vec![(rate(&own::OUTCOMES, &["outcome"], &[]), "{{outcome}}")],
            ),
            panel(
                "Input tokens",
                "Prompt tokens of a request.",
                "short",
                vec![
                    (mean(&of::INPUT_TOKENS, &[]), "mean"),
                    (quantile(0.95, &of::INPUT_TOKENS, &[], &[]), "p95"),
                ],
            ),
            panel(
                "Output tokens",
                "Generated tokens of a request.",
                "short",
                vec![
                    (mean(&of::OUTPUT_TOKENS, &[]), "mean"),
                    (quantile(0.95, &of::OUTPUT_TOKENS, &[], &[]), "p95"),
                ],
            ),
            panel(
                "Running requests",
                "Requests under way.",
                "short",
                vec![(
                    gauge("sum", &of::RUNNING, &["model_name"]),
                    "{{model_name}}",
                )],
            ),
        ],
    }
}

fn servers() -> Row {
    Row {
        title: "Model servers, as clients see them",
        panels: vec![
            panel(
                "Token throughput",
                "Prompt and generated tokens per second, as engines report them.",
                "short",
                vec![
                    (volume(&of::INPUT_TOKENS, &[]), "prompt"),
                    (volume(&of::OUTPUT_TOKENS, &[]), "generated"),
                ],
            ),
            panel(
                "Time to first token",
                "From the head of a request to the first part of its answer.",
                "s",
                vec![
                    (quantile(0.5, &of::FIRST_TOKEN, &[], &[]), "p50"),
                    (quantile(0.95, &of::FIRST_TOKEN, &[], &[]), "p95"),
                    (quantile(0.99, &of::FIRST_TOKEN, &[], &[]), "p99"),
                ],
            ),
            panel(
                "Time per output token",
                "Of streamed answers, after the first token; and between two parts of the stream.",
                "s",
                vec![
                    (quantile(0.5, &of::STREAMED_PER_TOKEN, &[], &[]), "TPOT p50"),
                    (
                        quantile(0.95, &of::STREAMED_PER_TOKEN, &[], &[]),
                        "TPOT p95",
                    ),
                    (quantile(0.95, &of::BETWEEN_TOKENS, &[], &[]), "ITL p95"),
                ],
            ),
        ],
    }
}

fn decisions() -> Row {
    Row {
        title: "Decisions",
        panels: vec![
            panel(
                "Picks per endpoint",
                "Decisions by whom they picked.",
                "reqps",
                vec![(
                    rate(&of::ATTEMPTS, &["endpoint_name"], &[("status", "success")]),
                    "{{endpoint_name}}",
                )],
            ),
            panel(
                "Failed decisions",
                "No candidate was left.",
                "reqps",
                vec![(
                    rate(&of::ATTEMPTS, &["status"], &[("status", "failure")]),
                    "{{status}}",
                )],
            ),
            panel(
                "Age of readings",
                "How old the scraped readings of each endpoint are.",
                "s",
                vec![(
                    gauge("max", &own::ENDPOINT_AGE, &["endpoint"]),
                    "{{endpoint}}",
                )],
            ),
            panel(
                "Stale endpoints",
                "Endpoints whose readings are missing or too old, by why.",
                "short",
                vec![(
                    gauge("max", &own::STALE_BY_REASON, &["reason"]),
                    "{{reason}}",
                )],
            ),
            panel(
                "Past the picker",
                "Requests that went elsewhere than the picker said, or were not shown to it.",
                "reqps",
                vec![
                    (rate(&own::BYPASSED, &[], &[]), "bypassed"),
                    (rate(&own::SERVED_ELSEWHERE, &[], &[]), "served elsewhere"),
                ],
            ),
            panel(
                "Failed attempts",
                "Attempts that failed before a first byte, and scrapes that gave no readings.",
                "reqps",
                vec![
                    (rate(&own::FAILED_ATTEMPTS, &[], &[]), "attempts"),
                    (
                        rate(&of::POLL_ERRORS, &["source_type"], &[]),
                        "scrapes {{source_type}}",
                    ),
                ],
            ),
        ],
    }
}

fn prefixes() -> Row {
    let (hits, all) = (
        volume(&of::CACHED_TOKENS, &[]),
        volume(&of::INPUT_TOKENS, &[]),
    );
    Row {
        title: "Prefix cache, believed and true",
        panels: vec![
            panel(
                "Hit tokens",
                "Tokens that the picked endpoint was believed to hold, and that its engine found.",
                "short",
                vec![
                    (rate(&own::PREDICTED_HITS, &[], &[]), "believed"),
                    (rate(&own::ACTUAL_HITS, &[], &[]), "found"),
                ],
            ),
            panel(
                "Share of prompts from cache",
                "Cached by all prompt tokens, as engines report them.",
                "percentunit",
                vec![(ratio(&hits, &all), "share")],
            ),
            panel(
                "False hits",
                "Answers of which a hit was believed and none was found.",
                "reqps",
                vec![(rate(&own::FALSE_HITS, &["endpoint"], &[]), "{{endpoint}}")],
            ),
            panel(
                "Index size",
                "Blocks in the prefix index, and its memory.",
                "short",
                vec![
                    (
                        gauge("sum", &of::PREFIX_SIZE, &["plugin_name"]),
                        "{{plugin_name}} blocks",
                    ),
                    (
                        gauge("sum", &own::PREFIX_MEMORY, &["plugin_name"]),
                        "{{plugin_name}} bytes",
                    ),
                ],
            ),
            panel(
                "Entries that left",
                "Why entries left the index.",
                "short",
                vec![(rate(&own::PREFIX_EXPIRED, &["reason"], &[]), "{{reason}}")],
            ),
        ],
    }
}

fn pd() -> Row {
    Row {
        title: "Prefill and decode",
        panels: vec![
            panel(
                "Where they run",
                "Decisions about where prefill and decode run.",
                "reqps",
                vec![(
                    rate(&of::DISAGG_DECISIONS, &["decision_type"], &[]),
                    "{{decision_type}}",
                )],
            ),
            panel(
                "Error of predicted first token",
                "How far the answer's head came from its predicted time.",
                "s",
                vec![(
                    quantile(0.95, &own::PREDICTION_ERROR, &["direction"], &[]),
                    "p95 {{direction}}",
                )],
            ),
            panel(
                "Tokens in flight",
                "Tokens of the requests under way on each endpoint.",
                "short",
                vec![(
                    gauge("sum", &of::INFLIGHT_TOKENS, &["endpoint_name"]),
                    "{{endpoint_name}}",
                )],
            ),
        ],
    }
}

fn flow() -> Row {
    const POOL: &[&str] = &["inference_pool"];
    Row {
        title: "Flow control",
        panels: vec![
            panel(
                "Pool saturation",
                "1 is full.",
                "percentunit",
                vec![(
                    gauge("max", &flow::SATURATION, &["inference_pool", "stage"]),
                    "{{inference_pool}} {{stage}}",
                )],
            ),
            panel(
                "Queue depth",
                "Requests in the queue.",
                "short",
                vec![(
                    gauge("sum", &flow::QUEUE_SIZE, &["priority"]),
                    "priority {{priority}}",
                )],
            ),
            panel(
                "Queue bytes",
                "Bytes of the requests in the queue.",
                "bytes",
                vec![(
                    gauge("sum", &flow::QUEUE_BYTES, &["priority"]),
                    "priority {{priority}}",
                )],
            ),
            panel(
                "Arrivals",
                "Requests that were let in, turned away or gave up, by priority.",
                "reqps",
                vec![(
                    rate(&flow::OUTCOMES, &["priority"], &[]),
                    "priority {{priority}}",
                )],
            ),
            panel(
                "Outcomes",
                "What became of requests that asked to be let in.",
                "reqps",
                vec![(rate(&flow::OUTCOMES, &["outcome"], &[]), "{{outcome}}")],
            ),
            panel(
                "Wait p99",
                "Time in the queue.",
                "s",
                vec![(
                    quantile(0.99, &flow::QUEUE_DURATION, &["priority"], &[]),
                    "priority {{priority}}",
                )],
            ),
            panel(
                "Gatekeeper p99",
                "Time to stand in the queue, and of one round of the gatekeeper.",
                "s",
                vec![
                    (quantile(0.99, &flow::ENQUEUE_DURATION, &[], &[]), "enqueue"),
                    (quantile(0.99, &flow::ROUND_DURATION, &[], &[]), "round"),
                ],
            ),
            panel(
                "Fairness",
                "Dispatches that waited, by fairness id.",
                "reqps",
                vec![(
                    rate(
                        &flow::QUEUE_DURATION,
                        &["fairness_id"],
                        &[("outcome", "Dispatched")],
                    ),
                    "{{fairness_id}}",
                )],
            ),
            panel(
                "Share of bounds in use",
                "Requests and bytes that wait, by what may wait.",
                "percentunit",
                vec![
                    (
                        gauge("max", &flow::ALL_REQUESTS, POOL),
                        "{{inference_pool}} requests",
                    ),
                    (
                        gauge("max", &flow::ALL_BYTES, POOL),
                        "{{inference_pool}} bytes",
                    ),
                ],
            ),
        ],
    }
}

fn cost() -> Row {
    Row {
        title: "Router cost",
        panels: vec![
            panel(
                "Time of a decision",
                "What scheduling adds to a request.",
                "s",
                vec![
                    (quantile(0.5, &of::SCHEDULING, &[], &[]), "p50"),
                    (quantile(0.99, &of::SCHEDULING, &[], &[]), "p99"),
                    (
                        quantile(0.99, &of::REQUEST_PROCESSING, &[], &[]),
                        "p99 with reading the request",
                    ),
                ],
            ),
            panel(
                "Time per plugin",
                "Mean of one call, taken in one of 256 decisions.",
                "s",
                vec![(
                    mean(&of::PLUGIN_DURATION, &["plugin_name", "extension_point"]),
                    "{{plugin_name}} {{extension_point}}",
                )],
            ),
            panel(
                "CPU",
                "Cores in use.",
                "short",
                vec![(rate(&own::CPU, &["job"], &[]), "{{job}}")],
            ),
            panel(
                "Memory",
                "Resident memory.",
                "bytes",
                vec![(gauge("sum", &own::MEMORY, &["job"]), "{{job}}")],
            ),
            panel(
                "Streams of gateways",
                "With --enable-grpc-stream-metrics.",
                "short",
                vec![
                    (gauge("sum", &of::STREAMS, &[]), "open"),
                    (
                        rate(&of::STREAMS_ENDED, &["code"], &[]),
                        "ended per second {{code}}",
                    ),
                ],
            ),
            panel(
                "Lost book-keeping",
                "Log lines and spans that were not kept.",
                "short",
                vec![
                    (rate(&own::LOG_DROPPED, &[], &[]), "log lines"),
                    (
                        rate(&own::SPANS, &["result"], &[("result", "failed|dropped")]),
                        "spans {{result}}",
                    ),
                ],
            ),
        ],
    }
}
