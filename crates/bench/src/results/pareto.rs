//! A picture of trade-offs: one point for each policy, those that nobody beats ringed and joined by a line.

use std::fmt::Write as _;

use crate::results::plot::{COLOURS, escaped, number};

/// One policy.
pub(crate) struct Point {
    pub(crate) name: String,
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) on_front: bool,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 46.0;
/// Height of a name, and width of one of its letters, about.
const LINE: f64 = 14.0;
const LETTER: f64 = 6.6;

/// Styles of a picture that stands alone; inside a page those of the page apply.
const STYLE: &str = "<style>svg{background:#fff;font-family:system-ui,sans-serif}text{font-size:12px;fill:#1b1f24;paint-order:stroke;stroke:#fff;stroke-width:3px}\
.grid{stroke:#d5dae0}polyline.ink{fill:none;stroke-width:2}</style>";

/// Where a value stands: from its least to its greatest, on a logarithmic scale where they are far apart.
struct Scale {
    low: f64,
    high: f64,
    log: bool,
    from: f64,
    to: f64,
}

impl Scale {
    fn of(values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Self {
        let low = values.clone().fold(f64::INFINITY, f64::min);
        let high = values.fold(f64::NEG_INFINITY, f64::max);
        let (low, high) = if low.is_finite() {
            (low, high)
        } else {
            (0.0, 1.0)
        };
        let log = low > 0.0 && high / low > 8.0;
        let (low, high) = if log {
            (low / 1.2, high * 1.2)
        } else {
            let room = ((high - low) * 0.08).max(high.abs() * 0.01).max(1e-9);
            ((low - room).max(0.0f64.min(low)), high + room)
        };
        Self {
            low,
            high,
            log,
            from,
            to,
        }
    }

    fn at(&self, value: f64) -> f64 {
        let share = if self.log {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + share * (self.to - self.from)
    }

    fn value(&self, share: f64) -> f64 {
        if self.log {
            self.low * (self.high / self.low).powf(share)
        } else {
            self.low + (self.high - self.low) * share
        }
    }
}

/// The picture, for a page.
pub(crate) fn svg(points: &[Point], x: &str, y: &str, title: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n{}</svg>\n",
        escaped(title),
        inside(points, x, y, title)
    )
}

/// The picture as a file of its own.
pub(crate) fn standalone(points: &[Point], x: &str, y: &str, title: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n{STYLE}\n{}</svg>\n",
        escaped(title),
        inside(points, x, y, title)
    )
}

fn inside(points: &[Point], x: &str, y: &str, title: &str) -> String {
    let across = Scale::of(points.iter().map(|point| point.x), LEFT, WIDTH - RIGHT);
    let up = Scale::of(points.iter().map(|point| point.y), HEIGHT - BOTTOM, TOP);
    let mut out = format!("<text x=\"{LEFT}\" y=\"18\">{}</text>\n", escaped(title));
    for step in 0..=4 {
        let share = f64::from(step) / 4.0;
        let (at, height) = (across.value(share), up.value(share));
        let (px, py) = (across.at(at), up.at(height));
        let _ = writeln!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{py:.1}\" x2=\"{}\" y2=\"{py:.1}\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text><text x=\"{px:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            py + 4.0,
            number(height),
            HEIGHT - BOTTOM + 16.0,
            number(at)
        );
    }
    let _ = writeln!(
        out,
        "<text class=\"axis\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text><text class=\"axis\" transform=\"translate(14 {}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 8.0,
        escaped(x),
        (TOP + HEIGHT - BOTTOM) / 2.0,
        escaped(y)
    );
    let mut front: Vec<&Point> = points.iter().filter(|point| point.on_front).collect();
    front.sort_by(|a, b| a.x.total_cmp(&b.x).then(a.y.total_cmp(&b.y)));
    let line: Vec<String> = front
        .iter()
        .map(|point| format!("{:.1},{:.1}", across.at(point.x), up.at(point.y)))
        .collect();
    let _ = writeln!(
        out,
        "<polyline class=\"ink\" stroke=\"#6b7580\" stroke-dasharray=\"4 4\" points=\"{}\"/>",
        line.join(" ")
    );
    names(&mut out, points, &across, &up);
    out
}

