//! What the handlers of one server share: the engine, connections to peers, reading and answering.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use parking_lot::Mutex;
use pointsman_http::{Body, CollectError, Frames, Peer, Pool, collect::gather, discard};
use serde_json::Value;

use crate::server::api_error::ApiError;
use crate::server::host::Host;
use crate::server::tokens::Vocabulary;

/// Longest wait between two frames of a request body.
const IDLE: Duration = Duration::from_secs(30);

/// Most bytes, and the longest time, that the rest of a body that was too large is read for.
const DISCARD: (usize, Duration) = (64 * 1024 * 1024, Duration::from_secs(5));

/// What the handlers of one server share.
#[derive(Debug)]
pub struct Desk {
    /// The engine.
    pub host: Arc<Host>,
    /// Connections to peers.
    pub pool: Pool,
    /// Port the server listens on.
    pub port: u16,
    /// Pieces that `/tokenize` has seen.
    pub vocabulary: Mutex<Vocabulary>,
}

/// A JSON answer.
pub fn json_response(value: &Value) -> Response<Body> {
    json_text(value.to_string())
}

/// A JSON answer that is already text.
pub fn json_text(text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::bytes(text));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// Reads the body of a request within the server's limit.
pub async fn read_body(
    host: &Host,
    request: Request<Incoming>,
    peer: &Peer,
) -> Result<Frames, ApiError> {
    let mut body = pin!(request.into_body());
    let limit = host.settings.max_body;
    let error = match gather(body.as_mut(), limit, IDLE).await {
        Ok(frames) => return Ok(frames),
        Err(error) => error,
    };
    let status = match error {
        CollectError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        CollectError::Idle => StatusCode::REQUEST_TIMEOUT,
        CollectError::Read(_) => StatusCode::BAD_REQUEST,
    };
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        // A client that writes first and reads then would never see the answer.
        let (most, time) = DISCARD;
        discard(body, most, time).await;
    }
    peer.disconnect_after_response();
    Err(ApiError::new(status, error.to_string()))
}
