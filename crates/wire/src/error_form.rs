//! In whose form a client reads that something went wrong.

use pointsman_core::model::reject::Reject;

use crate::json::write::push_string;
use crate::status::{Refusal, openai_error, openai_error_body, status};

/// The form of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ErrorForm {
    /// `{"error":{"message","type","param","code"}}`.
    #[default]
    OpenAi,
    /// `{"type":"error","error":{"type","message"}}`.
    Anthropic,
}

impl ErrorForm {
    /// What clients of a path expect.
    pub fn of(path: &str) -> Self {
        match path.strip_prefix("/v1/messages") {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => Self::Anthropic,
            _ => Self::OpenAi,
        }
    }

    /// The answer that refuses a request. `param` names the field at fault, if one is.
    pub fn refusal(self, reject: &Reject, param: Option<&str>) -> Refusal {
        let refusal = openai_error(reject, param);
        match self {
            Self::OpenAi => refusal,
            Self::Anthropic => Refusal {
                body: anthropic_body(reject),
                ..refusal
            },
        }
    }

    /// The event that ends a stream which failed after its first byte. The connection closes after it, and nothing says that the answer
    /// was whole.
    pub fn event(self, reject: &Reject) -> Vec<u8> {
        let (name, body) = match self {
            Self::OpenAi => (&b""[..], openai_error_body(reject, None)),
            Self::Anthropic => (&b"event: error\n"[..], anthropic_body(reject)),
        };
        [name, b"data: ", &body, b"\n\n"].concat()
    }
}

fn anthropic_body(reject: &Reject) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    out.extend_from_slice(b"{\"type\":\"error\",\"error\":{\"type\":");
    push_string(&mut out, anthropic_type(status(reject)));
    out.extend_from_slice(b",\"message\":");
    push_string(&mut out, &reject.to_string());
    out.extend_from_slice(b"}}");
    out
}

/// The error type that Anthropic's clients expect with a status.
const fn anthropic_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 => "overloaded_error",
        504 => "timeout_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_path_has_the_form_of_its_clients() {
        let check = |path: &str, form| assert_eq!(ErrorForm::of(path), form, "{path}");
        check("/v1/messages", ErrorForm::Anthropic);
        check("/v1/messages/count_tokens", ErrorForm::Anthropic);
        check("/v1/messages2", ErrorForm::OpenAi);
        check("/v1/threads/1/messages", ErrorForm::OpenAi);
        check("/v1/chat/completions", ErrorForm::OpenAi);
    }

    #[track_caller]
    fn check(reject: &Reject, kind: &str) {
        let refusal = ErrorForm::Anthropic.refusal(reject, Some("messages"));
        let body: serde_json::Value = serde_json::from_slice(&refusal.body).unwrap();
        let error = serde_json::json!({"type": kind, "message": reject.to_string()});
        assert_eq!(body, serde_json::json!({"type": "error", "error": error}));
        let openai = ErrorForm::OpenAi.refusal(reject, Some("messages"));
        assert_eq!(openai, openai_error(reject, Some("messages")));
        assert_eq!(
            Refusal {
                body: openai.body.clone(),
                ..refusal
            },
            openai,
            "only the body differs"
        );
    }

    #[test]
    fn anthropic_s_clients_read_their_own_types() {
        check(
            &Reject::Malformed("a \"b\"\n".into()),
            "invalid_request_error",
        );
        check(&Reject::MethodNotAllowed, "invalid_request_error");
        check(&Reject::NoRoute, "not_found_error");
        check(&Reject::BodyTooLarge { limit: 7 }, "request_too_large");
        check(&Reject::Saturated, "rate_limit_error");
        check(&Reject::NoEndpoints, "overloaded_error");
        check(&Reject::UpstreamUnreachable { tried: 2 }, "api_error");
        check(&Reject::UpstreamTimeout, "timeout_error");
        check(&Reject::Internal("x".into()), "api_error");
    }

    #[test]
    fn an_error_is_one_event() {
        let text = |form: ErrorForm| {
            String::from_utf8_lossy(&form.event(&Reject::UpstreamTimeout)).into_owned()
        };
        assert_eq!(
            text(ErrorForm::OpenAi),
            "data: {\"error\":{\"message\":\"the endpoint gave no answer in time\",\
            \"type\":\"server_error\",\"param\":null,\"code\":\"upstream-timeout\"}}\n\n"
        );
        assert_eq!(
            text(ErrorForm::Anthropic),
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"timeout_error\",\
            \"message\":\"the endpoint gave no answer in time\"}}\n\n"
        );
    }
}
