//! What the gateway is told to do: the answers to the parts of an exchange.

use bytes::Bytes;

use crate::extproc::messages::{
    BodyMutation, CommonResponse, HeaderMutation, HeaderValue, HeaderValueOption, HttpBody,
    HttpStatus, ImmediateResponse, Mutation, OVERWRITE, PartResponse, ProcessingResponse, Response,
    Struct, TrailersResponse, Value,
};
use crate::extproc::names::{
    DATA_PARALLEL, DESTINATION, ENCODERS, LB, PREFILLER, REQUEST_ID, SCORES, WENT_THROUGH,
};
use crate::status::{DROPPED_REASON, PickerRefusal};

/// Most bytes of a body in one answer: gateways take up to 64 KiB.
pub const PIECE: usize = 62_000;

/// Field numbers of the answers that pass a body on.
pub const REQUEST_BODY: u8 = 3;
/// See [`REQUEST_BODY`].
pub const RESPONSE_BODY: u8 = 4;

/// Where a request goes, and what goes with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Route {
    /// The picked endpoint as `ip:port`; several in order of preference, separated by commas.
    pub destination: String,
    /// A request id, if the request has none that will do.
    pub request_id: Option<String>,
    /// The request's place in a trace, if it is traced here.
    pub traceparent: Option<String>,
    /// The length of the body that is sent on, if it is to be told.
    pub content_length: Option<usize>,
    /// Who runs the prefill.
    pub prefiller: Option<String>,
    /// Who encodes what is no text, separated by commas.
    pub encoders: Option<String>,
    /// Which rank behind the destination is meant.
    pub rank: Option<String>,
    /// Names of headers that do not go on.
    pub unwanted: Vec<&'static str>,
    /// The candidates' scores by address, if they are to be told.
    pub scores: Vec<(String, f64)>,
}

impl Route {
    fn headers(&self) -> HeaderMutation {
        let mut set = vec![field(DESTINATION, self.destination.clone())];
        let length = self.content_length.map(|length| length.to_string());
        for (name, value) in [
            (REQUEST_ID, &self.request_id),
            ("traceparent", &self.traceparent),
            ("content-length", &length),
            (PREFILLER, &self.prefiller),
            (ENCODERS, &self.encoders),
            (DATA_PARALLEL, &self.rank),
        ] {
            set.extend(value.as_ref().map(|value| field(name, value.clone())));
        }
        let own = |name: &str| {
            (name == PREFILLER && self.prefiller.is_some())
                || (name == ENCODERS && self.encoders.is_some())
                || (name == DATA_PARALLEL && self.rank.is_some())
        };
        let remove = self.unwanted.iter().filter(|name| !own(name));
        HeaderMutation {
            set_headers: set,
            remove_headers: remove
                .map(|name| Bytes::from_static(name.as_bytes()))
                .collect(),
        }
    }

    fn metadata(&self) -> Struct {
        let mut told = Struct::of([(DESTINATION, Value::text(&*self.destination))]);
        if !self.scores.is_empty() {
            let scores = self.scores.iter();
            let scores = Struct::of(scores.map(|(at, score)| (at.clone(), Value::number(*score))));
            told.fields.insert(SCORES.to_owned(), Value::object(scores));
        }
        Struct::of([(LB, Value::object(told))])
    }

    /// The answer to the request's head.
    pub fn as_head(&self) -> ProcessingResponse {
        ProcessingResponse {
            response: Some(Response::RequestHeaders(self.changing(None))),
            dynamic_metadata: Some(self.metadata()),
        }
    }

    /// The answer to a body that came in one piece, and is replaced by `body` if it changed.
    pub fn as_body(&self, body: Option<Bytes>) -> ProcessingResponse {
        ProcessingResponse {
            response: Some(Response::RequestBody(self.changing(body))),
            dynamic_metadata: Some(self.metadata()),
        }
    }

    fn changing(&self, body: Option<Bytes>) -> PartResponse {
        PartResponse {
            response: Some(CommonResponse {
                header_mutation: Some(self.headers()),
                body_mutation: body.map(|body| BodyMutation {
                    mutation: Some(Mutation::Body(body)),
                }),
                clear_route_cache: true,
            }),
        }
    }
}

/// The answer to the head of an answer. `request_id` and `marks` are told to the client; a length that will not hold is
/// removed.
pub fn response_head(
    request_id: Option<&str>,
    loses_length: bool,
    marks: &[(String, String)],
) -> ProcessingResponse {
    let mut set = vec![field(WENT_THROUGH, Bytes::from_static(b"true"))];
    set.extend(request_id.map(|id| field(REQUEST_ID, id.to_owned())));
    set.extend(marks.iter().map(|(name, text)| HeaderValueOption {
        header: Some(HeaderValue {
            key: name.clone().into(),
            value: Bytes::new(),
            raw_value: text.clone().into(),
        }),
        append_action: OVERWRITE,
    }));
    let remove = loses_length.then_some(Bytes::from_static(b"content-length"));
    let headers = HeaderMutation {
        set_headers: set,
        remove_headers: remove.into_iter().collect(),
    };
    of(Response::ResponseHeaders(PartResponse {
        response: Some(CommonResponse {
            header_mutation: Some(headers),
            ..CommonResponse::default()
        }),
    }))
}

