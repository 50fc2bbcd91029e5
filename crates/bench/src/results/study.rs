//! What a comparison of policies in virtual time found: the document of a benchmark with, beside it, one cell for each
//! traffic, load and policy; as a table, a page and a picture.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::report::Table;
use crate::results::page::shell;
use crate::results::pareto::{Point, standalone, svg};
use crate::results::plot::{Line, Plot, escaped};
use crate::results::text::millis;
use crate::results::{Results, Times};

/// The document: everything that a benchmark's has, and more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Study {
    /// The runs, one for each cell and seed.
    #[serde(flatten)]
    pub results: Results,
    /// What stood behind the router.
    pub fleet: Vec<String>,
    /// What went wrong on purpose.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
    /// What the axes of the pictures are: names out of [`AXES`].
    pub axes: (String, String),
    /// One for each traffic, load and policy, in this order.
    pub cells: Vec<Cell>,
}

/// What one policy came to under one load, over all seeds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cell {
    /// The traffic and its load, as in headings.
    pub traffic: String,
    /// The policy.
    pub policy: String,
    /// Requests per second that came.
    pub rate: f64,
    /// Requests that came, in all runs.
    pub requests: u64,
    /// Whole answers.
    pub served: u64,
    /// Requests that were not answered whole, by kind.
    pub errors: BTreeMap<String, u64>,
    /// Attempts that failed and were made up for or not.
    pub failed_attempts: u64,
    /// Whole answers per second.
    pub rps: f64,
    /// Time to first token.
    pub ttft_ms: Times,
    /// Lowest and highest 95 of 100 among the seeds.
    pub ttft_p95_range_ms: (f64, f64),
    /// Time per token behind the first.
    pub tpot_ms: Times,
    /// Time to the end.
    pub e2e_ms: Times,
    /// Share of prompt tokens that an engine had cached.
    pub cached: f64,
    /// Share of requests whose first token came within half a second.
    pub within_half_second: f64,
    /// Place among the policies under this load, by [`Cell::score`].
    pub rank: usize,
    /// Whether no other policy under this load is better on one axis and at least as good on the other.
    pub on_front: bool,
    /// Whole answers by endpoint.
    pub per_endpoint: BTreeMap<String, u64>,
    /// Milliseconds and the share of answers whose first token came within them.
    pub ttft_curve: Vec<(f64, f64)>,
    /// Second, median and 95 of 100 of the time to first token of requests of that time, of the first seed.
    pub ttft_over_time: Vec<(f64, f64, f64)>,
}

/// A figure that can be an axis: its name, what it is called on the axis, how it is read, whether less is better.
pub type Axis = (&'static str, &'static str, fn(&Cell) -> f64, bool);

/// The figures that can be axes.
pub const AXES: [Axis; 9] = [
    ("ttft.p50", "TTFT p50, ms", |cell| cell.ttft_ms.p50, true),
    ("ttft.p95", "TTFT p95, ms", |cell| cell.ttft_ms.p95, true),
    ("ttft.p99", "TTFT p99, ms", |cell| cell.ttft_ms.p99, true),
    ("ttft.mean", "TTFT mean, ms", |cell| cell.ttft_ms.mean, true),
    (
        "tpot.p95",
        "time per token p95, ms",
        |cell| cell.tpot_ms.p95,
        true,
    ),
    (
        "e2e.p95",
        "end to end p95, ms",
        |cell| cell.e2e_ms.p95,
        true,
    ),
    ("rps", "answers per second", |cell| cell.rps, false),
    (
        "cached",
        "share of prompt tokens cached",
        |cell| cell.cached,
        false,
    ),
    (
        "soon",
        "share of first tokens within 0.5 s",
        |cell| cell.within_half_second,
        false,
    ),
];

/// The axis of this name.
#[must_use]
pub fn axis(name: &str) -> Option<&'static Axis> {
    AXES.iter().find(|axis| axis.0 == name)
}

