//! Results of other tools, read into the document that ours are in: GuideLLM's and aiperf's.
//!
//! Figures are those that the tool worked out, in its own words for them; only what the tool leaves open (shares,
//! curves, who answered) is made here from the requests that its file lists.

mod aiperf;
mod guidellm;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::load::Record;
use crate::results::{Plots, Results, Run, Times, over_time, repeated, rounded};

/// Points of a curve.
const POINTS: usize = 100;

/// Reads what a tool wrote. `records` is the text of aiperf's file of single requests, where there is one.
///
/// # Errors
/// One sentence: what the file is not, or what is missing in it.
pub fn read(text: &str, records: Option<&str>) -> Result<Results, String> {
    let report: Value =
        serde_json::from_str(text).map_err(|error| format!("is no JSON: {error}"))?;
    let mut results = if report["benchmarks"].is_array() {
        guidellm::read(&report)?
    } else if report["aiperf_version"].is_string() || report["request_throughput"].is_object() {
        aiperf::read(&report, records)?
    } else {
        return Err("is neither a report of GuideLLM (benchmarks) nor one of aiperf (aiperf_version, request_throughput)".to_owned());
    };
    if results.runs.is_empty() {
        return Err("holds no run".to_owned());
    }
    number(&mut results.runs);
    results.spread = repeated(&results.runs);
    Ok(results)
}

/// Counts the repetitions of equal scenarios, in order.
pub fn number(runs: &mut [Run]) {
    for at in 0..runs.len() {
        let (before, rest) = runs.split_at_mut(at);
        let Some(run) = rest.first_mut() else { return };
        let same = |other: &&Run| {
            other.scenario == run.scenario
                && other.concurrency == run.concurrency
                && other.rate == run.rate
        };
        run.repetition = 1 + before.iter().filter(same).count();
    }
}

/// One request that a file lists.
struct Listed {
    record: Record,
    endpoint: String,
}

/// Answers by who gave them; what the file does not list is counted without a name.
fn per_endpoint(listed: &[Listed], answers: u64) -> BTreeMap<String, u64> {
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    // A file that lists more than it counts lists the warm-up too.
    let told = usize::try_from(answers).unwrap_or(usize::MAX);
    for one in listed.iter().take(told) {
        let name = if one.endpoint.is_empty() {
            "(not told)"
        } else {
            &one.endpoint
        };
        *found.entry(name.to_owned()).or_default() += 1;
    }
    let missing = answers.saturating_sub(listed.len() as u64);
    if missing > 0 {
        *found.entry("(not told)".to_owned()).or_default() += missing;
    }
    found
}

fn plots(listed: &[Listed], seconds: f64) -> Plots {
    let records: Vec<Record> = listed.iter().map(|one| one.record).collect();
    Plots {
        ttft_curve: curve(records.iter().map(|record| record.ttft_ms)),
        e2e_curve: curve(records.iter().map(|record| record.total_ms)),
        ttft_over_time: over_time(&records, seconds),
    }
}

/// Values and the share that is at most that large.
fn curve(values: impl Iterator<Item = f64>) -> Vec<(f64, f64)> {
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    let count = values.len();
    let points = count.min(POINTS);
    let at = |point: usize| {
        let rank = (point * count).div_ceil(points.max(1)).clamp(1, count);
        Some((
            rounded(*values.get(rank - 1)?),
            rounded(rank as f64 / count as f64),
        ))
    };
    (1..=points).filter_map(at).collect()
}

/// A number of a document, 0 where there is none.
fn number_at(value: &Value, key: &str) -> f64 {
    value[key]
        .as_f64()
        .filter(|n| n.is_finite())
        .unwrap_or_default()
}

fn count_at(value: &Value, key: &str) -> u64 {
    let number = number_at(value, key);
    if number > 0.0 { number as u64 } else { 0 }
}

/// The decode server that the id of a P/D answer names, else nothing.
fn endpoint_of(response_id: &str) -> String {
    let Some((_, rest)) = response_id.split_once("___decode_addr_") else {
        return String::new();
    };
    let name = rest.split('_').next().unwrap_or_default();
    name.to_owned()
}

fn scaled(value: f64, factor: f64) -> f64 {
    rounded(value * factor)
}

/// A run with nothing in it.
fn empty_run(scenario: String, concurrency: Option<usize>, rate: Option<f64>) -> Run {
    Run {
        scenario,
        concurrency,
        rate,
        repetition: 1,
        seconds: 0.0,
        requests: 0,
        errors: BTreeMap::new(),
        error_details: BTreeMap::new(),
        rps: 0.0,
        tokens_per_second: 0.0,
        ttft_ms: Times::default(),
        itl_ms: Times::default(),
        tpot_ms: Times::default(),
        e2e_ms: Times::default(),
        per_endpoint: BTreeMap::new(),
        resources: Vec::new(),
        partial: None,
        plots: Plots::default(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_report_is_refused_with_a_sentence() {
        for (text, words) in [
            ("", "is no JSON"),
            ("[1]", "is neither a report of GuideLLM"),
            ("{\"benchmarks\": []}", "holds no run"),
            ("{\"benchmarks\": [{}]}", "benchmark 1 has no metrics"),
            ("{\"aiperf_version\": \"0.13.0\"}", "no request_latency"),
        ] {
            let told = read(text, None).unwrap_err();
            assert!(told.contains(words), "{text}: {told}");
        }
    }

    #[test]
    fn a_curve_ends_with_everything() {
        let found = curve((1..=250).map(f64::from));
        assert_eq!(found.len(), POINTS);
        assert_eq!((found[0], found[99]), ((3.0, 0.012), (250.0, 1.0)));
        assert_eq!(curve([2.0, f64::NAN].into_iter()), [(2.0, 1.0)]);
        assert_eq!(curve(std::iter::empty()), []);
    }

    #[test]
    fn endpoints_that_are_not_listed_are_counted_without_a_name() {
        let id = "cmpl-___prefill_addr_p:1___decode_addr_vllm-decode-p2p:14579_0123";
        assert_eq!(endpoint_of(id), "vllm-decode-p2p:14579");
        let record = Record {
            at_s: 0.0,
            ttft_ms: 1.0,
            total_ms: 2.0,
        };
        let listed = |endpoint: &str| Listed {
            record,
            endpoint: endpoint.to_owned(),
        };
        let found = per_endpoint(&[listed("a"), listed("a"), listed("")], 10);
        assert_eq!(
            found,
            BTreeMap::from([("(not told)".to_owned(), 8), ("a".to_owned(), 2)])
        );
        assert_eq!(
            per_endpoint(&[listed("a"), listed("a")], 1)["a"],
            1,
            "no more than there were"
        );
    }

    proptest! {
        #[test]
        fn no_document_makes_it_panic(
            key in "(benchmarks|aiperf_version|request_throughput|request_latency|metrics|requests)",
            inner in "(null|[0-9]{1,4}|\\[\\]|\\[\\{\\}\\]|\\{\"metrics\": \\{\\}\\}|\\[\\{\"metrics\": \\{\"request_totals\": \\{\"successful\": 1e300\\}\\}\\}\\]|\"x\")",
            records in "(\\{\"metrics\": 1\\}\n|\\{|\n){0,3}",
        ) {
            let _ = read(&format!("{{\"{key}\": {inner}}}"), Some(&records));
        }
    }
}
