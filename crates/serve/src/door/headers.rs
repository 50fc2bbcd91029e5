//! Header hygiene at a door: what never crosses it, and request ids.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use pointsman_core::rng::Rng;

/// The request-id header, on requests and answers.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Headers of one connection, never passed on (RFC 9110 §7.6.1), and the framing that is set anew.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Headers by which the parts of a fleet steer each other; a client has no say in them.
const STEERING: [&str; 7] = [
    "x-gateway-destination-endpoint",
    "x-gateway-destination-endpoint-subset",
    "x-gateway-destination-endpoint-served",
    "x-prefiller-host-port",
    "x-encoder-hosts-ports",
    "x-data-parallel-host-port",
    "x-kv-cache-source-host-port",
];

/// Longest request id that is taken from a client.
const MAX_REQUEST_ID: usize = 256;

/// Removes what belongs to the connection, also what `Connection` names.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if let Some(named) = headers.get(header::CONNECTION).cloned()
        && let Ok(named) = named.to_str()
    {
        for name in named.split(',') {
            if let Ok(name) = HeaderName::from_bytes(name.trim().as_bytes()) {
                headers.remove(name);
            }
        }
    }
    remove_all(headers, &HOP_BY_HOP);
}

/// Removes the headers that only parts of the fleet may set.
pub fn strip_steering(headers: &mut HeaderMap) {
    remove_all(headers, &STEERING);
}

/// Removes the headers with these names. Most messages have none of them, and a look at the few names that are
/// there is cheaper than a lookup of each that may be.
fn remove_all(headers: &mut HeaderMap, names: &[&str]) {
    while let Some(found) = headers
        .keys()
        .map(HeaderName::as_str)
        .find_map(|name| names.iter().find(|n| **n == name))
    {
        headers.remove(*found);
    }
}

/// The client's request id if it has a valid form, else a new UUID from `rng`.
pub fn request_id(headers: &HeaderMap, rng: &mut Rng) -> String {
    let valid = |text: &&str| {
        !text.is_empty()
            && text.len() <= MAX_REQUEST_ID
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-'))
    };
    match headers
        .get(X_REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(valid)
    {
        Some(id) => id.to_owned(),
        None => uuid(rng),
    }
}

/// A random (version 4) UUID.
pub fn uuid(rng: &mut Rng) -> String {
    let high = rng.next_u64() & 0xffff_ffff_ffff_0fff | 0x4000;
    let low = rng.next_u64() & 0x3fff_ffff_ffff_ffff | 0x8000_0000_0000_0000;
    let mut text = String::with_capacity(36);
    for (at, byte) in high
        .to_be_bytes()
        .into_iter()
        .chain(low.to_be_bytes())
        .enumerate()
    {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for digit in [byte >> 4, byte & 0xf] {
            text.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
    }
    text
}

/// A header value from text that is known to be plain ASCII.
pub fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("-"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_belongs_to_the_connection_stays_behind() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Secret"),
            ("x-secret", "1"),
            ("keep-alive", "5"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("authorization", "Bearer k"),
            ("x-gateway-destination-endpoint", "10.0.0.1:1"),
            ("x-prefiller-host-port", "10.0.0.1:1"),
        ] {
            headers.insert(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        strip_hop_by_hop(&mut headers);
        strip_steering(&mut headers);
        assert_eq!(
            headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
            ["authorization"]
        );
    }

    #[test]
    fn a_valid_id_is_kept_and_anything_else_is_replaced() {
        let mut rng = Rng::from_seed(1);
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_ID, "abc.1_2:3-X".parse().unwrap());
        assert_eq!(request_id(&headers, &mut rng), "abc.1_2:3-X");
        for bad in ["", "a b", "é", &"x".repeat(257)] {
            headers.insert(
                X_REQUEST_ID,
                HeaderValue::from_bytes(bad.as_bytes()).unwrap(),
            );
            let id = request_id(&headers, &mut rng);
            assert_eq!((id.len(), &id[14..15]), (36, "4"), "{id}");
        }
    }
}
