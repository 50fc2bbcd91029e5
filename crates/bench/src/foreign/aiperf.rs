//! Exports of aiperf: `profile_export_aiperf.json`, and `profile_export.jsonl` with the single requests beside it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::foreign::{Listed, count_at, empty_run, number_at, per_endpoint, plots, scaled};
use crate::load::Record;
use crate::preflight::said;
use crate::results::{Results, Run, SCHEMA_VERSION, Times, rounded};

pub(super) fn read(report: &Value, records: Option<&str>) -> Result<Results, String> {
    if !report["request_latency"].is_object() {
        return Err(
            "is a report of aiperf with no request_latency; was the run cut off?".to_owned(),
        );
    }
    let config = &report["input_config"];
    let version = report["aiperf_version"]
        .as_str()
        .unwrap_or("of an unknown version");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(Results {
        schema_version: SCHEMA_VERSION,
        measured_by: Some(format!("aiperf {version}")),
        target: text(&config["endpoint"]["urls"][0]),
        model: text(&config["models"]["items"][0]["name"]),
        seed: 0,
        input: None,
        inputs: Vec::new(),
        runs: vec![run(report, records)],
        spread: Vec::new(),
    })
}

fn run(report: &Value, records: Option<&str>) -> Run {
    let phases = report["input_config"]["phases"]
        .as_array()
        .into_iter()
        .flatten();
    let phase = phases
        .clone()
        .find(|phase| phase["kind"] == "profiling")
        .cloned()
        .unwrap_or_default();
    let concurrency = phase["concurrency"]
        .as_u64()
        .and_then(|n| usize::try_from(n).ok());
    let rate = phase["rate"]
        .as_f64()
        .or_else(|| phase["request_rate"].as_f64());
    let scenario = match (concurrency, rate) {
        (_, Some(_)) | (Some(1), None) => "steady",
        (Some(_), None) => "throughput",
        (None, None) => "aiperf",
    };
    let concurrency = concurrency.filter(|_| rate.is_none());
    let answers = count_at(&report["request_count"], "avg");
    let seconds = number_at(&report["benchmark_duration"], "avg");
    let (errors, error_details) = errors(&report["error_summary"]);
    let listed = records.map(listed).unwrap_or_default();
    Run {
        seconds: rounded(seconds),
        requests: answers + errors.values().sum::<u64>(),
        errors,
        error_details,
        rps: rounded(number_at(&report["request_throughput"], "avg")),
        tokens_per_second: rounded(number_at(&report["output_token_throughput"], "avg")),
        ttft_ms: times(&report["time_to_first_token"]),
        itl_ms: times(&report["inter_chunk_latency"]),
        // What aiperf calls the latency between tokens is one mean for each answer.
        tpot_ms: times(&report["inter_token_latency"]),
        e2e_ms: times(&report["request_latency"]),
        per_endpoint: per_endpoint(&listed, answers),
        plots: plots(&listed, seconds),
        partial: partial(report),
        ..empty_run(scenario.to_owned(), concurrency, rate)
    }
}

fn partial(report: &Value) -> Option<String> {
    if report["was_cancelled"] == true {
        return Some("aiperf was interrupted".to_owned());
    }
    (report["is_complete"] == false).then(|| {
        let why = report["incomplete_reason"]
            .as_str()
            .unwrap_or("no reason is given");
        format!("aiperf calls it incomplete: {why}")
    })
}

/// Its export has no 99.9th percentile; the slowest stands for it.
fn times(metric: &Value) -> Times {
    let factor = match metric["unit"].as_str() {
        Some("s" | "sec") => 1e3,
        Some("us") => 1e-3,
        Some("ns") => 1e-6,
        _ => 1.0,
    };
    let at = |name: &str| scaled(number_at(metric, name), factor);
    let count = count_at(metric, "count");
    Times {
        p50: at("p50"),
        p90: at("p90"),
        p95: at("p95"),
        p99: at("p99"),
        p999: at("max"),
        mean: at("avg"),
        max: at("max"),
        count,
    }
}

