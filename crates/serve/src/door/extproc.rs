//! Door 1: the endpoint picker that a gateway asks over gRPC (`ext_proc`), one stream per exchange.
//!
//! In reading order: [`conversation`] is the exchange without IO, with [`routing`] and [`reply`] as its two halves;
//! [`stream`] joins it to a gRPC stream; [`call`] and [`health`] are the other calls that are answered.

pub mod call;
pub mod conversation;
pub mod health;
pub mod reply;
pub mod routing;
pub mod settings;
pub mod stream;

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use pointsman_http::{Body, Http2Options, ServerOptions};
use pointsman_wire::extproc::frame_fault::Code;

use crate::door::extproc::call::{finished, opened};
use crate::door::extproc::settings::Settings;
use crate::door::extproc::stream::Stream;
use crate::readiness::Readiness;
use crate::router::Lane;

/// The path of the one method of the picker's service.
pub const PROCESS: &str = "/envoy.service.ext_proc.v3.ExternalProcessor/Process";

/// Answers a call at the picker's door. `health`: the health service is there too, and says this.
pub async fn handle(
    lane: Arc<Lane>,
    settings: Arc<Settings>,
    health: Option<Readiness>,
    request: Request<Incoming>,
) -> Response<Body> {
    if let Some(refused) = refused(&request) {
        return refused;
    }
    let gzip = announces_gzip(&request);
    match (request.uri().path(), health) {
        (PROCESS, _) => {
            let stream = Stream::new(request.into_body(), gzip, lane, settings);
            opened(Body::boxed(stream))
        }
        (path, Some(ready)) if path.starts_with(health::SERVICE) => {
            let method = path[health::SERVICE.len()..].to_owned();
            health::answer(&method, gzip, request.into_body(), &ready).await
        }
        (path, _) => unknown(path),
    }
}

/// Answers a call at the health port.
pub async fn handle_health(ready: Readiness, request: Request<Incoming>) -> Response<Body> {
    if let Some(refused) = refused(&request) {
        return refused;
    }
    let gzip = announces_gzip(&request);
    let path = request.uri().path();
    match path.strip_prefix(health::SERVICE) {
        Some(method) => {
            let method = method.to_owned();
            health::answer(&method, gzip, request.into_body(), &ready).await
        }
        None => unknown(path),
    }
}

fn unknown(path: &str) -> Response<Body> {
    let (service, method) = path
        .trim_start_matches('/')
        .split_once('/')
        .unwrap_or((path, ""));
    finished(
        Code::Unimplemented,
        &format!("unknown service {service} or method {method}"),
    )
}

/// The answer to what is no gRPC call.
fn refused(request: &Request<Incoming>) -> Option<Response<Body>> {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let grpc = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    let status = if request.method() != Method::POST {
        StatusCode::METHOD_NOT_ALLOWED
    } else if !grpc {
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    } else {
        return None;
    };
    let mut response = Response::new(Body::bytes(
        "this port speaks gRPC only: envoy.service.ext_proc.v3.ExternalProcessor\n",
    ));
    *response.status_mut() = status;
    Some(response)
}

fn announces_gzip(request: &Request<Incoming>) -> bool {
    let encoding = request.headers().get("grpc-encoding");
    encoding.is_some_and(|encoding| encoding.as_bytes() == b"gzip")
}

/// Bounds of the door. Whoever connects is a gateway: it has many streams, large messages, and ends each stream by a reset,
/// which at a door for clients would look like a flood.
pub fn server_options() -> ServerOptions {
    ServerOptions {
        keep_alive_idle: Duration::from_secs(3600),
        h2: Http2Options {
            max_concurrent_streams: 100_000,
            stream_window: 1 << 20,
            connection_window: 16 << 20,
            send_buffer: 256 << 10,
            max_frame: 256 << 10,
            pending_resets: 10_000,
            faulty_resets: usize::MAX,
            allowance: 1e18,
            bars_in_authority: true,
            ..Http2Options::default()
        },
        ..ServerOptions::default()
    }
}
