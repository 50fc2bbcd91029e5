//! The answer to a request that is refused before anybody serves it.
//!
//! The body has the form of errors that clients of OpenAI-like APIs read, so that a refusal at this level looks like any other.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};

use crate::body::Body;
use crate::offence::Offence;

/// The answer to an offence. It closes an HTTP/1.1 connection, since where its next request begins is anybody's guess.
pub fn refusal(offence: &Offence) -> Response<Body> {
    let code = if offence.status == StatusCode::BAD_REQUEST {
        "malformed"
    } else {
        "head-too-large"
    };
    let text = offence.text;
    let body = format!(
        "{{\"error\":{{\"message\":\"{text}\",\"type\":\"invalid_request_error\",\"param\":null,\"code\":\"{code}\"}}}}"
    );
    let mut response = Response::new(Body::bytes(Bytes::from(body)));
    *response.status_mut() = offence.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
