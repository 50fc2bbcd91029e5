//! From core's closed list of rejects to HTTP: the only place that knows the mapping.
//!
//! | reject | status | `x-llm-d-request-dropped-reason` |
//! |---|---|---|
//! | malformed | 400 | |
//! | body too large | 413 | |
//! | no route / wrong method | 404 / 405 | |
//! | no endpoints | 503 | rejected-no-endpoints |
//! | filtered out, saturated, not admitted, queue full | 429 + `retry-after` | rejected-saturated |
//! | evicted | 429 + `retry-after` | evicted |
//! | ttl expired | 503 | rejected-ttl-expired |
//! | shutting down | 503 | rejected-shutting-down |
//! | client gone | 499, in logs only | rejected-context-cancelled |
//! | upstream unreachable / silent | 502 / 504 | |
//! | our own fault | 500 | |
//! | not cached where it was wanted only cached | 412 | |
//!
//! The picker's door answers in the reference's words, and where the reference has another status, with that one.

use crate::json::write::{push_optional, push_string};
use crate::request::error::RequestError;
use pointsman_core::contract::spec::Generation;
use pointsman_core::model::reject::Reject;

/// Name of the header that says why a request was dropped.
pub const DROPPED_REASON: &str = "x-llm-d-request-dropped-reason";

/// Seconds after which a client that met 429 may try again, where nothing better is known.
const RETRY_AFTER_S: u32 = 1;

/// An answer that refuses a request, as the gateway and proxy doors send it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status code.
    pub status: u16,
    /// JSON body, `application/json`.
    pub body: Vec<u8>,
    /// Value of the header [`DROPPED_REASON`], if one is due.
    pub dropped_reason: Option<&'static str>,
    /// Value of `retry-after` in seconds, if one is due.
    pub retry_after_s: Option<u32>,
}

/// The refusal with an OpenAI error body. `param` names the field at fault, if one is.
pub fn openai_error(reject: &Reject, param: Option<&str>) -> Refusal {
    let status = status(reject);
    Refusal {
        status,
        body: openai_error_body(reject, param),
        dropped_reason: dropped_reason(reject),
        retry_after_s: retry_after_s(reject),
    }
}

/// The OpenAI error body of a reject, for an answer or for an event in a stream.
pub fn openai_error_body(reject: &Reject, param: Option<&str>) -> Vec<u8> {
    error_body(
        &reject.to_string(),
        error_type(status(reject)),
        param,
        Some(reject.word()),
    )
}

/// The HTTP status of a reject. A client that is gone gets 499, which only logs see.
pub const fn status(reject: &Reject) -> u16 {
    match reject {
        Reject::Malformed(_) => 400,
        Reject::BodyTooLarge { .. } => 413,
        Reject::NoRoute => 404,
        Reject::MethodNotAllowed => 405,
        Reject::NotCached => 412,
        Reject::FilteredOut { .. }
        | Reject::Saturated
        | Reject::NotAdmitted(_)
        | Reject::Evicted
        | Reject::QueueFull { .. } => 429,
        Reject::NoEndpoints
        | Reject::NoEndpointsQueued { .. }
        | Reject::TtlExpired
        | Reject::ShuttingDown => 503,
        Reject::ClientGone => 499,
        Reject::UpstreamUnreachable { .. } | Reject::UpstreamBroke => 502,
        Reject::UpstreamTimeout => 504,
        Reject::Internal(_) => 500,
    }
}

/// Seconds after which a client may try again, if it is told so.
pub const fn retry_after_s(reject: &Reject) -> Option<u32> {
    match reject {
        Reject::QueueFull { retry_after_s } => Some(*retry_after_s),
        _ if status(reject) == 429 => Some(RETRY_AFTER_S),
        _ => None,
    }
}

