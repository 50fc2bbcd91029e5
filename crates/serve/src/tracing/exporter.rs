//! Brings spans to a collector: OTLP over HTTP or gRPC, in batches, by one task that no request waits for.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use pointsman_http::{Line, Speech, TlsError, Trust};
use pointsman_wire::extproc::grpc::Outbox;
use pointsman_wire::otlp::{
    ExportTraceServiceRequest, KeyValue, Resource, ResourceSpans, Scope, ScopeSpans, Span,
};
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use crate::resolved::Resolved;
use crate::tracing::settings::{Protocol, Settings};
use crate::tracing::tracer::Tracer;

/// Most spans in a batch.
const BATCH: usize = 512;

/// How long a batch is filled.
const FILLING: Duration = Duration::from_secs(1);

/// Longest answer that is read.
const ANSWER: usize = 64 << 10;

/// The way to a collector that has been checked, and is opened when there is something to bring.
///
/// # Errors
/// What is trusted or shown cannot be used.
pub fn line(settings: &Settings, trust: &Trust) -> Result<Line, TlsError> {
    let speech = match settings.protocol {
        Protocol::Http => Speech::Http1,
        Protocol::Grpc => Speech::Http2,
    };
    if settings.tls.is_none() {
        return Ok(Line::plain(speech));
    }
    let authority = &settings.authority;
    let host = authority.rsplit_once(':').map_or(&**authority, |(h, _)| h);
    Line::secure(speech, host, trust)
}

/// Brings spans away until dropped.
pub async fn run(tracer: Arc<Tracer>, mut line: Line) {
    let Some(mut outlet) = tracer.take_outlet() else {
        return;
    };
    let resolved = Resolved::default();
    while let Some(spans) = batch(&mut outlet).await {
        let count = spans.len() as u64;
        let sending = send(&tracer.settings, &mut line, &resolved, spans);
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

async fn send(
    settings: &Settings,
    line: &mut Line,
    resolved: &Resolved,
    spans: Vec<Span>,
) -> Option<()> {
    let address = resolved.address(&settings.authority).await?;
    let request = request(settings, &message(settings, spans))?;
    let answer = line.send(address, &settings.authority, request).await;
    let (head, body) = answer.ok()?.into_parts();
    // Read to its end, so that the connection can be used again.
    let body = Limited::new(body, ANSWER).collect().await.ok()?;
    let good = head.status.is_success()
        && match settings.protocol {
            Protocol::Http => true,
            Protocol::Grpc => {
                // An answer that is a status alone has it in its head.
                let trailers = body.trailers().unwrap_or(&head.headers);
                trailers.get("grpc-status").is_some_and(|code| code == "0")
            }
        };
    good.then_some(())
}

fn message(settings: &Settings, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let attributes = settings.resource.iter();
    ExportTraceServiceRequest {
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
    }
}

fn request(
    settings: &Settings,
    message: &ExportTraceServiceRequest,
) -> Option<Request<Full<Bytes>>> {
    let request = Request::post(&*settings.path);
    let mut request = match settings.protocol {
        Protocol::Http => request
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .body(Full::from(message.encode_to_vec())),
        Protocol::Grpc => {
            let mut out = Outbox::default();
            out.message(message);
            request
                .header(header::CONTENT_TYPE, "application/grpc")
                .header(header::TE, "trailers")
                .body(Full::from(out.take()?))
        }
    }
    .ok()?;
    for (name, value) in &settings.headers {
        let name = HeaderName::try_from(name).ok()?;
        let value = HeaderValue::try_from(value).ok()?;
        request.headers_mut().insert(name, value);
    }
    Some(request)
}
