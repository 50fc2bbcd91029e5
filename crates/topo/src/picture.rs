//! The picture as text: a frame for each node, boxes for GPUs, arrows for links.

use crate::figure::{Card, Figure, Join};

/// Characters inside the outer frame; lines that need more make it wider.
const WIDTH: usize = 78;
/// GPUs in one row.
const IN_ROW: usize = 4;

/// Draws it; every line has the same width.
#[must_use]
pub fn text(figure: &Figure) -> String {
    let mut lines: Vec<Line> = vec![
        Line::Rule,
        Line::Text(format!(" {}", figure.title)),
        Line::Rule,
    ];
    for (number, card) in figure.cards.iter().enumerate() {
        lines.push(Line::Text(format!(" {}", card.title)));
        lines.push(Line::Inner(None));
        lines.extend(rows(card).into_iter().map(|row| Line::Inner(Some(row))));
        lines.push(Line::Inner(None));
        if let Some(join) = figure.between.get(number) {
            lines.extend(between(join).into_iter().map(Line::Text));
        }
    }
    lines.push(Line::Rule);
    let needed = lines.iter().map(Line::width).max().unwrap_or(0);
    let width = needed.max(WIDTH);
    let mut out = String::new();
    for line in &lines {
        out.push_str(&line.draw(width));
        out.push('\n');
    }
    out
}

enum Line {
    /// The outer frame's edge.
    Rule,
    /// Between the outer frame's sides.
    Text(String),
    /// Between the sides of a node's frame; `None`: its edge.
    Inner(Option<String>),
}

impl Line {
    fn width(&self) -> usize {
        match self {
            Self::Rule | Self::Inner(None) => 0,
            Self::Text(text) => text.chars().count() + 1,
            Self::Inner(Some(text)) => text.chars().count() + 6,
        }
    }

    fn draw(&self, width: usize) -> String {
        match self {
            Self::Rule => format!("+{}+", "-".repeat(width)),
            Self::Text(text) => format!("|{text:width$}|"),
            Self::Inner(None) => format!("|  +{}+  |", "-".repeat(width - 6)),
            Self::Inner(Some(text)) => format!("|  |{text:inner$}|  |", inner = width - 6),
        }
    }
}

/// A box and what is in it.
fn boxed(text: &str) -> [String; 3] {
    let edge = format!("+{}+", "-".repeat(text.chars().count() + 2));
    [edge.clone(), format!("| {text} |"), edge]
}

fn rows(card: &Card) -> Vec<String> {
    let mut rows = Vec::new();
    match (card.gpus.as_slice(), &card.pair) {
        ([one, other], Some(join)) => {
            let (left, right) = (boxed(one), boxed(other));
            let speed = if join.speed.is_empty() {
                String::new()
            } else {
                format!("({})", join.speed)
            };
            let gap = join.what.chars().count().max(speed.chars().count()).max(16) + 4;
            let arrow = format!("<{}>", "-".repeat(gap - 4));
            for (row, middle) in [&join.what, &arrow, &speed].into_iter().enumerate() {
                rows.push(format!(" {}{middle:^gap$}{}", left[row], right[row]));
            }
        }
        (gpus, _) => {
            for row in gpus.chunks(IN_ROW) {
                let boxes: Vec<[String; 3]> = row.iter().map(|gpu| boxed(gpu)).collect();
                for line in 0..3 {
                    let cells: Vec<&str> = boxes.iter().map(|one| one[line].as_str()).collect();
                    rows.push(format!(" {}", cells.join(" ")));
                }
            }
        }
    }
    rows.extend(card.notes.iter().map(|note| format!(" {note}")));
    rows
}

fn between(join: &Join) -> Vec<String> {
    let middle = if join.speed.is_empty() {
        String::new()
    } else {
        format!("({})", join.speed)
    };
    let gap = join.what.chars().count().max(middle.chars().count()) + 4;
    [
        ("/\\", ""),
        ("||", join.what.as_str()),
        ("||", middle.as_str()),
        ("\\/", ""),
    ]
    .into_iter()
    .map(|(end, text)| format!("{:18}{end}{text:^gap$}{end}", ""))
    .collect()
}
