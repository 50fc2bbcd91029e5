//! `GET /v1/models` over the whole pool: every endpoint is asked at once, the answers are merged.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode, header};
use pointsman_http::{Body, Pool, collect};
use pointsman_wire::models::merge;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::exchange::Exchange;

/// Longest wait for one endpoint.
const PATIENCE: Duration = Duration::from_secs(2);

/// Largest list that is read from one endpoint.
const MAX_LIST: usize = 1 << 20;

/// At most this many endpoints are asked at a time.
const AT_ONCE: usize = 64;

/// The merged list; `None` if no endpoint gave one.
pub async fn merged(exchange: &Exchange, pool: &Pool) -> Option<Response<Body>> {
    let snapshot = Arc::clone(exchange.snapshot());
    let mut answers: Vec<Option<Vec<u8>>> = vec![None; snapshot.len()];
    let mut asking = JoinSet::new();
    let mut rows = 0..snapshot.len();
    loop {
        while asking.len() < AT_ONCE
            && let Some(row) = rows.next()
        {
            let (address, pool) = (snapshot.endpoints[row].address, pool.clone());
            asking.spawn(async move {
                (
                    row,
                    timeout(PATIENCE, ask(address, &pool)).await.ok().flatten(),
                )
            });
        }
        match asking.join_next().await {
            Some(Ok((row, answer))) => answers[row] = answer,
            Some(Err(_)) => {}
            None => break,
        }
    }
    let lists: Vec<Vec<u8>> = answers.into_iter().flatten().collect();
    if lists.is_empty() {
        return None;
    }
    let mut response = Response::new(Body::bytes(merge(&lists).body));
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/json"),
    );
    Some(response)
}

async fn ask(address: std::net::SocketAddr, pool: &Pool) -> Option<Vec<u8>> {
    let request = Request::get("/v1/models")
        .header(header::HOST, address.to_string())
        .body(Body::empty())
        .ok()?;
    let response = pool.send(address, request).await.ok()?;
    if response.status() != StatusCode::OK {
        return None;
    }
    let frames = collect(response.into_body(), MAX_LIST, PATIENCE)
        .await
        .ok()?;
    Some(frames.joined().into_owned())
}
