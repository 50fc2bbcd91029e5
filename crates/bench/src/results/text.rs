//! Results as tables for a terminal.

use std::fmt::Write as _;

use crate::report::Table;
use crate::results::{Results, Times, label};

/// The whole report.
#[must_use]
pub fn text(results: &Results) -> String {
    let by = results.measured_by.as_ref();
    let by = by.map_or_else(String::new, |tool| format!(", measured by {tool}"));
    let mut out = format!("{}, model {}{by}\n\n", results.target, results.model);
    let mut table = Table::new([
        "scenario", "run", "requests", "errors", "req/s", "tok/s", "TTFT p50", "p95", "p99",
        "ITL p50", "p95", "E2E p50", "p95",
    ]);
    for run in &results.runs {
        table.row([
            run.label(),
            run.repetition.to_string(),
            run.requests.to_string(),
            run.errors.values().sum::<u64>().to_string(),
            format!("{:.1}", run.rps),
            format!("{:.0}", run.tokens_per_second),
            measured(&run.ttft_ms, run.ttft_ms.p50),
            measured(&run.ttft_ms, run.ttft_ms.p95),
            measured(&run.ttft_ms, run.ttft_ms.p99),
            measured(&run.itl_ms, run.itl_ms.p50),
            measured(&run.itl_ms, run.itl_ms.p95),
            measured(&run.e2e_ms, run.e2e_ms.p50),
            measured(&run.e2e_ms, run.e2e_ms.p95),
        ]);
    }
    out.push_str(&table.text());
    out.push_str("Times in milliseconds.\n");
    spread(&mut out, results);
    endpoints(&mut out, results);
    resources(&mut out, results);
    for run in &results.runs {
        for (kind, count) in &run.errors {
            let detail = run
                .error_details
                .get(kind)
                .map(|said| format!(": {said}"))
                .unwrap_or_default();
            let _ = writeln!(
                out,
                "{}, run {}: {count} x {kind}{detail}",
                run.label(),
                run.repetition
            );
        }
        if let Some(why) = &run.partial {
            let _ = writeln!(
                out,
                "{}, run {}: PARTIAL, {:.1} s: {why}",
                run.label(),
                run.repetition,
                run.seconds
            );
        }
    }
    out
}

/// A figure of times, or that there is none.
pub(crate) fn measured(times: &Times, figure: f64) -> String {
    if times.count == 0 && figure == 0.0 {
        "–".to_owned()
    } else {
        millis(figure)
    }
}

pub(crate) fn millis(number: f64) -> String {
    if number >= 100.0 {
        format!("{number:.0}")
    } else {
        format!("{number:.2}")
    }
}

fn spread(out: &mut String, results: &Results) {
    if results.spread.is_empty() {
        return;
    }
    let mut table = Table::new(["scenario", "figure", "median", "lowest", "highest"]);
    for repeated in &results.spread {
        for (name, (median, low, high)) in &repeated.figures {
            table.row([
                label(&repeated.scenario, repeated.concurrency, repeated.rate),
                name.clone(),
                format!("{median:.2}"),
                format!("{low:.2}"),
                format!("{high:.2}"),
            ]);
        }
    }
    let _ = write!(out, "\n{}", table.text());
}

fn endpoints(out: &mut String, results: &Results) {
    let mut table = Table::new(["scenario", "run", "endpoint", "answers", "share"]);
    for run in &results.runs {
        let all = run.answers().max(1) as f64;
        for (name, count) in &run.per_endpoint {
            table.row([
                run.label(),
                run.repetition.to_string(),
                name.clone(),
                count.to_string(),
                format!("{:.0} %", *count as f64 / all * 100.0),
            ]);
        }
    }
    let _ = write!(out, "\n{}", table.text());
}

fn resources(out: &mut String, results: &Results) {
    if results.runs.iter().all(|run| run.resources.is_empty()) {
        return;
    }
    let mut table = Table::new([
        "scenario", "run", "process", "CPU s", "cores", "RSS MB", "peak MB", "",
    ]);
    for run in &results.runs {
        for usage in &run.resources {
            table.row([
                run.label(),
                run.repetition.to_string(),
                usage.name.clone(),
                format!("{:.2}", usage.cpu_seconds),
                format!("{:.2}", usage.cpu_cores),
                format!("{:.1}", usage.rss_mb),
                format!("{:.1}", usage.peak_rss_mb),
                usage.lost.clone().unwrap_or_default(),
            ]);
        }
    }
    let _ = write!(out, "\n{}", table.text());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::example;

    #[test]
    fn all_that_was_found_is_told() {
        let mut results = example();
        results.runs[0].partial = Some("interrupted".to_owned());
        results.runs[1].ttft_ms = Times::default();
        let told = text(&results);
        for words in [
            "throughput x8",
            "b<i>",
            "40 %",
            "gateway",
            "1 x http 503",
            "PARTIAL, 2.0 s: interrupted",
            "ttftMs.p95",
            " –  ",
        ] {
            assert!(told.contains(words), "{words}\n{told}");
        }
    }
}
