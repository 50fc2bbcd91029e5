//! The families of the pool: averages, fresh and stale endpoints, queues, what is in flight, and prefix hits by endpoint.

use std::collections::BTreeMap;
use std::sync::Arc;

use pointsman_core::contract::staleness::Staleness;
use pointsman_core::model::pool::Snapshot;
use pointsman_core::model::slots::{Reading, ScrapeState, Slot, Slots};
use pointsman_core::schedule::plan::Plan;
use pointsman_core::time::{Span, Tick};

use crate::admin::metrics::page::{Page, Row, Value};
use crate::admin::metrics::requests::split;
use crate::metrics::catalogue as family;
use crate::metrics::catalogue::own as own_family;
use crate::metrics::names::DEFAULT_FLOW;
use crate::router::Router;

/// Who counts requests in flight, in the reference's words.
const COUNTED_BY: &str = "inflight-load-producer";

/// Writes the families.
pub(crate) fn write(router: &Router, plan: &Plan, page: &mut Page) {
    let (snapshot, slots, now) = (
        router.membership.snapshot(),
        router.membership.slots(),
        router.clock.now(),
    );
    let pool = router.pool_name();
    averages(&snapshot, slots, (now, router.fresh_for()), pool, page);
    in_flight(router, plan, &snapshot, page);
    let mut rows: [Vec<Row>; 3] = Default::default();
    for endpoint in &snapshot.endpoints {
        let (_, name) = split(&endpoint.name);
        let in_flight = Value::Number(f64::from(slots.in_flight(endpoint.slot)));
        let (waiting, taken) = slots.read(endpoint.slot, Reading::Waiting);
        if taken.is_some() {
            let labels = vec![pool.to_owned(), name.to_owned()];
            rows[0].push((labels, Value::Number(waiting)));
        }
        let full = vec![endpoint.name.to_string()];
        rows[1].push((full.clone(), in_flight));
        if let Some(taken) = last_taken(slots, endpoint.slot) {
            let age = Value::Number(now.since(taken).as_secs_f64());
            rows[2].push((full, age));
        }
    }
    let families = [
        &family::ENDPOINT_QUEUE,
        &own_family::ENDPOINT_IN_FLIGHT,
        &own_family::ENDPOINT_AGE,
    ];
    for (family, rows) in families.into_iter().zip(rows) {
        page.add(family, rows);
    }
    stale(&snapshot, slots, &plan.staleness, now, page);
    hits(router, &snapshot, page);
}

/// When any reading of the endpoint was last taken.
fn last_taken(slots: &Slots, slot: Slot) -> Option<Tick> {
    let taken = Reading::SCRAPED.map(|reading| slots.read(slot, reading).1);
    taken.into_iter().flatten().max()
}

/// Requests and tokens in flight. Requests that no decision sent there, and what is in flight for a prefill, belong to no
/// flow; tokens are not told apart by flow.
fn in_flight(router: &Router, plan: &Plan, snapshot: &Snapshot, page: &mut Page) {
    let slots = router.membership.slots();
    let mut by_flow: BTreeMap<u32, BTreeMap<(Arc<str>, i64), u32>> = BTreeMap::new();
    for lane in router.lanes() {
        for ((slot, flow, priority), count) in &lane.cells.tables.lock().under_way {
            let flows = by_flow.entry(*slot).or_default();
            *flows.entry((Arc::clone(flow), *priority)).or_default() += count;
        }
    }
    let (mut requests, mut tokens): (Vec<Row>, Vec<Row>) = Default::default();
    for endpoint in &snapshot.endpoints {
        let (namespace, name) = split(&endpoint.name);
        let row = |by: &str, flow: &str, priority: &str, count: f64| {
            let labels = [name, namespace, by, flow, priority].map(str::to_owned);
            (labels.to_vec(), Value::Number(count))
        };
        let all = slots.in_flight(endpoint.slot);
        let flows = by_flow.remove(&endpoint.slot.0).unwrap_or_default();
        let told: u32 = flows.values().sum();
        for ((flow, priority), count) in &flows {
            let priority = priority.to_string();
            requests.push(row(COUNTED_BY, flow, &priority, f64::from(*count)));
        }
        let rest = all.saturating_sub(told);
        if flows.is_empty() && rest == 0 {
            requests.push(row(COUNTED_BY, DEFAULT_FLOW, "0", 0.0));
        } else if rest > 0 {
            requests.push(row(COUNTED_BY, "", "", f64::from(rest)));
        }
        for producer in &plan.preparers {
            if let Some(counts) = producer.plugin.tokens_in_flight() {
                let count = counts.on(endpoint.slot) as f64;
                tokens.push(row(&producer.name, "", "", count));
            }
        }
    }
    page.add(&family::INFLIGHT, requests);
    page.add(&family::INFLIGHT_TOKENS, tokens);
}

