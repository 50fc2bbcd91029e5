//! What a benchmark found: the JSON document, and what is made of it.

pub mod compare;
pub mod page;
mod pareto;
mod plot;
pub mod study;
pub mod text;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::inputs::Read;
use crate::load::{Outcome, Quantiles, Record};
use crate::preflight::said;
use crate::report::Spread;
use crate::scenario::Level;

/// Version of the document.
pub const SCHEMA_VERSION: u32 = 1;

/// The document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Results {
    /// Version of this document.
    pub schema_version: u32,
    /// The tool that measured, where it was another one than `pointsman bench`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured_by: Option<String>,
    /// Who was asked.
    pub target: String,
    /// For which model.
    #[serde(default)]
    pub model: String,
    /// The seed of prompts and arrivals.
    #[serde(default)]
    pub seed: u64,
    /// The file that requests came from; the first of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Read>,
    /// All of them, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Read>,
    /// The runs in order.
    pub runs: Vec<Run>,
    /// Median and range of each scenario that ran more than once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spread: Vec<Repeated>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// The scenario.
    pub scenario: String,
    /// Requests in flight, in a closed loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<usize>,
    /// Requests per second, in an open one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Which repetition, from 1.
    #[serde(default = "one")]
    pub repetition: usize,
    /// Length of the window.
    #[serde(default)]
    pub seconds: f64,
    /// Whole answers inside the window, and the errors.
    pub requests: u64,
    /// Failures of the whole run, warm-up included, by kind.
    pub errors: BTreeMap<String, u64>,
    /// What the first failure of a kind said.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub error_details: BTreeMap<String, String>,
    /// Whole answers per second.
    pub rps: f64,
    /// Streamed tokens per second.
    #[serde(default)]
    pub tokens_per_second: f64,
    /// From the moment a request should have started to the first byte of its answer's body.
    pub ttft_ms: Times,
    /// Between two tokens.
    pub itl_ms: Times,
    /// Per token behind the first, of each answer.
    #[serde(default)]
    pub tpot_ms: Times,
    /// To the end of the answer.
    pub e2e_ms: Times,
    /// Whole answers by who gave them.
    pub per_endpoint: BTreeMap<String, u64>,
    /// What processes used.
    pub resources: Vec<Usage>,
    /// Why the run ended early; figures are of the time before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partial: Option<String>,
    /// What pictures are drawn from.
    #[serde(default)]
    pub plots: Plots,
}

fn one() -> usize {
    1
}

/// Quantiles of a time in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Times {
    /// Half were faster.
    pub p50: f64,
    /// 90 of 100 were faster.
    pub p90: f64,
    /// 95 of 100 were faster.
    pub p95: f64,
    /// 99 of 100 were faster.
    pub p99: f64,
    /// 999 of 1,000 were faster.
    pub p999: f64,
    /// The mean.
    pub mean: f64,
    /// The slowest.
    pub max: f64,
    /// How many were measured.
    pub count: u64,
}

impl From<Quantiles> for Times {
    fn from(micros: Quantiles) -> Self {
        Self {
            p50: rounded(micros.p50 / 1e3),
            p90: rounded(micros.p90 / 1e3),
            p95: rounded(micros.p95 / 1e3),
            p99: rounded(micros.p99 / 1e3),
            p999: rounded(micros.p999 / 1e3),
            mean: rounded(micros.mean / 1e3),
            max: rounded(micros.max / 1e3),
            count: micros.count,
        }
    }
}

/// To the microsecond, where the numbers are milliseconds: more digits are noise.
pub(crate) fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

/// What a process used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Its name.
    pub name: String,
    /// CPU time in the window.
    pub cpu_seconds: f64,
    /// CPU time by the length of the window.
    pub cpu_cores: f64,
    /// Resident memory at the end.
    pub rss_mb: f64,
    /// Highest resident memory.
    #[serde(default)]
    pub peak_rss_mb: f64,
    /// Why it could not be watched to the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
    /// Over time: second, cores, resident memory.
    #[serde(default)]
    pub series: Vec<(f64, f64, f64)>,
}

/// What pictures are drawn from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Plots {
    /// Milliseconds and the share of answers whose first byte came within them.
    pub ttft_curve: Vec<(f64, f64)>,
    /// The same of whole answers.
    pub e2e_curve: Vec<(f64, f64)>,
    /// Second, median and 95 of 100 of the time to the first byte of requests of that time.
    pub ttft_over_time: Vec<(f64, f64, f64)>,
}