impl Cell {
    /// What policies are ranked by, less being better: the time to first token that 95 of 100 requests do not exceed,
    /// where a request without a whole answer counts as one that never gets there.
    #[must_use]
    pub fn score(&self) -> (u64, f64) {
        let lost = self.requests - self.served.min(self.requests);
        // Losses of less than a hundredth are left to the times, which they hardly move.
        let lost = lost * 100 / self.requests.max(1);
        (lost, self.ttft_ms.p95)
    }
}

impl Study {
    /// Ranks the policies under each load and finds the front, on the axes of the study.
    pub fn settle(&mut self) {
        let (Some(x), Some(y)) = (axis(&self.axes.0), axis(&self.axes.1)) else {
            return;
        };
        for at in 0..self.cells.len() {
            let cell = &self.cells[at];
            let rivals = || {
                let same = |other: &&Cell| other.traffic == cell.traffic;
                self.cells.iter().filter(same)
            };
            let (lost, p95) = cell.score();
            let better = |other: &Cell| {
                let (theirs, time) = other.score();
                theirs < lost || (theirs == lost && time < p95)
            };
            let rank = 1 + rivals().filter(|other| better(other)).count();
            let on_front = !rivals().any(|other| beats(other, cell, x, y));
            let cell = &mut self.cells[at];
            (cell.rank, cell.on_front) = (rank, on_front);
        }
    }

    /// The headings, each once, in order.
    fn traffics(&self) -> Vec<&str> {
        let mut found: Vec<&str> = Vec::new();
        for cell in &self.cells {
            if !found.contains(&cell.traffic.as_str()) {
                found.push(&cell.traffic);
            }
        }
        found
    }

    fn under<'a>(&'a self, traffic: &'a str) -> impl Iterator<Item = &'a Cell> {
        self.cells
            .iter()
            .filter(move |cell| cell.traffic == traffic)
    }

    fn table(&self) -> Table {
        let mut table = Table::new([
            "traffic",
            "policy",
            "rank",
            "TTFT mean",
            "p50",
            "p95",
            "p95 of seeds",
            "p99",
            "E2E p95",
            "ans/s",
            "cached",
            "< 0.5 s",
            "not served",
            "front",
        ]);
        for cell in &self.cells {
            let (low, high) = cell.ttft_p95_range_ms;
            table.row([
                cell.traffic.clone(),
                cell.policy.clone(),
                cell.rank.to_string(),
                millis(cell.ttft_ms.mean),
                millis(cell.ttft_ms.p50),
                millis(cell.ttft_ms.p95),
                format!("{}..{}", millis(low), millis(high)),
                millis(cell.ttft_ms.p99),
                millis(cell.e2e_ms.p95),
                format!("{:.2}", cell.rps),
                format!("{:.1} %", cell.cached * 100.0),
                format!("{:.1} %", cell.within_half_second * 100.0),
                (cell.requests - cell.served.min(cell.requests)).to_string(),
                if cell.on_front { "*" } else { "" }.to_owned(),
            ]);
        }
        table
    }

