//! The families that the reference does not have.

use crate::metrics::family::Family;

/// CPU time of the process.
pub static CPU: Family = Family::counter(
    "process_cpu_seconds_total",
    &[],
    "CPU time of the process, user and system.",
);

/// Memory of the process.
pub static MEMORY: Family = Family::gauge(
    "process_resident_memory_bytes",
    &[],
    "Resident memory of the process.",
);

/// File descriptors of the process.
pub static DESCRIPTORS: Family = Family::gauge(
    "process_open_fds",
    &[],
    "Open file descriptors of the process.",
);

/// Start of the process.
pub static STARTED: Family = Family::gauge(
    "process_start_time_seconds",
    &[],
    "When the process started, in seconds since 1970.",
);

/// Decisions that ended in a pick.
pub static DECISIONS: Family = Family::counter(
    "pointsman_decisions_total",
    &[],
    "Decisions that ended in a pick.",
);

/// Requests that routes sent past the picker.
pub static BYPASSED: Family = Family::counter(
    "pointsman_bypassed_total",
    &[],
    "Requests that routes sent past the picker.",
);

/// Attempts that failed before a first byte.
pub static FAILED_ATTEMPTS: Family = Family::counter(
    "pointsman_failed_attempts_total",
    &[],
    "Attempts that failed before a first byte.",
);

/// Requests that the gateway in front sent elsewhere.
pub static SERVED_ELSEWHERE: Family = Family::counter(
    "pointsman_served_elsewhere_total",
    &[],
    "Requests that the gateway in front of the picker sent to another endpoint than the one picked.",
);

/// Prompts that a server was asked to turn into token ids.
pub static RENDERS: Family = Family::counter(
    "pointsman_renders_total",
    &["result"],
    "Prompts that a server was asked to turn into token ids: told, or failed.",
);

/// Spans of traced requests.
pub static SPANS: Family = Family::counter(
    "pointsman_spans_total",
    &["result"],
    "Spans of traced requests: sent to the collector, failed to be sent, or dropped because too many waited.",
);

/// Log lines not written because of rate or a full queue.
pub static LOG_DROPPED: Family = Family::counter(
    "pointsman_log_lines_dropped_total",
    &[],
    "Log lines not written because of rate or a full queue.",
);

/// Requests by how they ended.
pub static OUTCOMES: Family = Family::counter(
    "pointsman_requests_total",
    &["outcome"],
    "Requests by how they ended.",
);

/// Requests in flight by endpoint.
pub static ENDPOINT_IN_FLIGHT: Family = Family::gauge(
    "pointsman_endpoint_in_flight",
    &["endpoint"],
    "Requests in flight by endpoint.",
);

/// Age of the scraped readings.
pub static ENDPOINT_AGE: Family = Family::gauge(
    "pointsman_endpoint_metrics_age_seconds",
    &["endpoint"],
    "Age of the scraped readings.",
);

/// Endpoints whose last scrape failed, or whose readings are older than the plan allows.
pub static STALE: Family = Family::gauge(
    "pointsman_stale_endpoints",
    &[],
    "Endpoints whose last scrape failed, or whose readings are older than the plan allows.",
);

/// The same by why: never (scraped), not-found, garbage, unreachable, old. Under the policy `use` such endpoints count as they were last seen, and those never seen as idle.
pub static STALE_BY_REASON: Family = Family::gauge(
    "pointsman_stale_endpoints_by_reason",
    &["reason"],
    "The same by why: never (scraped), not-found, garbage, unreachable, old. Under the policy `use` such endpoints count as they were last seen, and those never seen as idle.",
);

/// Metrics pages of endpoints that gave readings.
pub static SCRAPES: Family = Family::counter(
    "pointsman_scrapes_total",
    &[],
    "Metrics pages of endpoints that gave readings.",
);

/// The plan in force; always 1.
pub static PLAN_INFO: Family = Family::gauge(
    "pointsman_plan_info",
    &[
        "source",
        "generation",
        "compat",
        "reason",
        "hash",
        "staleness",
    ],
    "The plan in force; always 1.",
);

/// Readings of the configuration after the first.
pub static PLAN_RELOADS: Family = Family::counter(
    "pointsman_plan_reloads_total",
    &["result"],
    "Readings of the configuration after the first, by what became of them.",
);

/// What discovery follows.
pub static DISCOVERY_WATCH: Family = Family::gauge(
    "pointsman_discovery_watch_up",
    &["what"],
    "Whether discovery follows this in the Kubernetes API: 0 while it cannot and what was known stands.",
);

/// Entries that left a prefix index, by why.
pub static PREFIX_EXPIRED: Family = Family::counter(
    "pointsman_prefix_entries_expired_total",
    &["plugin_name", "plugin_type", "reason"],
    "Entries that left a prefix index, by why.",
);

/// Memory of a prefix index.
pub static PREFIX_MEMORY: Family = Family::gauge(
    "pointsman_prefix_index_bytes",
    &["plugin_name", "plugin_type"],
    "Memory of a prefix index.",
);

/// Prompt tokens that an endpoint was believed to hold when it was picked, of answers with usage.
pub static PREDICTED_HITS: Family = Family::counter(
    "pointsman_prefix_predicted_hit_tokens_total",
    &["endpoint"],
    "Prompt tokens that an endpoint was believed to hold when it was picked, of answers with usage.",
);

/// Prompt tokens that the engine found in its cache, of the same answers.
pub static ACTUAL_HITS: Family = Family::counter(
    "pointsman_prefix_actual_hit_tokens_total",
    &["endpoint"],
    "Prompt tokens that the engine found in its cache, of the same answers.",
);

/// Answers with usage of which a hit was believed and none was found.
pub static FALSE_HITS: Family = Family::counter(
    "pointsman_prefix_false_hits_total",
    &["endpoint"],
    "Answers with usage of which a hit was believed and none was found.",
);

/// How far the answer's head came from its predicted time: late or early.
pub static PREDICTION_ERROR: Family = Family::histogram(
    "pointsman_ttft_prediction_error_seconds",
    &["direction"],
    "How far the answer's head came from its predicted time: late or early.",
);
