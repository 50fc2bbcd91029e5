//! Alert rules: what somebody should be woken for, and what to look at then.

use std::fmt::Write as _;

use pointsman_serve::metrics::catalogue as of;
use pointsman_serve::metrics::catalogue::{flow, own};

use crate::query::{Query, gauge, quantile, rate, ratio};

struct Alert {
    name: &'static str,
    /// A query and what it must not exceed, or be.
    when: String,
    lasting: &'static str,
    severity: &'static str,
    summary: &'static str,
    description: &'static str,
}

const SPAN: &str = "5m";

fn alerts() -> Vec<Alert> {
    let when = |query: &Query, beyond: &str| format!("{} {beyond}", query.for_rule(SPAN));
    let errors = ratio(
        &rate(&of::REQUEST_ERRORS, &["job"], &[]),
        &rate(&of::REQUESTS, &["job"], &[]),
    );
    let elsewhere = ratio(
        &rate(&own::SERVED_ELSEWHERE, &["job"], &[]),
        &rate(&own::DECISIONS, &["job"], &[]),
    );
    vec![
        Alert {
            name: "PointsmanNoReadyEndpoints",
            when: when(
                &gauge("max", &of::READY_ENDPOINTS, &["job", "name"]),
                "== 0",
            ),
            lasting: "2m",
            severity: "critical",
            summary: "Pool {{ $labels.name }} has no endpoint with fresh metrics",
            description: "Requests are routed on old readings or refused. Look at the endpoints' /metrics and at pointsman_stale_endpoints_by_reason.",
        },
        Alert {
            name: "PointsmanErrors",
            when: when(&errors, "> 0.05"),
            lasting: "5m",
            severity: "critical",
            summary: "More than 5 % of requests at {{ $labels.job }} end in an error",
            description: "llm_d_epp_request_error_total tells the codes; pointsman explain tells of one request what happened.",
        },
        Alert {
            name: "PointsmanDecisionsFail",
            when: when(
                &rate(&of::ATTEMPTS, &["job"], &[("status", "failure")]),
                "> 0.1",
            ),
            lasting: "5m",
            severity: "warning",
            summary: "Decisions at {{ $labels.job }} find no endpoint",
            description: "Filters leave no candidate, or the pool is full. The receipts under /debug/decisions name the filter.",
        },
        Alert {
            name: "PointsmanStaleReadings",
            when: when(
                &gauge("max", &own::ENDPOINT_AGE, &["job", "endpoint"]),
                "> 30",
            ),
            lasting: "5m",
            severity: "warning",
            summary: "Readings of {{ $labels.endpoint }} are older than 30 s",
            description: "The endpoint is routed by what it said last. Look at its /metrics and at llm_d_epp_datalayer_poll_errors_total.",
        },
        Alert {
            name: "PointsmanServedElsewhere",
            when: when(&elsewhere, "> 0.01"),
            lasting: "10m",
            severity: "warning",
            summary: "The gateway before {{ $labels.job }} sends requests elsewhere than picked",
            description: "Something between picker and endpoint chooses anew: a retry, a load balancer, a filter in the wrong order. pointsman verify finds it.",
        },
        Alert {
            name: "PointsmanPickerPastBy",
            when: when(&rate(&own::BYPASSED, &["job"], &[]), "> 1"),
            lasting: "10m",
            severity: "info",
            summary: "Requests at {{ $labels.job }} go past the picker",
            description: "A route sends them to a Service and not to the InferencePool. That may be wanted.",
        },
        Alert {
            name: "PointsmanPoolSaturated",
            when: when(
                &gauge("max", &flow::SATURATION, &["job", "inference_pool"]),
                ">= 1",
            ),
            lasting: "10m",
            severity: "warning",
            summary: "Pool {{ $labels.inference_pool }} is full",
            description: "Requests wait or are refused with 429. Add endpoints, or lower what is let in.",
        },
        Alert {
            name: "PointsmanQueueWait",
            when: when(
                &quantile(0.99, &flow::QUEUE_DURATION, &["job", "priority"], &[]),
                "> 10",
            ),
            lasting: "10m",
            severity: "warning",
            summary: "Requests of priority {{ $labels.priority }} wait longer than 10 s",
            description: "One of a hundred waits that long in the queue before it is sent to an endpoint.",
        },
        Alert {
            name: "PointsmanSlowDecisions",
            when: when(&quantile(0.99, &of::SCHEDULING, &["job"], &[]), "> 0.01"),
            lasting: "10m",
            severity: "warning",
            summary: "Decisions at {{ $labels.job }} take longer than 10 ms",
            description: "They usually take far below one. The process is short of CPU, or a plugin is slow: llm_d_epp_plugin_duration_seconds tells which.",
        },
        Alert {
            name: "PointsmanPlanRefused",
            when: when(
                &rate(&own::PLAN_RELOADS, &["job"], &[("result", "refused")]),
                "> 0",
            ),
            lasting: "1m",
            severity: "warning",
            summary: "A changed configuration was refused at {{ $labels.job }}",
            description: "The one before it stays in force. The log names the faults; pointsman validate shows them beforehand.",
        },
        Alert {
            name: "PointsmanDiscoveryLost",
            when: when(
                &gauge("min", &own::DISCOVERY_WATCH, &["job", "what"]),
                "== 0",
            ),
            lasting: "5m",
            severity: "warning",
            summary: "Discovery at {{ $labels.job }} does not follow {{ $labels.what }}",
            description: "The API server cannot be reached, or refuses; what was known last stays in force.",
        },
    ]
}

/// The groups, each line after `indent`.
fn groups(indent: &str) -> String {
    let mut out = format!("{indent}groups:\n{indent}- name: pointsman\n{indent}  rules:\n");
    for alert in alerts() {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let _ = write!(
            out,
            "{indent}  - alert: {}\n{indent}    expr: {}\n{indent}    for: {}\n{indent}    labels:\n{indent}      severity: {}\n\
             {indent}    annotations:\n{indent}      summary: {}\n{indent}      description: {}\n",
            alert.name,
            quoted(&alert.when),
            alert.lasting,
            alert.severity,
            quoted(alert.summary),
            quoted(alert.description),
        );
    }
    out
}

const HEAD: &str = "# Generated from the metric registry by `cargo xtask generate`.\n";

/// A rule file for Prometheus.
pub fn rules() -> String {
    format!("{HEAD}{}", groups(""))
}

/// The same for the Prometheus operator.
pub fn object() -> String {
    format!(
        "{HEAD}apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: pointsman\nspec:\n{}",
        groups("  ")
    )
}
