//! Asking the prefill server of another process whether it computed a prompt.

use std::net::SocketAddr;
use std::time::Duration;

use http::{Request, StatusCode, header};
use pointsman_http::{Body, Pool, collect};

use crate::server::transfers::Found;

/// Longest wait for the answer; then the prompt counts as not computed.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where the question and the answer live.
pub const PATH: &str = "/admin/transfer/";

/// What the server `authority` (host and port) knows of `id`; nothing when it does not answer.
pub async fn ask(pool: &Pool, authority: &str, id: &str) -> Found {
    tokio::time::timeout(PATIENCE, question(pool, authority, id))
        .await
        .ok()
        .flatten()
        .unwrap_or(Found::Unknown)
}

async fn question(pool: &Pool, authority: &str, id: &str) -> Option<Found> {
    let addr: SocketAddr = tokio::net::lookup_host(authority).await.ok()?.next()?;
    let request = Request::get(format!("{PATH}{}", encode(id)))
        .header(header::HOST, authority)
        .body(Body::empty());
    let response = pool.send(addr, request.ok()?).await.ok()?;
    if response.status() != StatusCode::OK {
        return None;
    }
    let frames = collect(response.into_body(), 4096, PATIENCE).await.ok()?;
    let answer: serde_json::Value = serde_json::from_slice(&frames.joined()).ok()?;
    answer["tokens"].as_u64()?;
    Some(match answer["overwritten"].as_bool() {
        Some(true) => Found::Overwritten,
        _ => Found::Kept,
    })
}

/// Percent-encodes everything but unreserved characters.
pub fn encode(id: &str) -> String {
    let mut out = String::with_capacity(id.len());
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Undoes [`encode`]; `None` for a broken encoding.
pub fn decode(path: &str) -> Option<String> {
    let mut out = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            out.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_id_survives_the_path(id in ".{0,60}") {
            let encoded = encode(&id);
            prop_assert!(encoded.is_ascii() && !encoded.contains('/'));
            prop_assert_eq!(decode(&encoded), Some(id));
        }
    }

    #[test]
    fn broken_encodings_are_none() {
        assert_eq!(
            (decode("%4"), decode("%zz"), decode("%ff")),
            (None, None, None)
        );
    }
}
