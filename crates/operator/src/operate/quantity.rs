//! Quantities of Kubernetes, which the API server writes its own way: `1000m` comes back as `1`.

use serde_json::Value;

/// Whether two values are the same quantity.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (number(a), number(b)) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * a.abs().max(b.abs()),
        _ => false,
    }
}

fn number(value: &Value) -> Option<f64> {
    let text = match value {
        Value::Number(number) => return number.as_f64(),
        Value::String(text) => text,
        _ => return None,
    };
    let digits = text.find(|c: char| !(c.is_ascii_digit() || "+-.".contains(c)));
    let (head, suffix) = text.split_at(digits.unwrap_or(text.len()));
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024f64.powi(2),
        "Gi" => 1024f64.powi(3),
        "Ti" => 1024f64.powi(4),
        "Pi" => 1024f64.powi(5),
        "Ei" => 1024f64.powi(6),
        _ => return text.parse().ok(),
    };
    head.parse::<f64>().ok().map(|head| head * factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn quantities_are_compared_by_what_they_mean() {
        for (a, b) in [
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1024Mi", "1Gi"),
            ("1e3", "1k"),
            ("2", "2"),
        ] {
            assert!(same(&json!(a), &json!(b)), "{a} {b}");
        }
        assert!(same(&json!(2), &json!("2")));
        for (a, b) in [("1", "2"), ("1Ki", "1k"), ("x", "x1")] {
            assert!(!same(&json!(a), &json!(b)), "{a} {b}");
        }
    }
}
