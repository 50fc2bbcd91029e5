//! What the picker looks at in the heads of a request and of its answer. Names are compared without regard to case.

use std::borrow::Cow;
use std::ops::ControlFlow;

use bytes::Bytes;
use pointsman_core::model::headers::HeaderView;

use crate::extproc::messages::{HeaderMap, HeaderValue as Field};
use crate::extproc::names::{CLAIMS, NOT_PASSED_ON, REQUEST_ID, REWRITE};

/// The path of a request whose head names none.
const DEFAULT_PATH: &str = "/v1/completions";

/// A request's head.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct RequestHead {
    path: [Option<Bytes>; 3],
    rewrite: [Option<Bytes>; 2],
    /// The client's or the gateway's id.
    pub request_id: Option<Bytes>,
    /// Whether the request is wanted only where its prompt is cached.
    pub only_cached: bool,
    /// The headers that are there and do not go on.
    pub unwanted: Vec<&'static str>,
    fields: Vec<Field>,
}

/// The fields as the client sent them, without those that only parts of the fleet may set.
impl HeaderView for RequestHead {
    fn values<'s>(&'s self, name: &str, take: &mut dyn FnMut(&'s str) -> ControlFlow<()>) {
        if NOT_PASSED_ON.contains(&name) && !CLAIMS.contains(&name) {
            return;
        }
        let named = self
            .fields
            .iter()
            .filter(|field| field.key.eq_ignore_ascii_case(name.as_bytes()));
        let _ = named
            .filter_map(|field| std::str::from_utf8(field.bytes()).ok())
            .try_for_each(take);
    }
}

impl RequestHead {
    /// Looks through the fields and keeps them.
    pub fn of(headers: Option<HeaderMap>) -> Self {
        let read = Self::read(headers.as_ref());
        Self {
            fields: headers.map_or_else(Vec::new, |map| map.headers),
            ..read
        }
    }

    /// Looks through the fields.
    pub fn read(headers: Option<&HeaderMap>) -> Self {
        let mut head = Self::default();
        for field in headers.iter().flat_map(|map| &map.headers) {
            let name = lower(&field.key);
            let value = || Some(field.bytes().clone());
            match &*name {
                b":path" => head.path[0] = value(),
                b"x-original-path" => head.path[1] = value(),
                b"x-forwarded-path" => head.path[2] = value(),
                b"prefer" => head.only_cached |= prefers_available(field.bytes()),
                name if name.starts_with(b"x-") => {
                    if name == REQUEST_ID.as_bytes() {
                        head.request_id = value();
                        continue;
                    }
                    for (place, known) in head.rewrite.iter_mut().zip(REWRITE) {
                        if name == known.as_bytes() {
                            *place = value();
                        }
                    }
                    let unwanted = NOT_PASSED_ON.iter().find(|u| u.as_bytes() == name);
                    if let Some(unwanted) = unwanted.filter(|u| !head.unwanted.contains(u)) {
                        head.unwanted.push(unwanted);
                    }
                }
                _ => {}
            }
        }
        head
    }

    /// Whether it names a path at all; none does where the gateway does not send the request's head.
    pub fn names_path(&self) -> bool {
        self.path.iter().flatten().any(|path| !path.is_empty())
    }

    /// The path that was asked for, without its query.
    pub fn path(&self) -> Cow<'_, str> {
        let found = self.path.iter().flatten().find(|path| !path.is_empty());
        let Some(path) = found else {
            return Cow::Borrowed(DEFAULT_PATH);
        };
        let end = path.iter().position(|byte| *byte == b'?');
        String::from_utf8_lossy(&path[..end.unwrap_or(path.len())])
    }

    /// The model that takes the place of the body's, if a header names one.
    pub fn rewrite(&self) -> Option<&str> {
        let named = self.rewrite.iter().flatten().next()?;
        std::str::from_utf8(named)
            .ok()
            .filter(|name| !name.is_empty())
    }
}

/// The head of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ResponseHead {
    /// Its status; 200 when it names none.
    pub status: u16,
    /// Its media type.
    pub content_type: Option<Bytes>,
    /// The request id that it carries.
    pub request_id: Option<Bytes>,
    /// Whether its length is promised.
    pub has_length: bool,
    /// Its `server-timing` fields, in order.
    pub timings: Vec<Bytes>,
}

impl ResponseHead {
    /// Looks through the fields.
    pub fn read(headers: Option<&HeaderMap>) -> Self {
        let mut head = Self {
            status: 200,
            ..Self::default()
        };
        for field in headers.iter().flat_map(|map| &map.headers) {
            match &*lower(&field.key) {
                b":status" | b"status" => {
                    let text = std::str::from_utf8(field.bytes()).unwrap_or_default();
                    head.status = text.parse().unwrap_or(head.status);
                }
                b"content-type" => head.content_type = Some(field.bytes().clone()),
                b"content-length" => head.has_length = true,
                b"server-timing" => head.timings.push(field.bytes().clone()),
                name if name == REQUEST_ID.as_bytes() => {
                    head.request_id = Some(field.bytes().clone());
                }
                _ => {}
            }
        }
        head
    }