    /// As a table for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = format!("{}\n", self.fleet.join("\n"));
        for fault in &self.faults {
            let _ = writeln!(out, "{fault}");
        }
        let _ = write!(out, "\n{}", self.table().text());
        let _ = writeln!(
            out,
            "Times in milliseconds. * no other policy is better in one of {} and {} and as good in the other.",
            self.axes.0, self.axes.1
        );
        for cell in self.cells.iter().filter(|cell| !cell.errors.is_empty()) {
            let kinds = cell.errors.iter().map(|(kind, n)| format!("{n} x {kind}"));
            let kinds: Vec<String> = kinds.collect();
            let _ = writeln!(
                out,
                "{}, {}: {}",
                cell.traffic,
                cell.policy,
                kinds.join(", ")
            );
        }
        out
    }

    /// The table in Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        self.table().markdown()
    }

    /// One page that needs nothing else.
    #[must_use]
    pub fn page(&self) -> String {
        let title = format!("Policies on {}", self.results.target);
        let mut body = format!("<h1>{}</h1>\n<ul>", escaped(&title));
        for line in self.fleet.iter().chain(&self.faults) {
            let _ = write!(body, "<li>{}</li>", escaped(line));
        }
        body.push_str("</ul>\n");
        for (number, traffic) in (1..).zip(self.traffics()) {
            let _ = writeln!(body, "<h2>{}</h2>", escaped(traffic));
            body.push_str(&self.front(number, traffic));
            for plot in self.plots(number, traffic) {
                body.push_str(&plot.html());
            }
        }
        let _ = write!(
            body,
            "<h2>Figures</h2>\n<pre>{}</pre>",
            escaped(&self.text())
        );
        let document = serde_json::to_string(self).unwrap_or_else(|_| "null".to_owned());
        shell(&title, &body, &document)
    }

    /// The front as a figure with its numbers.
    fn front(&self, number: usize, traffic: &str) -> String {
        let (points, x, y) = self.points(traffic);
        let id = format!("front-{number}");
        let mut out = format!(
            "<figure id=\"{id}\"><figcaption>{} against {}; ringed: no other policy is better in both</figcaption>\n{}",
            escaped(y),
            escaped(x),
            svg(&points, x, y, traffic)
        );
        let _ = writeln!(
            out,
            "<details><summary>Data</summary><table data-plot=\"{id}\"><thead><tr><th>series</th><th>{}</th><th>{}</th></tr></thead><tbody>",
            escaped(x),
            escaped(y)
        );
        for point in &points {
            let _ = writeln!(
                out,
                "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
                escaped(&point.name),
                point.x,
                point.y
            );
        }
        out.push_str("</tbody></table></details></figure>\n");
        out
    }

    fn points(&self, traffic: &str) -> (Vec<Point>, &'static str, &'static str) {
        let (x, y) = (axis(&self.axes.0), axis(&self.axes.1));
        let (x, y) = (x.unwrap_or(&AXES[1]), y.unwrap_or(&AXES[7]));
        let point = |cell: &Cell| Point {
            name: cell.policy.clone(),
            x: x.2(cell),
            y: y.2(cell),
            on_front: cell.on_front,
        };
        (self.under(traffic).map(point).collect(), x.1, y.1)
    }

    fn plots(&self, number: usize, traffic: &str) -> Vec<Plot> {
        let lines = |points: &dyn Fn(&Cell) -> Vec<(f64, f64)>| {
            let line = |cell: &Cell| Line {
                name: cell.policy.clone(),
                points: points(cell),
            };
            self.under(traffic).map(line).collect()
        };
        let mut names: Vec<String> = Vec::new();
        for cell in self.under(traffic) {
            names.extend(cell.per_endpoint.keys().cloned());
        }
        names.sort();
        names.dedup();
        let mut plots = vec![
            Plot {
                id: format!("ttft-cdf-{number}"),
                title: "Time to the first token: share of requests within it",
                x: "ms",
                y: "share",
                lines: lines(&|cell| cell.ttft_curve.clone()),
                log: true,
                bars: Vec::new(),
            },
            Plot {
                id: format!("ttft-over-time-{number}"),
                title: "Time to the first token over time, 95 of 100 requests within it",
                x: "s",
                y: "ms",
                lines: lines(&|cell| {
                    let over_time = cell.ttft_over_time.iter();
                    over_time.map(|(second, _, p95)| (*second, *p95)).collect()
                }),
                log: false,
                bars: Vec::new(),
            },
        ];
        if names.len() <= MOST_BARS {
            let heights = |cell: &Cell| {
                let height = |(at, name): (usize, &String)| {
                    let count = cell.per_endpoint.get(name).copied().unwrap_or(0);
                    (at as f64, count as f64)
                };
                names.iter().enumerate().map(height).collect()
            };
            plots.push(Plot {
                id: format!("endpoints-{number}"),
                title: "Answers by endpoint",
                x: "endpoint",
                y: "answers",
                lines: lines(&heights),
                log: false,
                bars: names.clone(),
            });
        }
        plots
    }

    /// The fronts as pictures by themselves: the heading and the text of an SVG file.
    #[must_use]
    pub fn pictures(&self) -> Vec<(String, String)> {
        let picture = |traffic: &str| {
            let (points, x, y) = self.points(traffic);
            (traffic.to_owned(), standalone(&points, x, y, traffic))
        };
        self.traffics().into_iter().map(picture).collect()
    }
}

