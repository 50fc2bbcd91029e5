//! What a proxy says about its pair: `/health` and `/metrics`.

use std::time::Duration;

use http::{HeaderValue, Request, Response, StatusCode, Uri};
use pointsman_core::model::reject::Reject;
use pointsman_http::{Body, discard};
use pointsman_wire::status::openai_error_body;

use crate::door::headers::strip_hop_by_hop;
use crate::door::proxy::config::ProxyConfig;
use crate::door::proxy::legs::{Engine, LegFailure};
use crate::door::proxy::refusal;

/// Both engines' own `/health`, asked at the same time.
///
/// | prefill | decode | status |
/// |---|---|---|
/// | up | up | 200 `healthy` |
/// | down | up | 200 `degraded`: decode computes prompts itself |
/// | any | down | 503 `unhealthy` |
pub async fn health(config: &ProxyConfig, prefill: &Engine, decode: &Engine) -> Response<Body> {
    let (prefill_state, decode_state) = tokio::join!(
        probe(prefill, config.probe_timeout),
        probe(decode, config.probe_timeout)
    );
    let (status, word) = match (&prefill_state, &decode_state) {
        (_, Err(_)) => (StatusCode::SERVICE_UNAVAILABLE, "unhealthy"),
        (Err(_), Ok(())) => (StatusCode::OK, "degraded"),
        (Ok(()), Ok(())) => (StatusCode::OK, "healthy"),
    };
    let state = |state: &Result<(), LegFailure>| match state {
        Ok(()) => "healthy".to_owned(),
        Err(failure) => failure.to_string(),
    };
    let body = serde_json::json!({
        "status": word,
        "prefill": prefill.url(),
        "decode": decode.url(),
        "engines": {"prefill": state(&prefill_state), "decode": state(&decode_state)},
    });
    refusal::json(status, body.to_string().into_bytes())
}

/// The exposition of the decode engine, else that of the prefill engine, else 503.
pub async fn metrics(config: &ProxyConfig, prefill: &Engine, decode: &Engine) -> Response<Body> {
    for engine in [decode, prefill] {
        if let Ok(mut answer) = engine.send(get("/metrics"), config.probe_timeout).await
            && answer.status().is_success()
        {
            strip_hop_by_hop(answer.headers_mut());
            return answer;
        }
    }
    refusal::json(
        StatusCode::SERVICE_UNAVAILABLE,
        openai_error_body(&Reject::UpstreamUnreachable { tried: 2 }, None),
    )
}

async fn probe(engine: &Engine, patience: Duration) -> Result<(), LegFailure> {
    let answer = engine.send(get("/health"), patience).await?;
    let status = answer.status();
    discard(answer.into_body(), 64 * 1024, patience).await;
    if status.is_success() {
        return Ok(());
    }
    Err(LegFailure::Status {
        url: engine.url().to_owned(),
        status,
    })
}

fn get(path: &'static str) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = Uri::from_static(path);
    request
        .headers_mut()
        .insert(http::header::ACCEPT, HeaderValue::from_static("*/*"));
    request
}
