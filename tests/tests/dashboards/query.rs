//! PromQL over families of the registry: a family that is no counter has no rate, and nothing is grouped by a label
//! that it does not have.

use pointsman_serve::metrics::family::{Family, Kind};

/// Which of several routers is looked at; `job` is what Prometheus itself adds.
const SELECTED: &str = "job=~\"$job\"";

/// A query, and the metric names in it.
#[derive(Clone)]
pub struct Query {
    pub text: String,
}

fn checked(family: &Family, kinds: &[Kind], by: &[&str], only: &[(&str, &str)]) {
    let name = family.name;
    assert!(
        kinds.contains(&family.kind),
        "{name} is a {}",
        family.kind.word()
    );
    let labels = by
        .iter()
        .copied()
        .chain(only.iter().map(|(label, _)| *label));
    for label in labels.filter(|label| *label != "job" && *label != "le") {
        assert!(
            family.labels.contains(&label),
            "{name} has no label {label}"
        );
    }
}

fn selector(only: &[(&str, &str)]) -> String {
    let more = only
        .iter()
        .map(|(label, pattern)| format!(",{label}=~\"{pattern}\""));
    format!("{{{SELECTED}{}}}", more.collect::<String>())
}

fn grouped(by: &[&str]) -> String {
    if by.is_empty() {
        String::new()
    } else {
        format!(" by ({})", by.join(", "))
    }
}

/// How fast a counter, or the count of a histogram, grows.
pub fn rate(family: &Family, by: &[&str], only: &[(&str, &str)]) -> Query {
    checked(family, &[Kind::Counter, Kind::Histogram], by, only);
    let suffix = if family.kind == Kind::Histogram {
        "_count"
    } else {
        ""
    };
    Query {
        text: format!(
            "sum{} (rate({}{suffix}{}[$__rate_interval]))",
            grouped(by),
            family.name,
            selector(only)
        ),
    }
}

/// How fast the sum of a histogram grows: tokens or bytes per second.
pub fn volume(family: &Family, by: &[&str]) -> Query {
    checked(family, &[Kind::Histogram], by, &[]);
    Query {
        text: format!(
            "sum{} (rate({}_sum{}[$__rate_interval]))",
            grouped(by),
            family.name,
            selector(&[])
        ),
    }
}

/// The mean of a histogram.
pub fn mean(family: &Family, by: &[&str]) -> Query {
    let (sum, count) = (volume(family, by), rate(family, by, &[]));
    Query {
        text: format!("{} / {}", sum.text, count.text),
    }
}

/// A quantile of a histogram.
pub fn quantile(share: f64, family: &Family, by: &[&str], only: &[(&str, &str)]) -> Query {
    checked(family, &[Kind::Histogram], by, only);
    let mut labels = vec!["le"];
    labels.extend(by);
    Query {
        text: format!(
            "histogram_quantile({share}, sum{} (rate({}_bucket{}[$__rate_interval])))",
            grouped(&labels),
            family.name,
            selector(only)
        ),
    }
}

/// A gauge, put together by `how` (sum, avg, max, min).
pub fn gauge(how: &str, family: &Family, by: &[&str]) -> Query {
    checked(family, &[Kind::Gauge], by, &[]);
    Query {
        text: format!("{how}{} ({}{})", grouped(by), family.name, selector(&[])),
    }
}

/// One query by another.
pub fn ratio(part: &Query, whole: &Query) -> Query {
    Query {
        text: format!("{} / {}", part.text, whole.text),
    }
}

impl Query {
    /// The same for a rule: no variables of a dashboard, a fixed span, one result for each job.
    pub fn for_rule(&self, span: &str) -> String {
        self.text
            .replace(&format!("{{{SELECTED},"), "{")
            .replace(&format!("{{{SELECTED}}}"), "")
            .replace("$__rate_interval", span)
    }
}

/// The metric names in a text of PromQL: words that are followed by a selector, a span, or the end of a term.
pub fn names(text: &str) -> Vec<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = Vec::new();
    for part in text.split(|c: char| !word(c)) {
        if ["llm_d_epp_", "pointsman_", "process_"]
            .iter()
            .any(|prefix| part.starts_with(prefix))
        {
            found.push(part.to_owned());
        }
    }
    found
}
