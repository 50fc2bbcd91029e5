//! Answers that the proxy gives itself, in the form that its clients read.

use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use pointsman_core::model::reject::Reject;
use pointsman_http::Body;
use pointsman_wire::error_form::ErrorForm;
use pointsman_wire::status::DROPPED_REASON;

/// The refusal of a request; `param` names the field at fault.
pub fn refuse(form: ErrorForm, reject: &Reject, param: Option<&str>) -> Response<Body> {
    let refusal = form.refusal(reject, param);
    let mut response = json(
        StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        refusal.body,
    );
    if let Some(reason) = refusal.dropped_reason {
        response
            .headers_mut()
            .insert(DROPPED_REASON, HeaderValue::from_static(reason));
    }
    if let Some(seconds) = refusal.retry_after_s {
        response
            .headers_mut()
            .insert(http::header::RETRY_AFTER, seconds.into());
    }
    response
}

/// 405 for a path that takes POST only.
pub fn method_not_allowed(form: ErrorForm) -> Response<Body> {
    let mut response = refuse(form, &Reject::MethodNotAllowed, None);
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("POST"));
    response
}

/// A JSON answer.
pub fn json(status: StatusCode, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::bytes(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