/// Median and range over the repetitions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Repeated {
    /// The scenario.
    pub scenario: String,
    /// Its concurrency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<usize>,
    /// Its rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Figures by name: median, lowest, highest.
    pub figures: BTreeMap<String, (f64, f64, f64)>,
}

/// A figure's name, how it is read, and whether less is better.
pub(crate) type Figure = (&'static str, fn(&Run) -> f64, bool);

/// The figures that repetitions and comparisons are about.
pub(crate) const FIGURES: [Figure; 7] = [
    ("rps", |run| run.rps, false),
    ("tokensPerSecond", |run| run.tokens_per_second, false),
    ("ttftMs.p50", |run| run.ttft_ms.p50, true),
    ("ttftMs.p95", |run| run.ttft_ms.p95, true),
    ("ttftMs.p99", |run| run.ttft_ms.p99, true),
    ("itlMs.p95", |run| run.itl_ms.p95, true),
    ("e2eMs.p95", |run| run.e2e_ms.p95, true),
];

impl Run {
    /// The run of a level, from what the client found.
    #[must_use]
    pub fn new(level: &Level, repetition: usize, outcome: &Outcome, resources: Vec<Usage>) -> Self {
        let mut errors = outcome.errors.clone();
        if outcome.incomplete > 0 {
            errors.insert("stream without its end".to_owned(), outcome.incomplete);
        }
        if outcome.unfinished > 0 {
            errors.insert("no answer by the end".to_owned(), outcome.unfinished as u64);
        }
        let details = outcome.said.iter().filter(|(_, text)| !text.is_empty());
        let seconds = outcome.seconds.max(f64::MIN_POSITIVE);
        let millis = |curve: &[(f64, f64)]| {
            curve
                .iter()
                .map(|(us, share)| (rounded(us / 1e3), *share))
                .collect()
        };
        Self {
            scenario: level.scenario.clone(),
            concurrency: level.concurrency,
            rate: level.rate,
            repetition,
            seconds: rounded(outcome.seconds),
            requests: outcome.answers + errors.values().sum::<u64>(),
            error_details: details
                .map(|(kind, text)| (kind.clone(), said(text.as_bytes())))
                .collect(),
            errors,
            rps: rounded(outcome.rate),
            tokens_per_second: rounded(outcome.tokens as f64 / seconds),
            ttft_ms: outcome.ttft.into(),
            itl_ms: outcome.itl.into(),
            tpot_ms: outcome.tpot.into(),
            e2e_ms: outcome.total.into(),
            per_endpoint: outcome
                .per_endpoint
                .iter()
                .map(|(name, count)| {
                    (
                        if name.is_empty() {
                            "(not told)".to_owned()
                        } else {
                            name.clone()
                        },
                        *count,
                    )
                })
                .collect(),
            resources,
            partial: None,
            plots: Plots {
                ttft_curve: millis(&outcome.ttft_curve),
                e2e_curve: millis(&outcome.total_curve),
                ttft_over_time: over_time(&outcome.records, outcome.seconds),
            },
        }
    }

    /// Whole answers.
    #[must_use]
    pub fn answers(&self) -> u64 {
        self.per_endpoint.values().sum()
    }

    /// What it is called in tables.
    #[must_use]
    pub fn label(&self) -> String {
        label(&self.scenario, self.concurrency, self.rate)
    }
}

pub(crate) fn label(scenario: &str, concurrency: Option<usize>, rate: Option<f64>) -> String {
    match (concurrency, rate) {
        (Some(n), _) => format!("{scenario} x{n}"),
        (None, Some(rate)) => format!("{scenario} {rate}/s"),
        (None, None) => scenario.to_owned(),
    }
}

/// Parts of the window for a picture over time.
const PARTS: usize = 30;

/// Median and 95 of 100 of the time to the first byte in equal parts of `seconds`.
pub fn over_time(records: &[Record], seconds: f64) -> Vec<(f64, f64, f64)> {
    let mut parts: Vec<Vec<f64>> = vec![Vec::new(); PARTS];
    let width = (seconds / PARTS as f64).max(f64::MIN_POSITIVE);
    for record in records {
        let part = ((record.at_s / width) as usize).min(PARTS - 1);
        parts[part].push(record.ttft_ms);
    }
    let filled = parts
        .iter_mut()
        .enumerate()
        .filter(|(_, part)| !part.is_empty());
    filled
        .map(|(number, part)| {
            part.sort_by(f64::total_cmp);
            let at = |share: f64| {
                part[((part.len() as f64 * share).ceil() as usize).clamp(1, part.len()) - 1]
            };
            (
                rounded((number as f64 + 0.5) * width),
                rounded(at(0.5)),
                rounded(at(0.95)),
            )
        })
        .collect()
}

/// Median and range of all scenarios that ran more than once.
#[must_use]
pub fn repeated(runs: &[Run]) -> Vec<Repeated> {
    let mut found: Vec<Repeated> = Vec::new();
    for run in runs.iter().filter(|run| run.repetition == 1) {
        let same: Vec<&Run> = alike(runs, run).collect();
        if same.len() < 2 {
            continue;
        }
        let figures = FIGURES.iter().filter_map(|(name, figure, _)| {
            let spread = Spread::of(same.iter().map(|run| figure(run)))?;
            Some((
                (*name).to_owned(),
                (rounded(spread.median), spread.min, spread.max),
            ))
        });
        found.push(Repeated {
            scenario: run.scenario.clone(),
            concurrency: run.concurrency,
            rate: run.rate,
            figures: figures.collect(),
        });
    }
    found
}

/// The runs of the same scenario, concurrency and rate.
pub(crate) fn alike<'a>(runs: &'a [Run], like: &'a Run) -> impl Iterator<Item = &'a Run> {
    runs.iter().filter(|run| {
        run.scenario == like.scenario
            && run.concurrency == like.concurrency
            && run.rate == like.rate
    })
}

#[cfg(test)]
pub(crate) fn example() -> Results {
    let run = |concurrency, repetition, rps| Run {
        scenario: "throughput".to_owned(),
        concurrency: Some(concurrency),
        rate: None,
        repetition,
        seconds: 2.0,
        requests: 21,
        errors: BTreeMap::from([("http 503".to_owned(), 1)]),
        error_details: BTreeMap::new(),
        rps,
        tokens_per_second: rps * 8.0,
        ttft_ms: Times {
            p50: 1.0,
            p90: 2.0,
            p95: 3.0,
            p99: 4.0,
            p999: 5.0,
            mean: 1.5,
            max: 5.5,
            count: 20,
        },
        itl_ms: Times::default(),
        tpot_ms: Times::default(),
        e2e_ms: Times {
            p95: 30.0,
            ..Times::default()
        },
        per_endpoint: BTreeMap::from([("a".to_owned(), 12), ("b<i>".to_owned(), 8)]),
        resources: vec![Usage {
            name: "gateway".to_owned(),
            cpu_seconds: 0.5,
            cpu_cores: 0.25,
            rss_mb: 20.0,
            peak_rss_mb: 21.0,
            lost: None,
            series: vec![(0.5, 0.2, 19.0), (1.0, 0.3, 20.0)],
        }],
        partial: None,
        plots: Plots {
            ttft_curve: vec![(0.5, 0.0), (1.0, 0.5), (5.5, 1.0)],
            e2e_curve: vec![(10.0, 0.0), (30.0, 1.0)],
            ttft_over_time: vec![(0.5, 1.0, 2.0), (1.5, 1.1, 2.2)],
        },
    };
    let runs = vec![run(1, 1, 10.0), run(8, 1, 40.0), run(8, 2, 44.0)];
    Results {
        schema_version: SCHEMA_VERSION,
        measured_by: None,
        target: "http://127.0.0.1:8080".to_owned(),
        model: "m".to_owned(),
        seed: 7,
        input: None,
        inputs: Vec::new(),
        spread: repeated(&runs),
        runs,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn documents_survive_being_written_and_have_the_promised_names() {
        let results = example();
        let text = serde_json::to_string(&results).unwrap();
        assert_eq!(serde_json::from_str::<Results>(&text).unwrap(), results);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let run = &value["runs"][0];
        for key in [
            "scenario",
            "concurrency",
            "requests",
            "errors",
            "rps",
            "ttftMs",
            "itlMs",
            "e2eMs",
            "perEndpoint",
            "resources",
        ] {
            assert!(!run[key].is_null(), "{key}");
        }
        for key in ["name", "cpuSeconds", "cpuCores", "rssMb"] {
            assert!(!run["resources"][0][key].is_null(), "{key}");
        }
        assert_eq!(results.spread.len(), 1);
        assert_eq!(results.spread[0].figures["rps"], (42.0, 40.0, 44.0));
    }

    #[test]
    fn time_is_divided_evenly() {
        let record = |at_s, ttft_ms| Record {
            at_s,
            ttft_ms,
            total_ms: 1.0,
        };
        let records = [
            record(0.0, 3.0),
            record(0.01, 1.0),
            record(0.02, 2.0),
            record(3.0, 9.0),
        ];
        assert_eq!(
            over_time(&records, 3.0),
            [(0.05, 2.0, 3.0), (2.95, 9.0, 9.0)]
        );
    }
}
