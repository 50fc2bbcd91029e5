//! What the router counts, in the Prometheus text format.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use pointsman_core::model::slots::{Reading, ScrapeState};

use crate::router::Router;

/// The whole page.
pub fn render(router: &Router) -> String {
    let mut page = String::with_capacity(4096);
    let counts = &router.counts;
    let mut counter = |name: &str, help: &str, value: u64| {
        let _ = writeln!(
            page,
            "# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}"
        );
    };
    let load = |c: &std::sync::atomic::AtomicU64| c.load(Ordering::Relaxed);
    counter(
        "pointsman_decisions_total",
        "Decisions that ended in a pick.",
        load(&counts.decisions),
    );
    counter(
        "pointsman_bypassed_total",
        "Requests that routes sent past the picker.",
        load(&counts.bypassed),
    );
    counter(
        "pointsman_failed_attempts_total",
        "Attempts that failed before a first byte.",
        load(&counts.failed_attempts),
    );
    counter(
        "pointsman_log_lines_dropped_total",
        "Log lines not written because of rate or a full queue.",
        router.log.dropped(),
    );
    let _ = writeln!(
        page,
        "# HELP pointsman_requests_total Requests by how they ended.\n# TYPE pointsman_requests_total counter"
    );
    for (word, ended) in ["served", "broken", "rejected", "client-gone"]
        .into_iter()
        .zip(&counts.ended)
    {
        let _ = writeln!(
            page,
            "pointsman_requests_total{{outcome=\"{word}\"}} {}",
            load(ended)
        );
    }
    endpoints(router, &mut page);
    page
}

fn endpoints(router: &Router, page: &mut String) {
    let (snapshot, slots, now) = (
        router.membership.snapshot(),
        router.membership.slots(),
        router.clock.now(),
    );
    let _ = writeln!(
        page,
        "# HELP pointsman_endpoint_in_flight Requests in flight by endpoint.\n# TYPE pointsman_endpoint_in_flight gauge"
    );
    for endpoint in &snapshot.endpoints {
        let name = escaped(&endpoint.name);
        let _ = writeln!(
            page,
            "pointsman_endpoint_in_flight{{endpoint=\"{name}\"}} {}",
            slots.in_flight(endpoint.slot)
        );
    }
    let _ = writeln!(
        page,
        "# HELP pointsman_endpoint_metrics_age_seconds Age of the scraped readings.\n# TYPE pointsman_endpoint_metrics_age_seconds gauge"
    );
    for endpoint in &snapshot.endpoints {
        let name = escaped(&endpoint.name);
        if let Some(age) = slots.age(endpoint.slot, Reading::Waiting, now) {
            let _ = writeln!(
                page,
                "pointsman_endpoint_metrics_age_seconds{{endpoint=\"{name}\"}} {}",
                age.as_secs_f64()
            );
        }
    }
    let stale = snapshot
        .endpoints
        .iter()
        .filter(|e| slots.scrape_state(e.slot) != ScrapeState::Fresh)
        .count();
    let _ = writeln!(
        page,
        "# HELP pointsman_stale_endpoints Endpoints whose last scrape failed.\n# TYPE pointsman_stale_endpoints gauge\npointsman_stale_endpoints {stale}"
    );
}

fn escaped(label: &str) -> String {
    label
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