    /// Its media type as text.
    pub fn content_type(&self) -> &str {
        self.content_type
            .as_ref()
            .and_then(|kind| std::str::from_utf8(kind).ok())
            .unwrap_or_default()
    }
}

/// A name in lower case; gateways send it so, and then it is not copied.
fn lower(name: &[u8]) -> Cow<'_, [u8]> {
    if name.iter().any(u8::is_ascii_uppercase) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// Whether a `Prefer` header (RFC 7240) lists `if-available`, whatever its parameters.
fn prefers_available(value: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|preference| {
        let token = preference.split(|byte| matches!(byte, b';' | b'=')).next();
        token.is_some_and(|token| token.trim_ascii().eq_ignore_ascii_case(b"if-available"))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::extproc::messages::HeaderValue;
    use pointsman_core::model::headers::Headers;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let headers = fields
            .iter()
            .map(|(name, value)| HeaderValue::new(name, *value))
            .collect();
        HeaderMap { headers }
    }

    fn read(fields: &[(&'static str, &'static str)]) -> RequestHead {
        RequestHead::read(Some(&map(fields)))
    }

    #[test]
    fn the_path_has_fallbacks_and_no_query() {
        assert_eq!(read(&[]).path(), "/v1/completions");
        assert!(!read(&[(":path", "")]).names_path() && read(&[(":path", "/b")]).names_path());
        assert_eq!(
            read(&[("x-forwarded-path", "/c"), ("x-original-path", "/b")]).path(),
            "/b"
        );
        let asked = read(&[
            ("X-Original-Path", "/b"),
            (":path", "/v1/chat/completions?x=1"),
        ]);
        assert_eq!(asked.path(), "/v1/chat/completions");
        assert_eq!(RequestHead::read(None).path(), "/v1/completions");
    }

    #[test]
    fn a_value_may_stand_in_either_place() {
        let mut fields = map(&[]);
        fields.headers.push(HeaderValue {
            key: "x-request-id".into(),
            value: "id".into(),
            raw_value: Bytes::new(),
        });
        assert_eq!(RequestHead::read(Some(&fields)).request_id.unwrap(), "id");
    }

    #[test]
    fn the_new_name_wins_over_its_alias() {
        let both = read(&[
            ("x-gateway-model-name-rewrite", "old"),
            ("X-LLM-D-Model-Name-Rewrite", "new"),
        ]);
        assert_eq!(both.rewrite(), Some("new"));
        assert_eq!(both.unwanted.len(), 2);
        assert_eq!(
            read(&[("x-gateway-model-name-rewrite", "old")]).rewrite(),
            Some("old")
        );
        assert_eq!(read(&[("x-llm-d-model-name-rewrite", "")]).rewrite(), None);
    }

    #[test]
    fn forged_and_steering_headers_are_listed_once() {
        let forged = read(&[
            ("x-prefiller-host-port", "a"),
            ("X-Prefiller-Host-Port", "b"),
            ("x-session-token", "s"),
            ("x-slo-ttft-ms", "5"),
        ]);
        assert_eq!(forged.unwanted, ["x-prefiller-host-port", "x-slo-ttft-ms"]);
    }

    #[test]
    fn plugins_see_the_clients_headers_and_no_forged_ones() {
        let head = RequestHead::of(Some(map(&[
            ("X-Session-Token", "s"),
            ("x-prefiller-host-port", "a"),
            ("x-llm-d-slo-ttft-ms", "9"),
            ("cookie", "a=1; b=2"),
        ])));
        let headers = Headers::of(&head);
        assert_eq!(headers.get("x-session-token"), Some("s"));
        assert_eq!(headers.cookie("b"), Some("2"));
        assert_eq!(headers.get("x-llm-d-slo-ttft-ms"), Some("9"));
        assert_eq!(headers.get("x-prefiller-host-port"), None);
    }

    #[test]
    fn preferences_are_a_list_with_parameters() {
        for yes in [
            "if-available",
            "respond-async, If-Available",
            "x=1,if-available;a=b",
        ] {
            assert!(read(&[("prefer", yes)]).only_cached, "{yes}");
        }
        for no in ["", "not-if-available", "x=if-available"] {
            assert!(!read(&[("prefer", no)]).only_cached, "{no}");
        }
    }

    #[test]
    fn a_status_is_read_under_both_names() {
        let head = ResponseHead::read(Some(&map(&[(":status", "503"), ("content-length", "1")])));
        assert_eq!((head.status, head.has_length), (503, true));
        assert_eq!(
            ResponseHead::read(Some(&map(&[("status", "500")]))).status,
            500
        );
        assert_eq!(ResponseHead::read(None).status, 200);
    }
}
