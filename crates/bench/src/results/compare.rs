//! Two documents side by side.

use serde::Serialize;

use crate::report::{Spread, Table};
use crate::results::{FIGURES, Results, Run, SCHEMA_VERSION, alike};

/// The comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// Version of this document.
    pub schema_version: u32,
    /// Who was asked in the first document.
    pub a: String,
    /// Who was asked in the second.
    pub b: String,
    /// Figures of the scenarios that both have.
    pub rows: Vec<Row>,
    /// Scenarios that only one of them has.
    pub only_in_one: Vec<String>,
}

/// One figure of one scenario.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The scenario.
    pub scenario: String,
    /// The figure.
    pub figure: String,
    /// Median over A's repetitions.
    pub a: f64,
    /// Median over B's repetitions.
    pub b: f64,
    /// By how much B is more than A, in hundredths; missing where A is 0.
    pub change_percent: Option<f64>,
    /// `better`, `worse`, or `same` where it is within 1 %, or within the spread of repetitions.
    pub verdict: &'static str,
}

/// Below so many hundredths nothing is concluded.
const NOISE: f64 = 1.0;

/// Compares two documents.
#[must_use]
pub fn compare(a: &Results, b: &Results) -> Comparison {
    let mut rows = Vec::new();
    let mut only_in_one = Vec::new();
    for run in firsts(&a.runs) {
        let of_b: Vec<&Run> = alike(&b.runs, run).collect();
        if of_b.is_empty() {
            only_in_one.push(format!("{} (A)", run.label()));
            continue;
        }
        let of_a: Vec<&Run> = alike(&a.runs, run).collect();
        for (name, figure, less_is_better) in FIGURES {
            let spread = |runs: &[&Run]| Spread::of(runs.iter().map(|run| figure(run)));
            if let (Some(a), Some(b)) = (spread(&of_a), spread(&of_b))
                && (a.median != 0.0 || b.median != 0.0)
            {
                rows.push(row(run.label(), name, a, b, less_is_better));
            }
        }
    }
    for run in firsts(&b.runs).filter(|run| alike(&a.runs, run).next().is_none()) {
        only_in_one.push(format!("{} (B)", run.label()));
    }
    Comparison {
        schema_version: SCHEMA_VERSION,
        a: a.target.clone(),
        b: b.target.clone(),
        rows,
        only_in_one,
    }
}

fn firsts(runs: &[Run]) -> impl Iterator<Item = &Run> {
    let first = move |(at, run): &(usize, &Run)| alike(&runs[..*at], run).next().is_none();
    runs.iter().enumerate().filter(first).map(|(_, run)| run)
}

fn row(scenario: String, figure: &str, a: Spread, b: Spread, less_is_better: bool) -> Row {
    let change = (a.median != 0.0).then(|| (b.median / a.median - 1.0) * 100.0);
    // One run has no spread, so touching ranges mean something only where one is wider than a point.
    let repeated = a.min < a.max || b.min < b.max;
    let overlap = repeated && a.min <= b.max && b.min <= a.max;
    let small = change.is_some_and(|change| change.abs() < NOISE);
    let verdict = if overlap || small {
        "same"
    } else if (b.median < a.median) == less_is_better {
        "better"
    } else {
        "worse"
    };
    Row {
        scenario,
        figure: figure.to_owned(),
        a: a.median,
        b: b.median,
        change_percent: change.map(|change| (change * 10.0).round() / 10.0),
        verdict,
    }
}

impl Comparison {
    /// As a table for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let mut table = Table::new(["scenario", "figure", "A", "B", "change", "B is"]);
        for row in &self.rows {
            let change = row.change_percent.map(|change| format!("{change:+.1} %"));
            table.row([
                row.scenario.clone(),
                row.figure.clone(),
                format!("{:.2}", row.a),
                format!("{:.2}", row.b),
                change.unwrap_or_default(),
                row.verdict.to_owned(),
            ]);
        }
        let mut out = format!("A: {}\nB: {}\n\n{}", self.a, self.b, table.text());
        for scenario in &self.only_in_one {
            out.push_str(&format!("only in one of them: {scenario}\n"));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::example;

    #[test]
    fn differences_are_judged_by_their_spread() {
        let a = example();
        let mut b = example();
        for run in &mut b.runs {
            run.ttft_ms.p95 = 6.0;
        }
        b.runs[1].rps = 43.0;
        b.runs[0].scenario = "other".to_owned();
        let found = compare(&a, &b);
        let verdict = |figure: &str| {
            let row = found
                .rows
                .iter()
                .find(|row| row.figure == figure && row.scenario == "throughput x8");
            row.map(|row| (row.change_percent, row.verdict))
        };
        assert_eq!(verdict("ttftMs.p95"), Some((Some(100.0), "worse")));
        assert_eq!(verdict("rps").map(|(_, verdict)| verdict), Some("same"));
        assert_eq!(verdict("e2eMs.p95"), Some((Some(0.0), "same")));
        assert_eq!(found.only_in_one, ["throughput x1 (A)", "other x1 (B)"]);
        assert!(found.text().contains("+100.0 %"));
    }
}