/// The requests of the measured phase that were answered.
fn listed(records: &str) -> Vec<Listed> {
    let parsed: Vec<Value> = records
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let measured = |record: &&Value| {
        record["metadata"]["benchmark_phase"] != "warmup" && record["error"].is_null()
    };
    let began = |record: &Value| record["metadata"]["request_start_ns"].as_f64();
    let first = parsed
        .iter()
        .filter(measured)
        .filter_map(began)
        .fold(f64::INFINITY, f64::min);
    let one = |record: &Value| {
        let milliseconds = |name: &str| record["metrics"][name]["value"].as_f64();
        let total_ms = milliseconds("request_latency")?;
        Some(Listed {
            record: Record {
                at_s: (began(record)? - first) / 1e9,
                ttft_ms: milliseconds("time_to_first_token").unwrap_or(total_ms),
                total_ms,
            },
            endpoint: String::new(),
        })
    };
    parsed.iter().filter(measured).filter_map(one).collect()
}

fn errors(summary: &Value) -> (BTreeMap<String, u64>, BTreeMap<String, String>) {
    let (mut kinds, mut details) = (BTreeMap::new(), BTreeMap::new());
    for entry in summary.as_array().into_iter().flatten() {
        let error = &entry["error_details"];
        let kind = match (error["code"].as_u64(), error["type"].as_str()) {
            (Some(code), _) => format!("http {code}"),
            (None, Some(kind)) => kind.to_owned(),
            (None, None) => "unknown".to_owned(),
        };
        *kinds.entry(kind.clone()).or_default() += count_at(entry, "count");
        let text = error["message"].as_str().unwrap_or_default();
        details.entry(kind).or_insert_with(|| said(text.as_bytes()));
    }
    (kinds, details)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::foreign::read;

    /// Recorded from aiperf 0.13.0 against the lab, with the metrics of its own HTTP client cut away.
    const REPORT: &str = include_str!("../../tests/recorded/aiperf-0.13.0.json");
    const RECORDS: &str = include_str!("../../tests/recorded/aiperf-0.13.0.jsonl");

    #[test]
    fn a_recorded_report_has_its_figures() {
        let found = read(REPORT, Some(RECORDS)).unwrap();
        assert_eq!(found.measured_by.as_deref(), Some("aiperf 0.13.0"));
        assert_eq!(found.target, "http://127.0.0.1:18111");
        let run = &found.runs[0];
        assert_eq!(
            (run.label().as_str(), run.requests, run.seconds),
            ("throughput x4", 60, 2.259)
        );
        assert_eq!((run.rps, run.tokens_per_second), (26.494, 423.906));
        assert_eq!(
            (run.ttft_ms.p95, run.ttft_ms.max, run.ttft_ms.count),
            (108.775, 129.314, 60)
        );
        assert_eq!(
            (run.e2e_ms.p50, run.itl_ms.p50, run.tpot_ms.p50),
            (122.969, 5.288, 5.41)
        );
        assert_eq!(run.plots.e2e_curve.len(), 60);
        assert_eq!(run.plots.e2e_curve.last().unwrap(), &(221.575, 1.0));
        assert_eq!(run.per_endpoint["(not told)"], 60);
        assert_eq!(run.partial, None);
        let alone = read(REPORT, None).unwrap();
        assert_eq!(alone.runs[0].ttft_ms, run.ttft_ms);
        assert!(alone.runs[0].plots.e2e_curve.is_empty());
    }

    /// Constructed from the models of aiperf's export: failures, and a run that was cut off.
    #[test]
    fn failures_and_a_run_cut_off_are_told() {
        let mut report: serde_json::Value = serde_json::from_str(REPORT).unwrap();
        report["error_summary"] = serde_json::json!([
            {"error_details": {"code": 503, "type": "Service Unavailable", "message": "no endpoint"}, "count": 4},
            {"error_details": {"type": "ClientConnectorError", "message": "refused"}, "count": 2},
        ]);
        report["is_complete"] = false.into();
        report["incomplete_reason"] = "too many errors".into();
        let run = read(&report.to_string(), None).unwrap().runs.remove(0);
        assert_eq!(
            (
                run.errors["http 503"],
                run.errors["ClientConnectorError"],
                run.requests
            ),
            (4, 2, 66)
        );
        assert_eq!(run.error_details["http 503"], "'no endpoint'");
        assert_eq!(
            run.partial.as_deref(),
            Some("aiperf calls it incomplete: too many errors")
        );
    }
}
