//! What a gateway says, in few words, and what it is told, as lines of text.
//!
//! An answer is a line: its part, then `+name=value` and `-name` for headers, `body=…` for a piece of a body (its length,
//! when it is long), `end`, and `meta …` for metadata.

use std::fmt::Write as _;

use bytes::Bytes;
use pointsman_wire::extproc::grpc::{Deframer, Outbox};
use pointsman_wire::extproc::messages::{
    BodyMutation, CommonResponse, HeaderMap, HeaderMutation, HeaderValue, HttpBody, HttpHeaders,
    HttpTrailers, Kind, ListValue, Metadata, Mutation, ProcessingRequest, ProcessingResponse,
    ProtocolConfiguration, Request, Response, Struct, Value,
};
use prost::Message;

/// A body mode by its name.
pub(crate) fn mode(request: i32, response: i32) -> ProtocolConfiguration {
    ProtocolConfiguration {
        request_body_mode: request,
        response_body_mode: response,
    }
}

pub(crate) const STREAMED: i32 = 1;
pub(crate) const BUFFERED: i32 = 2;
pub(crate) const DUPLEX: i32 = 4;

fn of(request: Request) -> ProcessingRequest {
    ProcessingRequest {
        request: Some(request),
        ..ProcessingRequest::default()
    }
}

