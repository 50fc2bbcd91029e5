//! The messages of `envoy.service.ext_proc.v3`, as far as an endpoint picker reads or writes them.
//!
//! Written by hand after the published field numbers, so that nothing has to be generated. Fields that are not
//! here are skipped when read. Texts and bodies are `Bytes`: slices of the message they came in, never copies; on the
//! wire a text and bytes look the same.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::{Message, Oneof};

/// What the gateway says.
#[derive(Clone, PartialEq, Message)]
pub struct ProcessingRequest {
    /// The part of the exchange that this is about.
    #[prost(oneof = "Request", tags = "2, 3, 4, 5, 6, 7")]
    pub request: Option<Request>,
    /// What other filters, or the gateway, noted of the exchange.
    #[prost(message, optional, tag = "8")]
    pub metadata_context: Option<Metadata>,
    /// How bodies are passed; on the first message only.
    #[prost(message, optional, tag = "11")]
    pub protocol_config: Option<ProtocolConfiguration>,
}

/// A part of an exchange.
#[derive(Clone, PartialEq, Oneof)]
pub enum Request {
    /// The head of the client's request.
    #[prost(message, tag = "2")]
    RequestHeaders(HttpHeaders),
    /// The head of the answer.
    #[prost(message, tag = "3")]
    ResponseHeaders(HttpHeaders),
    /// A piece of the client's body.
    #[prost(message, tag = "4")]
    RequestBody(HttpBody),
    /// A piece of the answer's body.
    #[prost(message, tag = "5")]
    ResponseBody(HttpBody),
    /// What follows the client's body.
    #[prost(message, tag = "6")]
    RequestTrailers(HttpTrailers),
    /// What follows the answer's body.
    #[prost(message, tag = "7")]
    ResponseTrailers(HttpTrailers),
}

/// How bodies are passed.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct ProtocolConfiguration {
    /// The client's, as [`crate::extproc::mode::BodyMode`] numbers them.
    #[prost(int32, tag = "1")]
    pub request_body_mode: i32,
    /// The answer's.
    #[prost(int32, tag = "2")]
    pub response_body_mode: i32,
}

/// A head.
#[derive(Clone, PartialEq, Message)]
pub struct HttpHeaders {
    /// Its fields.
    #[prost(message, optional, tag = "1")]
    pub headers: Option<HeaderMap>,
    /// Whether nothing follows.
    #[prost(bool, tag = "3")]
    pub end_of_stream: bool,
}

/// A piece of a body.
#[derive(Clone, PartialEq, Message)]
pub struct HttpBody {
    /// The bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub body: Bytes,
    /// Whether it is the last one.
    #[prost(bool, tag = "2")]
    pub end_of_stream: bool,
}

/// Trailers.
#[derive(Clone, PartialEq, Message)]
pub struct HttpTrailers {
    /// Their fields.
    #[prost(message, optional, tag = "1")]
    pub trailers: Option<HeaderMap>,
}

/// Header fields in their order.
#[derive(Clone, PartialEq, Message)]
pub struct HeaderMap {
    /// The fields.
    #[prost(message, repeated, tag = "1")]
    pub headers: Vec<HeaderValue>,
}

/// A header field. Envoy fills `raw_value`, others `value`; never both.
#[derive(Clone, PartialEq, Message)]
pub struct HeaderValue {
    /// The name.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// The value as text.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
    /// The value as bytes.
    #[prost(bytes = "bytes", tag = "3")]
    pub raw_value: Bytes,
}

/// Metadata by the filter that wrote it.
#[derive(Clone, PartialEq, Message)]
pub struct Metadata {
    /// Untyped metadata.
    #[prost(btree_map = "string, message", tag = "1")]
    pub filter_metadata: BTreeMap<String, Struct>,
}

/// An untyped object (`google.protobuf.Struct`).
#[derive(Clone, PartialEq, Message)]
pub struct Struct {
    /// Its members.
    #[prost(btree_map = "string, message", tag = "1")]
    pub fields: BTreeMap<String, Value>,
}

/// An untyped value.
#[derive(Clone, PartialEq, Message)]
pub struct Value {
    /// What it is; nothing stands for a kind that is not read.
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6")]
    pub kind: Option<Kind>,
}

/// The kinds of untyped values.
#[derive(Clone, PartialEq, Oneof)]
pub enum Kind {
    /// Null.
    #[prost(int32, tag = "1")]
    Null(i32),
    /// A number.
    #[prost(double, tag = "2")]
    Number(f64),
    /// A text.
    #[prost(string, tag = "3")]
    Text(String),
    /// True or false.
    #[prost(bool, tag = "4")]
    Flag(bool),
    /// An object.
    #[prost(message, tag = "5")]
    Object(Struct),
    /// A list.
    #[prost(message, tag = "6")]
    List(ListValue),
}

