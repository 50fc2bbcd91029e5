//! The picture as SVG: one file that needs nothing else.

use std::fmt::Write as _;

use crate::figure::{Card, Figure, Join};

const MARGIN: usize = 16;
const LETTER: usize = 8;
const LINE: usize = 20;
const GPU_HEIGHT: usize = 36;
const GAP: usize = 12;
const IN_ROW: usize = 4;

/// Draws it.
#[must_use]
pub fn svg(figure: &Figure) -> String {
    let width = figure.cards.iter().map(card_width).max().unwrap_or(0);
    let width = width.max(figure.title.chars().count() * LETTER).max(480) + 2 * MARGIN;
    let mut body = String::new();
    let mut y = MARGIN + LINE;
    text(&mut body, MARGIN, y - 6, "title", &figure.title);
    for (number, card) in figure.cards.iter().enumerate() {
        y = draw(&mut body, card, y, width - 2 * MARGIN);
        if let Some(join) = figure.between.get(number) {
            let x = 8 * MARGIN;
            let kind = class(join);
            let _ = writeln!(
                body,
                r#"<line class="{kind}" x1="{x}" y1="{y}" x2="{x}" y2="{}"/>"#,
                y + 2 * LINE
            );
            text(&mut body, x + GAP, y + LINE + 4, "link", &caption(join));
            y += 2 * LINE;
        }
    }
    let height = y + MARGIN;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n<rect class=\"ground\" width=\"{width}\" height=\"{height}\"/>\n{body}</svg>\n",
        escaped(&figure.title)
    )
}

const STYLE: &str = "text{font:13px ui-monospace,monospace;fill:#1b1f24}.title{font-weight:bold}.link{fill:#3b434c}\
.ground{fill:#fff}.node{fill:#f4f6f8;stroke:#6b7580}.gpu{fill:#e3f0d8;stroke:#4c7a1f}\
.direct{stroke:#4c7a1f;stroke-width:4}.indirect{stroke:#8a929b;stroke-width:2;stroke-dasharray:5 4}";

fn class(join: &Join) -> &'static str {
    if join.direct { "direct" } else { "indirect" }
}

fn caption(join: &Join) -> String {
    if join.speed.is_empty() {
        join.what.clone()
    } else {
        format!("{}, {}", join.what, join.speed)
    }
}

fn gpu_width(card: &Card) -> usize {
    let longest = card
        .gpus
        .iter()
        .map(|gpu| gpu.chars().count())
        .max()
        .unwrap_or(0);
    longest * LETTER + 2 * GAP
}

/// Room between two GPUs that are joined.
fn pair_gap(card: &Card) -> usize {
    card.pair.as_ref().map_or(GAP, |join| {
        (caption(join).chars().count() * LETTER).max(120) + 2 * GAP
    })
}

fn card_width(card: &Card) -> usize {
    let row = card.gpus.len().min(IN_ROW);
    let gpus = row * gpu_width(card) + row.saturating_sub(1) * pair_gap(card);
    let longest = card
        .notes
        .iter()
        .chain([&card.title])
        .map(|note| note.chars().count())
        .max();
    gpus.max(longest.unwrap_or(0) * LETTER) + 2 * GAP
}

/// Draws a card whose top is `y` and gives its bottom.
fn draw(body: &mut String, card: &Card, y: usize, width: usize) -> usize {
    let rows = card.gpus.len().div_ceil(IN_ROW);
    let height = LINE + rows * (GPU_HEIGHT + GAP) + card.notes.len() * LINE + GAP;
    let _ = writeln!(
        body,
        r#"<rect class="node" x="{MARGIN}" y="{y}" width="{width}" height="{height}" rx="6"/>"#
    );
    text(body, MARGIN + GAP, y + LINE - 4, "title", &card.title);
    let (wide, gap) = (gpu_width(card), pair_gap(card));
    for (number, gpu) in card.gpus.iter().enumerate() {
        let x = MARGIN + GAP + (number % IN_ROW) * (wide + gap);
        let top = y + LINE + GAP / 2 + number / IN_ROW * (GPU_HEIGHT + GAP);
        let _ = writeln!(
            body,
            r#"<rect class="gpu" x="{x}" y="{top}" width="{wide}" height="{GPU_HEIGHT}" rx="4"/>"#
        );
        text(body, x + GAP, top + 23, "", gpu);
        if let (Some(join), 0) = (&card.pair, number) {
            let (from, to, middle) = (x + wide, x + wide + gap, top + GPU_HEIGHT / 2);
            let kind = class(join);
            let _ = writeln!(
                body,
                r#"<line class="{kind}" x1="{from}" y1="{middle}" x2="{to}" y2="{middle}"/>"#
            );
            text(body, from + GAP, middle - 6, "link", &caption(join));
        }
    }
    let mut at = y + LINE + rows * (GPU_HEIGHT + GAP) + LINE - 2;
    for note in &card.notes {
        text(body, MARGIN + GAP, at, "link", note);
        at += LINE;
    }
    y + height
}

fn text(body: &mut String, x: usize, y: usize, class: &str, text: &str) {
    let _ = writeln!(
        body,
        r#"<text class="{class}" x="{x}" y="{y}">{}</text>"#,
        escaped(text)
    );
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // Not even escaped may these stand in XML.
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