/// Endpoints that a picture has bars for.
const MOST_BARS: usize = 32;

/// Whether `one` is better than `other` on one axis and at least as good on the other.
fn beats(one: &Cell, other: &Cell, x: &Axis, y: &Axis) -> bool {
    let gains = |axis: &Axis| {
        let (a, b) = (axis.2(one), axis.2(other));
        if axis.3 { b - a } else { a - b }
    };
    let (x, y) = (gains(x), gains(y));
    x >= 0.0 && y >= 0.0 && (x > 0.0 || y > 0.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::results::example;

    fn cell(policy: &str, p95: f64, cached: f64, served: u64) -> Cell {
        Cell {
            traffic: "shared <80 %>".to_owned(),
            policy: policy.to_owned(),
            requests: 1_000,
            served,
            cached,
            ttft_ms: Times {
                p95,
                ..Times::default()
            },
            ttft_curve: vec![(1.0, 0.5), (p95, 1.0)],
            ttft_over_time: vec![(0.5, 1.0, p95)],
            per_endpoint: BTreeMap::from([("engine-0".to_owned(), served)]),
            ..Cell::default()
        }
    }

    fn study() -> Study {
        let mut study = Study {
            results: example(),
            fleet: vec!["8 engines".to_owned()],
            faults: Vec::new(),
            axes: ("ttft.p95".to_owned(), "cached".to_owned()),
            cells: vec![
                cell("a", 100.0, 0.5, 1_000),
                cell("b", 200.0, 0.9, 1_000),
                cell("c", 250.0, 0.5, 1_000),
                cell("lossy", 50.0, 0.1, 900),
            ],
        };
        study.settle();
        study
    }

    #[test]
    fn ranks_follow_the_times_unless_requests_are_lost() {
        let ranks: Vec<usize> = study().cells.iter().map(|cell| cell.rank).collect();
        assert_eq!(ranks, [1, 2, 3, 4]);
    }

    #[test]
    fn only_what_nobody_beats_is_on_the_front() {
        let front: Vec<bool> = study().cells.iter().map(|cell| cell.on_front).collect();
        assert_eq!(front, [true, true, false, true]);
    }

    #[test]
    fn the_document_is_that_of_a_benchmark_and_survives_being_written() {
        let study = study();
        let text = serde_json::to_string(&study).unwrap();
        assert_eq!(serde_json::from_str::<Study>(&text).unwrap(), study);
        assert_eq!(
            serde_json::from_str::<Results>(&text).unwrap(),
            study.results
        );
    }

    #[test]
    fn every_form_tells_every_policy_and_nothing_breaks_out_of_the_page() {
        let study = study();
        let page = study.page();
        assert_eq!(page.matches("</script>").count(), 1);
        assert!(!page.contains("shared <80") && page.contains("shared &lt;80 %&gt;"));
        for id in ["front-1", "ttft-cdf-1", "ttft-over-time-1", "endpoints-1"] {
            assert!(page.contains(&format!("<figure id=\"{id}\">")), "{id}");
            assert!(page.contains(&format!("data-plot=\"{id}\"")), "{id}");
        }
        let (_, picture) = &study.pictures()[0];
        for form in [study.text(), study.markdown(), page, picture.clone()] {
            assert!(form.contains("lossy"), "{form}");
        }
        assert!(picture.starts_with("<svg xmlns="));
    }
}