/// The answer to a whole body of an answer that is replaced.
pub fn response_body(body: Bytes) -> ProcessingResponse {
    let length = field("content-length", body.len().to_string());
    of(Response::ResponseBody(PartResponse {
        response: Some(CommonResponse {
            header_mutation: Some(HeaderMutation {
                set_headers: vec![length],
                remove_headers: Vec::new(),
            }),
            body_mutation: Some(BodyMutation {
                mutation: Some(Mutation::Body(body)),
            }),
            ..CommonResponse::default()
        }),
    }))
}

/// The last piece of an answer's body, with metadata about it.
pub fn response_piece(body: Bytes, end_of_stream: bool, told: Struct) -> ProcessingResponse {
    let piece = HttpBody {
        body,
        end_of_stream,
    };
    let part = PartResponse {
        response: Some(CommonResponse {
            body_mutation: Some(BodyMutation {
                mutation: Some(Mutation::Streamed(piece)),
            }),
            ..CommonResponse::default()
        }),
    };
    ProcessingResponse {
        response: Some(Response::ResponseBody(part)),
        dynamic_metadata: Some(told),
    }
}

/// Parts that are answered with "go on".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// The request's head.
    RequestHeaders,
    /// A piece of its body.
    RequestBody,
    /// Its trailers.
    RequestTrailers,
    /// A piece of the answer's body.
    ResponseBody,
    /// The answer's trailers.
    ResponseTrailers,
}

/// "Go on" for a part.
pub fn go_on(part: Part) -> ProcessingResponse {
    let (plain, trailers) = (PartResponse::default(), TrailersResponse::default());
    of(match part {
        Part::RequestHeaders => Response::RequestHeaders(plain),
        Part::RequestBody => Response::RequestBody(plain),
        Part::RequestTrailers => Response::RequestTrailers(trailers),
        Part::ResponseBody => Response::ResponseBody(plain),
        Part::ResponseTrailers => Response::ResponseTrailers(trailers),
    })
}

/// The answer that refuses a request.
pub fn refusal(refusal: PickerRefusal) -> ProcessingResponse {
    let mut set = Vec::new();
    if let Some(kind) = refusal.content_type {
        set.push(field("content-type", Bytes::from_static(kind.as_bytes())));
    }
    if let Some(reason) = refusal.dropped_reason {
        set.push(field(DROPPED_REASON, Bytes::from_static(reason.as_bytes())));
    }
    if let Some(seconds) = refusal.retry_after_s {
        set.push(field("retry-after", seconds.to_string()));
    }
    let headers = (!set.is_empty()).then(|| HeaderMutation {
        set_headers: set,
        remove_headers: Vec::new(),
    });
    of(Response::Immediate(ImmediateResponse {
        status: Some(HttpStatus {
            code: refusal.status.into(),
        }),
        headers,
        body: refusal.body.into(),
    }))
}

fn of(response: Response) -> ProcessingResponse {
    ProcessingResponse {
        response: Some(response),
        dynamic_metadata: None,
    }
}

fn field(name: &'static str, value: impl Into<Bytes>) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue::new(name, value)),
        append_action: OVERWRITE,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_header_of_our_own_is_not_removed() {
        let route = Route {
            destination: "10.0.0.1:8000".to_owned(),
            prefiller: Some("10.0.0.2:8000".to_owned()),
            unwanted: vec![PREFILLER, DATA_PARALLEL],
            ..Route::default()
        };
        let headers = route.headers();
        assert_eq!(headers.remove_headers, [DATA_PARALLEL]);
        let names: Vec<Bytes> = headers
            .set_headers
            .into_iter()
            .map(|option| option.header.unwrap().key)
            .collect();
        assert_eq!(names, [DESTINATION, PREFILLER]);
    }

    #[test]
    fn header_and_metadata_name_the_same_endpoint() {
        let route = Route {
            destination: "[::1]:1,10.0.0.1:2".to_owned(),
            scores: vec![("[::1]:1".to_owned(), 0.5)],
            ..Route::default()
        };
        let Some(Response::RequestHeaders(head)) = route.as_head().response else {
            panic!("no head")
        };
        let set = head.response.unwrap().header_mutation.unwrap().set_headers;
        let named = set[0].header.as_ref().unwrap().bytes().clone();
        let metadata = route.metadata();
        let expected = Struct::of([(
            LB,
            Value::object(Struct::of([
                (
                    DESTINATION,
                    Value::text(String::from_utf8(named.to_vec()).unwrap()),
                ),
                (
                    SCORES,
                    Value::object(Struct::of([("[::1]:1", Value::number(0.5))])),
                ),
            ])),
        )]);
        assert_eq!(metadata, expected);
    }
}
