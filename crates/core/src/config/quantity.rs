//! Quantities as Kubernetes writes them: `5000`, `1G`, `1Gi`, `100m`, `1e3`.

/// Reads a quantity; fractions are rounded up, as Kubernetes does when it wants an integer.
///
/// # Errors
/// A text that says what was found and what would be right.
pub fn parse_quantity(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is no quantity; write a number such as 5000, 512Mi or 1G");
    let end = text
        .find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '-' | '+'))
        .unwrap_or(text.len());
    let (digits, suffix) = text.split_at(end);
    let number: f64 = digits.parse().map_err(|_| wrong())?;
    if number < 0.0 {
        return Err(format!("'{text}' is below zero; use zero or more"));
    }
    let factor = match suffix {
        "" => 1.0,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        "Ti" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E']).ok_or_else(wrong)?;
            10.0_f64.powi(exponent.parse().map_err(|_| wrong())?)
        }
    };
    let value = (number * factor).ceil();
    if value > u64::MAX as f64 {
        return Err(wrong());
    }
    Ok(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_kubernetes_reads() {
        for (text, expected) in [
            ("0", Some(0)),
            ("5000", Some(5000)),
            ("1G", Some(1_000_000_000)),
            ("1Gi", Some(1 << 30)),
            ("1.5Ki", Some(1536)),
            ("100m", Some(1)),
            ("2e3", Some(2000)),
            ("-1", None),
            ("", None),
            ("1Q", None),
            ("G", None),
        ] {
            assert_eq!(parse_quantity(text).ok(), expected, "{text}");
        }
    }
}
