//! Samples set beside one another: medians with their range, ratios within a round, goals, and tables of them.

use std::fmt;

use serde::Serialize;

use crate::rounds::Sample;

/// A median and the range it was taken from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The middle value; of an even number of values the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// The spread of some values; `None` of none. Values that are not numbers are left out.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values
            .into_iter()
            .filter(|value| value.is_finite())
            .collect();
        values.sort_unstable_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let (low, high) = ((values.len() - 1) / 2, values.len() / 2);
        Some(Self {
            median: f64::midpoint(values[low], values[high]),
            min,
            max,
        })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, min, max } = *self;
        if min == max {
            return out.write_str(&short(median));
        }
        write!(out, "{} [{}..{}]", short(median), short(min), short(max))
    }
}

/// A number with as many digits as it deserves.
#[must_use]
pub fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The samples of one run.
#[derive(Debug, Clone, Copy)]
pub struct Samples<'a>(pub &'a [Sample]);

impl<'a> Samples<'a> {
    fn of(self, scenario: &'a str, peer: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.0
            .iter()
            .filter(move |sample| sample.scenario == scenario && sample.peer == peer)
    }

    /// A figure of one peer under one scenario over all rounds.
    pub fn figure(
        self,
        scenario: &'a str,
        peer: &'a str,
        figure: impl Fn(&Sample) -> Option<f64>,
    ) -> Option<Spread> {
        Spread::of(self.of(scenario, peer).filter_map(figure))
    }

    /// A figure of `peer` set against the same figure of `other` in the same round, by `join`: their ratio, their
    /// difference. The median is that of the joined values, not a join of medians.
    pub fn against(
        self,
        scenario: &'a str,
        peer: &'a str,
        other: &'a str,
        figure: impl Fn(&Sample) -> Option<f64>,
        join: impl Fn(f64, f64) -> f64,
    ) -> Option<Spread> {
        let joined = self.of(scenario, peer).filter_map(|mine| {
            let theirs = self
                .of(scenario, other)
                .find(|theirs| theirs.round == mine.round)?;
            Some(join(figure(mine)?, figure(theirs)?))
        });
        Spread::of(joined)
    }

    /// [`Samples::against`] as a ratio.
    pub fn ratio(
        self,
        scenario: &'a str,
        peer: &'a str,
        other: &'a str,
        figure: impl Fn(&Sample) -> Option<f64>,
    ) -> Option<Spread> {
        self.against(scenario, peer, other, figure, |mine, theirs| mine / theirs)
    }
}

/// A goal and what was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Goal {
    /// What is measured, with its unit.
    pub what: String,
    /// It may be at most this.
    pub at_most: f64,
    /// What was found; `None` when there is no figure, which misses the goal.
    pub found: Option<Spread>,
}

impl Goal {
    /// Whether the median keeps to the limit.
    #[must_use]
    pub fn met(&self) -> bool {
        self.found.is_some_and(|found| found.median <= self.at_most)
    }
}

/// A table of goals.
#[must_use]
pub fn goal_table(goals: &[Goal]) -> Table {
    let mut table = Table::new(["goal", "at most", "found", ""]);
    for goal in goals {
        let found = goal
            .found
            .map_or_else(|| "no figure".to_owned(), |found| found.to_string());
        let verdict = match goal.found {
            None => "not measured",
            Some(_) if goal.met() => "met",
            Some(_) => "missed",
        };
        table.row([
            goal.what.clone(),
            short(goal.at_most),
            found,
            verdict.to_owned(),
        ]);
    }
    table
}

