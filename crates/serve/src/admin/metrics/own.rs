//! The families that the reference does not have, those of the build, of scraping, and of what producers hold.

use std::sync::atomic::Ordering;

use pointsman_core::schedule::plan::Plan;
use pointsman_feeds::discovery::watches::State;

use crate::admin::metrics::page::{Page, Row, Value};
use crate::metrics::catalogue as family;
use crate::metrics::catalogue::own as own_family;
use crate::metrics::histogram::Summed;
use crate::metrics::streams::CODES;
use crate::router::Router;

/// Writes the families.
pub(crate) fn write(router: &Router, plan: &Plan, page: &mut Page) {
    let labels = [
        option_env!("POINTSMAN_COMMIT").unwrap_or("unknown"),
        env!("CARGO_PKG_VERSION"),
    ];
    let one = Value::Number(1.0);
    page.add(
        &family::INFO,
        vec![(labels.map(str::to_owned).to_vec(), one.clone())],
    );
    let failures = Value::Number(router.scrapes.failures() as f64);
    page.add(
        &family::POLL_ERRORS,
        vec![(vec!["metrics-data-source".to_owned()], failures)],
    );
    let garbage = Value::Number(router.scrapes.garbage() as f64);
    let by = ["metrics-data-source", "core-metrics-extractor"];
    let by = by.map(str::to_owned).to_vec();
    page.add(&family::EXTRACT_ERRORS, vec![(by, garbage)]);
    streams(router, page);
    page.single(&own_family::SCRAPES, router.scrapes.pages() as f64);
    let counts = &router.counts;
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed) as f64;
    page.single(&own_family::DECISIONS, load(&counts.decisions));
    page.single(&own_family::BYPASSED, load(&counts.bypassed));
    page.single(&own_family::FAILED_ATTEMPTS, load(&counts.failed_attempts));
    page.single(
        &own_family::SERVED_ELSEWHERE,
        load(&counts.served_elsewhere),
    );
    let renders = [("told", &counts.rendered), ("failed", &counts.not_rendered)];
    let rows = renders.map(|(word, count)| (vec![word.to_owned()], Value::Number(load(count))));
    page.add(&own_family::RENDERS, rows.to_vec());
    if let Some(tracer) = router.tracer() {
        let rows = tracer.counts();
        let rows = rows.map(|(word, count)| (vec![word.to_owned()], Value::Number(count as f64)));
        page.add(&own_family::SPANS, rows.to_vec());
    }
    page.single(&own_family::LOG_DROPPED, router.log.dropped() as f64);
    let outcomes = ["served", "broken", "rejected", "client-gone"];
    let outcomes = outcomes.into_iter().zip(&counts.ended);
    let rows = outcomes.map(|(word, ended)| (vec![word.to_owned()], Value::Number(load(ended))));
    page.add(&own_family::OUTCOMES, rows.collect());
    let labels = vec![
        plan.source.clone(),
        plan.generation.to_string(),
        plan.compat.word().to_owned(),
        plan.compat_reason.clone(),
        format!("{:016x}", plan.hash),
        plan.staleness.policy.word().to_owned(),
    ];
    page.add(&own_family::PLAN_INFO, vec![(labels, one)]);
    let (taken, refused) = router.reloads.counts();
    let rows = [("taken", taken), ("refused", refused)];
    let rows = rows.map(|(word, count)| (vec![word.to_owned()], Value::Number(count as f64)));
    page.add(&own_family::PLAN_RELOADS, rows.to_vec());
    let watches = router.watches.all().into_iter();
    let up = watches.map(|(what, state)| {
        let is_up = matches!(state, State::Following(_) | State::Absent);
        (vec![what.to_owned()], Value::Number(f64::from(is_up)))
    });
    page.add(&own_family::DISCOVERY_WATCH, up.collect());
    holdings(router, plan, page);
}

/// Gateways' streams, once one was counted.
fn streams(router: &Router, page: &mut Page) {
    let lanes = router.lanes();
    let tallies = || lanes.iter().map(|lane| &lane.cells.streams);
    let opened: u64 = tallies().map(|tally| tally.opened.get()).sum();
    if opened == 0 {
        return;
    }
    let ended = |at: usize| -> u64 { tallies().map(|tally| tally.ended[at].get()).sum() };
    let counts: Vec<u64> = (0..CODES.len()).map(ended).collect();
    let open = opened.saturating_sub(counts.iter().sum());
    page.single(&family::STREAMS, open as f64);
    let mut durations = tallies().map(|tally| Summed::of(&tally.duration));
    if let Some(mut all) = durations.next() {
        durations.for_each(|more| all.merge(&more));
        let rows = vec![(Vec::new(), Value::Buckets(all))];
        page.add(&family::STREAM_DURATION, rows);
    }
    let rows = CODES
        .into_iter()
        .zip(counts)
        .filter(|(_, count)| *count > 0);
    let rows = rows.map(|(code, count)| (vec![code.to_owned()], Value::Number(count as f64)));
    page.add(&family::STREAMS_ENDED, rows.collect());
}

/// What the producers of the plan hold, and what has left them.
fn holdings(router: &Router, plan: &Plan, page: &mut Page) {
    let now = router.clock.now();
    let (mut sizes, mut bytes, mut expired): (Vec<Row>, Vec<Row>, Vec<Row>) = Default::default();
    for producer in &plan.producers {
        let held = producer.plugin.holdings(now);
        let labels = [&producer.name, producer.kind].map(str::to_owned).to_vec();
        sizes.push((labels.clone(), Value::Number(held.entries as f64)));
        bytes.push((labels.clone(), Value::Number(held.bytes as f64)));
        for (reason, count) in held.expired.iter().filter(|(reason, _)| !reason.is_empty()) {
            let labels = [labels.as_slice(), &[(*reason).to_owned()]].concat();
            expired.push((labels, Value::Number(*count as f64)));
        }
    }
    page.add(&family::PREFIX_SIZE, sizes);
    page.add(&own_family::PREFIX_MEMORY, bytes);
    page.add(&own_family::PREFIX_EXPIRED, expired);
}
