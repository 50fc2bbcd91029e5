//! Reports of GuideLLM (`--output kind=json`), as versions from 0.7 on write them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::foreign::{
    Listed, count_at, empty_run, endpoint_of, number_at, per_endpoint, plots, scaled,
};
use crate::load::Record;
use crate::preflight::said;
use crate::results::{Results, Run, SCHEMA_VERSION, Times, rounded};

/// Requests of a replay that GuideLLM made and says nothing more of. On a busy machine it ends before the last word of one
/// of its processes has come; the request itself may have been answered.
const UNREPORTED: &str = "unreported";
const LOST: &str = "GuideLLM ended before it heard how these ended";

pub(super) fn read(report: &Value) -> Result<Results, String> {
    let listed = report["benchmarks"].as_array().into_iter().flatten();
    let runs: Result<Vec<Run>, String> = (1..)
        .zip(listed)
        .map(|(number, benchmark)| {
            run(benchmark)
                .map_err(|why| format!("is a report of GuideLLM whose benchmark {number} {why}"))
        })
        .collect();
    let first = &report["benchmarks"][0]["config"]["backend"];
    let spec = &report["config"]["spec"]["backend"];
    let told = |key: &str| {
        let found = [&first[key], &spec[key]];
        let text = found
            .into_iter()
            .filter_map(Value::as_str)
            .find(|text| !text.is_empty());
        text.unwrap_or_default().to_owned()
    };
    let version = report["metadata"]["guidellm_version"]
        .as_str()
        .unwrap_or("of an unknown version");
    Ok(Results {
        schema_version: SCHEMA_VERSION,
        measured_by: Some(format!("GuideLLM {version}")),
        target: told("target"),
        model: told("model"),
        seed: 0,
        input: None,
        inputs: Vec::new(),
        runs: runs?,
        spread: Vec::new(),
    })
}

fn run(benchmark: &Value) -> Result<Run, String> {
    let metrics = &benchmark["metrics"];
    if !metrics.is_object() {
        return Err("has no metrics".to_owned());
    }
    let totals = &metrics["request_totals"];
    if !totals["successful"].is_u64() {
        return Err("has no request_totals".to_owned());
    }
    let (scenario, concurrency, rate) = what(&benchmark["config"]["strategy"]);
    let (answers, errored) = (count_at(totals, "successful"), count_at(totals, "errored"));
    let seconds = number_at(benchmark, "duration");
    let begin = number_at(benchmark, "start_time");
    let end = begin + seconds;
    let listed = listed(&benchmark["requests"]["successful"], begin, end);
    let (mut errors, mut error_details) = errors(&benchmark["requests"]["errored"], errored);
    let lost = match scenario.as_str() {
        "sweep" => lost(&benchmark["scheduler_state"]),
        _ => 0,
    };
    if lost > 0 {
        errors.insert(UNREPORTED.to_owned(), lost);
        error_details.insert(UNREPORTED.to_owned(), LOST.to_owned());
    }
    Ok(Run {
        seconds: rounded(seconds),
        requests: answers + errored + lost,
        errors,
        error_details,
        rps: rounded(number_at(
            &metrics["requests_per_second"]["successful"],
            "mean",
        )),
        tokens_per_second: rounded(number_at(
            &metrics["output_tokens_per_second"]["successful"],
            "mean",
        )),
        ttft_ms: times(&metrics["time_to_first_token_ms"], 1.0),
        itl_ms: times(&metrics["inter_token_latency_ms"], 1.0),
        tpot_ms: tpot(&benchmark["requests"]["successful"], answers)
            .unwrap_or_else(|| times(&metrics["inter_token_latency_ms"], 1.0)),
        e2e_ms: times(&metrics["request_latency"], 1e3),
        per_endpoint: per_endpoint(&listed, answers),
        plots: plots(&listed, seconds),
        ..empty_run(scenario, concurrency, rate)
    })
}