fn map(fields: &[(&str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&str, &str)| HeaderValue {
        key: Bytes::copy_from_slice(name.as_bytes()),
        raw_value: Bytes::copy_from_slice(value.as_bytes()),
        value: Bytes::new(),
    };
    HeaderMap {
        headers: fields.iter().map(field).collect(),
    }
}

fn head(fields: &[(&str, &str)], end_of_stream: bool) -> HttpHeaders {
    HttpHeaders {
        headers: Some(map(fields)),
        end_of_stream,
    }
}

/// A POST of an id to a path, with further headers.
pub(crate) fn post(path: &str, id: &str, fields: &[(&str, &str)]) -> ProcessingRequest {
    let mut all = vec![(":method", "POST"), (":path", path)];
    if !id.is_empty() {
        all.push(("x-request-id", id));
    }
    all.extend(fields);
    of(Request::RequestHeaders(head(&all, false)))
}

/// A GET.
pub(crate) fn get(path: &str) -> ProcessingRequest {
    get_with(path, &[])
}

/// A GET with further headers.
pub(crate) fn get_with(path: &str, fields: &[(&str, &str)]) -> ProcessingRequest {
    let all = [&[(":path", path)], fields].concat();
    of(Request::RequestHeaders(head(&all, true)))
}

/// A piece of the request's body.
pub(crate) fn asked(body: impl Into<Bytes>, end_of_stream: bool) -> ProcessingRequest {
    of(Request::RequestBody(HttpBody {
        body: body.into(),
        end_of_stream,
    }))
}

/// The request's trailers.
pub(crate) fn asked_trailers() -> ProcessingRequest {
    of(Request::RequestTrailers(HttpTrailers::default()))
}

/// The head of the answer.
pub(crate) fn answered(status: &str, fields: &[(&str, &str)], end: bool) -> ProcessingRequest {
    let all = [&[(":status", status)], fields].concat();
    of(Request::ResponseHeaders(head(&all, end)))
}

/// A piece of the answer's body.
pub(crate) fn reply(body: impl Into<Bytes>, end_of_stream: bool) -> ProcessingRequest {
    of(Request::ResponseBody(HttpBody {
        body: body.into(),
        end_of_stream,
    }))
}

/// The answer's trailers.
pub(crate) fn reply_trailers() -> ProcessingRequest {
    of(Request::ResponseTrailers(HttpTrailers::default()))
}

/// The message with the hint that only these endpoints may be picked.
pub(crate) fn hinted(mut message: ProcessingRequest, endpoints: &[&str]) -> ProcessingRequest {
    let list = ListValue {
        values: endpoints.iter().map(|text| Value::text(*text)).collect(),
    };
    let list = Value {
        kind: Some(Kind::List(list)),
    };
    let hint = Struct::of([("x-gateway-destination-endpoint-subset", list)]);
    message.metadata_context = Some(Metadata {
        filter_metadata: [("envoy.lb.subset_hint".to_owned(), hint)].into(),
    });
    message
}

/// The message with the word that this endpoint served.
pub(crate) fn served_by(mut message: ProcessingRequest, endpoint: &str) -> ProcessingRequest {
    let told = Struct::of([(
        "x-gateway-destination-endpoint-served",
        Value::text(endpoint),
    )]);
    message.metadata_context = Some(Metadata {
        filter_metadata: [("envoy.lb".to_owned(), told)].into(),
    });
    message
}

/// The message under these modes.
pub(crate) fn under(
    mut message: ProcessingRequest,
    config: ProtocolConfiguration,
) -> ProcessingRequest {
    message.protocol_config = Some(config);
    message
}

/// Everything in the outbox, message by message.
pub(crate) fn heard(out: &mut Outbox) -> Vec<ProcessingResponse> {
    let mut deframer = Deframer::new(usize::MAX >> 1, false);
    let mut found = Vec::new();
    while let Some(piece) = out.take() {
        deframer.feed(piece);
        while let Some(message) = deframer.take().expect("what we write can be read") {
            found.push(ProcessingResponse::decode(message).expect("what we write can be read"));
        }
    }
    assert!(!deframer.is_amid(), "half a message was written");
    found
}

/// An answer as a line.
pub(crate) fn line(answer: &ProcessingResponse) -> String {
    let mut line = String::new();
    match &answer.response {
        None => line.push_str("nothing"),
        Some(Response::RequestHeaders(part)) => {
            change(&mut line, "request_headers", part.response.as_ref())
        }
        Some(Response::ResponseHeaders(part)) => {
            change(&mut line, "response_headers", part.response.as_ref())
        }
        Some(Response::RequestBody(part)) => {
            change(&mut line, "request_body", part.response.as_ref())
        }
        Some(Response::ResponseBody(part)) => {
            change(&mut line, "response_body", part.response.as_ref())
        }
        Some(Response::RequestTrailers(_)) => line.push_str("request_trailers"),
        Some(Response::ResponseTrailers(_)) => line.push_str("response_trailers"),
        Some(Response::Immediate(answer)) => {
            let code = answer.status.map_or(0, |status| status.code);
            let _ = write!(line, "immediate {code}");
            headers(&mut line, answer.headers.as_ref());
            let _ = write!(line, " body={}", String::from_utf8_lossy(&answer.body));
        }
    }
    if let Some(metadata) = &answer.dynamic_metadata {
        line.push_str(" meta");
        members(&mut line, metadata);
    }
    line
}

fn change(line: &mut String, part: &str, common: Option<&CommonResponse>) {
    line.push_str(part);
    let Some(common) = common else { return };
    if common.clear_route_cache {
        line.push_str(" reroute");
    }
    headers(line, common.header_mutation.as_ref());
    match common.body_mutation.as_ref() {
        Some(BodyMutation {
            mutation: Some(Mutation::Body(body)),
        }) => piece(line, "whole", body),
        Some(BodyMutation {
            mutation: Some(Mutation::Streamed(streamed)),
        }) => {
            piece(line, "body", &streamed.body);
            if streamed.end_of_stream {
                line.push_str(" end");
            }
        }
        _ => {}
    }
}

fn piece(line: &mut String, word: &str, body: &Bytes) {
    if body.len() > 200 {
        let _ = write!(line, " {word}=({})", body.len());
    } else {
        let _ = write!(line, " {word}={}", String::from_utf8_lossy(body));
    }
}

fn headers(line: &mut String, mutation: Option<&HeaderMutation>) {
    let Some(mutation) = mutation else { return };
    for option in &mutation.set_headers {
        let field = option.header.clone().unwrap_or_default();
        assert!(
            field.value.is_empty() && option.append_action == 2,
            "values are raw and overwrite"
        );
        let [key, value] = [&field.key, &field.raw_value].map(|b| String::from_utf8_lossy(b));
        let _ = write!(line, " +{key}={value}");
    }
    for name in &mutation.remove_headers {
        let _ = write!(line, " -{}", String::from_utf8_lossy(name));
    }
}

fn members(line: &mut String, object: &Struct) {
    for (name, value) in &object.fields {
        match &value.kind {
            Some(Kind::Object(inner)) => {
                let _ = write!(line, " {name}{{");
                members(line, inner);
                line.push_str(" }");
            }
            Some(Kind::Text(text)) => {
                let _ = write!(line, " {name}={text}");
            }
            Some(Kind::Number(number)) => {
                let _ = write!(line, " {name}={number}");
            }
            other => {
                let _ = write!(line, " {name}={other:?}");
            }
        }
    }
}
