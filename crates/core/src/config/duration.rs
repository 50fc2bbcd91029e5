//! Durations as Go writes them: `2m`, `1h30m`, `200ms`, `1.5s`, `0`.

use crate::time::Span;

/// Reads a duration in Go's notation.
///
/// # Errors
/// A text that says what was found and what would be right.
pub fn parse_duration(text: &str) -> Result<Span, String> {
    let wrong = || {
        format!("'{text}' is no duration; write a number with a unit, such as 200ms, 2s or 1m30s")
    };
    if text == "0" {
        return Ok(Span(0));
    }
    let mut rest = text;
    let mut total = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let nanos = match &rest[..unit] {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return Err(wrong()),
        };
        total += number * nanos;
        rest = &rest[unit..];
    }
    if text.is_empty() {
        Err(wrong())
    } else {
        Ok(Span(total.round() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, nanos: Option<u64>) {
        assert_eq!(parse_duration(text).ok().map(|s| s.0), nanos, "{text}");
    }

    #[test]
    fn reads_what_go_reads() {
        check("2m", Some(120_000_000_000));
        check("1m30s", Some(90_000_000_000));
        check("1.5s", Some(1_500_000_000));
        check("200ms", Some(200_000_000));
        check("0", Some(0));
        for wrong in ["", "5", "m", "1x", "-1s", "1s2"] {
            check(wrong, None);
        }
    }
}