/// Our TPOT of the requests, where all are listed: the time behind the first token by the number of further ones.
/// GuideLLM's own `time_per_output_token_ms` has the time to the first token in it; its `inter_token_latency_ms` does not.
fn tpot(requests: &Value, answers: u64) -> Option<Times> {
    let requests = requests.as_array()?;
    if (requests.len() as u64) < answers {
        return None;
    }
    let one = |request: &Value| {
        let further = request["output_tokens"].as_f64()? - 1.0;
        let lasted = request["request_latency"].as_f64()? * 1e3
            - request["time_to_first_token_ms"].as_f64()?;
        (further >= 1.0 && lasted >= 0.0).then(|| lasted / further)
    };
    let mut found: Vec<f64> = requests.iter().filter_map(one).collect();
    found.sort_by(f64::total_cmp);
    let max = *found.last()?;
    let at = |share: f64| {
        let rank = (found.len() as f64 * share).ceil() as usize;
        rounded(found[rank.clamp(1, found.len()) - 1])
    };
    Some(Times {
        p50: at(0.5),
        p90: at(0.9),
        p95: at(0.95),
        p99: at(0.99),
        p999: at(0.999),
        mean: rounded(found.iter().sum::<f64>() / found.len() as f64),
        max: rounded(max),
        count: found.len() as u64,
    })
}

/// How many requests were made and not ended, by GuideLLM's own books. Runs of a set time end with some; a replay has none.
fn lost(state: &Value) -> u64 {
    count_at(state, "created_requests").saturating_sub(count_at(state, "processed_requests"))
}

/// Which load it was, in our words where we have one.
fn what(strategy: &Value) -> (String, Option<usize>, Option<f64>) {
    let kind = strategy["type_"].as_str().unwrap_or("unknown");
    let streams = strategy["streams"]
        .as_u64()
        .and_then(|n| usize::try_from(n).ok());
    let rate = strategy["rate"].as_f64();
    match kind {
        "synchronous" => ("steady".to_owned(), Some(1), None),
        "concurrent" => ("throughput".to_owned(), streams, None),
        "constant" => ("steady".to_owned(), None, rate),
        "trace" => ("sweep".to_owned(), None, None),
        other => (other.to_owned(), streams, rate),
    }
}

fn times(metric: &Value, factor: f64) -> Times {
    let found = &metric["successful"];
    let at = |name: &str| scaled(number_at(&found["percentiles"], name), factor);
    Times {
        p50: at("p50"),
        p90: at("p90"),
        p95: at("p95"),
        p99: at("p99"),
        p999: at("p999"),
        mean: scaled(number_at(found, "mean"), factor),
        max: scaled(number_at(found, "max"), factor),
        count: count_at(found, "count"),
    }
}

/// The requests of the window, as GuideLLM draws it: by their end.
fn listed(requests: &Value, begin: f64, end: f64) -> Vec<Listed> {
    let one = |request: &Value| {
        let ended = request["request_end_time"].as_f64()?;
        let started = request["request_start_time"].as_f64()?;
        (begin..=end).contains(&ended).then_some(())?;
        Some(Listed {
            record: Record {
                at_s: (started - begin).max(0.0),
                ttft_ms: request["time_to_first_token_ms"]
                    .as_f64()
                    .unwrap_or(f64::NAN),
                total_ms: number_at(request, "request_latency") * 1e3,
            },
            endpoint: endpoint_of(request["response_id"].as_str().unwrap_or_default()),
        })
    };
    let requests = requests.as_array().into_iter().flatten();
    let mut found: Vec<Listed> = requests.filter_map(one).collect();
    // Answers that came whole have no first token of their own.
    for one in &mut found {
        if !one.record.ttft_ms.is_finite() {
            one.record.ttft_ms = one.record.total_ms;
        }
    }
    found
}

type Errors = (BTreeMap<String, u64>, BTreeMap<String, String>);

