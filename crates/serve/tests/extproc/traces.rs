//! Traces over a real socket: what a collector gets of a conversation, and what the endpoint is told.

use std::sync::Arc;

use pointsman_http::{Line, Trust};
use pointsman_serve::tracing::exporter;
use pointsman_serve::tracing::settings::Settings;
use pointsman_serve::tracing::tracer::Tracer;
use pointsman_wire::otlp::{AnyKind, ExportTraceServiceRequest, Span};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::rig::{LEAST_BUSY, Rig, destination};
use crate::tongue::{answered, asked, post, reply};

const BODY: &str = r#"{"model":"m","prompt":"p"}"#;
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn tracer(address: &str, ratio: &str) -> Arc<Tracer> {
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}")),
        ("OTEL_TRACES_SAMPLER_ARG", ratio.to_owned()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-token=secret".to_owned()),
    ];
    let settings = Settings::of(&|name| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.clone())
    });
    Arc::new(Tracer::new(settings.unwrap().unwrap()))
}

fn line(tracer: &Tracer) -> Line {
    exporter::line(&tracer.settings, &Trust::default()).unwrap()
}

/// The head and the spans of the next batch that comes in.
async fn collected(listener: &TcpListener) -> (String, ExportTraceServiceRequest) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut bytes = Vec::new();
    loop {
        assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "cut off");
        let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..at]).to_lowercase();
        let length = head.split("content-length: ").nth(1).unwrap();
        let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
        if bytes.len() < at + 4 + length {
            continue;
        }
        let batch = ExportTraceServiceRequest::decode(&bytes[at + 4..]).unwrap();
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        return (head, batch);
    }
}

fn value<'s>(span: &'s Span, key: &str) -> &'s AnyKind {
    let found = span.attributes.iter().find(|one| one.key == key);
    let found = found.unwrap_or_else(|| panic!("{} says no {key}", span.name));
    found.value.as_ref().unwrap().value.as_ref().unwrap()
}

#[tokio::test]
async fn a_collector_gets_the_spans_and_the_endpoint_the_place() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tracer = tracer(&listener.local_addr().unwrap().to_string(), "0");
    let rig = Rig::new(&["10.0.0.1:8000"], LEAST_BUSY);
    rig.router.trace_with(Arc::clone(&tracer));
    let task = tokio::spawn(exporter::run(Arc::clone(&tracer), line(&tracer)));
    // One that is not recorded leaves nothing.
    let mut talk = rig.talk();
    talk.say(post("/v1/completions", "quiet", &[]));
    let lines = talk.say(asked(BODY, true));
    destination(&lines);
    assert!(!lines[0].contains("traceparent"), "{}", lines[0]);
    drop(talk);
    let mut talk = rig.talk();
    talk.say(post(
        "/v1/completions",
        "traced",
        &[("traceparent", PARENT)],
    ));
    let lines = talk.say(asked(BODY, true));
    let told = lines[0].split("+traceparent=").nth(1).unwrap();
    let told = told.split(' ').next().unwrap().to_owned();
    assert!(told.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && told.ends_with("-01"));
    assert_ne!(told, PARENT);
    talk.say(answered(
        "200",
        &[("content-type", "application/json")],
        false,
    ));
    talk.say(reply(
        r#"{"usage":{"prompt_tokens":7,"completion_tokens":3}}"#,
        true,
    ));

    let (head, batch) = collected(&listener).await;
    assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
    assert!(
        head.contains("content-type: application/x-protobuf"),
        "{head}"
    );
    assert!(head.contains("x-token: secret"), "{head}");
    let resource = batch.resource_spans[0].resource.as_ref().unwrap();
    assert_eq!(resource.attributes[0].key, "service.name");
    let spans = &batch.resource_spans[0].scope_spans[0].spans;
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["schedule", "gateway.request"]);
    let (schedule, request) = (&spans[0], &spans[1]);
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
    assert_eq!(hex(&request.trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(hex(&request.parent_span_id), "00f067aa0ba902b7");
    assert_eq!(hex(&request.span_id), told[36..52]);
    assert_eq!(schedule.parent_span_id, request.span_id);
    assert_eq!(schedule.trace_id, request.trace_id);
    assert!(request.start_time_unix_nano <= schedule.start_time_unix_nano);
    assert!(schedule.end_time_unix_nano <= request.end_time_unix_nano);
    let text = |text: &str| AnyKind::Text(text.to_owned());
    assert_eq!(value(request, "pointsman.request.id"), &text("traced"));
    assert_eq!(value(request, "gen_ai.request.model"), &text("m"));
    let input = value(request, "gen_ai.usage.input_tokens");
    assert_eq!(input, &AnyKind::Number(7));
    assert_eq!(value(schedule, "pointsman.endpoint"), &text("default/0"));
    assert_eq!((request.kind, request.status.as_ref()), (2, None));
    task.abort();
}

#[tokio::test]
async fn without_a_collector_requests_go_on_and_spans_are_counted_as_lost() {
    // Bound and closed again: nobody listens there.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tracer = tracer(&free.local_addr().unwrap().to_string(), "1");
    drop(free);
    let rig = Rig::new(&["10.0.0.1:8000"], LEAST_BUSY);
    rig.router.trace_with(Arc::clone(&tracer));
    let mut talk = rig.talk();
    talk.say(post("/v1/completions", "id", &[]));
    let lines = talk.say(asked(BODY, true));
    destination(&lines);
    assert!(lines[0].contains("+traceparent=00-"), "{}", lines[0]);
    drop(talk);
    let task = tokio::spawn(exporter::run(Arc::clone(&tracer), line(&tracer)));
    while tracer.counts()[1] != ("failed", 2) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(tracer.counts()[2], ("dropped", 0));
    task.abort();
}
