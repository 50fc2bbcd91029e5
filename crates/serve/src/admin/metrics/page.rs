//! The page under way: every family once, under its name and, where wanted, under the one it had before.

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::metrics::family::Family;
use crate::metrics::histogram::Summed;

/// A number or a histogram.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// Of a counter or a gauge.
    Number(f64),
    /// Of a histogram.
    Buckets(Summed),
}

/// One series: values of the family's labels, and what it shows.
pub(crate) type Row = (Vec<String>, Value);

/// The page.
pub(crate) struct Page {
    text: String,
    legacy: bool,
}

impl Page {
    /// An empty page; `legacy`: earlier names are written too.
    pub(crate) fn new(legacy: bool) -> Self {
        Self {
            text: String::with_capacity(32 * 1024),
            legacy,
        }
    }

    /// A family without labels.
    pub(crate) fn single(&mut self, family: &Family, value: f64) {
        self.add(family, vec![(Vec::new(), Value::Number(value))]);
    }

    /// A family with all its series. One without series is left out. Series that are told apart by labels which a
    /// name does not have are put together: counts are added, of other gauges the first is shown.
    pub(crate) fn add(&mut self, family: &Family, rows: Vec<Row>) {
        if rows.is_empty() {
            return;
        }
        if let Some(legacy) = family.legacy.filter(|_| self.legacy) {
            let chosen = rows
                .iter()
                .map(|(labels, value)| {
                    let of = |&(name, at): &(&'static str, usize)| (name, labels[at].as_str());
                    (legacy.labels.iter().map(of).collect(), value.clone())
                })
                .collect();
            self.write(legacy.name, family, chosen);
        }
        let own = rows
            .iter()
            .map(|(labels, value)| {
                let named = family.labels.iter().copied();
                let labels = named.zip(labels.iter().map(String::as_str)).collect();
                (labels, value.clone())
            })
            .collect();
        self.write(family.name, family, own);
    }

    fn write(&mut self, name: &str, family: &Family, rows: Vec<(Vec<(&str, &str)>, Value)>) {
        let _ = writeln!(
            self.text,
            "# HELP {name} {}\n# TYPE {name} {}",
            family.help.replace('\\', "\\\\").replace('\n', "\\n"),
            family.kind.word()
        );
        let mut merged: Vec<(String, Value)> = Vec::with_capacity(rows.len());
        let mut places: HashMap<String, usize> = HashMap::with_capacity(rows.len());
        for (labels, value) in rows {
            let labels = written(&labels);
            match places.get(&labels) {
                None => {
                    places.insert(labels.clone(), merged.len());
                    merged.push((labels, value));
                }
                Some(&at) => match (&mut merged[at].1, value) {
                    (Value::Number(sum), Value::Number(more)) if family.sums => {
                        *sum += more;
                    }
                    (Value::Buckets(sum), Value::Buckets(more)) => sum.merge(&more),
                    _ => {}
                },
            }
        }
        for (labels, value) in merged {
            match value {
                Value::Number(number) => self.sample(name, &labels, "", number),
                Value::Buckets(summed) => self.histogram(name, &labels, &summed),
            }
        }
    }

    fn histogram(&mut self, name: &str, labels: &str, summed: &Summed) {
        let mut so_far = 0;
        let bounds = summed.bounds.iter().map(ToString::to_string);
        let bounds = bounds.chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(&summed.counts) {
            so_far += count;
            let comma = if labels.is_empty() { "" } else { "," };
            let _ = writeln!(
                self.text,
                "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {so_far}"
            );
        }
        self.sample(name, labels, "_sum", summed.sum);
        self.sample(name, labels, "_count", so_far as f64);
    }

    fn sample(&mut self, name: &str, labels: &str, suffix: &str, value: f64) {
        let _ = if labels.is_empty() {
            writeln!(self.text, "{name}{suffix} {value}")
        } else {
            writeln!(self.text, "{name}{suffix}{{{labels}}} {value}")
        };
    }

    /// The text.
    pub(crate) fn finish(self) -> String {
        self.text
    }
}

fn written(labels: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (at, (name, value)) in labels.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(text, "{comma}{name}=\"{}\"", escaped(value));
    }
    text
}

fn escaped(label: &str) -> String {
    label
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