/// Rows of text under headings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    headings: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new<S: Into<String>>(headings: impl IntoIterator<Item = S>) -> Self {
        Self {
            headings: headings.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; cells that are missing are empty, those beyond the headings are dropped.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let mut row: Vec<String> = cells.into_iter().map(Into::into).collect();
        row.resize(self.headings.len(), String::new());
        self.rows.push(row);
    }

    /// Columns padded with spaces, for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        self.lines("", "  ", "")
    }

    /// A markdown table, padded as well, so that it can be read and diffed as text.
    #[must_use]
    pub fn markdown(&self) -> String {
        self.lines("| ", " | ", " |")
    }

    fn lines(&self, start: &str, between: &str, end: &str) -> String {
        let widths: Vec<usize> = (0..self.headings.len())
            .map(|column| {
                let rows = self.rows.iter().map(|row| row[column].chars().count());
                rows.fold(self.headings[column].chars().count(), usize::max)
            })
            .collect();
        let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
        let mut out = String::new();
        for row in [&self.headings, &rule].into_iter().chain(&self.rows) {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:width$}", width = *width))
                .collect();
            let line = format!("{start}{}{end}", cells.join(between));
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::load::Outcome;
    use crate::resources::Spent;

    fn sample(round: usize, peer: &str, cpu_nanos: u64, answers: u64) -> Sample {
        Sample {
            round,
            scenario: "s".to_owned(),
            peer: peer.to_owned(),
            outcome: Outcome {
                answers,
                tokens: answers * 10,
                ..Outcome::default()
            },
            spent: Some(Spent {
                cpu_nanos,
                ..Spent::default()
            }),
            idle_mib: None,
            load_nanos: 0,
            foreign_cores: 0.0,
        }
    }

    #[test]
    fn medians_are_those_of_the_middle() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([f64::NAN]), None);
        let odd = Spread::of([3.0, 1.0, 10.0]).unwrap();
        assert_eq!((odd.median, odd.min, odd.max), (3.0, 1.0, 10.0));
        assert_eq!(Spread::of([1.0, 4.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert_eq!(odd.to_string(), "3.00 [1.00..10.0]");
        assert_eq!(Spread::of([250.0]).unwrap().to_string(), "250");
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The machine is ten times slower in round 1: both figures jump, their ratio does not.
        let samples = [
            sample(0, "ours", 30_000, 2),
            sample(0, "base", 10_000, 1),
            sample(1, "ours", 150_000, 1),
            sample(1, "base", 100_000, 1),
            sample(2, "ours", 16_000, 1),
        ];
        let samples = Samples(&samples);
        let ratio = samples
            .ratio("s", "ours", "base", Sample::cpu_per_answer)
            .unwrap();
        assert_eq!((ratio.median, ratio.min, ratio.max), (1.5, 1.5, 1.5));
        let cpu = samples.figure("s", "ours", Sample::cpu_per_answer).unwrap();
        assert_eq!((cpu.median, cpu.min, cpu.max), (16.0, 15.0, 150.0));
        let token = samples.figure("s", "base", Sample::cpu_per_token).unwrap();
        assert_eq!(token.min, 1.0);
        assert_eq!(samples.figure("s", "nobody", Sample::cpu_per_answer), None);
        assert_eq!(sample(0, "x", 5, 0).cpu_per_answer(), None);
    }

    #[test]
    fn a_goal_without_a_figure_is_missed() {
        let goal = |found| Goal {
            what: String::from("x"),
            at_most: 1.5,
            found,
        };
        assert!(goal(Spread::of([1.5])).met());
        assert!(!goal(Spread::of([1.51])).met());
        assert!(!goal(None).met());
        let text = goal_table(&[goal(None)]).text();
        assert!(
            text.ends_with("x     1.50     no figure  not measured\n"),
            "{text}"
        );
    }

    #[test]
    fn tables_are_aligned() {
        let mut table = Table::new(["peer", "µs"]);
        table.row(["direct", "1"]);
        table.row(["a"]);
        assert_eq!(table.text(), "peer    µs\n------  --\ndirect  1\na\n");
        assert_eq!(
            table.markdown(),
            "| peer   | µs |\n| ------ | -- |\n| direct | 1  |\n| a      |    |\n"
        );
    }
}