/// A list of untyped values.
#[derive(Clone, PartialEq, Message)]
pub struct ListValue {
    /// The values.
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<Value>,
}

/// What the picker says.
#[derive(Clone, PartialEq, Message)]
pub struct ProcessingResponse {
    /// The part of the exchange that it answers.
    #[prost(oneof = "Response", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub response: Option<Response>,
    /// What the gateway's other filters and its load balancer are told.
    #[prost(message, optional, tag = "8")]
    pub dynamic_metadata: Option<Struct>,
}

/// An answer to a part of an exchange.
#[derive(Clone, PartialEq, Oneof)]
pub enum Response {
    /// To the head of the client's request.
    #[prost(message, tag = "1")]
    RequestHeaders(PartResponse),
    /// To the head of the answer.
    #[prost(message, tag = "2")]
    ResponseHeaders(PartResponse),
    /// To the client's body.
    #[prost(message, tag = "3")]
    RequestBody(PartResponse),
    /// To the answer's body.
    #[prost(message, tag = "4")]
    ResponseBody(PartResponse),
    /// To the client's trailers.
    #[prost(message, tag = "5")]
    RequestTrailers(TrailersResponse),
    /// To the answer's trailers.
    #[prost(message, tag = "6")]
    ResponseTrailers(TrailersResponse),
    /// Instead of all others: the exchange ends with this.
    #[prost(message, tag = "7")]
    Immediate(ImmediateResponse),
}

/// An answer to a head or to a piece of a body.
#[derive(Clone, PartialEq, Message)]
pub struct PartResponse {
    /// What is to change.
    #[prost(message, optional, tag = "1")]
    pub response: Option<CommonResponse>,
}

/// What is to change.
#[derive(Clone, PartialEq, Message)]
pub struct CommonResponse {
    /// In the headers.
    #[prost(message, optional, tag = "2")]
    pub header_mutation: Option<HeaderMutation>,
    /// In the body.
    #[prost(message, optional, tag = "3")]
    pub body_mutation: Option<BodyMutation>,
    /// Whether the gateway has to choose the route anew, because headers changed that routes look at.
    #[prost(bool, tag = "5")]
    pub clear_route_cache: bool,
}

/// An answer to trailers.
#[derive(Clone, PartialEq, Message)]
pub struct TrailersResponse {
    /// What is to change in them.
    #[prost(message, optional, tag = "1")]
    pub header_mutation: Option<HeaderMutation>,
}

/// Changes of headers.
#[derive(Clone, PartialEq, Message)]
pub struct HeaderMutation {
    /// Fields to set.
    #[prost(message, repeated, tag = "1")]
    pub set_headers: Vec<HeaderValueOption>,
    /// Names of fields to remove; a field that is set as well stays.
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub remove_headers: Vec<Bytes>,
}

/// A field to set.
#[derive(Clone, PartialEq, Message)]
pub struct HeaderValueOption {
    /// The field.
    #[prost(message, optional, tag = "1")]
    pub header: Option<HeaderValue>,
    /// What happens to one of the same name; see [`OVERWRITE`].
    #[prost(int32, tag = "3")]
    pub append_action: i32,
}

/// The field replaces those of its name. (The default would add another value.)
pub const OVERWRITE: i32 = 2;

/// A change of a body.
#[derive(Clone, PartialEq, Message)]
pub struct BodyMutation {
    /// The change.
    #[prost(oneof = "Mutation", tags = "1, 2, 3")]
    pub mutation: Option<Mutation>,
}

/// A change of a body.
#[derive(Clone, PartialEq, Oneof)]
pub enum Mutation {
    /// This instead.
    #[prost(bytes = "bytes", tag = "1")]
    Body(Bytes),
    /// Nothing instead.
    #[prost(bool, tag = "2")]
    Clear(bool),
    /// The next piece of the body that goes on, where bodies are passed piece by piece.
    #[prost(message, tag = "3")]
    Streamed(HttpBody),
}

/// An answer to the client from the picker.
#[derive(Clone, PartialEq, Message)]
pub struct ImmediateResponse {
    /// Its status.
    #[prost(message, optional, tag = "1")]
    pub status: Option<HttpStatus>,
    /// Its headers.
    #[prost(message, optional, tag = "2")]
    pub headers: Option<HeaderMutation>,
    /// Its body.
    #[prost(bytes = "bytes", tag = "3")]
    pub body: Bytes,
}

