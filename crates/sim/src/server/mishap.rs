//! Errors that are answered at random, as often and of the kinds that were asked for.

use clap::ValueEnum;
use http::StatusCode;

use crate::server::api_error::ApiError;

/// What may go wrong, by the reference's names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Kind {
    /// 429
    #[value(name = "rate_limit")]
    RateLimit,
    /// 401
    #[value(name = "invalid_api_key")]
    InvalidApiKey,
    /// 400
    #[value(name = "context_length")]
    ContextLength,
    /// 503
    #[value(name = "server_error")]
    ServerError,
    /// 400
    #[value(name = "invalid_request")]
    InvalidRequest,
    /// 404
    #[value(name = "model_not_found")]
    ModelNotFound,
}

/// How often requests go wrong, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mishaps {
    /// Requests of a hundred.
    pub percent: u8,
    /// The kinds, each as likely as the others.
    pub kinds: Vec<Kind>,
}

impl Mishaps {
    /// So many of a hundred, of these kinds or, without any, of all.
    pub fn new(percent: u8, kinds: &[Kind]) -> Self {
        let kinds = match kinds {
            [] => Kind::value_variants().to_vec(),
            kinds => kinds.to_vec(),
        };
        Self { percent, kinds }
    }

    /// What goes wrong with the request that drew this number, if anything does.
    pub fn strike(&self, drawn: u64, model: &str, max_model_len: u32) -> Option<ApiError> {
        if drawn % 100 >= u64::from(self.percent) || self.kinds.is_empty() {
            return None;
        }
        let kind = self.kinds[((drawn / 100) % self.kinds.len() as u64) as usize];
        Some(error(kind, model, max_model_len))
    }
}

fn error(kind: Kind, model: &str, max_model_len: u32) -> ApiError {
    let of = |status, message: String, param| ApiError {
        status,
        message,
        param,
    };
    match kind {
        Kind::RateLimit => of(
            StatusCode::TOO_MANY_REQUESTS,
            format!("Rate limit reached for {model}: too many requests per minute."),
            None,
        ),
        Kind::InvalidApiKey => of(
            StatusCode::UNAUTHORIZED,
            "Incorrect API key provided.".to_owned(),
            None,
        ),
        Kind::ContextLength => of(
            StatusCode::BAD_REQUEST,
            format!(
                "This model's maximum context length is {max_model_len} tokens. However, your messages \
                 resulted in {} tokens. Please reduce the length of the messages.",
                max_model_len.saturating_add(1)
            ),
            Some("messages"),
        ),
        Kind::ServerError => of(
            StatusCode::SERVICE_UNAVAILABLE,
            "The server is overloaded or not ready yet.".to_owned(),
            None,
        ),
        Kind::InvalidRequest => of(
            StatusCode::BAD_REQUEST,
            "Invalid request: missing required parameter 'model'.".to_owned(),
            Some("model"),
        ),
        Kind::ModelNotFound => of(
            StatusCode::NOT_FOUND,
            format!("The model `{model}-nonexistent` does not exist."),
            Some("model"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_requests_fail_as_were_asked_for() {
        let mishaps = Mishaps::new(30, &[]);
        let struck: Vec<u16> = (0..6000)
            .filter_map(|drawn| mishaps.strike(drawn, "m", 10))
            .map(|error| error.status.as_u16())
            .collect();
        assert_eq!(struck.len(), 1800);
        for (status, times) in [(429, 300), (401, 300), (400, 600), (503, 300), (404, 300)] {
            assert_eq!(
                struck.iter().filter(|&&s| s == status).count(),
                times,
                "{status}"
            );
        }
        assert!((0..500).all(|drawn| Mishaps::new(0, &[]).strike(drawn, "m", 10).is_none()));
        let only = Mishaps::new(100, &[Kind::RateLimit]);
        assert!((0..500).all(|drawn| {
            only.strike(drawn, "m", 10)
                .is_some_and(|error| error.status == 429)
        }));
    }
}
