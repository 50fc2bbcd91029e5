//! The families of those who wait to be let in; they are there while the plan lets requests wait.

use crate::metrics::family::Family;

const F: [(&str, usize); 2] = [("fairness_id", 0), ("priority", 1)];

const BAND: &[&str] = &["priority", "inference_pool"];
const QUEUE: &[&str] = &[
    "fairness_id",
    "priority",
    "inference_pool",
    "model_name",
    "target_model_name",
];
const QUEUE_BEFORE: &[(&str, usize)] = &[
    F[0],
    F[1],
    ("inference_pool", 2),
    ("model_name", 3),
    ("target_model_name", 4),
];

/// Time that requests stood in the queue, by what became of them; those that passed at once are not in it.
pub static QUEUE_DURATION: Family = Family::histogram(
    "llm_d_epp_flow_control_request_queue_duration_seconds",
    &[
        "fairness_id",
        "priority",
        "outcome",
        "inference_pool",
        "model_name",
        "target_model_name",
    ],
    "Time that requests stood in the queue, by what became of them; those that passed at once are not in it.",
)
.formerly(
    "inference_extension_flow_control_request_queue_duration_seconds",
    &[
        F[0],
        F[1],
        ("outcome", 2),
        ("inference_pool", 3),
        ("model_name", 4),
        ("target_model_name", 5),
    ],
);

/// Time from asking to standing in the queue (`Dispatched`) or being turned away.
pub static ENQUEUE_DURATION: Family = Family::histogram(
    "llm_d_epp_flow_control_request_enqueue_duration_seconds",
    &["fairness_id", "priority", "outcome"],
    "Time from asking to standing in the queue (`Dispatched`) or being turned away.",
)
.formerly(
    "inference_extension_flow_control_request_enqueue_duration_seconds",
    &[F[0], F[1], ("outcome", 2)],
);

/// Time of one round of the gatekeeper.
pub static ROUND_DURATION: Family = Family::histogram(
    "llm_d_epp_flow_control_dispatch_cycle_duration_seconds",
    &[],
    "Time of one round of the gatekeeper.",
)
.formerly(
    "inference_extension_flow_control_dispatch_cycle_duration_seconds",
    &[],
);

/// Requests in the queue.
pub static QUEUE_SIZE: Family = Family::gauge(
    "llm_d_epp_flow_control_queue_size",
    QUEUE,
    "Requests in the queue.",
)
.formerly("inference_extension_flow_control_queue_size", QUEUE_BEFORE);

/// Bytes of the requests in the queue.
pub static QUEUE_BYTES: Family = Family::gauge(
    "llm_d_epp_flow_control_queue_bytes",
    QUEUE,
    "Bytes of the requests in the queue.",
)
.formerly("inference_extension_flow_control_queue_bytes", QUEUE_BEFORE);

/// How full the pool is: its endpoints that prefill, those that decode, and the fuller of both.
pub static SATURATION: Family = Family::gauge(
    "llm_d_epp_flow_control_pool_saturation",
    &["inference_pool", "stage"],
    "How full the pool is: its endpoints that prefill, those that decode, and the fuller of both.",
)
.formerly(
    "inference_extension_flow_control_pool_saturation",
    &[("inference_pool", 0), ("stage", 1)],
);

/// Endpoints that count as full because their readings are too old.
pub static STALE: Family = Family::gauge(
    "llm_d_epp_flow_control_stale_endpoints",
    &["detector"],
    "Endpoints that count as full because their readings are too old.",
);

/// Share of a band's bound on requests that waits.
pub static BAND_REQUESTS: Family = Family::gauge(
    "llm_d_epp_flow_control_capacity_utilization_requests",
    BAND,
    "Share of a band's bound on requests that waits.",
);

/// Share of a band's bound on bytes that waits.
pub static BAND_BYTES: Family = Family::gauge(
    "llm_d_epp_flow_control_capacity_utilization_bytes",
    BAND,
    "Share of a band's bound on bytes that waits.",
);

/// Share of the bound on all requests that waits, where there is one.
pub static ALL_REQUESTS: Family = Family::gauge(
    "llm_d_epp_flow_control_global_capacity_utilization_requests",
    &["inference_pool"],
    "Share of the bound on all requests that waits, where there is one.",
);

/// Share of the bound on all bytes that waits, where there is one.
pub static ALL_BYTES: Family = Family::gauge(
    "llm_d_epp_flow_control_global_capacity_utilization_bytes",
    &["inference_pool"],
    "Share of the bound on all bytes that waits, where there is one.",
);

/// Requests by what became of them.
pub static OUTCOMES: Family = Family::counter(
    "llm_d_epp_flow_control_requests_total",
    &["outcome", "priority", "inference_pool"],
    "Requests by what became of them.",
);

/// Requests in flight that had to give way, by the priority of those they gave way to.
pub static REVOKED: Family = Family::counter(
    "llm_d_epp_flow_control_revocations_issued_total",
    BAND,
    "Requests in flight that had to give way, by the priority of those they gave way to.",
);

/// Those of them that have ended (`confirmed`), and those that did not end in time (`timed_out`).
pub static REVOCATIONS: Family = Family::counter(
    "llm_d_epp_flow_control_revocations_total",
    &["outcome", "inference_pool"],
    "Requests that had to give way, by whether they ended (`confirmed`) or did not in time (`timed_out`).",
);

/// By how much the pool was too full for whoever was blocked, when a request last had to give way.
pub static RECLAIM_TARGET: Family = Family::gauge(
    "llm_d_epp_flow_control_reclaim_target",
    &["inference_pool"],
    "By how much the pool was too full for whoever was blocked, when a request last had to give way.",
);

/// The part of the saturation that is held by requests which are giving way.
pub static PENDING_RECLAIM: Family = Family::gauge(
    "llm_d_epp_flow_control_pending_reclaim",
    &["inference_pool"],
    "The part of the saturation that is held by requests which are giving way.",
);

/// Time until a request that had to give way had ended.
pub static REVOCATION_TIME: Family = Family::histogram(
    "llm_d_epp_flow_control_revocation_confirmation_seconds",
    &["inference_pool"],
    "Time until a request that had to give way had ended.",
);