/// What is taken: left, right, top and bottom.
type Box = [f64; 4];

fn overlap(a: &Box, b: &Box) -> bool {
    a[0] < b[1] && b[0] < a[1] && a[2] < b[3] && b[2] < a[3]
}

/// Dots and names. A name stands beside its dot, or as near as there is room, with a line to its dot.
fn names(out: &mut String, points: &[Point], across: &Scale, up: &Scale) {
    let places: Vec<(f64, f64)> = points
        .iter()
        .map(|point| (across.at(point.x), up.at(point.y)))
        .collect();
    let dot = |&(x, y): &(f64, f64)| [x - 7.0, x + 7.0, y - 7.0, y + 7.0];
    let mut taken: Vec<Box> = places.iter().map(dot).collect();
    for (at, (point, &(px, py))) in points.iter().zip(&places).enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        let ring = if point.on_front {
            "stroke=\"#1b1f24\" stroke-width=\"2\" r=\"6\""
        } else {
            "r=\"4\""
        };
        let _ = writeln!(
            out,
            "<circle class=\"ink\" fill=\"{colour}\" cx=\"{px:.1}\" cy=\"{py:.1}\" {ring}/>"
        );
        let wide = point.name.chars().count() as f64 * LETTER;
        let (left, middle) = place(&taken, px, py, wide);
        taken.push([left, left + wide, middle - LINE / 2.0, middle + LINE / 2.0]);
        if (middle - py).abs() > 1.0 {
            let end = if left > px {
                left - 2.0
            } else {
                left + wide + 2.0
            };
            let _ = writeln!(
                out,
                "<line class=\"grid\" x1=\"{px:.1}\" y1=\"{py:.1}\" x2=\"{end:.1}\" y2=\"{middle:.1}\"/>"
            );
        }
        let _ = writeln!(
            out,
            "<text x=\"{left:.1}\" y=\"{:.1}\">{}</text>",
            middle + 4.0,
            escaped(&point.name)
        );
    }
}

/// Left end and middle height of a name of this width for a dot: the nearest place inside that nothing covers; where
/// there is none, beside the dot.
fn place(taken: &[Box], px: f64, py: f64, wide: f64) -> (f64, f64) {
    let beside = [px + 10.0, px - 10.0 - wide];
    let inside = |left: f64| left >= LEFT && left + wide <= WIDTH;
    for step in 0..40 {
        let way = if step % 2 == 0 { 1.0 } else { -1.0 };
        let middle = py + way * f64::from((step + 1) / 2) * LINE;
        if !(TOP - LINE..HEIGHT - BOTTOM + 4.0).contains(&middle) {
            continue;
        }
        for left in beside.into_iter().filter(|&left| inside(left)) {
            let wanted = [left, left + wide, middle - LINE / 2.0, middle + LINE / 2.0];
            if !taken.iter().any(|other| overlap(&wanted, other)) {
                return (left, middle);
            }
        }
    }
    (
        if inside(beside[0]) {
            beside[0]
        } else {
            beside[1]
        },
        py,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_dots_in_one_place_do_not_cover_each_other() {
        let mut taken: Vec<Box> = Vec::new();
        for _ in 0..12 {
            let (left, middle) = place(&taken, WIDTH - 40.0, 60.0, 180.0);
            let wanted = [left, left + 180.0, middle - LINE / 2.0, middle + LINE / 2.0];
            assert!(left >= LEFT && left + 180.0 <= WIDTH);
            assert!(!taken.iter().any(|other| overlap(&wanted, other)));
            taken.push(wanted);
        }
    }

    #[test]
    fn every_point_lies_inside_whatever_the_numbers() {
        for values in [
            vec![],
            vec![0.0],
            vec![5.0, 5.0],
            vec![0.0, 1e9],
            vec![1e-3, 1e6],
            vec![-4.0, 2.0],
        ] {
            let scale = Scale::of(values.iter().copied(), 10.0, 20.0);
            for value in values {
                let at = scale.at(value);
                assert!((10.0..=20.0).contains(&at), "{value} stands at {at}");
            }
        }
    }
}
