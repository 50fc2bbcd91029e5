//! Plots as SVG text, and the tables of what they show.

use std::fmt::Write as _;

/// A line and its name.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// A plot: lines over an axis, or bars by name where `bars` is set.
pub(crate) struct Plot {
    pub(crate) id: String,
    pub(crate) title: &'static str,
    pub(crate) x: &'static str,
    pub(crate) y: &'static str,
    pub(crate) lines: Vec<Line>,
    /// Whether the x axis is logarithmic.
    pub(crate) log: bool,
    /// Names of bars; each line then holds a height for each, at x = its number.
    pub(crate) bars: Vec<String>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 46.0;

/// Colours that people with every kind of sight tell apart, on white and on black.
pub(crate) const COLOURS: [&str; 8] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#56b4e9", "#7a5195", "#6b7580",
];

impl Plot {
    /// The figure: SVG, legend and table.
    pub(crate) fn html(&self) -> String {
        let mut out = format!(
            "<figure id=\"{}\"><figcaption>{}</figcaption>\n",
            self.id,
            escaped(self.title)
        );
        if self.lines.iter().all(|line| line.points.is_empty()) {
            out.push_str("<p>Nothing was measured.</p></figure>\n");
            return out;
        }
        out.push_str(&self.svg());
        out.push_str("<ul class=\"legend\">");
        for (number, line) in self.lines.iter().enumerate() {
            let _ = write!(
                out,
                "<li><i style=\"background:{}\"></i>{}</li>",
                COLOURS[number % COLOURS.len()],
                escaped(&line.name)
            );
        }
        out.push_str("</ul>\n");
        out.push_str(&self.table());
        out.push_str("</figure>\n");
        out
    }

    fn bounds(&self) -> (f64, f64, f64) {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let low = points().map(|p| p.0).fold(f64::INFINITY, f64::min);
        let high = points().map(|p| p.0).fold(f64::NEG_INFINITY, f64::max);
        let top = points().map(|p| p.1).fold(0.0, f64::max);
        let (low, high) = if !self.bars.is_empty() {
            (-0.5, self.bars.len() as f64 - 0.5)
        } else if self.log {
            (low.max(1e-3), high.max(low.max(1e-3) * 1.01))
        } else {
            (
                0.0f64.min(low),
                if high > low.min(0.0) { high } else { low + 1.0 },
            )
        };
        (low, high, if top > 0.0 { top * 1.05 } else { 1.0 })
    }

    fn svg(&self) -> String {
        let (low, high, top) = self.bounds();
        let across = |x: f64| {
            let share = if self.log {
                (x.max(low) / low).ln() / (high / low).ln()
            } else {
                (x - low) / (high - low)
            };
            LEFT + share * (WIDTH - LEFT - RIGHT)
        };
        let up = |y: f64| HEIGHT - BOTTOM - y / top * (HEIGHT - TOP - BOTTOM);
        let mut out = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
            escaped(self.title)
        );
        for step in 0..=4 {
            let value = top * f64::from(step) / 4.0;
            let y = up(value);
            let _ = writeln!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{}\" y2=\"{y:.1}\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                y + 4.0,
                number(value)
            );
        }
        let below = HEIGHT - BOTTOM + 16.0;
        if self.bars.is_empty() {
            for step in 0..=4 {
                let share = f64::from(step) / 4.0;
                let value = if self.log {
                    low * (high / low).powf(share)
                } else {
                    low + (high - low) * share
                };
                let _ = writeln!(
                    out,
                    "<text x=\"{:.1}\" y=\"{below}\" text-anchor=\"middle\">{}</text>",
                    across(value),
                    number(value)
                );
            }
        }
        for (at, name) in self.bars.iter().enumerate() {
            let shown: String = name.chars().take(24).collect();
            let _ = writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{below}\" text-anchor=\"middle\">{}</text>",
                across(at as f64),
                escaped(&shown)
            );
        }
        let middle = (LEFT + WIDTH - RIGHT) / 2.0;
        let _ = writeln!(
            out,
            "<text class=\"axis\" x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text><text class=\"axis\" transform=\"translate(14 {}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            HEIGHT - 8.0,
            escaped(self.x),
            (TOP + HEIGHT - BOTTOM) / 2.0,
            escaped(self.y)
        );
        for (at, line) in self.lines.iter().enumerate() {
            let colour = COLOURS[at % COLOURS.len()];
            if self.bars.is_empty() {
                draw_line(&mut out, line, colour, &across, &up);
            } else {
                let room = across(1.0) - across(0.0);
                let wide = room * 0.8 / self.lines.len() as f64;
                for (x, y) in &line.points {
                    let left = across(*x) - room * 0.4 + wide * at as f64;
                    let _ = writeln!(
                        out,
                        "<rect class=\"ink\" fill=\"{colour}\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{wide:.1}\" height=\"{:.1}\"/>",
                        up(*y),
                        up(0.0) - up(*y)
                    );
                }
            }
        }
        out.push_str("</svg>\n");
        out
    }

    fn table(&self) -> String {
        let mut out = format!(
            "<details><summary>Data</summary><table data-plot=\"{}\"><thead><tr><th>series</th><th>{}</th><th>{}</th></tr></thead><tbody>\n",
            self.id,
            escaped(self.x),
            escaped(self.y)
        );
        for line in &self.lines {
            for (x, y) in &line.points {
                let x = match self.bars.get(*x as usize) {
                    Some(name) => escaped(name),
                    None => x.to_string(),
                };
                let _ = writeln!(
                    out,
                    "<tr><td>{}</td><td>{x}</td><td>{y}</td></tr>",
                    escaped(&line.name)
                );
            }
        }
        out.push_str("</tbody></table></details>\n");
        out
    }
}

fn draw_line(
    out: &mut String,
    line: &Line,
    colour: &str,
    across: &dyn Fn(f64) -> f64,
    up: &dyn Fn(f64) -> f64,
) {
    let points: Vec<String> = line
        .points
        .iter()
        .map(|(x, y)| format!("{:.1},{:.1}", across(*x), up(*y)))
        .collect();
    let _ = writeln!(
        out,
        "<polyline class=\"ink\" stroke=\"{colour}\" points=\"{}\"/>",
        points.join(" ")
    );
    for (x, y) in &line.points {
        let _ = writeln!(
            out,
            "<circle fill=\"{colour}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.5\"/>",
            across(*x),
            up(*y)
        );
    }
}

pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}
