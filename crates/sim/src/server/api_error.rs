//! What goes wrong with a request, in the shape OpenAI clients understand.

use http::{Response, StatusCode, header};
use pointsman_http::Body;
use serde_json::json;

use crate::engine::request::Refusal;

/// An error answer: `{"error":{"message","type","param","code"}}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// Status, also the body's `code`.
    pub status: StatusCode,
    /// What is wrong and what would be right.
    pub message: String,
    /// The field at fault.
    pub param: Option<&'static str>,
}

impl ApiError {
    /// An error of this status.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            param: None,
        }
    }

    /// 400, with the field at fault.
    pub fn field(param: &'static str, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            message: message.into(),
            param: Some(param),
        }
    }

    /// 400 without a field.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    fn kind(&self) -> &'static str {
        match self.status {
            StatusCode::BAD_REQUEST
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::PAYLOAD_TOO_LARGE => "BadRequestError",
            StatusCode::UNAUTHORIZED => "AuthenticationError",
            StatusCode::NOT_FOUND => "NotFoundError",
            StatusCode::TOO_MANY_REQUESTS => "RateLimitError",
            StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailableError",
            status if status.is_client_error() => "BadRequestError",
            _ => "InternalServerError",
        }
    }

    /// The answer.
    pub fn response(&self) -> Response<Body> {
        let body = json!({"error": {
            "message": self.message,
            "type": self.kind(),
            "param": self.param,
            "code": self.status.as_u16(),
        }});
        let mut response = Response::new(Body::bytes(body.to_string()));
        *response.status_mut() = self.status;
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static("application/json"),
        );
        response
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal {
            Refusal::NeverFits { .. } => StatusCode::BAD_REQUEST,
            Refusal::QueueFull { .. } => StatusCode::TOO_MANY_REQUESTS,
        };
        Self::new(status, refusal.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_the_engine_have_their_status() {
        let error = ApiError::from(Refusal::QueueFull { limit: 3 });
        assert_eq!(
            (error.status.as_u16(), error.kind()),
            (429, "RateLimitError")
        );
        let error = ApiError::from(Refusal::NeverFits {
            needed: 9,
            total: 4,
        });
        assert_eq!(
            (error.status.as_u16(), error.kind()),
            (400, "BadRequestError")
        );
    }
}
