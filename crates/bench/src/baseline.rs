//! The yardstick: the least that a reverse proxy on hyper can be.
//!
//! Round robin over the upstreams, hyper-util's pooled client behind hyper-util's server, TCP_NODELAY on both sides,
//! bodies passed on frame by frame. It picks nothing, knows no health and repairs no error (a failed upstream is a
//! `502`). With `buffer` the request is read to its end first, as a router must that looks at the prompt.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderName, TE, TRAILER, UPGRADE};
use http::uri::{Authority, Parts, Scheme};
use http::{Request, Response, StatusCode, Uri, Version};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;

/// What passes: frames as they come, or what was collected of them.
type Body = Either<Incoming, Full<Bytes>>;

/// Headers that belong to one connection.
const HOP: [HeaderName; 4] = [CONNECTION, TE, TRAILER, UPGRADE];

struct Proxy {
    upstreams: Vec<Authority>,
    turn: AtomicUsize,
    client: Client<HttpConnector, Body>,
    buffer: bool,
}

/// Listens on `listen` and passes requests to `upstreams` in turn until it is dropped. Fails when the port is taken or
/// there are no upstreams.
pub async fn run(listen: SocketAddr, upstreams: Vec<SocketAddr>, buffer: bool) -> io::Result<()> {
    serve(TcpListener::bind(listen).await?, upstreams, buffer).await
}

/// Like [`run`], on a listener that is already bound.
pub async fn serve(
    listener: TcpListener,
    upstreams: Vec<SocketAddr>,
    buffer: bool,
) -> io::Result<()> {
    if upstreams.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no upstreams"));
    }
    let authorities = upstreams
        .iter()
        .map(|upstream| Authority::try_from(upstream.to_string()).map_err(io::Error::other));
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let proxy = Arc::new(Proxy {
        upstreams: authorities.collect::<io::Result<_>>()?,
        turn: AtomicUsize::new(0),
        client: Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(1024)
            .build(connector),
        buffer,
    });
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors: leaves time to give some back.
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let proxy = proxy.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| pass(proxy.clone(), request));
            // A connection that breaks is its client's affair.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn pass(proxy: Arc<Proxy>, request: Request<Incoming>) -> hyper::Result<Response<Body>> {
    let (mut parts, incoming) = request.into_parts();
    // Only the next number is asked for, no order with other memory.
    let turn = proxy.turn.fetch_add(1, Ordering::Relaxed) % proxy.upstreams.len();
    let mut target = Parts::default();
    target.scheme = Some(Scheme::HTTP);
    target.authority = Some(proxy.upstreams[turn].clone());
    target.path_and_query = parts.uri.path_and_query().cloned();
    let Ok(uri) = Uri::from_parts(target) else {
        return Ok(failed(StatusCode::BAD_REQUEST));
    };
    parts.uri = uri;
    parts.version = Version::HTTP_11;
    for name in &HOP {
        parts.headers.remove(name);
    }
    let body = if proxy.buffer {
        Either::Right(Full::new(incoming.collect().await?.to_bytes()))
    } else {
        Either::Left(incoming)
    };
    match proxy.client.request(Request::from_parts(parts, body)).await {
        Ok(response) => Ok(response.map(Either::Left)),
        Err(_) => Ok(failed(StatusCode::BAD_GATEWAY)),
    }
}

fn failed(status: StatusCode) -> Response<Body> {
    let text = status.canonical_reason().unwrap_or_default();
    let mut response = Response::new(Either::Right(Full::new(Bytes::from_static(
        text.as_bytes(),
    ))));
    *response.status_mut() = status;
    response
}
