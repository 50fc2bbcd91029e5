//! How long the prefill of an answer took, told with it by whoever carried it: `server-timing: prefill;dur=12.5`, in
//! milliseconds, as browsers and proxies read it too.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use pointsman_core::time::Span;

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// The metric's name.
const PREFILL: &str = "prefill";

/// Tells it.
pub fn tell(headers: &mut HeaderMap, took: Duration) {
    let text = format!("{PREFILL};dur={:.3}", took.as_secs_f64() * 1e3);
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.append(SERVER_TIMING, value);
    }
}

/// What was told, if anything was; the last word counts.
pub fn told(headers: &HeaderMap) -> Option<Span> {
    told_in(
        headers
            .get_all(SERVER_TIMING)
            .iter()
            .map(HeaderValue::as_bytes),
    )
}

/// The same, out of the fields' values.
pub fn told_in<'a>(fields: impl DoubleEndedIterator<Item = &'a [u8]>) -> Option<Span> {
    fields
        .filter_map(|field| std::str::from_utf8(field).ok())
        .flat_map(|line| line.split(','))
        .filter_map(prefill_of)
        .next_back()
}

fn prefill_of(metric: &str) -> Option<Span> {
    let mut parts = metric.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case(PREFILL) {
        return None;
    }
    let ms: f64 = parts.find_map(|part| part.strip_prefix("dur=")?.parse().ok())?;
    // Beyond a day it is no time that anybody waited.
    (0.0..=86_400_000.0)
        .contains(&ms)
        .then_some(Span((ms * 1e6) as u64))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_told_is_what_is_read() {
        let mut headers = HeaderMap::new();
        assert_eq!(told(&headers), None);
        headers.append(SERVER_TIMING, HeaderValue::from_static("cache;dur=5, db"));
        assert_eq!(told(&headers), None);
        tell(&mut headers, Duration::from_micros(12_345));
        assert_eq!(told(&headers), Some(Span(12_345_000)));
    }

    #[test]
    fn nonsense_is_not_taken() {
        for text in [
            "prefill",
            "prefill;dur=",
            "prefill;dur=-1",
            "prefill;dur=NaN",
            "prefill;dur=1e300",
            "prefills;dur=1",
        ] {
            let mut headers = HeaderMap::new();
            headers.append(SERVER_TIMING, HeaderValue::from_static(text));
            assert_eq!(told(&headers), None, "{text}");
        }
        let mut headers = HeaderMap::new();
        headers.append(
            SERVER_TIMING,
            HeaderValue::from_static("a;dur=9,Prefill;desc=x; dur=2"),
        );
        assert_eq!(told(&headers), Some(Span(2_000_000)));
    }
}
