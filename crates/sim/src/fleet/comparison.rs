//! Policies against each other: the same traces, the same engines, a cold start each.
//!
//! Every policy meets the trace of each seed on a fresh fleet; the times to first token of all seeds are
//! counted together, from the first request on. Ratios are to the policy named `oracle`, if it is there.

use std::fmt::Write;

use serde::Serialize;

use crate::fleet::Fleet;
use crate::fleet::quantiles::Durations;
use crate::fleet::router::{BuiltIn, Router};
use crate::fleet::scenario::Scenario;

/// A policy under comparison.
pub struct Policy {
    /// Name in tables.
    pub name: String,
    /// Makes one that has learned nothing yet; called once per seed, as a plan's plugins keep what they learn.
    pub make: Box<dyn Fn() -> Router>,
}

impl Policy {
    /// The policy of this name that `make` makes.
    pub fn new(name: &str, make: impl Fn() -> Router + 'static) -> Self {
        Self {
            name: name.to_owned(),
            make: Box::new(make),
        }
    }
}

impl From<BuiltIn> for Policy {
    fn from(rule: BuiltIn) -> Self {
        Self::new(rule.name(), move || Router::BuiltIn(rule))
    }
}

/// What one policy came to in one scenario at one load.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The scenario.
    pub scenario: &'static str,
    /// Share of the capacity that arrived.
    pub load: f64,
    /// The policy.
    pub policy: String,
    /// Mean time to first token, in milliseconds.
    pub mean_ms: f64,
    /// Its quantiles, in milliseconds.
    pub p50_ms: f64,
    /// 95 of 100 are at most this.
    pub p95_ms: f64,
    /// 99 of 100 are at most this.
    pub p99_ms: f64,
    /// Share of all requests whose first token came within half a second.
    pub within_half_second: f64,
    /// Share of all requests that were answered.
    pub finished: f64,
    /// Share of prompt tokens that an engine had cached.
    pub hit_rate: f64,
}

/// Lets `requests` requests per seed arrive at `load` (1 = the capacity), for each policy in turn.
pub fn compare(
    scenario: &Scenario,
    load: f64,
    requests: usize,
    seeds: &[u64],
    policies: &[Policy],
) -> Vec<Row> {
    let rate = load * scenario.capacity();
    let traces: Vec<_> = seeds
        .iter()
        .map(|&seed| (seed, scenario.traffic.trace(seed, requests)))
        .collect();
    let mut rows = Vec::new();
    for policy in policies {
        let mut ttft = Durations::default();
        let (mut arrived, mut served, mut within) = (0, 0, 0);
        let (mut prompt, mut cached) = (0, 0);
        for (seed, trace) in &traces {
            let mut fleet = Fleet::new(scenario.fleet((policy.make)(), *seed));
            let report = fleet.play(trace, rate);
            ttft.merge(fleet.ttft());
            arrived += report.requests;
            served += report.served;
            within += report.within_half_second;
            for endpoint in &report.endpoints {
                prompt += endpoint.prompt_tokens;
                cached += endpoint.cached_tokens;
            }
        }
        let q = ttft.quantiles();
        rows.push(Row {
            scenario: scenario.name,
            load,
            policy: policy.name.clone(),
            mean_ms: q.mean_ms,
            p50_ms: q.p50_ms,
            p95_ms: q.p95_ms,
            p99_ms: q.p99_ms,
            within_half_second: share(within, arrived),
            finished: share(served, arrived),
            hit_rate: share(cached, prompt),
        });
    }
    rows
}

/// The rows as a table in Markdown, with ratios to the oracle of the same scenario and load.
pub fn markdown(rows: &[Row]) -> String {
    let mut table = String::from(
        "| scenario | load | policy | mean ms | p50 | p95 | p99 | mean / oracle | p95 / oracle | within 0.5 s | finished | cached |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let oracle = rows.iter().find(|other| {
            other.scenario == row.scenario
                && other.load.total_cmp(&row.load).is_eq()
                && other.policy == BuiltIn::Oracle.name()
        });
        let ratio = |of: fn(&Row) -> f64| {
            oracle.map_or_else(
                || "–".to_owned(),
                |oracle| format!("{:.2}", of(row) / of(oracle)),
            )
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "| {} | {:.0} % | {} | {:.0} | {:.0} | {:.0} | {:.0} | {} | {} | {:.1} % | {:.1} % | {:.0} % |",
            row.scenario,
            row.load * 100.0,
            row.policy,
            row.mean_ms,
            row.p50_ms,
            row.p95_ms,
            row.p99_ms,
            ratio(|row| row.mean_ms),
            ratio(|row| row.p95_ms),
            row.within_half_second * 100.0,
            row.finished * 100.0,
            row.hit_rate * 100.0,
        );
    }
    table
}

fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}
