//! The families of those who wait to be let in. Without a plan that lets requests wait they are absent, not zero.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use pointsman_core::admission::queue::Filled;
use pointsman_core::admission::watch::Saturation;

use crate::admin::metrics::page::{Page, Row, Value};
use crate::admission::leases::Counts;
use crate::admission::tally::{DISPATCHED, Held, OUTCOMES, Series};
use crate::metrics::catalogue::flow as family;
use crate::metrics::histogram::{Histogram, Summed};
use crate::router::Router;

/// Writes the families.
pub(crate) fn write(router: &Router, page: &mut Page) {
    let Some(tally) = Seen::of(router) else {
        return;
    };
    let pool = router.pool_name();
    let labels = |series: &Series| labels(series, pool);
    let waited = histograms(&tally.waited, |series, outcome| {
        let [flow, priority, pool, model, target] = labels(series);
        vec![flow, priority, outcome, pool, model, target]
    });
    page.add(&family::QUEUE_DURATION, waited);
    let enqueued = histograms(&tally.enqueued, |series, outcome| {
        let [flow, priority, ..] = labels(series);
        vec![flow, priority, outcome]
    });
    page.add(&family::ENQUEUE_DURATION, enqueued);
    let rounds = Value::Buckets(Summed::of(&tally.rounds));
    page.add(&family::ROUND_DURATION, vec![(Vec::new(), rounds)]);
    let held = |of: fn(&Held) -> u64| {
        let rows = tally.held.iter();
        rows.map(|(series, held)| (labels(series).to_vec(), Value::Number(of(held) as f64)))
            .collect()
    };
    page.add(&family::QUEUE_SIZE, held(|held| held.requests));
    page.add(&family::QUEUE_BYTES, held(|held| held.bytes));
    let saturation = tally.saturation;
    let stages = [
        ("prefill", saturation.prefill),
        ("decode", saturation.decode),
        ("effective", Some(saturation.effective)),
    ];
    let stages = stages.into_iter().filter_map(|(stage, full)| {
        let labels = [pool, stage].map(str::to_owned).to_vec();
        Some((labels, Value::Number(full?)))
    });
    page.add(&family::SATURATION, stages.collect());
    let stale = Value::Number(tally.stale as f64);
    page.add(
        &family::STALE,
        vec![(vec![tally.detector.to_owned()], stale)],
    );
    let bands = |of: fn(&Filled) -> (u64, u64)| {
        let rows = tally.bands.iter().map(|(priority, filled)| {
            let (held, most) = of(filled);
            let labels = vec![priority.to_string(), pool.to_owned()];
            (labels, Value::Number(held as f64 / most as f64))
        });
        rows.collect()
    };
    page.add(&family::BAND_REQUESTS, bands(|filled| filled.requests));
    page.add(&family::BAND_BYTES, bands(|filled| filled.bytes));
    let all = |share: Option<f64>| {
        let rows = share.map(|share| (vec![pool.to_owned()], Value::Number(share)));
        rows.into_iter().collect()
    };
    page.add(&family::ALL_REQUESTS, all(tally.queue.0));
    page.add(&family::ALL_BYTES, all(tally.queue.1));
    let outcomes = tally.outcomes.iter().map(|((outcome, priority), count)| {
        let labels = [OUTCOMES[*outcome], &priority.to_string(), pool].map(str::to_owned);
        (labels.to_vec(), Value::Number(*count as f64))
    });
    page.add(&family::OUTCOMES, outcomes.collect());
    if tally.evicts {
        write_reclaimed(&router.admission.leases.counts(), pool, page);
    }
}

/// The families of those who had to give way.
fn write_reclaimed(counts: &Counts, pool: &str, page: &mut Page) {
    let Counts { reclaimed, took } = counts;
    let here = || vec![pool.to_owned()];
    let issued = reclaimed.issued.iter().map(|(priority, count)| {
        let labels = vec![priority.to_string(), pool.to_owned()];
        (labels, Value::Number(*count as f64))
    });
    page.add(&family::REVOKED, issued.collect());
    let outcomes = [
        ("confirmed", reclaimed.confirmed),
        ("timed_out", reclaimed.timed_out),
    ];
    let outcomes = outcomes.map(|(outcome, count)| {
        let labels = vec![outcome.to_owned(), pool.to_owned()];
        (labels, Value::Number(count as f64))
    });
    page.add(&family::REVOCATIONS, outcomes.to_vec());
    let target = Value::Number(reclaimed.target);
    page.add(&family::RECLAIM_TARGET, vec![(here(), target)]);
    // What is left of a sum that went up and down may be a negative zero.
    let pending = Value::Number(reclaimed.pending + 0.0);
    page.add(&family::PENDING_RECLAIM, vec![(here(), pending)]);
    let took = Value::Buckets(Summed::of(took));
    page.add(&family::REVOCATION_TIME, vec![(here(), took)]);
}

/// The counts as they are at one moment. Those who wait are answered under the same lock, so it is held for as long as
/// it takes to copy them, and nothing is written meanwhile.
struct Seen {
    waited: Histograms,
    enqueued: Histograms,
    rounds: Arc<Histogram>,
    held: Vec<(Series, Held)>,
    saturation: Saturation,
    stale: usize,
    detector: &'static str,
    bands: Vec<(i64, Filled)>,
    queue: (Option<f64>, Option<f64>),
    outcomes: BTreeMap<(usize, i64), u64>,
    evicts: bool,
}

type Histograms = Vec<((Series, usize), Arc<Histogram>)>;

impl Seen {
    /// `None` where nobody waits under the plan in force.
    fn of(router: &Router) -> Option<Self> {
        let mut seen = {
            let tally = router.admission.tally.lock();
            if !tally.in_effect {
                return None;
            }
            let copy = |all: &HashMap<(Series, usize), Arc<Histogram>>| {
                let all = all.iter();
                all.map(|(at, histogram)| (at.clone(), Arc::clone(histogram)))
                    .collect()
            };
            let held = tally.held.iter();
            Self {
                waited: copy(&tally.waited),
                enqueued: copy(&tally.enqueued),
                rounds: Arc::clone(&tally.rounds),
                held: held.map(|(series, held)| (series.clone(), *held)).collect(),
                saturation: tally.saturation,
                stale: tally.stale,
                detector: tally.detector,
                bands: tally.bands.clone(),
                queue: tally.queue,
                outcomes: tally.outcomes.clone(),
                evicts: tally.evicts,
            }
        };
        for lane in router.lanes() {
            for (&priority, count) in &lane.cells.tables.lock().let_in {
                *seen.outcomes.entry((DISPATCHED, priority)).or_default() += count;
            }
        }
        Some(seen)
    }
}

fn labels(series: &Series, pool: &str) -> [String; 5] {
    let model = series.model.to_string();
    [
        series.flow.to_string(),
        series.priority.to_string(),
        pool.to_owned(),
        model.clone(),
        model,
    ]
}

fn histograms(all: &Histograms, labels: impl Fn(&Series, String) -> Vec<String>) -> Vec<Row> {
    let rows = all.iter().map(|((series, outcome), histogram)| {
        let labels = labels(series, OUTCOMES[*outcome].to_owned());
        (labels, Value::Buckets(Summed::of(histogram)))
    });
    let mut rows: Vec<Row> = rows.collect();
    rows.sort_by(|(one, _), (other, _)| one.cmp(other));
    rows
}
