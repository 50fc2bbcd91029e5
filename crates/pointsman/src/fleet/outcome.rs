//! From runs to the document of a study.

use std::collections::BTreeMap;

use pointsman_bench::inputs::Read;
use pointsman_bench::load::Record;
use pointsman_bench::results::study::{Cell, Study as Document};
use pointsman_bench::results::{Plots, Results, Run, SCHEMA_VERSION, Times, over_time, repeated};
use pointsman_core::time::{Span, Tick};
use pointsman_sim::fleet::quantiles::{Durations, Quantiles};
use pointsman_sim::fleet::report::{EndpointReport, Report};

use crate::fleet::engines::described;
use crate::fleet::play::{Played, Study};

/// Points of a curve.
const POINTS: usize = 60;

/// The document of `study`, which came to `played`.
pub(crate) fn document(
    study: &Study,
    played: &[Played],
    inputs: Vec<Read>,
    faults: &[String],
    axes: (String, String),
) -> Document {
    let seeds = study.seeds.len();
    let mut cells = Vec::new();
    let mut runs = Vec::new();
    let mut fleet: Vec<String> = Vec::new();
    let mut cellfuls = played.chunks(seeds);
    for load in &study.loads {
        for line in described(&load.members) {
            if !fleet.contains(&line) {
                fleet.push(line);
            }
        }
        for policy in &study.policies {
            let Some(played) = cellfuls.next() else {
                break;
            };
            for (repetition, one) in (1..).zip(played) {
                runs.push(run(&load.heading, &policy.name, load.rate, repetition, one));
            }
            cells.push(cell(&load.heading, &policy.name, load.rate, played));
        }
    }
    let mut document = Document {
        results: Results {
            schema_version: SCHEMA_VERSION,
            target: "a fleet in virtual time".to_owned(),
            model: "fleet".to_owned(),
            measured_by: None,
            seed: study.seeds.first().copied().unwrap_or_default(),
            input: inputs.first().cloned(),
            inputs: if inputs.len() > 1 { inputs } else { Vec::new() },
            spread: repeated(&runs),
            runs,
        },
        fleet,
        faults: faults.to_vec(),
        axes,
        cells,
    };
    document.settle();
    document
}

fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

/// A share with as many digits as it deserves.
fn share(part: u64, whole: u64) -> f64 {
    (part as f64 / whole.max(1) as f64 * 1e5).round() / 1e5
}

fn times(q: &Quantiles) -> Times {
    Times {
        p50: rounded(q.p50_ms),
        p90: rounded(q.p90_ms),
        p95: rounded(q.p95_ms),
        p99: rounded(q.p99_ms),
        p999: rounded(q.p999_ms),
        mean: rounded(q.mean_ms),
        max: rounded(q.max_ms),
        count: q.count,
    }
}

fn errors(report: &Report) -> BTreeMap<String, u64> {
    [
        ("refused by the engine", report.refused),
        ("rejected by the router", report.rejected),
        ("broken off", report.broken),
    ]
    .into_iter()
    .filter(|(_, count)| *count > 0)
    .map(|(kind, count)| (kind.to_owned(), count))
    .collect()
}

fn total(report: &Report, of: fn(&EndpointReport) -> u64) -> u64 {
    report.endpoints.iter().map(of).sum()
}

fn per_endpoint(report: &Report) -> impl Iterator<Item = (String, u64)> + '_ {
    let served = report
        .endpoints
        .iter()
        .filter(|endpoint| endpoint.served > 0);
    served.map(|endpoint| (endpoint.name.clone(), endpoint.served))
}

fn run(heading: &str, policy: &str, rate: f64, repetition: usize, played: &Played) -> Run {
    let report = &played.report;
    let seconds = report.virtual_seconds.max(f64::MIN_POSITIVE);
    Run {
        scenario: format!("{heading}, {policy}"),
        concurrency: None,
        rate: Some(rounded(rate)),
        repetition,
        seconds: rounded(report.virtual_seconds),
        requests: report.requests,
        errors: errors(report),
        error_details: BTreeMap::new(),
        rps: rounded(report.served_per_second),
        tokens_per_second: rounded(total(report, |e| e.output_tokens) as f64 / seconds),
        ttft_ms: times(&report.ttft),
        // Tokens are not looked at one by one.
        itl_ms: Times::default(),
        tpot_ms: times(&report.tpot),
        e2e_ms: times(&report.e2e),
        per_endpoint: per_endpoint(report).collect(),
        resources: Vec::new(),
        partial: None,
        plots: Plots::default(),
    }
}

fn cell(heading: &str, policy: &str, rate: f64, played: &[Played]) -> Cell {
    let merged = |of: fn(&Played) -> &Durations| {
        let mut all = Durations::default();
        played.iter().for_each(|one| all.merge(of(one)));
        all
    };
    let (ttft, e2e, tpot) = (merged(|p| &p.ttft), merged(|p| &p.e2e), merged(|p| &p.tpot));
    let sum = |of: fn(&Report) -> u64| played.iter().map(|one| of(&one.report)).sum::<u64>();
    let mut cell = Cell {
        traffic: heading.to_owned(),
        policy: policy.to_owned(),
        rate: rounded(rate),
        requests: sum(|r| r.requests),
        served: sum(|r| r.served),
        failed_attempts: sum(|r| r.failed_attempts),
        ttft_ms: times(&ttft.quantiles()),
        tpot_ms: times(&tpot.quantiles()),
        e2e_ms: times(&e2e.quantiles()),
        cached: share(
            sum(|r| total(r, |e| e.cached_tokens)),
            sum(|r| total(r, |e| e.prompt_tokens)),
        ),
        within_half_second: share(sum(|r| r.within_half_second), sum(|r| r.requests)),
        ttft_curve: curve(&ttft),
        ..Cell::default()
    };
    let seconds: f64 = played.iter().map(|one| one.report.virtual_seconds).sum();
    cell.rps = rounded(cell.served as f64 / seconds.max(f64::MIN_POSITIVE));
    let p95 = || played.iter().map(|one| one.report.ttft.p95_ms);
    cell.ttft_p95_range_ms = (
        rounded(p95().fold(f64::INFINITY, f64::min)),
        rounded(p95().fold(0.0, f64::max)),
    );
    for one in played {
        for (kind, count) in errors(&one.report) {
            *cell.errors.entry(kind).or_default() += count;
        }
        for (name, count) in per_endpoint(&one.report) {
            *cell.per_endpoint.entry(name).or_default() += count;
        }
    }
    if let Some(first) = played.first() {
        let record = |(at, ttft): &(Tick, Span)| Record {
            at_s: at.0 as f64 / 1e9,
            ttft_ms: ttft.as_millis_f64(),
            total_ms: 0.0,
        };
        let records: Vec<Record> = first.samples.iter().map(record).collect();
        let end = records.iter().map(|record| record.at_s).fold(0.0, f64::max);
        cell.ttft_over_time = over_time(&records, end);
    }
    cell
}

fn curve(durations: &Durations) -> Vec<(f64, f64)> {
    let points = durations.curve(POINTS).into_iter();
    points
        .map(|(ms, share)| (rounded(ms), (share * 1e5).round() / 1e5))
        .collect()
}
