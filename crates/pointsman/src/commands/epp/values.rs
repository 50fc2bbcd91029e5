//! Values of flags as the reference reads them.

use std::time::Duration;

use pointsman_core::config::duration::parse_duration;
use pointsman_core::config::quantity::parse_quantity;

/// A boolean as Go reads it.
pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("'{text}' is neither true nor false")),
    }
}

/// A time as Go writes it.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    parse_duration(text).map(|span| Duration::from_nanos(span.0))
}

/// A Kubernetes quantity with or without a `B` at its end; one below zero is told apart later.
pub(crate) fn size(text: &str) -> Result<i64, String> {
    let bare = text.strip_suffix('B').unwrap_or(text);
    let (sign, digits) = match bare.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, bare),
    };
    let bytes = parse_quantity(digits)?;
    i64::try_from(bytes)
        .map(|bytes| sign * bytes)
        .map_err(|_| format!("'{text}' is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_the_reference_reads_them() {
        assert_eq!(size("6MiB"), Ok(6 << 20));
        assert_eq!(size("25MB"), Ok(25_000_000));
        assert_eq!(size("-1"), Ok(-1));
        assert!(size("x").is_err());
        assert_eq!(time("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!((boolean("T"), boolean("0")), (Ok(true), Ok(false)));
        assert!(boolean("yes").is_err());
    }
}
