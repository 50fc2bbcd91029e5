//! Finds the session that a request belongs to, in a header or a cookie.
//!
//! # When to use
//! With `session-affinity-scorer` or `session-affinity-filter` whose `sessionIdConfig.sources` name the attribute
//! `SessionID`; for ids in cookies, and where several plugins are to go by the same session.
//!
//! # Rule
//! The session is the value of the header `headerName`, or of the cookie `cookieName`. Without it, or with an empty
//! one, the request has no session.
//!
//! # Reads
//! The request's headers.
//!
//! # Example
//! ```yaml
//! - type: session-id-producer
//!   parameters:
//!     cookieName: session
//! ```
//!
//! # Limits
//! Exactly one of the two must be named, so it cannot be added by itself.

use std::sync::Arc;

use pointsman_core::contract::context::Asked;
use pointsman_core::contract::produced::Produced;
use pointsman_core::contract::roles::{Built, Preparer};
use pointsman_core::contract::spec::{
    ParamFault, Params, PluginSpec, Role, Stability, needs_nothing, schema_of,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "session-id-producer",
    aliases: &[],
    role: Role::Producer,
    stability: Stability::Beta,
    reads: &[],
    requires: needs_nothing,
    source: include_str!("session_id.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    /// The request header with the session.
    header_name: String,
    /// Or the cookie with it.
    cookie_name: String,
}

enum Place {
    Header(String),
    Cookie(String),
}

struct SessionId {
    name: Arc<str>,
    place: Place,
}

fn build(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    let given: Parameters = params.read()?;
    let place = match (given.header_name.as_str(), given.cookie_name.as_str()) {
        (header, "") if !header.is_empty() => Place::Header(header.to_ascii_lowercase()),
        ("", cookie) if !cookie.is_empty() => Place::Cookie(cookie.to_owned()),
        _ => {
            return Err(vec![ParamFault {
                path: String::new(),
                message: "exactly one of headerName and cookieName must be named".to_owned(),
            }]);
        }
    };
    Ok(Built::Preparer(Box::new(SessionId {
        name: params.name.into(),
        place,
    })))
}

impl Preparer for SessionId {
    fn prepare(&self, asked: &Asked<'_>, produced: &mut Produced) {
        let headers = asked.request.headers;
        let found = match &self.place {
            Place::Header(name) => headers.get(name),
            Place::Cookie(name) => headers.cookie(name),
        };
        if let Some(id) = found.filter(|id| !id.is_empty()) {
            produced.add_session(&self.name, id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_core::contract::spec::Generation;
    use pointsman_core::fixture::{Scene, build as built, pool};
    use pointsman_core::model::headers::Headers;

    #[track_caller]
    fn check(parameters: &str, headers: &[(&str, &str)], expected: Option<&str>) {
        let Ok(Built::Preparer(producer)) = built(&SPEC, parameters, Generation::G2) else {
            panic!("{parameters} is refused")
        };
        let pool = pool("a\n");
        let mut scene = Scene::new(&pool);
        scene.request.headers = Headers::of(&headers);
        let mut produced = Produced::default();
        producer.prepare(&scene.asked(), &mut produced);
        assert_eq!(
            produced.session("session-id-producer"),
            expected,
            "{parameters}"
        );
        assert_eq!(produced.session("another"), None);
    }

    #[test]
    fn the_session_is_found_in_a_header_or_a_cookie() {
        let header = r#"{"headerName":"X-Chat"}"#;
        check(header, &[("x-chat", "7"), ("cookie", "sid=9")], Some("7"));
        check(header, &[("x-chat", "")], None);
        check(header, &[], None);
        let cookie = r#"{"cookieName":"sid"}"#;
        check(cookie, &[("cookie", "a=b; sid=9")], Some("9"));
        check(cookie, &[("cookie", "a=b")], None);
    }

    #[test]
    fn exactly_one_place_is_needed() {
        for parameters in ["{}", r#"{"headerName":"a","cookieName":"b"}"#] {
            assert!(
                built(&SPEC, parameters, Generation::G2).is_err(),
                "{parameters}"
            );
        }
    }
}
