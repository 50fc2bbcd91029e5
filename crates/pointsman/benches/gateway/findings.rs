//! What the samples say: every figure of every peer, and the goals.

use pointsman_bench::report::{Goal, Samples, Spread, Table, short};
use pointsman_bench::rounds::Sample;

use crate::field::{BASELINE, DIRECT, GATEWAY, PROXY};
use crate::scenarios::{LARGE, PD_64K, PD_SMALL, PD_STREAM, PREFIX, RATE, SMALL, STREAMS, TOKENS};

fn ttft_p50(sample: &Sample) -> Option<f64> {
    Some(sample.outcome.ttft.p50)
}

/// What is to be reached, and what was.
pub(crate) fn goals(samples: Samples<'_>) -> Vec<Goal> {
    let goal = |what: &str, at_most: f64, found: Option<Spread>| Goal {
        what: what.to_owned(),
        at_most,
        found,
    };
    let answer = |scenario| samples.ratio(scenario, GATEWAY, BASELINE, Sample::cpu_per_answer);
    let added = |peer| {
        let plus = |mine: f64, direct: f64| mine - direct;
        samples.against(RATE, peer, DIRECT, ttft_p50, plus)
    };
    let added_ratio = match (added(GATEWAY), added(BASELINE)) {
        (Some(ours), Some(base)) => Spread::of([ours.median / base.median]),
        _ => None,
    };
    let two_hops = |mine: f64, direct: f64| (mine - 2.0 * direct) / 1e3;
    vec![
        goal("200 B, c32: CPU per request / baseline", 1.5, answer(SMALL)),
        goal(
            "4 KiB prefix, c32: CPU per request / baseline",
            1.6,
            answer(PREFIX),
        ),
        goal(
            "SSE: CPU per token / baseline",
            1.15,
            samples.ratio(TOKENS, GATEWAY, BASELINE, Sample::cpu_per_token),
        ),
        goal(
            "512 streams: answers that failed",
            0.0,
            samples.figure(STREAMS, GATEWAY, |sample| {
                Some(sample.outcome.failures() as f64)
            }),
        ),
        goal(
            "512 streams: direct's answers / ours",
            1.03,
            samples.ratio(STREAMS, DIRECT, GATEWAY, |sample| Some(sample.outcome.rate)),
        ),
        goal(
            "512 streams: TTFT p50 / direct",
            2.0,
            samples.ratio(STREAMS, GATEWAY, DIRECT, ttft_p50),
        ),
        goal(
            "512 streams: peak memory, MiB",
            40.0,
            samples.figure(STREAMS, GATEWAY, |sample| Some(sample.spent?.peak_mib)),
        ),
        goal(
            "1 MiB: CPU per request, µs",
            1000.0,
            samples.figure(LARGE, GATEWAY, Sample::cpu_per_answer),
        ),
        goal(
            "100 per second: added TTFT p50 / baseline's",
            1.3,
            added_ratio,
        ),
        goal(
            "P/D, c16: CPU per request, µs",
            60.0,
            samples.figure(PD_SMALL, PROXY, Sample::cpu_per_answer),
        ),
        goal(
            "P/D, 64 KiB: CPU per request, µs",
            150.0,
            samples.figure(PD_64K, PROXY, Sample::cpu_per_answer),
        ),
        goal(
            "P/D, streaming: TTFT p50 over two direct ones, ms",
            0.5,
            samples.against(PD_STREAM, PROXY, DIRECT, ttft_p50, two_hops),
        ),
    ]
}

/// Every figure of every peer, medians over the rounds.
pub(crate) fn figures(samples: Samples<'_>) -> Table {
    let mut table = Table::new([
        "scenario",
        "peer",
        "CPU µs/request",
        "/ baseline",
        "CPU µs/token",
        "answers/s",
        "failed",
        "TTFT p50 ms",
        "TTFT p99 ms",
        "added p50 µs",
        "reads/token",
        "idle MiB",
        "peak MiB",
        "foreign cores",
    ]);
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for sample in samples.0 {
        let pair = (sample.scenario.as_str(), sample.peer.as_str());
        if !seen.contains(&pair) {
            seen.push(pair);
        }
    }
    for (scenario, peer) in seen {
        let cell = |spread: Option<Spread>| spread.map(|spread| spread.to_string());
        let median = |figure: &dyn Fn(&Sample) -> Option<f64>| {
            let spread = samples.figure(scenario, peer, figure)?;
            Some(short(spread.median))
        };
        let per_token = scenario == TOKENS;
        let streamed = per_token || scenario == STREAMS;
        let cpu = if per_token {
            Sample::cpu_per_token
        } else {
            Sample::cpu_per_answer
        };
        let added = samples.against(scenario, peer, DIRECT, ttft_p50, |mine, direct| {
            mine - direct
        });
        let row = [
            cell(samples.figure(scenario, peer, Sample::cpu_per_answer)),
            cell(samples.ratio(scenario, peer, BASELINE, cpu)),
            cell(samples.figure(scenario, peer, Sample::cpu_per_token)).filter(|_| streamed),
            median(&|sample| Some(sample.outcome.rate)),
            median(&|sample| Some(sample.outcome.failures() as f64)),
            median(&|sample| Some(sample.outcome.ttft.p50 / 1e3)),
            median(&|sample| Some(sample.outcome.ttft.p99 / 1e3)),
            added
                .filter(|_| peer != DIRECT)
                .map(|spread| short(spread.median)),
            median(&|sample| (sample.outcome.tokens > 0).then_some(sample.outcome.reads_per_token)),
            median(&|sample| sample.idle_mib),
            median(&|sample| Some(sample.spent?.peak_mib)),
            median(&|sample| Some(sample.foreign_cores)),
        ];
        let row = row.into_iter().map(Option::unwrap_or_default);
        table.row(
            [scenario.to_owned(), peer.to_owned()]
                .into_iter()
                .chain(row),
        );
    }
    table
}