/// The value of [`DROPPED_REASON`] for a reject, if one is due.
pub const fn dropped_reason(reject: &Reject) -> Option<&'static str> {
    match reject {
        Reject::NoEndpoints | Reject::NoEndpointsQueued { .. } => Some("rejected-no-endpoints"),
        Reject::FilteredOut { .. }
        | Reject::Saturated
        | Reject::NotAdmitted(_)
        | Reject::QueueFull { .. } => Some("rejected-saturated"),
        Reject::Evicted => Some("evicted"),
        Reject::TtlExpired => Some("rejected-ttl-expired"),
        Reject::ShuttingDown => Some("rejected-shutting-down"),
        Reject::ClientGone => Some("rejected-context-cancelled"),
        Reject::Malformed(_)
        | Reject::BodyTooLarge { .. }
        | Reject::NoRoute
        | Reject::MethodNotAllowed
        | Reject::NotCached
        | Reject::UpstreamUnreachable { .. }
        | Reject::UpstreamTimeout
        | Reject::UpstreamBroke
        | Reject::Internal(_) => None,
    }
}

/// An answer that refuses a request, as the picker's door has the gateway send it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PickerRefusal {
    /// HTTP status code.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
    /// The body's type; the reference does not name it.
    pub content_type: Option<&'static str>,
    /// Value of the header [`DROPPED_REASON`], if one is due.
    pub dropped_reason: Option<&'static str>,
    /// Value of `retry-after` in seconds, if one is due.
    pub retry_after_s: Option<u32>,
}

impl From<Refusal> for PickerRefusal {
    fn from(refusal: Refusal) -> Self {
        Self {
            status: refusal.status,
            body: refusal.body,
            content_type: Some("application/json"),
            dropped_reason: refusal.dropped_reason,
            retry_after_s: refusal.retry_after_s,
        }
    }
}

/// The refusal in the reference's words: `inference error: <Code> - <message>` as plain text.
pub fn reference_error(reject: &Reject, generation: Generation) -> PickerRefusal {
    let first = generation == Generation::G1;
    let (code, message) = match reject {
        Reject::NoEndpoints if first => (
            "ServiceUnavailable",
            "failed to find candidate pods for serving the request".to_owned(),
        ),
        Reject::NoEndpoints => (
            "ServiceUnavailable",
            "failed to find endpoint candidates for serving the request".to_owned(),
        ),
        Reject::FilteredOut { profile, .. } if first => (
            "InferencePoolResourceExhausted",
            format!("failed to find target pod: failed to run scheduler profile '{profile}'"),
        ),
        Reject::FilteredOut { .. } => (
            "ResourceExhausted",
            "no endpoints available for the given request".to_owned(),
        ),
        Reject::Saturated => (
            "ResourceExhausted",
            "system saturated, sheddable request dropped".to_owned(),
        ),
        Reject::QueueFull { .. } => (
            "ResourceExhausted",
            "request rejected pre-queue: queue at capacity".to_owned(),
        ),
        Reject::NoEndpointsQueued { waited: false } => (
            "ServiceUnavailable",
            "no endpoints available: request rejected pre-queue: queue at capacity".to_owned(),
        ),
        Reject::NoEndpointsQueued { waited: true } => (
            "ServiceUnavailable",
            "request timed out in queue and no endpoints are available: \
             request evicted from queue: request TTL expired"
                .to_owned(),
        ),
        Reject::TtlExpired => (
            "ResourceExhausted",
            "request timed out in queue: request evicted from queue: request TTL expired"
                .to_owned(),
        ),
        Reject::ShuttingDown => (
            "ServiceUnavailable",
            "flow controller shutting down: the router is shutting down".to_owned(),
        ),
        Reject::ClientGone => (
            "ServiceUnavailable",
            "client disconnected: context canceled".to_owned(),
        ),
        Reject::NotCached => (
            "PreconditionFailed",
            "no decode worker has the requested KV cache".to_owned(),
        ),
        Reject::NotAdmitted(why) => ("Internal", format!("request cannot be admitted: {why}")),
        Reject::Internal(what) => ("Internal", what.clone()),
        other => (code_of(status(other)), other.to_string()),
    };
    PickerRefusal {
        status: match reject {
            Reject::TtlExpired => 429,
            Reject::NotAdmitted(_) => 500,
            Reject::ClientGone => 503,
            other => status(other),
        },
        body: match reject {
            Reject::Evicted => b"request evicted by flow control".to_vec(),
            _ => format!("inference error: {code} - {message}").into_bytes(),
        },
        content_type: None,
        // The first generation said nothing of the reason, and an error of the picker's own has none.
        dropped_reason: dropped_reason(reject)
            .filter(|_| !first && !matches!(reject, Reject::NotAdmitted(_))),
        retry_after_s: None,
    }
}

