//! Which admin path is answered by what.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use pointsman_http::collect::gather;
use pointsman_http::{Body, CollectError, collect, discard};
use pointsman_wire::status::error_body;

use crate::admin::guard::Guard;
use crate::admin::{
    debug, discovery, guard, live, metrics, page, plan, plugins, prefixes, routes, whatif,
};
use crate::readiness::Readiness;
use crate::router::Router;

/// What the admin port answers from.
#[derive(Clone)]
pub struct Admin {
    /// The router.
    pub router: Arc<Router>,
    /// Whether new requests are welcome.
    pub ready: Readiness,
    /// Who knows who may read; `None`: all may.
    pub guard: Option<Guard>,
}

const PATHS: &str = "/ (the live page), /healthz, /readyz, /metrics, /debug/metrics, /debug/decisions, /debug/decisions/<id>, /debug/live, /debug/endpoints, /debug/plan, /debug/routes, /debug/discovery, /debug/prefixes, /debug/learned, /debug/plugins/state, and by POST /debug/prefixes/explain, /debug/whatif";

/// Where a request is explained, by POST.
const EXPLAIN: &str = "/debug/prefixes/explain";

/// Where a decision is made again, by POST.
const WHAT_IF: &str = "/debug/whatif";

/// As much of a question that is too large is read and dropped.
const REST_BYTES: usize = 4 << 20;

/// Largest request that is explained, and how long it may take to arrive.
const EXPLAIN_BYTES: usize = 4 << 20;
const EXPLAIN_TIME: Duration = Duration::from_secs(5);

/// Answers one request of `reader` on the admin port.
pub async fn handle(admin: Admin, reader: IpAddr, request: Request<Incoming>) -> Response<Body> {
    if let Some(guard) = &admin.guard {
        let (method, path) = (request.method().as_str(), request.uri().path());
        if let Some(refused) = guard::refusal(guard, reader, method, path, request.headers()).await
        {
            return refused;
        }
    }
    match request.uri().path() {
        EXPLAIN => explain(&admin, request).await,
        WHAT_IF => what_if(admin, request).await,
        path => answer(
            &admin,
            request.method(),
            path,
            request.uri().query().unwrap_or(""),
        ),
    }
}

/// Answers how a recorded decision would go with other weights or under another plan.
async fn what_if(admin: Admin, request: Request<Incoming>) -> Response<Body> {
    if request.method() != Method::POST {
        return problem(
            StatusCode::METHOD_NOT_ALLOWED,
            "POST {\"id\": \"…\", \"weights\": {\"profile\": {\"scorer\": 2}}} here",
        );
    }
    // A page of another origin cannot send this type without being asked whether it may.
    let kind = request.headers().get(header::CONTENT_TYPE);
    if !kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json")) {
        return problem(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the body must be JSON, with content-type: application/json",
        );
    }
    let mut incoming = request.into_body();
    let body = gather(
        Pin::new(&mut incoming),
        whatif::MOST_BYTES,
        whatif::PATIENCE,
    );
    match body.await {
        Err(error @ CollectError::TooLarge { .. }) => {
            // Whoever writes all of it first is to see the answer.
            tokio::spawn(discard(incoming, REST_BYTES, whatif::PATIENCE));
            problem(StatusCode::PAYLOAD_TOO_LARGE, &error.to_string())
        }
        Err(error) => problem(StatusCode::BAD_REQUEST, &error.to_string()),
        Ok(body) => match whatif::answer(admin.router, body.joined().into_owned()).await {
            Ok(found) => json(found),
            Err(refused) => problem(refused.status, &refused.why),
        },
    }
}

/// Answers for the body of a request: which endpoints are believed to hold which of its blocks.
async fn explain(admin: &Admin, request: Request<Incoming>) -> Response<Body> {
    if request.method() != Method::POST {
        return problem(
            StatusCode::METHOD_NOT_ALLOWED,
            "POST a request's body here, with ?path=/v1/chat/completions where it is no completion",
        );
    }
    let query = request.uri().query().unwrap_or("");
    let path = query.split('&').find_map(|pair| pair.strip_prefix("path="));
    let path = path.unwrap_or("/v1/completions").to_owned();
    let answer = match collect(request.into_body(), EXPLAIN_BYTES, EXPLAIN_TIME).await {
        Ok(body) => prefixes::explain(&admin.router, &path, &body),
        Err(error) => Err(error.to_string()),
    };
    match answer {
        Ok(found) => json(found),
        Err(why) => problem(StatusCode::BAD_REQUEST, &why),
    }
}

fn answer(admin: &Admin, method: &Method, path: &str, query: &str) -> Response<Body> {
    if method != Method::GET && method != Method::HEAD {
        return problem(
            StatusCode::METHOD_NOT_ALLOWED,
            "the admin port answers GET only",
        );
    }
    match path {
        "/healthz" | "/livez" => text(StatusCode::OK, "ok\n"),
        "/readyz" => match admin.ready.missing() {
            None => text(StatusCode::OK, "ready\n"),
            Some(why) => text(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("not ready: {why}\n"),
            ),
        },
        "/metrics" | "/debug/metrics" => {
            let mut response = text(StatusCode::OK, metrics::render(&admin.router));
            let kind = header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
        "/debug/decisions" => json(debug::decisions(&admin.router, query)),
        "/debug/live" => json(live::live(&admin.router, query)),
        "/debug/endpoints" => json(debug::endpoints(&admin.router)),
        "/debug/plan" => json(plan::in_force(&admin.router)),
        "/debug/routes" => json(routes::in_force(&admin.router)),
        "/debug/discovery" => json(discovery::view(&admin.router, &admin.ready)),
        "/debug/prefixes" => json(prefixes::holdings(&admin.router)),
        "/debug/plugins/state" => json(plugins::states(&admin.router)),
        "/debug/learned" => json(prefixes::learned(&admin.router)),
        _ => match path.strip_prefix("/debug/decisions/") {
            Some(id) => match debug::decision(&admin.router, id, query) {
                Some(found) => json(found),
                None => problem(
                    StatusCode::NOT_FOUND,
                    &format!("no decision '{id}' in the ring; it may be too old"),
                ),
            },
            None => page::file(path).unwrap_or_else(|| {
                problem(
                    StatusCode::NOT_FOUND,
                    &format!("no such page; there are {PATHS}"),
                )
            }),
        },
    }
}

fn text(status: StatusCode, body: impl Into<String>) -> Response<Body> {
    respond(status, "text/plain; charset=utf-8", body.into())
}

fn json(body: String) -> Response<Body> {
    respond(StatusCode::OK, "application/json", body)
}

fn problem(status: StatusCode, message: &str) -> Response<Body> {
    let body = error_body(
        message,
        "invalid_request_error",
        None,
        Some(status.as_u16().to_string().as_str()),
    );
    respond(
        status,
        "application/json",
        String::from_utf8_lossy(&body).into_owned(),
    )
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::bytes(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response.headers_mut().insert(
        header::CACHE_CONTROL,
        header::HeaderValue::from_static("no-store"),
    );
    response.headers_mut().insert(
        header::X_CONTENT_TYPE_OPTIONS,
        header::HeaderValue::from_static("nosniff"),
    );
    response
}
