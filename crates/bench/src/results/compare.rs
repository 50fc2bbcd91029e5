//! Two documents side by side, or more: each against the first.

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
    /// The third document and those behind it, each against the first; there they are B.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<Self>,
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
    /// Lowest and highest of A's repetitions.
    pub a_range: (f64, f64),
    /// Lowest and highest of B's repetitions.
    pub b_range: (f64, f64),
    /// How many repetitions A and B have.
    pub repetitions: (usize, usize),
    /// By how much B is more than A, in hundredths; missing where A is 0.
    pub change_percent: Option<f64>,
    /// Where that lies with 95 % confidence; missing where A or B has fewer than three repetitions.
    pub change_interval: Option<(f64, f64)>,
    /// `better`, `worse`, or `same` where it is within 1 %, or may be chance.
    pub verdict: &'static str,
    /// Whether there were repetitions enough to tell a difference from chance.
    pub sure: bool,
}

/// Below so many hundredths nothing is concluded.
const NOISE: f64 = 1.0;
/// So many repetitions of each have an interval.
const ENOUGH: usize = 3;

/// Compares documents with the first.
///
/// # Errors
/// One has no scenario in common with the first, or there are fewer than two.
pub fn compare(documents: &[Results]) -> Result<Comparison, String> {
    let [a, b, more @ ..] = documents else {
        return Err("a comparison takes two results or more".to_owned());
    };
    let mut found = with(a, b, "B")?;
    for (letter, other) in ('C'..).zip(more) {
        found.more.push(with(a, other, &letter.to_string())?);
    }
    Ok(found)
}

fn with(a: &Results, b: &Results, letter: &str) -> Result<Comparison, String> {
    let mut rows = Vec::new();
    let mut only_in_one = Vec::new();
    let mut common = false;
    for run in firsts(&a.runs) {
        let of_b: Vec<&Run> = alike(&b.runs, run).collect();
        if of_b.is_empty() {
            only_in_one.push(format!("{} (A)", run.label()));
            continue;
        }
        common = true;
        let of_a: Vec<&Run> = alike(&a.runs, run).collect();
        for (name, figure, less_is_better) in FIGURES {
            let values = |runs: &[&Run]| runs.iter().map(|run| figure(run)).collect::<Vec<f64>>();
            rows.extend(row(
                run.label(),
                name,
                &values(&of_a),
                &values(&of_b),
                less_is_better,
            ));
        }
    }
    if !common {
        let labels = |runs: &[Run]| firsts(runs).map(Run::label).collect::<Vec<_>>().join(", ");
        return Err(format!(
            "A and {letter} have no scenario in common: A has {}; {letter} has {}",
            labels(&a.runs),
            labels(&b.runs)
        ));
    }
    for run in firsts(&b.runs).filter(|run| alike(&a.runs, run).next().is_none()) {
        only_in_one.push(format!("{} ({letter})", run.label()));
    }
    Ok(Comparison {
        schema_version: SCHEMA_VERSION,
        a: a.target.clone(),
        b: b.target.clone(),
        rows,
        only_in_one,
        more: Vec::new(),
    })
}

fn firsts(runs: &[Run]) -> impl Iterator<Item = &Run> {
    let first = move |(at, run): &(usize, &Run)| alike(&runs[..*at], run).next().is_none();
    runs.iter().enumerate().filter(first).map(|(_, run)| run)
}

fn row(
    scenario: String,
    figure: &str,
    of_a: &[f64],
    of_b: &[f64],
    less_is_better: bool,
) -> Option<Row> {
    let (a, b) = (
        Spread::of(of_a.iter().copied())?,
        Spread::of(of_b.iter().copied())?,
    );
    if a.median == 0.0 && b.median == 0.0 {
        return None;
    }
    let change = (a.median != 0.0).then(|| (b.median / a.median - 1.0) * 100.0);
    let sure = of_a.len().min(of_b.len()) >= ENOUGH;
    let difference = sure.then(|| difference(of_a, of_b));
    let chance = match difference {
        Some((low, high)) => low <= 0.0 && high >= 0.0,
        // One run has no spread, so touching ranges mean something only where one is wider than a point.
        None => (a.min < a.max || b.min < b.max) && a.min <= b.max && b.min <= a.max,
    };
    let small = change.is_some_and(|change| change.abs() < NOISE);
    let verdict = if chance || small {
        "same"
    } else if (b.median < a.median) == less_is_better {
        "better"
    } else {
        "worse"
    };
    let base = mean(of_a);
    let percent = |value: f64| (value / base * 1000.0).round() / 10.0;
    Some(Row {
        scenario,
        figure: figure.to_owned(),
        a: a.median,
        b: b.median,
        a_range: (a.min, a.max),
        b_range: (b.min, b.max),
        repetitions: (of_a.len(), of_b.len()),
        change_percent: change.map(|change| (change * 10.0).round() / 10.0),
        change_interval: difference
            .filter(|_| base > 0.0)
            .map(|(low, high)| (percent(low), percent(high))),
        verdict,
        sure,
    })
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Where the difference of the means lies with 95 % confidence, after Welch: neither side needs the other's spread.
fn difference(a: &[f64], b: &[f64]) -> (f64, f64) {
    // The variance of a mean.
    let spread = |values: &[f64]| {
        let (mean, count) = (mean(values), values.len() as f64);
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        squares / (count - 1.0) / count
    };
    let (of_a, of_b) = (spread(a), spread(b));
    let both = of_a + of_b;
    let middle = mean(b) - mean(a);
    if both <= 0.0 {
        return (middle, middle);
    }
    let share = |spread: f64, count: usize| spread.powi(2) / (count as f64 - 1.0);
    let freedom = both.powi(2) / (share(of_a, a.len()) + share(of_b, b.len()));
    let reach = student(freedom) * both.sqrt();
    (middle - reach, middle + reach)
}

/// What 95 % of Student's distribution lie within, on both sides, from one degree of freedom on.
const STUDENT: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];