const fn code_of(status: u16) -> &'static str {
    match status {
        400 => "BadRequest",
        404 | 405 => "NotFound",
        413 => "RequestEntityTooLarge",
        429 => "ResourceExhausted",
        502..=504 => "ServiceUnavailable",
        _ => "Internal",
    }
}

/// The text of the log line for a reject. Where filters left nothing it has the words that
/// operators' searches look for.
pub fn log_text(reject: &Reject) -> String {
    match reject {
        Reject::FilteredOut { profile, filter } => format!(
            "failed to run scheduler profile '{profile}': InferencePoolResourceExhausted: \
             filter '{filter}' left no endpoint"
        ),
        other => other.to_string(),
    }
}

/// An OpenAI error body: `{"error":{"message","type","param","code"}}`.
pub fn error_body(message: &str, kind: &str, param: Option<&str>, code: Option<&str>) -> Vec<u8> {
    let mut out = Vec::with_capacity(96 + message.len());
    out.extend_from_slice(b"{\"error\":{\"message\":");
    push_string(&mut out, message);
    out.extend_from_slice(b",\"type\":");
    push_string(&mut out, kind);
    out.extend_from_slice(b",\"param\":");
    push_optional(&mut out, param);
    out.extend_from_slice(b",\"code\":");
    push_optional(&mut out, code);
    out.extend_from_slice(b"}}");
    out
}

/// The error type that OpenAI clients expect with a status.
pub const fn error_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    }
}