fn averages(
    snapshot: &Snapshot,
    slots: &Slots,
    (now, fresh_for): (Tick, Span),
    pool: &str,
    page: &mut Page,
) {
    let fresh: Vec<Slot> = snapshot
        .slots()
        .iter()
        .copied()
        .filter(|&slot| last_taken(slots, slot).is_some_and(|taken| now.since(taken) < fresh_for))
        .collect();
    let named = |value: f64| vec![(vec![pool.to_owned()], Value::Number(value))];
    for (reading, average, deviation) in [
        (Reading::KvUsage, &family::AVERAGE_KV, &family::DEVIATION_KV),
        (
            Reading::Waiting,
            &family::AVERAGE_QUEUE,
            &family::DEVIATION_QUEUE,
        ),
        (
            Reading::Running,
            &family::AVERAGE_RUNNING,
            &family::DEVIATION_RUNNING,
        ),
    ] {
        let values: Vec<f64> = fresh
            .iter()
            .map(|&slot| slots.read(slot, reading).0)
            .collect();
        let (mean, spread) = mean_and_deviation(&values);
        page.add(average, named(mean));
        page.add(deviation, named(spread));
    }
    page.add(&family::READY_ENDPOINTS, named(fresh.len() as f64));
}

/// Mean and sample standard deviation, to two decimals; zero where there are too few values.
fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    if values.is_empty() {
        return (0.0, 0.0);
    }
    let rounded = |value: f64| (value * 100.0).round() / 100.0;
    let mean = values.iter().sum::<f64>() / count;
    if values.len() < 2 {
        return (rounded(mean), 0.0);
    }
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (rounded(mean), rounded((squares / (count - 1.0)).sqrt()))
}

fn stale(snapshot: &Snapshot, slots: &Slots, staleness: &Staleness, now: Tick, page: &mut Page) {
    let reason = |slot: Slot| match slots.scrape_state(slot) {
        ScrapeState::Fresh => {
            let taken = last_taken(slots, slot).unwrap_or(Tick(0));
            staleness.is_stale(taken, now).then_some("old")
        }
        state => Some(state.word()),
    };
    let reasons: Vec<&str> = snapshot.slots().iter().filter_map(|&s| reason(s)).collect();
    page.single(&own_family::STALE, reasons.len() as f64);
    let words = ["never", "not-found", "garbage", "unreachable", "old"];
    let rows = words.into_iter().map(|word| {
        let count = reasons.iter().filter(|reason| **reason == word).count();
        (vec![word.to_owned()], Value::Number(count as f64))
    });
    page.add(&own_family::STALE_BY_REASON, rows.collect());
}

/// Prefix hits of the endpoints that are still there.
fn hits(router: &Router, snapshot: &Snapshot, page: &mut Page) {
    let mut rows: [Vec<Row>; 3] = Default::default();
    for lane in router.lanes() {
        let tables = lane.cells.tables.lock();
        for endpoint in &snapshot.endpoints {
            let Some(cells) = tables.endpoints.get(&endpoint.slot.0) else {
                continue;
            };
            if cells.name != endpoint.name {
                continue;
            }
            let counts = [cells.predicted, cells.actual, cells.false_hits];
            for (rows, count) in rows.iter_mut().zip(counts) {
                let labels = vec![endpoint.name.to_string()];
                rows.push((labels, Value::Number(count as f64)));
            }
        }
    }
    let families = [
        &own_family::PREDICTED_HITS,
        &own_family::ACTUAL_HITS,
        &own_family::FALSE_HITS,
    ];
    for (family, rows) in families.into_iter().zip(rows) {
        page.add(family, rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_are_rounded_and_the_deviation_is_that_of_a_sample() {
        assert_eq!(mean_and_deviation(&[]), (0.0, 0.0));
        assert_eq!(mean_and_deviation(&[0.126]), (0.13, 0.0));
        assert_eq!(mean_and_deviation(&[1.0, 2.0, 4.0]), (2.33, 1.53));
    }
}