/// Failures by kind: what stands before the first colon of their texts, as far as they are listed.
fn errors(requests: &Value, count: u64) -> Errors {
    let (mut kinds, mut details) = Errors::default();
    if count == 0 {
        return (kinds, details);
    }
    for request in requests.as_array().into_iter().flatten() {
        let text = request["info"]["error"].as_str().unwrap_or("unknown");
        let kind: String = text
            .split([':', '\n'])
            .next()
            .unwrap_or_default()
            .chars()
            .take(60)
            .collect();
        *kinds.entry(kind.clone()).or_default() += 1;
        details.entry(kind).or_insert_with(|| said(text.as_bytes()));
    }
    let told: u64 = kinds.values().sum();
    if told < count {
        *kinds.entry("not listed".to_owned()).or_default() += count - told;
    }
    (kinds, details)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::foreign::read;

    /// Recorded from GuideLLM 0.8.1 against the lab, with distributions, prompts and all but 30 requests cut away.
    const CONCURRENT: &str = include_str!("../../tests/recorded/guidellm-0.8.1-concurrent.json");
    const REPLAY: &str = include_str!("../../tests/recorded/guidellm-0.8.1-replay.json");

    #[test]
    fn a_recorded_report_has_its_figures() {
        let found = read(CONCURRENT, None).unwrap();
        assert_eq!(found.measured_by.as_deref(), Some("GuideLLM 0.8.1"));
        assert_eq!(found.target, "http://127.0.0.1:18111");
        assert_eq!(found.model, "Qwen/Qwen3-Coder-30B-A3B-Instruct");
        let told: Vec<_> = found
            .runs
            .iter()
            .map(|run| (run.label(), run.requests, run.answers()))
            .collect();
        assert_eq!(
            told,
            [
                ("throughput x1".to_owned(), 87, 87),
                ("throughput x4".to_owned(), 282, 282)
            ]
        );
        let run = &found.runs[0];
        assert_eq!(
            (run.rps, run.ttft_ms.p95, run.ttft_ms.count),
            (21.73, 43.751, 86)
        );
        assert_eq!((run.e2e_ms.p50, run.e2e_ms.max), (37.817, 70.945));
        assert_eq!(run.tokens_per_second, 86.169);
        assert!(
            run.per_endpoint["vllm-decode-p2p:14579"] > 0 && run.per_endpoint["vllm-decode-fs"] > 0
        );
        assert_eq!(run.plots.ttft_curve.last().unwrap().1, 1.0);
        assert!(!run.plots.ttft_over_time.is_empty());
    }

    #[test]
    fn the_time_per_token_leaves_out_the_first() {
        let run = &read(CONCURRENT, None).unwrap().runs[0];
        assert_eq!(run.tpot_ms, run.itl_ms, "not all are listed");
        let mut report: serde_json::Value = serde_json::from_str(CONCURRENT).unwrap();
        let benchmark = &mut report["benchmarks"][0];
        let mut one = benchmark["requests"]["successful"][0].clone();
        one["request_latency"] = 0.05.into();
        one["time_to_first_token_ms"] = 20.0.into();
        one["output_tokens"] = 4.into();
        benchmark["requests"]["successful"] = vec![one; 3].into();
        benchmark["metrics"]["request_totals"]["successful"] = 3.into();
        let run = &read(&report.to_string(), None).unwrap().runs[0];
        assert_eq!((run.tpot_ms.p95, run.tpot_ms.count), (10.0, 3));
    }

    #[test]
    fn a_replay_is_our_sweep() {
        let found = read(REPLAY, None).unwrap();
        assert_eq!(
            (found.runs[0].label().as_str(), found.runs[0].requests),
            ("sweep", 100)
        );
    }

    /// Constructed: the last answer of the same replay went unheard, as it happens on a machine that is very busy.
    #[test]
    fn a_request_that_guidellm_loses_sight_of_is_not_lost_here() {
        let mut report: serde_json::Value = serde_json::from_str(REPLAY).unwrap();
        let benchmark = &mut report["benchmarks"][0];
        benchmark["scheduler_state"] =
            serde_json::json!({"created_requests": 100, "processed_requests": 99});
        benchmark["metrics"]["request_totals"]["successful"] = 99.into();
        let run = &read(&report.to_string(), None).unwrap().runs[0];
        assert_eq!((run.requests, run.answers()), (100, 99));
        assert_eq!(run.errors["unreported"], 1);
        assert!(run.error_details["unreported"].starts_with("GuideLLM ended before"));
    }

    /// Constructed: the same report with failures, as `info.error` of a failed request tells them.
    #[test]
    fn failures_are_counted_by_kind() {
        let mut report: serde_json::Value = serde_json::from_str(CONCURRENT).unwrap();
        let failed = |text: &str| serde_json::json!({"info": {"status": "errored", "error": text}});
        report["benchmarks"][0]["metrics"]["request_totals"]["errored"] = 5.into();
        report["benchmarks"][0]["requests"]["errored"] = [
            failed("HTTPStatusError: 503 for url"),
            failed("HTTPStatusError: 503 again"),
            failed("ReadTimeout"),
        ]
        .into();
        let found = read(&report.to_string(), None).unwrap();
        let errors: Vec<_> = found.runs[0]
            .errors
            .iter()
            .map(|(kind, n)| (kind.as_str(), *n))
            .collect();
        assert_eq!(
            errors,
            [
                ("HTTPStatusError", 2),
                ("ReadTimeout", 1),
                ("not listed", 2)
            ]
        );
        assert_eq!(
            found.runs[0].error_details["HTTPStatusError"],
            "'HTTPStatusError: 503 for url'"
        );
        assert_eq!(found.runs[0].requests, 92);
    }
}