/// An HTTP status.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct HttpStatus {
    /// The code.
    #[prost(int32, tag = "1")]
    pub code: i32,
}

impl HeaderValue {
    /// A field with a value of bytes.
    pub fn new(name: &'static str, value: impl Into<Bytes>) -> Self {
        Self {
            key: Bytes::from_static(name.as_bytes()),
            value: Bytes::new(),
            raw_value: value.into(),
        }
    }

    /// The value, wherever the gateway put it.
    pub fn bytes(&self) -> &Bytes {
        if self.raw_value.is_empty() {
            &self.value
        } else {
            &self.raw_value
        }
    }
}

impl Value {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            kind: Some(Kind::Text(text.into())),
        }
    }

    /// A number.
    pub fn number(number: f64) -> Self {
        Self {
            kind: Some(Kind::Number(number)),
        }
    }

    /// An object.
    pub fn object(object: Struct) -> Self {
        Self {
            kind: Some(Kind::Object(object)),
        }
    }
}

impl Struct {
    /// An object of these members.
    pub fn of<K: Into<String>>(members: impl IntoIterator<Item = (K, Value)>) -> Self {
        Self {
            fields: members.into_iter().map(|(k, v)| (k.into(), v)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn field_numbers_are_those_of_the_published_files() {
        // request_headers(2) { headers(1) { headers(1) { key(1) "a", raw_value(3) "b" } } end_of_stream(3) }
        // metadata_context(8), an unknown field (9), protocol_config(11) { 4, 4 }
        let bytes = [
            &[
                0x12, 0x0c, 0x0a, 0x08, 0x0a, 0x06, 0x0a, 0x01, b'a', 0x1a, 0x01, b'b', 0x18, 0x01,
            ][..],
            &[
                0x42, 0x00, 0x4a, 0x02, 0x0a, 0x00, 0x5a, 0x04, 0x08, 0x04, 0x10, 0x04,
            ],
        ]
        .concat();
        let message = ProcessingRequest::decode(&bytes[..]).unwrap();
        let Some(Request::RequestHeaders(head)) = message.request else {
            panic!("no head")
        };
        assert!(head.end_of_stream);
        assert_eq!(head.headers.unwrap().headers, [HeaderValue::new("a", "b")]);
        assert_eq!(message.protocol_config.unwrap().response_body_mode, 4);
        assert!(message.metadata_context.is_some());

        let answer = ProcessingResponse {
            response: Some(Response::Immediate(ImmediateResponse {
                status: Some(HttpStatus { code: 503 }),
                headers: Some(HeaderMutation {
                    set_headers: vec![HeaderValueOption {
                        header: Some(HeaderValue::new("a", "b")),
                        append_action: OVERWRITE,
                    }],
                    remove_headers: vec!["c".into()],
                }),
                body: "x".into(),
            })),
            dynamic_metadata: Some(Struct::of([("k", Value::text("v"))])),
        };
        let expected = [
            // immediate_response(7) { status(1) { code(1) 503 }
            &[0x3a, 0x19, 0x0a, 0x03, 0x08, 0xf7, 0x03][..],
            // headers(2) { set_headers(1) { header(1) { "a": "b" } append_action(3) 2 } remove_headers(2) "c" }
            &[
                0x12, 0x0f, 0x0a, 0x0a, 0x0a, 0x06, 0x0a, 0x01, b'a', 0x1a, 0x01, b'b', 0x18, 0x02,
            ],
            &[0x12, 0x01, b'c'],
            // body(3) "x" }
            &[0x1a, 0x01, b'x'],
            // dynamic_metadata(8) { fields(1) { key(1) "k" value(2) { string_value(3) "v" } } }
            &[
                0x42, 0x0a, 0x0a, 0x08, 0x0a, 0x01, b'k', 0x12, 0x03, 0x1a, 0x01, b'v',
            ],
        ]
        .concat();
        assert_eq!(answer.encode_to_vec(), expected);
    }

    #[test]
    fn texts_and_bodies_are_slices_of_the_message() {
        let body = HttpBody {
            body: vec![b'x'; 100].into(),
            end_of_stream: true,
        };
        let message = ProcessingRequest {
            request: Some(Request::RequestBody(body)),
            ..ProcessingRequest::default()
        };
        let bytes = Bytes::from(message.encode_to_vec());
        let range = bytes.as_ptr_range();
        let decoded = ProcessingRequest::decode(bytes.clone()).unwrap();
        let Some(Request::RequestBody(body)) = decoded.request else {
            panic!("no body")
        };
        assert!(range.contains(&body.body.as_ptr()));
    }
}
