//! Header hygiene at a door: what never crosses it, and request ids.

use std::ops::ControlFlow;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use pointsman_core::model::headers::HeaderView;
use pointsman_core::rng::Rng;
use pointsman_wire::handoff::names_engine;

use crate::handoff::unique::Unique;

/// A request's headers as scheduling sees them.
pub struct Seen<'a>(pub &'a HeaderMap);

impl HeaderView for Seen<'_> {
    fn values<'s>(&'s self, name: &str, take: &mut dyn FnMut(&'s str) -> ControlFlow<()>) {
        let _ = self
            .0
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .try_for_each(take);
    }
}

/// The request-id header, on requests and answers.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Headers of one connection, never passed on (RFC 9110 §7.6.1), and the framing that is set anew.
const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What one part of the fleet says of its own doing. Passed on, it would be read as this part's word.
const OWN_WORD: [&str; 2] = [
    "x-gateway-destination-endpoint-served",
    "x-llm-d-request-dropped-reason",
];

/// Headers that `Connection` cannot name away: proxies before this one set them for those behind it, so whoever could remove them would
/// pass for somebody else. (The standard lets a sender name any; the rest of what it names is removed.)
const END_TO_END: [&str; 9] = [
    "authorization",
    "content-encoding",
    "content-type",
    "cookie",
    "forwarded",
    "host",
    "traceparent",
    "tracestate",
    "x-request-id",
];
const END_TO_END_PREFIXES: [&str; 3] = ["x-forwarded-", "x-gateway-", "x-llm-d-"];

/// How the names begin by which the parts of a fleet steer each other; a client has no say in them.
const STEERING: [&str; 6] = [
    "x-gateway-",
    "x-prefiller-",
    "x-encoder-",
    "x-data-parallel-",
    "x-kv-cache-source-",
    "x-llm-d-model-name-rewrite",
];
/// The names among them that are the client's to set.
const CLIENTS_OWN: [&str; 2] = [
    "x-gateway-inference-fairness-id",
    "x-gateway-inference-objective",
];

/// Longest request id that is taken from a client.
const MAX_REQUEST_ID: usize = 256;

/// Removes, from a request or an answer, what belongs to one hop: the connection's headers, what `Connection` names (except what is
/// end-to-end for safety's sake), and what the part that sent it says of itself alone.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            .filter(|name| !is_end_to_end(name.as_str()))
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    remove_all(headers, |name| {
        HOP_BY_HOP.contains(&name) || OWN_WORD.contains(&name)
    });
}

fn is_end_to_end(name: &str) -> bool {
    END_TO_END.contains(&name)
        || END_TO_END_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

/// Removes the headers that only parts of the fleet may set.
pub fn strip_steering(headers: &mut HeaderMap) {
    remove_all(headers, |name| {
        name.starts_with("x-")
            && STEERING.iter().any(|prefix| name.starts_with(prefix))
            && !CLIENTS_OWN.contains(&name)
    });
}

/// Removes the headers whose names are unwanted. Most messages have none of them, and a look at the few names that are
/// there is cheaper than a lookup of each that may be.
fn remove_all(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    while let Some(found) = headers.keys().find(|name| unwanted(name.as_str())).cloned() {
        headers.remove(found);
    }
}

/// A client's request id, if it has a valid form.
pub fn valid_request_id(id: &[u8]) -> Option<&str> {
    let valid = (1..=MAX_REQUEST_ID).contains(&id.len())
        && id
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-'));
    std::str::from_utf8(id).ok().filter(|_| valid)
}

/// The client's request id if it has a valid form and names no pair of engines, which would have one of them fetch a KV cache from
/// where the client says; else a new UUID from `rng`.
pub fn request_id(headers: &HeaderMap, rng: &mut Rng) -> String {
    match headers
        .get(X_REQUEST_ID)
        .and_then(|value| valid_request_id(value.as_bytes()))
        .filter(|id| !names_engine(id))
    {
        Some(id) => id.to_owned(),
        None => Unique::draw(rng).dashed(),
    }
}

/// A header value from text that is known to be plain ASCII.
pub fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("-"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeSet;

    #[track_caller]
    fn check(given: &[(&str, &str)], left: &[&str]) {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        strip_hop_by_hop(&mut headers);
        strip_steering(&mut headers);
        // A map that something was removed from is not in the order of its making.
        let names: BTreeSet<&str> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, left.iter().copied().collect());
    }

    #[test]
    fn what_belongs_to_the_connection_stays_behind() {
        check(
            &[
                ("connection", "close, X-Secret"),
                ("connection", "\tx-other ,,"),
                ("x-secret", "1"),
                ("x-other", "1"),
                ("keep-alive", "5"),
                ("transfer-encoding", "chunked"),
                ("upgrade", "h2c"),
                ("http2-settings", "AAA"),
                ("accept", "*/*"),
            ],
            &["accept"],
        );
    }

    #[test]
    fn connection_cannot_name_away_what_is_for_those_behind() {
        check(
            &[
                (
                    "connection",
                    "authorization, X-Forwarded-For, x-llm-d-slo-ttft-ms, x-mine",
                ),
                ("authorization", "Bearer k"),
                ("x-forwarded-for", "10.0.0.1"),
                ("x-llm-d-slo-ttft-ms", "200"),
                ("x-mine", "1"),
            ],
            &["authorization", "x-forwarded-for", "x-llm-d-slo-ttft-ms"],
        );
    }

    #[test]
    fn a_client_does_not_steer() {
        check(
            &[
                ("x-gateway-destination-endpoint", "10.0.0.1:1"),
                ("x-gateway-destination-endpoint-subset", "10.0.0.1:1"),
                ("x-gateway-model-name-rewrite", "m"),
                ("x-gateway-inference-objective", "urgent"),
                ("x-gateway-inference-fairness-id", "me"),
                ("x-prefiller-host-port", "10.0.0.1:1"),
                ("x-encoder-hosts-ports", "10.0.0.1:1"),
                ("x-data-parallel-host-port", "10.0.0.1:1"),
                ("x-kv-cache-source-host-port", "10.0.0.1:1"),
                ("x-llm-d-model-name-rewrite", "m"),
                ("x-llm-d-request-dropped-reason", "rejected-saturated"),
                ("x-kv-backend", "fs"),
            ],
            &[
                "x-gateway-inference-objective",
                "x-gateway-inference-fairness-id",
                "x-kv-backend",
            ],
        );
    }

    #[test]
    fn a_valid_id_is_kept_and_anything_else_is_replaced() {
        let mut rng = Rng::from_seed(1);
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_ID, "abc.1_2:3-X".parse().unwrap());
        assert_eq!(request_id(&headers, &mut rng), "abc.1_2:3-X");
        let engine = "x___decode_addr_10.0.0.1:1";
        for bad in ["", "a b", "é", &"x".repeat(257), engine] {
            headers.insert(
                X_REQUEST_ID,
                HeaderValue::from_bytes(bad.as_bytes()).unwrap(),
            );
            let id = request_id(&headers, &mut rng);
            assert_eq!((id.len(), &id[14..15]), (36, "4"), "{id}");
        }
    }
}
