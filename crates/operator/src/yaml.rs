//! Objects as YAML that people read: block style, keys in order, texts of several lines as they are.
//!
//! Written here because the order, the quoting and the form of long texts must be the same byte for byte in every
//! version of whatever library; what is written is a small part of YAML, and a property test reads it back.

use serde_json::Value;

/// Appends one document.
pub(crate) fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(_) | Value::Array(_) if !is_empty(value) => block(value, 0, out),
        other => {
            scalar(other, 0, out);
            out.push('\n');
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// A mapping or sequence that is not empty, each entry on lines of its own.
fn block(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                pad(indent, out);
                text(key, indent, true, out);
                out.push(':');
                below(value, indent, out);
            }
        }
        Value::Array(items) => {
            for item in items {
                pad(indent, out);
                out.push('-');
                in_item(item, indent, out);
            }
        }
        _ => {}
    }
}

/// What follows `key:`. Sequences stand under their key without further indent, as in the manifests of the field.
fn below(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(_) if !is_empty(value) => {
            out.push('\n');
            block(value, indent + 2, out);
        }
        Value::Array(_) if !is_empty(value) => {
            out.push('\n');
            block(value, indent, out);
        }
        other => {
            out.push(' ');
            scalar(other, indent + 2, out);
            out.push('\n');
        }
    }
}

/// What follows `-`: a mapping begins on the same line.
fn in_item(item: &Value, indent: usize, out: &mut String) {
    match item {
        Value::Object(_) | Value::Array(_) if !is_empty(item) => {
            let mut inner = String::new();
            block(item, indent + 2, &mut inner);
            out.push(' ');
            out.push_str(inner.trim_start_matches(' '));
        }
        other => {
            out.push(' ');
            scalar(other, indent + 2, out);
            out.push('\n');
        }
    }
}

fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

fn scalar(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::String(words) => text(words, indent, false, out),
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        other => out.push_str(&other.to_string()),
    }
}

fn text(words: &str, indent: usize, key: bool, out: &mut String) {
    if is_plain(words) {
        out.push_str(words);
    } else if !key && is_literal(words) {
        out.push('|');
        if !words.ends_with('\n') {
            out.push('-');
        }
        for line in words.trim_end_matches('\n').split('\n') {
            out.push('\n');
            if !line.is_empty() {
                pad(indent, out);
                out.push_str(line);
            }
        }
    } else {
        // A JSON string is a YAML string.
        out.push_str(&Value::String(words.to_owned()).to_string());
    }
}

/// Whether a text can stand without quotes and is read as a text.
fn is_plain(words: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_./$()".contains(c);
    let reserved = [
        "true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf",
    ];
    let lower = words.to_lowercase();
    let begins = words.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        || (words.starts_with("--") && words.len() > 2 && !words.starts_with("---"));
    begins
        && !reserved.contains(&lower.as_str())
        && words.split(' ').all(|word| !word.is_empty())
        && words
            .chars()
            .all(|c| good(c) || c == ' ' || (c == '=' && words.starts_with("--")) || c == ':')
        && !words.contains(": ")
        && !words.ends_with(':')
}

/// Whether a text of several lines can stand as it is.
fn is_literal(words: &str) -> bool {
    let lines = words.trim_end_matches('\n');
    words.contains('\n')
        && !words.ends_with("\n\n")
        && !lines.is_empty()
        && !lines.starts_with([' ', '\n', '\t'])
        && words.chars().all(|c| c == '\n' || (' '..='~').contains(&c))
        && lines.split('\n').all(|line| !line.ends_with(' '))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn written(value: &Value) -> String {
        let mut out = String::new();
        write(value, &mut out);
        out
    }

    #[test]
    fn objects_look_like_the_manifests_of_the_field() {
        let object = json!({
            "args": ["--v", "1", "--tracing=false"],
            "data": {"a.yaml": "x: 1\n\ny:\n- 2\n"},
            "empty": {}, "none": [], "yes": "true", "port": 80,
            "nested": [{"a": [1, 2], "b": {"c": null}}],
        });
        let expected = "\
args:
- --v
- \"1\"
- --tracing=false
data:
  a.yaml: |
    x: 1

    y:
    - 2
empty: {}
nested:
- a:
  - 1
  - 2
  b:
    c: null
none: []
port: 80
\"yes\": \"true\"
";
        assert_eq!(written(&object), expected);
    }

    fn values() -> impl Strategy<Value = Value> {
        let words = prop_oneof![
            "[ -~\n]{0,12}",
            "[a-z:# -]{0,8}",
            Just("0x1F".to_owned()),
            Just("1e3".to_owned()),
            Just("~".to_owned()),
            Just("2001-01-01".to_owned()),
            any::<String>(),
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            words.prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-zA-Z0-9./ :#-]{1,8}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in values()) {
            let text = written(&value);
            let read: Value = serde_saphyr::from_str(&text).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
            prop_assert_eq!(read, value, "{}", text);
        }
    }
}
