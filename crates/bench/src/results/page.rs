//! Results as one HTML page that needs nothing else: plots as SVG, each with its numbers, and the whole document.

use crate::results::plot::{Line, Plot, escaped};
use crate::results::text::{millis, text};
use crate::results::{Results, Run};

/// The page.
#[must_use]
pub fn page(results: &Results) -> String {
    let plots: String = plots(results).iter().map(Plot::html).collect();
    let document = serde_json::to_string(results).unwrap_or_else(|_| "null".to_owned());
    let partial = results.runs.iter().filter_map(|run| {
        let why = run.partial.as_ref()?;
        Some(format!(
            "<p class=\"partial\">{} is partial, {} s: {}</p>\n",
            escaped(&run.label()),
            millis(run.seconds),
            escaped(why)
        ))
    });
    let title = format!("Benchmark of {}", results.target);
    let body = format!(
        "<h1>{}</h1>\n{}{plots}<h2>Figures</h2>\n<pre>{}</pre>",
        escaped(&title),
        partial.collect::<String>(),
        escaped(&text(results)),
    );
    shell(&title, &body, &document)
}

/// A page around `body`, with the document inside.
pub(crate) fn shell(title: &str, body: &str, document: &str) -> String {
    // Inside a script nothing may look like its end.
    let document = document.replace('<', "\\u003c");
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <link rel=\"icon\" href=\"data:,\">\n\
         <title>{}</title>\n<style>{STYLE}</style></head>\n<body><main>\n{body}\n</main>\n\
         <script type=\"application/json\" id=\"results\">{document}</script>\n</body></html>\n",
        escaped(title),
    )
}

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1f24;--paper:#fff;--grid:#d5dae0}\
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ed;--paper:#14181d;--grid:#3a424b}}\
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.45 system-ui,sans-serif}\
main{max-width:60rem;margin:0 auto;padding:1rem}\
figure{margin:2rem 0}figcaption{font-weight:600}svg{width:100%;height:auto;max-width:45rem}\
svg text{font-size:12px;fill:var(--ink)}.grid{stroke:var(--grid)}polyline.ink{fill:none;stroke-width:2}\
.legend{list-style:none;padding:0;margin:.3rem 0;display:flex;flex-wrap:wrap;gap:.2rem 1rem}\
.legend i{display:inline-block;width:.8em;height:.8em;margin-right:.4em}\
table{border-collapse:collapse}td,th{text-align:left;padding:.1rem .8rem .1rem 0;font-variant-numeric:tabular-nums}\
pre{overflow-x:auto}.partial{border-left:.3rem solid #d55e00;padding-left:.6rem}";

fn name(run: &Run) -> String {
    if run.repetition > 1 {
        format!("{} run {}", run.label(), run.repetition)
    } else {
        run.label()
    }
}

fn lines(results: &Results, points: impl Fn(&Run) -> Vec<(f64, f64)>) -> Vec<Line> {
    let line = |run: &Run| Line {
        name: name(run),
        points: points(run),
    };
    results.runs.iter().map(line).collect()
}

fn plots(results: &Results) -> Vec<Plot> {
    let plot = |id: &str, title, x, y, lines| Plot {
        id: id.to_owned(),
        title,
        x,
        y,
        lines,
        log: false,
        bars: Vec::new(),
    };
    let mut cdf = plot(
        "ttft-cdf",
        "Time to the first token: share of requests within it",
        "ms",
        "share",
        lines(results, |run| run.plots.ttft_curve.clone()),
    );
    cdf.log = true;
    let mut e2e = plot(
        "e2e-cdf",
        "Time to the end of the answer: share of requests within it",
        "ms",
        "share",
        lines(results, |run| run.plots.e2e_curve.clone()),
    );
    e2e.log = true;
    let over_time = plot(
        "ttft-over-time",
        "Time to the first token over time, 95 of 100 requests within it",
        "s",
        "ms",
        lines(results, |run| {
            run.plots
                .ttft_over_time
                .iter()
                .map(|(s, _, p95)| (*s, *p95))
                .collect()
        }),
    );
    let mut all = vec![cdf, e2e, over_time, endpoints(results)];
    // A sweep has no concurrency to draw over.
    if results.runs.iter().any(|run| run.concurrency.is_some()) {
        all.push(plot(
            "throughput",
            "Throughput by concurrency",
            "requests in flight",
            "requests per second",
            by_concurrency(results),
        ));
    }
    let usage = |figure: fn(&(f64, f64, f64)) -> f64| {
        let mut lines = Vec::new();
        for run in &results.runs {
            for usage in &run.resources {
                lines.push(Line {
                    name: format!("{}: {}", name(run), usage.name),
                    points: usage
                        .series
                        .iter()
                        .map(|point| (point.0, figure(point)))
                        .collect(),
                });
            }
        }
        lines
    };
    if results.runs.iter().any(|run| !run.resources.is_empty()) {
        all.push(plot(
            "cpu",
            "CPU of the watched processes",
            "s",
            "cores",
            usage(|point| point.1),
        ));
        all.push(plot(
            "memory",
            "Memory of the watched processes",
            "s",
            "MB",
            usage(|point| point.2),
        ));
    }
    all
}

fn endpoints(results: &Results) -> Plot {
    let mut names: Vec<String> = results
        .runs
        .iter()
        .flat_map(|run| run.per_endpoint.keys().cloned())
        .collect();
    names.sort();
    names.dedup();
    let lines = lines(results, |run| {
        let heights = names.iter().enumerate().map(|(at, name)| {
            let count = run.per_endpoint.get(name).copied().unwrap_or(0);
            (at as f64, count as f64)
        });
        heights.collect()
    });
    Plot {
        id: "endpoints".to_owned(),
        title: "Answers by endpoint",
        x: "endpoint",
        y: "answers",
        lines,
        log: false,
        bars: names,
    }
}

/// One line per scenario and repetition, a point for each level.
fn by_concurrency(results: &Results) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for run in &results.runs {
        let Some(concurrency) = run.concurrency else {
            continue;
        };
        let name = match run.repetition {
            1 => run.scenario.clone(),
            n => format!("{} run {n}", run.scenario),
        };
        let point = (concurrency as f64, run.rps);
        match lines.iter_mut().find(|line| line.name == name) {
            Some(line) => line.points.push(point),
            None => lines.push(Line {
                name,
                points: vec![point],
            }),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::example;

    #[test]
    fn names_cannot_break_out_of_the_page() {
        let mut results = example();
        results.target = "</script><script>alert(1)</script>".to_owned();
        results.runs[0].partial = Some("<b>".to_owned());
        let page = page(&results);
        assert_eq!(page.matches("</script>").count(), 1);
        assert!(!page.contains("<b>") && !page.contains("<i>") && page.contains("b&lt;i&gt;"));
        for id in [
            "ttft-cdf",
            "e2e-cdf",
            "ttft-over-time",
            "endpoints",
            "throughput",
            "cpu",
            "memory",
        ] {
            assert!(page.contains(&format!("<figure id=\"{id}\">")), "{id}");
            assert!(page.contains(&format!("data-plot=\"{id}\"")), "{id}");
        }
    }
}
