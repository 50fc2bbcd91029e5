//! Brings spans to a collector: OTLP over HTTP, in batches, by one task that no request waits for.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Request, header};
use pointsman_http::{Body, Pool, collect};
use pointsman_wire::otlp::{
    ExportTraceServiceRequest, KeyValue, Resource, ResourceSpans, Scope, ScopeSpans, Span,
};
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use crate::resolved::Resolved;
use crate::tracing::tracer::Tracer;

/// Most spans in a batch.
const BATCH: usize = 512;

/// How long a batch is filled.
const FILLING: Duration = Duration::from_secs(1);

/// Longest answer that is read.
const ANSWER: usize = 64 << 10;

/// Brings spans away until dropped.
pub async fn run(tracer: Arc<Tracer>, pool: Pool) {
    let Some(mut outlet) = tracer.take_outlet() else {
        return;
    };
    let resolved = Resolved::default();
    while let Some(spans) = batch(&mut outlet).await {
        let count = spans.len() as u64;
        let sending = send(&tracer, &pool, &resolved, spans);
        let sent = timeout(tracer.settings.timeout, sending).await;
        let counter = match sent {
            Ok(Some(())) => &tracer.sent,
            _ => {
                resolved.forget();
                &tracer.failed
            }
        };
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

/// The next spans; `None` when no more will come.
async fn batch(outlet: &mut mpsc::Receiver<Span>) -> Option<Vec<Span>> {
    let mut spans = vec![outlet.recv().await?];
    let over = Instant::now() + FILLING;
    while spans.len() < BATCH {
        match timeout_at(over, outlet.recv()).await {
            Ok(Some(span)) => spans.push(span),
            Ok(None) | Err(_) => break,
        }
    }
    Some(spans)
}

async fn send(tracer: &Tracer, pool: &Pool, resolved: &Resolved, spans: Vec<Span>) -> Option<()> {
    let settings = &tracer.settings;
    let address = resolved.address(&settings.authority).await?;
    let attributes = settings.resource.iter();
    let batch = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: attributes
                    .map(|(name, value)| KeyValue::text(name, value))
                    .collect(),
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(Scope {
                    name: "pointsman".to_owned(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                }),
                spans,
            }],
        }],
    };
    let mut request = Request::post(&*settings.path)
        .header(header::HOST, &*settings.authority)
        .header(header::CONTENT_TYPE, "application/x-protobuf")
        .body(Body::bytes(batch.encode_to_vec()))
        .ok()?;
    for (name, value) in &settings.headers {
        let name = HeaderName::try_from(name).ok()?;
        request
            .headers_mut()
            .insert(name, HeaderValue::try_from(value).ok()?);
    }
    let response = pool.send(address, request).await.ok()?;
    let good = response.status().is_success();
    // Read to its end, so that the connection can be used again.
    let rest = collect(response.into_body(), ANSWER, settings.timeout).await;
    (good && rest.is_ok()).then_some(())
}
