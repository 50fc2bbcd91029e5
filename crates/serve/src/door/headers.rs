//! Header hygiene at a door: what never crosses it, and request ids.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use pointsman_core::rng::Rng;

/// The request-id header, on requests and answers.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Headers of one connection, never passed on (RFC 9110 §7.6.1), and the framing that is set anew.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

/// Headers by which the parts of a fleet steer each other; a client has no say in them.
const STEERING: [HeaderName; 7] = [
    HeaderName::from_static("x-gateway-destination-endpoint"),
    HeaderName::from_static("x-gateway-destination-endpoint-subset"),
    HeaderName::from_static("x-gateway-destination-endpoint-served"),
    HeaderName::from_static("x-prefiller-host-port"),
    HeaderName::from_static("x-encoder-hosts-ports"),
    HeaderName::from_static("x-data-parallel-host-port"),
    HeaderName::from_static("x-kv-cache-source-host-port"),
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
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    headers.remove("proxy-connection");
}

/// Removes the headers that only parts of the fleet may set.
pub fn strip_steering(headers: &mut HeaderMap) {
    for name in &STEERING {
        headers.remove(name);
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
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
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