/// The same for any degree; between two the wider, and beyond the table as at its end.
fn student(freedom: f64) -> f64 {
    let whole = (freedom.floor() as usize).clamp(1, STUDENT.len());
    STUDENT[whole - 1]
}

impl Comparison {
    /// As a table for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let others: Vec<(String, &Self)> = std::iter::once(self)
            .chain(&self.more)
            .zip('B'..)
            .map(|(one, letter)| (letter.to_string(), one))
            .collect();
        let mut headings = ["scenario", "figure", "A"].map(str::to_owned).to_vec();
        for (letter, _) in &others {
            headings.extend([
                letter.clone(),
                "change".to_owned(),
                "95 %".to_owned(),
                format!("{letter} is"),
            ]);
        }
        let mut table = Table::new(headings);
        let key = |row: &Row| (row.scenario.clone(), row.figure.clone());
        let mut keys = Vec::new();
        for row in others.iter().flat_map(|(_, one)| &one.rows) {
            if !keys.contains(&key(row)) {
                keys.push(key(row));
            }
        }
        let mut unsure = false;
        for wanted in keys {
            let found: Vec<Option<&Row>> = others
                .iter()
                .map(|(_, one)| one.rows.iter().find(|row| key(row) == wanted))
                .collect();
            let a = found.iter().flatten().next().map(|row| row.a);
            let mut cells = vec![
                wanted.0,
                wanted.1,
                a.map_or_else(String::new, |a| format!("{a:.2}")),
            ];
            for row in found {
                let Some(row) = row else {
                    cells.extend([const { String::new() }; 4]);
                    continue;
                };
                let doubt = !row.sure && row.verdict != "same";
                unsure |= doubt;
                cells.extend([
                    format!("{:.2}", row.b),
                    row.change_percent
                        .map_or_else(String::new, |change| format!("{change:+.1} %")),
                    row.change_interval
                        .map_or_else(String::new, |(low, high)| format!("{low:+.1}..{high:+.1}")),
                    format!("{}{}", row.verdict, if doubt { "?" } else { "" }),
                ]);
            }
            table.row(cells);
        }
        let mut out = format!("A: {}\n", self.a);
        for (letter, one) in &others {
            out.push_str(&format!("{letter}: {}\n", one.b));
        }
        out.push_str(&format!("\n{}", table.text()));
        if unsure {
            out.push_str(
                "?: fewer than three repetitions of either, so it may be chance; measure with --repeat 5\n",
            );
        }
        for (letter, one) in &others {
            for scenario in &one.only_in_one {
                let which = if self.more.is_empty() {
                    "them".to_owned()
                } else {
                    format!("A and {letter}")
                };
                out.push_str(&format!("only in one of {which}: {scenario}\n"));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
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
        let found = compare(&[a, b]).unwrap();
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

    /// The example's second scenario, five times over, with these figures.
    fn repeated(rps: [f64; 5]) -> Results {
        let mut results = example();
        let run = results.runs[1].clone();
        let runs = (1..).zip(rps).map(|(repetition, rps)| Run {
            repetition,
            rps,
            ..run.clone()
        });
        results.runs = runs.collect();
        results
    }

    #[test]
    fn repetitions_tell_a_difference_from_chance() {
        let a = repeated([100.0, 102.0, 98.0, 101.0, 99.0]);
        let verdict = |b: [f64; 5]| {
            let found = compare(&[a.clone(), repeated(b)]).unwrap();
            let row = found
                .rows
                .into_iter()
                .find(|row| row.figure == "rps")
                .unwrap();
            (row.verdict, row.sure, row.change_interval.unwrap())
        };
        // Ranges touch, and yet all of it has moved.
        let (told, sure, (low, high)) = verdict([104.0, 106.0, 102.0, 105.0, 103.0]);
        assert_eq!((told, sure), ("better", true));
        // Worked out by hand: 4 +- 2.306 * sqrt(0.5 + 0.5), of a mean of 100.
        assert_eq!((low, high), (1.7, 6.3));
        let (told, _, (low, high)) = verdict([104.0, 90.0, 115.0, 98.0, 113.0]);
        assert_eq!(told, "same");
        assert!(low < 0.0 && high > 0.0);
    }

    #[test]
    fn more_than_two_stand_against_the_first() {
        let a = repeated([100.0, 102.0, 98.0, 101.0, 99.0]);
        let half = repeated([50.0, 51.0, 49.0, 50.0, 50.0]);
        let found = compare(&[a.clone(), a.clone(), half]).unwrap();
        assert_eq!(
            (found.rows[0].verdict, found.more[0].rows[0].verdict),
            ("same", "worse")
        );
        let text = found.text();
        for words in ["C: http", "B is", "C is", "-50.0 %"] {
            assert!(text.contains(words), "{words}\n{text}");
        }
        let mut other = a.clone();
        other
            .runs
            .iter_mut()
            .for_each(|run| run.scenario = "sweep".to_owned());
        let told = compare(&[a.clone(), a, other]).unwrap_err();
        assert_eq!(
            told,
            "A and C have no scenario in common: A has throughput x8; C has sweep x8"
        );
    }

    #[test]
    fn single_runs_leave_a_doubt() {
        let a = example();
        let mut b = example();
        b.runs[0].rps = 20.0;
        let text = compare(&[a, b]).unwrap().text();
        assert!(
            text.contains("better?") && text.contains("--repeat"),
            "{text}"
        );
    }
}
