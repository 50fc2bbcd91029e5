//! Door 2: the embedded HTTP gateway with the picker inside.
//!
//! A request is routed, read whole within bounds, looked into without being parsed into a tree, decided
//! and forwarded frame by frame; the answer streams back as it comes. If the picked endpoint cannot be
//! reached, the next best is tried, before the first byte. When the client leaves, everything it
//! started is dropped and so cancelled at the endpoint.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use hyper::body::Incoming;
use pointsman_core::contract::data_layer::Parser;
use pointsman_core::model::headers::Headers;
use pointsman_core::model::prompt::Prompt;
use pointsman_core::model::reject::Reject;
use pointsman_core::model::request::InferenceRequest;
use pointsman_http::collect::gather;
use pointsman_http::{Body, CollectError, Frames, Peer, discard};
use pointsman_wire::error_form::ErrorForm;
use pointsman_wire::extproc::body::{Claim, claim};
use pointsman_wire::extproc::rewrite::with_model;
use pointsman_wire::request::openai::{ApiKind, classify, read};
use pointsman_wire::status::DROPPED_REASON;
use tokio::time::Instant;

use crate::admission::claims::Claims;
use crate::door::answer::Answer;
use crate::door::headers::{
    Seen, X_REQUEST_ID, request_id, strip_hop_by_hop, strip_steering, value,
};
use crate::door::limits::GatewayLimits;
use crate::door::models;
use crate::door::passage::{Passage, Patience};
use crate::door::render::question;
use crate::door::route::{Target, rows_of_service};
use crate::door::sending::{Sending, Served};
use crate::exchange::Exchange;
use crate::rewriting::decreed;
use crate::router::Lane;
use crate::tracing::context::TRACEPARENT;

/// How much of an unread body is taken in after a refusal, so that a client that writes first can read the answer.
const DISCARD_BYTES: usize = 64 << 20;
const DISCARD_TIME: Duration = Duration::from_secs(5);

/// The door's name in receipts and logs.
const DOOR: &str = "gateway";

/// What a request is, as far as the gateway is concerned.
enum Kind {
    /// A generation call that the picker understands.
    Inference(ApiKind),
    /// Scheduled without being looked into.
    Opaque,
    /// The list of models.
    Models,
    /// Anything else.
    Other,
}

/// Serves one request. Never fails: whatever goes wrong becomes an answer.
pub async fn handle(
    lane: Arc<Lane>,
    limits: GatewayLimits,
    request: Request<Incoming>,
    peer: Peer,
) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    let (id, lot) = {
        let mut scratch = lane.scratch.lock();
        (
            request_id(&parts.headers, &mut scratch.rng),
            scratch.rng.unit(),
        )
    };
    let mut exchange = Exchange::begin(&lane, DOOR, &id, parts.uri.path());
    let mut body = Some(body);
    let form = ErrorForm::of(parts.uri.path());
    let mut response = match serve(&lane, limits, &mut parts, &mut body, &mut exchange, lot).await {
        Ok(Served::Whole(response)) => {
            exchange.end(None, None);
            response
        }
        Ok(Served::Streaming {
            mut response,
            deadline,
        }) => {
            strip_hop_by_hop(response.headers_mut());
            exchange.logged().await;
            let (head, upstream) = response.into_parts();
            if upstream.is_end_stream() {
                exchange.end(None, None);
                Response::from_parts(head, upstream)
            } else {
                let patience = Patience {
                    idle: limits.answer_idle,
                    deadline,
                };
                let watch = Answer::new(&head.headers, exchange);
                let passage = Passage::new(upstream, &head.headers, peer, patience, watch)
                    .for_clients_of(form);
                Response::from_parts(head, Body::boxed(passage))
            }
        }
        Err(reject) => refusal(&mut exchange, &reject, form),
    };
    if let Some(rest) = body.filter(|rest| !rest.is_end_stream()) {
        tokio::spawn(discard(rest, DISCARD_BYTES, DISCARD_TIME));
    }
    response.headers_mut().insert(X_REQUEST_ID, value(&id));
    response
}

