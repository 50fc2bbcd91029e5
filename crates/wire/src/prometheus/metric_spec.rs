//! How a configuration names a metric: `name` or `name{label=value,...}`, quotes optional.

use pointsman_core::contract::data_layer::MetricSpec;
use thiserror::Error;

/// A text that names no metric.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("'{text}' names no metric: {why}; write name or name{{label=value,...}}")]
pub struct SpecError {
    text: String,
    why: &'static str,
}

/// Reads how a metric is named; `None` for an empty text, which switches a reading off.
///
/// # Errors
/// The text is neither empty nor of the form above.
pub fn read(text: &str) -> Result<Option<MetricSpec>, SpecError> {
    let wrong = |why| SpecError {
        text: text.to_owned(),
        why,
    };
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Ok(None);
    }
    let (name, inside) = match trimmed.split_once('{') {
        None => (trimmed, ""),
        Some((name, rest)) => {
            let inside = rest
                .strip_suffix('}')
                .ok_or_else(|| wrong("the closing brace is missing"))?;
            (name.trim_end(), inside)
        }
    };
    if !is_name(name, true) {
        return Err(wrong("a name is made of letters, digits, '_' and ':'"));
    }
    let mut labels = Vec::new();
    for pair in inside.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let (label, value) = pair
            .split_once('=')
            .ok_or_else(|| wrong("a label needs a value"))?;
        let (label, value) = (label.trim(), value.trim());
        if !is_name(label, false) {
            return Err(wrong("a label is made of letters, digits and '_'"));
        }
        let bare = value
            .strip_prefix('"')
            .and_then(|inner| inner.strip_suffix('"'))
            .unwrap_or(value);
        if bare.contains(['"', '{', '}']) {
            return Err(wrong("a label's value has a quote or brace in it"));
        }
        labels.push((label.to_owned(), bare.to_owned()));
    }
    Ok(Some(MetricSpec {
        name: name.to_owned(),
        labels,
    }))
}

fn is_name(text: &str, colons: bool) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colons && c == ':');
    text.chars()
        .next()
        .is_some_and(|c| inner(c) && !c.is_ascii_digit())
        && text.chars().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let got = match read(text) {
            Ok(None) => "off".to_owned(),
            Ok(Some(spec)) => spec
                .labels
                .iter()
                .fold(spec.name, |out, (k, v)| format!("{out} {k}={v}")),
            Err(error) => error.why.to_owned(),
        };
        assert!(got.contains(expected), "{text}: {got}");
    }

    #[test]
    fn names_with_and_without_labels() {
        check("", "off");
        check(" vllm:num_requests_waiting ", "vllm:num_requests_waiting");
        check("a{}", "a");
        check("a{b=c}", "a b=c");
        check(
            "a{ request_type = \"waiting\" , x=y-1 }",
            "a request_type=waiting x=y-1",
        );
        check("a{b=c", "brace is missing");
        check("a b", "a name is made");
        check("1a", "a name is made");
        check("a{b}", "needs a value");
        check("a{b-c=d}", "a label is made");
        check("a{b=\"c}", "quote or brace");
        check("{a=b}", "a name is made");
    }
}