impl From<RequestError> for Reject {
    /// Every fault of a request is the client's; keep [`RequestError::field`] for the `param`.
    fn from(error: RequestError) -> Self {
        Self::Malformed(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[track_caller]
    fn check(reject: &Reject, status: u16, kind: &str, dropped: Option<&str>) {
        let refusal = openai_error(reject, None);
        assert_eq!(refusal.status, status);
        assert_eq!(refusal.dropped_reason, dropped);
        let waits = match reject {
            Reject::QueueFull { retry_after_s } => *retry_after_s,
            _ => 1,
        };
        assert_eq!(refusal.retry_after_s, (status == 429).then_some(waits));
        let body: serde_json::Value = serde_json::from_slice(&refusal.body).unwrap();
        let expected = serde_json::json!({"error": {
            "message": reject.to_string(), "type": kind, "param": null, "code": reject.word(),
        }});
        assert_eq!(body, expected);
    }

    #[test]
    fn every_reject_has_its_answer() {
        let (client, server, busy) = ("invalid_request_error", "server_error", "rate_limit_error");
        check(
            &Reject::Malformed("x \"y\"\n\u{1}".into()),
            400,
            client,
            None,
        );
        check(&Reject::BodyTooLarge { limit: 7 }, 413, client, None);
        check(&Reject::NoRoute, 404, client, None);
        check(&Reject::NotCached, 412, client, None);
        check(&Reject::MethodNotAllowed, 405, client, None);
        check(
            &Reject::NoEndpoints,
            503,
            server,
            Some("rejected-no-endpoints"),
        );
        let filtered = Reject::FilteredOut {
            profile: "default".into(),
            filter: "by-label".into(),
        };
        check(&filtered, 429, busy, Some("rejected-saturated"));
        check(&Reject::Saturated, 429, busy, Some("rejected-saturated"));
        let full = Reject::QueueFull { retry_after_s: 7 };
        check(&full, 429, busy, Some("rejected-saturated"));
        check(
            &Reject::TtlExpired,
            503,
            server,
            Some("rejected-ttl-expired"),
        );
        check(
            &Reject::ShuttingDown,
            503,
            server,
            Some("rejected-shutting-down"),
        );
        check(
            &Reject::ClientGone,
            499,
            client,
            Some("rejected-context-cancelled"),
        );
        check(&Reject::UpstreamUnreachable { tried: 2 }, 502, server, None);
        check(&Reject::UpstreamTimeout, 504, server, None);
        check(&Reject::Internal("x".into()), 500, server, None);
        let log = log_text(&filtered);
        for word in [
            "failed to run scheduler profile 'default'",
            "by-label",
            "InferencePoolResourceExhausted",
        ] {
            assert!(log.contains(word), "{log}");
        }
    }

    #[test]
    fn the_picker_speaks_the_reference_s_words() {
        let check = |reject: &Reject, generation, status, body: &str, dropped| {
            let refusal = reference_error(reject, generation);
            assert_eq!(String::from_utf8(refusal.body).unwrap(), body);
            assert_eq!((refusal.status, refusal.dropped_reason), (status, dropped));
            assert_eq!((refusal.content_type, refusal.retry_after_s), (None, None));
        };
        let (g1, g2) = (Generation::G1, Generation::G2);
        check(
            &Reject::QueueFull { retry_after_s: 7 },
            g2,
            429,
            "inference error: ResourceExhausted - request rejected pre-queue: queue at capacity",
            Some("rejected-saturated"),
        );
        check(
            &Reject::NoEndpointsQueued { waited: false },
            g2,
            503,
            "inference error: ServiceUnavailable - no endpoints available: request rejected pre-queue: queue at capacity",
            Some("rejected-no-endpoints"),
        );
        check(
            &Reject::NoEndpointsQueued { waited: true },
            g2,
            503,
            "inference error: ServiceUnavailable - request timed out in queue and no endpoints are available: request evicted from queue: request TTL expired",
            Some("rejected-no-endpoints"),
        );
        check(
            &Reject::TtlExpired,
            g2,
            429,
            "inference error: ResourceExhausted - request timed out in queue: request evicted from queue: request TTL expired",
            Some("rejected-ttl-expired"),
        );
        check(
            &Reject::Malformed("model not found in request body".into()),
            g2,
            400,
            "inference error: BadRequest - model not found in request body",
            None,
        );
        check(
            &Reject::NoEndpoints,
            g2,
            503,
            "inference error: ServiceUnavailable - failed to find endpoint candidates for serving the request",
            Some("rejected-no-endpoints"),
        );
        check(
            &Reject::NoEndpoints,
            g1,
            503,
            "inference error: ServiceUnavailable - failed to find candidate pods for serving the request",
            None,
        );
        let filtered = Reject::FilteredOut {
            profile: "default".into(),
            filter: "by-label".into(),
        };
        check(
            &filtered,
            g2,
            429,
            "inference error: ResourceExhausted - no endpoints available for the given request",
            Some("rejected-saturated"),
        );
        check(
            &filtered,
            g1,
            429,
            "inference error: InferencePoolResourceExhausted - failed to find target pod: failed to run scheduler profile 'default'",
            None,
        );
        check(
            &Reject::NotCached,
            g2,
            412,
            "inference error: PreconditionFailed - no decode worker has the requested KV cache",
            None,
        );
        check(
            &Reject::Internal("no pods available in datastore".into()),
            g2,
            500,
            "inference error: Internal - no pods available in datastore",
            None,
        );
        check(
            &Reject::BodyTooLarge { limit: 7 },
            g2,
            413,
            "inference error: RequestEntityTooLarge - request body is larger than 7 bytes",
            None,
        );
    }

    #[test]
    fn a_fault_of_the_request_names_its_field() {
        let error = RequestError::Missing {
            field: "model",
            expected: "a name",
        };
        let param = error.field().map(str::to_owned);
        let refusal = openai_error(&error.into(), param.as_deref());
        let body: serde_json::Value = serde_json::from_slice(&refusal.body).unwrap();
        assert_eq!(body["error"]["param"], "model");
        assert_eq!(
            body["error"]["message"],
            "field 'model' is missing; send a name"
        );
    }
}