async fn serve(
    lane: &Arc<Lane>,
    limits: GatewayLimits,
    parts: &mut Parts,
    body: &mut Option<Incoming>,
    exchange: &mut Exchange,
    lot: f64,
) -> Result<Served, Reject> {
    let path = parts.uri.path();
    let Some(matched) = lane
        .router
        .routes
        .find(&parts.method, path, &parts.headers, lot)
    else {
        return Err(Reject::NoRoute);
    };
    let target = matched.target.clone();
    let deadline = matched.timeout.map(|t| Instant::now() + t);
    let kind = kind_of(path, &parts.method, &exchange.plan().parsers)?;
    let plan = Arc::clone(exchange.plan());
    let limits = limits.under(&plan.own);
    if matches!((&kind, &target), (Kind::Models, Target::Pool)) {
        if exchange.snapshot().is_empty() {
            return Err(Reject::NoEndpoints);
        }
        let tried = exchange.snapshot().len();
        // Boxed, so that it takes no room in the future of every other request.
        let merged = Box::pin(models::merged(exchange, &lane.pool))
            .await
            .ok_or(Reject::UpstreamUnreachable { tried })?;
        exchange.head(200);
        return Ok(Served::Whole(merged));
    }
    if let Some(place) = exchange.trace(Headers::of(&Seen(&parts.headers))) {
        parts.headers.insert(TRACEPARENT, value(&place));
    }
    let frames = whole_body(&parts.headers, body, limits).await?;
    prepare_headers(parts, exchange.request_id());
    let seen = Seen(&parts.headers);
    let headers = Headers::of(&seen);
    let declared = lane.router.directives.load();
    let claims = Claims::of(headers, &plan, &declared.objectives);
    let sending = Sending {
        lane,
        plan: &plan,
        limits,
        parts,
        frames: &frames,
        deadline,
    };
    match (kind, target) {
        (Kind::Inference(_), _) if frames.is_empty() => Err(Reject::Malformed(
            "the request has no body; send a JSON object".to_owned(),
        )),
        (Kind::Opaque, Target::Pool) => {
            let id = exchange.request_id().to_owned();
            let request = InferenceRequest {
                id: &id,
                headers,
                priority: claims.priority,
                flow: claims.flow,
                ..InferenceRequest::default()
            };
            sending.picked(exchange, &request).await
        }
        (Kind::Inference(api), Target::Pool) => {
            let facts =
                read(api, frames.as_slice()).map_err(|e| Reject::Malformed(e.to_string()))?;
            let decreed = decreed(lane, &plan, &facts.model);
            let model = decreed.as_deref().unwrap_or(&facts.model);
            let id = exchange.request_id().to_owned();
            let prompt = facts.prompt_view(frames.as_slice());
            let prompt = prompt.counted_by(plan.assets.told_by(headers));
            let rendered = match question(lane, &plan, api, &facts, &frames) {
                // Boxed: few plans ask, and every request's future would have to carry the room.
                Some(asked) => Box::pin(asked).await,
                None => None,
            };
            let request = InferenceRequest {
                id: &id,
                model,
                asked_model: &facts.model,
                prompt: Some(match &rendered {
                    Some(tokens) => Prompt(&**tokens),
                    None => Prompt(&prompt),
                }),
                cache_salt: facts.cache_salt.as_deref().unwrap_or(""),
                prompt_bytes: facts.prompt_bytes,
                max_output_tokens: facts.max_tokens,
                stream: facts.stream,
                headers,
                only_cached: false,
                priority: claims.priority,
                flow: claims.flow,
            };
            if model == facts.model {
                return sending.picked(exchange, &request).await;
            }
            let changed = with_model(frames.as_slice(), &facts.model_at, model);
            let changed: Frames = changed.into_iter().collect();
            let sending = Sending {
                frames: &changed,
                ..sending
            };
            let served = sending.picked(exchange, &request).await?;
            Ok(served.renamed(model, &facts.model))
        }
        (_, Target::Pool) => {
            let rows = (0..exchange.snapshot().len()).collect();
            Box::pin(sending.least_busy(exchange, rows)).await
        }
        (_, Target::Service(service)) => {
            let rows = rows_of_service(exchange.snapshot(), &service).collect();
            Box::pin(sending.least_busy(exchange, rows)).await
        }
    }
}

fn kind_of(path: &str, method: &Method, parsers: &[Parser]) -> Result<Kind, Reject> {
    let claimed = claim(path, parsers);
    // Behind a prefix a path may mean anything; only those that are known whole are taken at their word.
    if let (Ok(Claim::Read(api)), Some(_)) = (&claimed, classify(path)) {
        return if method == Method::POST {
            Ok(Kind::Inference(*api))
        } else {
            Err(Reject::MethodNotAllowed)
        };
    }
    let unread = parsers.contains(&Parser::Passthrough) || claimed == Ok(Claim::Aside);
    Ok(if path == "/v1/models" && method == Method::GET {
        Kind::Models
    } else if method == Method::POST && unread {
        Kind::Opaque
    } else {
        Kind::Other
    })
}

async fn whole_body(
    headers: &HeaderMap,
    body: &mut Option<Incoming>,
    limits: GatewayLimits,
) -> Result<Frames, Reject> {
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > limits.max_body) {
        return Err(Reject::BodyTooLarge {
            limit: limits.max_body,
        });
    }
    let Some(incoming) = body.as_mut() else {
        return Ok(Frames::default());
    };
    let read = gather(
        std::pin::Pin::new(incoming),
        limits.max_body,
        limits.body_idle,
    )
    .await;
    match read {
        Ok(frames) => {
            *body = None;
            Ok(frames)
        }
        Err(CollectError::TooLarge { limit }) => Err(Reject::BodyTooLarge { limit }),
        Err(CollectError::Idle) => Err(Reject::Malformed(
            "the request body did not arrive in time".to_owned(),
        )),
        Err(CollectError::Read(why)) => Err(Reject::Malformed(format!(
            "the request body broke off: {why}"
        ))),
    }
}

/// Makes the client's headers fit to be sent on.
fn prepare_headers(parts: &mut Parts, request_id: &str) {
    strip_hop_by_hop(&mut parts.headers);
    strip_steering(&mut parts.headers);
    // The body is sent from memory with its exact length, and the expectation has been met here.
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.remove(header::EXPECT);
    parts.headers.insert(X_REQUEST_ID, value(request_id));
}

fn refusal(exchange: &mut Exchange, reject: &Reject, form: ErrorForm) -> Response<Body> {
    let refused = form.refusal(reject, None);
    exchange.refuse(reject.clone());
    exchange.rejected(reject, refused.status);
    let mut response = Response::new(Body::bytes(refused.body));
    *response.status_mut() =
        StatusCode::from_u16(refused.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/json"),
    );
    if let Some(reason) = refused.dropped_reason {
        headers.insert(DROPPED_REASON, header::HeaderValue::from_static(reason));
    }
    if let Some(seconds) = refused.retry_after_s {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    if *reject == Reject::MethodNotAllowed {
        headers.insert(header::ALLOW, header::HeaderValue::from_static("POST"));
    }
    response
}
