//! Spans as OpenTelemetry's collectors take them (`opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest`).
//!
//! Written by hand after the published field numbers; what is never set is not here.

use bytes::Bytes;
use prost::{Message, Oneof};

/// A batch of spans.
#[derive(Clone, PartialEq, Message)]
pub struct ExportTraceServiceRequest {
    /// By who made them.
    #[prost(message, repeated, tag = "1")]
    pub resource_spans: Vec<ResourceSpans>,
}

/// The spans of one process.
#[derive(Clone, PartialEq, Message)]
pub struct ResourceSpans {
    /// The process.
    #[prost(message, optional, tag = "1")]
    pub resource: Option<Resource>,
    /// Its spans.
    #[prost(message, repeated, tag = "2")]
    pub scope_spans: Vec<ScopeSpans>,
}

/// A process.
#[derive(Clone, PartialEq, Message)]
pub struct Resource {
    /// What is said of it.
    #[prost(message, repeated, tag = "1")]
    pub attributes: Vec<KeyValue>,
}

/// The spans of one library.
#[derive(Clone, PartialEq, Message)]
pub struct ScopeSpans {
    /// The library.
    #[prost(message, optional, tag = "1")]
    pub scope: Option<Scope>,
    /// The spans.
    #[prost(message, repeated, tag = "2")]
    pub spans: Vec<Span>,
}

/// A library.
#[derive(Clone, PartialEq, Message)]
pub struct Scope {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its version.
    #[prost(string, tag = "2")]
    pub version: String,
}

/// A span of time.
#[derive(Clone, PartialEq, Message)]
pub struct Span {
    /// The trace; 16 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub trace_id: Bytes,
    /// Its own id; 8 bytes.
    #[prost(bytes = "bytes", tag = "2")]
    pub span_id: Bytes,
    /// What the vendors before it noted.
    #[prost(string, tag = "3")]
    pub trace_state: String,
    /// The id of the span it is a part of; 8 bytes or none.
    #[prost(bytes = "bytes", tag = "4")]
    pub parent_span_id: Bytes,
    /// Its name.
    #[prost(string, tag = "5")]
    pub name: String,
    /// 1: inside a process, 2: of a server, 3: of a client.
    #[prost(int32, tag = "6")]
    pub kind: i32,
    /// Nanoseconds since 1970.
    #[prost(fixed64, tag = "7")]
    pub start_time_unix_nano: u64,
    /// Nanoseconds since 1970.
    #[prost(fixed64, tag = "8")]
    pub end_time_unix_nano: u64,
    /// What is said of it.
    #[prost(message, repeated, tag = "9")]
    pub attributes: Vec<KeyValue>,
    /// How it ended.
    #[prost(message, optional, tag = "15")]
    pub status: Option<Status>,
}

/// How a span ended.
#[derive(Clone, PartialEq, Message)]
pub struct Status {
    /// Why, in words.
    #[prost(string, tag = "2")]
    pub message: String,
    /// 0: nothing to say, 1: well, 2: in an error.
    #[prost(int32, tag = "3")]
    pub code: i32,
}

/// A named value.
#[derive(Clone, PartialEq, Message)]
pub struct KeyValue {
    /// The name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The value.
    #[prost(message, optional, tag = "2")]
    pub value: Option<AnyValue>,
}

/// A value.
#[derive(Clone, PartialEq, Message)]
pub struct AnyValue {
    /// What it is.
    #[prost(oneof = "AnyKind", tags = "1, 3")]
    pub value: Option<AnyKind>,
}

/// What a value is.
#[derive(Clone, PartialEq, Oneof)]
pub enum AnyKind {
    /// Text.
    #[prost(string, tag = "1")]
    Text(String),
    /// A whole number.
    #[prost(int64, tag = "3")]
    Number(i64),
}

impl KeyValue {
    /// A text.
    pub fn text(key: &str, value: impl Into<String>) -> Self {
        Self::of(key, AnyKind::Text(value.into()))
    }

    /// A whole number.
    pub fn number(key: &str, value: i64) -> Self {
        Self::of(key, AnyKind::Number(value))
    }

    fn of(key: &str, value: AnyKind) -> Self {
        Self {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes put together by the published field numbers, independent of the messages above.
    #[test]
    fn field_numbers_are_those_of_the_published_files() {
        let span = Span {
            trace_id: Bytes::from_static(&[1; 16]),
            span_id: Bytes::from_static(&[2; 8]),
            name: "a".to_owned(),
            kind: 2,
            start_time_unix_nano: 3,
            end_time_unix_nano: 4,
            attributes: vec![KeyValue::text("k", "v"), KeyValue::number("n", 5)],
            status: Some(Status {
                message: String::new(),
                code: 2,
            }),
            ..Span::default()
        };
        let mut expected = vec![0x0a, 16];
        expected.extend([1; 16]);
        expected.extend([0x12, 8]);
        expected.extend([2; 8]);
        expected.extend([0x2a, 1, b'a', 0x30, 2]);
        expected.extend([0x39, 3, 0, 0, 0, 0, 0, 0, 0, 0x41, 4, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([0x4a, 8, 0x0a, 1, b'k', 0x12, 3, 0x0a, 1, b'v']);
        expected.extend([0x4a, 7, 0x0a, 1, b'n', 0x12, 2, 0x18, 5]);
        expected.extend([0x7a, 2, 0x18, 2]);
        assert_eq!(span.encode_to_vec(), expected);
    }
}
