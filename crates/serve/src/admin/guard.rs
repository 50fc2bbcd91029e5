//! Who may read the admin port, where somebody knows: each request has to carry a token, and whoever knows is asked about
//! it. What says whether the process lives is open to all, and so are the live page's own files, which tell nothing.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use pointsman_http::Body;

use crate::admin::page;

/// What Prometheus reads; the one page for which everybody shows a token.
const METRICS: &str = "/metrics";

/// Pages that probes ask for.
const OPEN: [&str; 3] = ["/healthz", "/livez", "/readyz"];

/// A reader's question: whether the owner of the token may do this here.
#[derive(Clone, Debug)]
pub struct Visit {
    /// The token.
    pub token: String,
    /// The method in small letters.
    pub verb: String,
    /// The path.
    pub path: String,
}

/// What is said of a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Welcome.
    Allowed,
    /// Nobody has this token.
    Unknown,
    /// This one may not.
    Denied(String),
    /// Nobody could say; with the reader's name if that much was said.
    Unanswered(Option<String>),
}

/// An answer that is waited for.
pub type Asked = Pin<Box<dyn Future<Output = Verdict> + Send>>;

/// Whoever knows readers.
pub type Guard = Arc<dyn Fn(Visit) -> Asked + Send + Sync>;

/// Whether a reader sits in the pod itself, as one does who comes by `kubectl port-forward`: whoever may forward the ports of
/// a pod has shown to the API server who they are, and sees what the pod says for people without showing it again.
fn is_within(reader: IpAddr) -> bool {
    matches!(
        reader.to_canonical(),
        IpAddr::V4(Ipv4Addr::LOCALHOST) | IpAddr::V6(Ipv6Addr::LOCALHOST)
    )
}

/// The refusal of a request of `reader`, if it is refused.
pub async fn refusal(
    guard: &Guard,
    reader: IpAddr,
    method: &str,
    path: &str,
    headers: &HeaderMap,
) -> Option<Response<Body>> {
    if OPEN.contains(&path) || page::file(path).is_some() {
        return None;
    }
    if path != METRICS && is_within(reader) {
        return None;
    }
    let Some(token) = token(headers) else {
        return Some(unauthorized());
    };
    let visit = Visit {
        token: token.to_owned(),
        verb: method.to_ascii_lowercase(),
        path: path.to_owned(),
    };
    match guard(visit).await {
        Verdict::Allowed => None,
        Verdict::Unknown => Some(unauthorized()),
        Verdict::Denied(user) => Some(said(
            StatusCode::FORBIDDEN,
            format!("Authorization denied for user {user}\n"),
        )),
        Verdict::Unanswered(Some(user)) => Some(said(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("Authorization for user {user} failed\n"),
        )),
        Verdict::Unanswered(None) => Some(said(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Authentication failed\n".to_owned(),
        )),
    }
}

/// The token that a request shows, as the API server reads it.
fn token(headers: &HeaderMap) -> Option<&str> {
    let shown = headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim();
    let (scheme, rest) = shown.split_once(' ')?;
    let token = rest.split(' ').next().filter(|token| !token.is_empty())?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

fn unauthorized() -> Response<Body> {
    let text =
        "Unauthorized: send a token that the API server knows, as Authorization: Bearer <token>\n";
    let mut response = said(StatusCode::UNAUTHORIZED, text.to_owned());
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

fn said(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::bytes(text));
    *response.status_mut() = status;
    for (name, value) in [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn showing(authorization: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
        headers
    }

    fn guard(verdict: Verdict) -> Guard {
        Arc::new(move |visit: Visit| {
            assert_eq!((&*visit.token, &*visit.verb), ("t", "get"));
            let verdict = verdict.clone();
            Box::pin(async move { verdict })
        })
    }

    async fn status(verdict: Verdict, path: &str, headers: &HeaderMap) -> Option<u16> {
        let away = IpAddr::from([10, 0, 0, 7]);
        let refused = refusal(&guard(verdict), away, "GET", path, headers).await;
        refused.map(|response| response.status().as_u16())
    }

    #[test]
    fn a_token_is_read_as_the_api_server_reads_it() {
        for (shown, read) in [
            ("Bearer t", Some("t")),
            ("bEaReR t more", Some("t")),
            ("Bearer", None),
            ("Bearer ", None),
            ("Bearer  t", None),
            ("Basic t", None),
        ] {
            assert_eq!(token(&showing(shown)), read, "{shown}");
        }
        assert_eq!(token(&HeaderMap::new()), None);
    }

    #[tokio::test]
    async fn each_verdict_has_its_status_and_probes_are_not_asked() {
        let known = showing("Bearer t");
        let denied = || Verdict::Denied("u".to_owned());
        for (verdict, expected) in [
            (Verdict::Allowed, None),
            (Verdict::Unknown, Some(401)),
            (denied(), Some(403)),
            (Verdict::Unanswered(None), Some(500)),
            (Verdict::Unanswered(Some("u".to_owned())), Some(500)),
        ] {
            for path in ["/metrics", "/debug/plan", "/nothing"] {
                assert_eq!(status(verdict.clone(), path, &known).await, expected);
            }
        }
        let nobody = HeaderMap::new();
        assert_eq!(
            status(Verdict::Allowed, "/metrics", &nobody).await,
            Some(401)
        );
        for open in ["/healthz", "/livez", "/readyz", "/", "/page.js"] {
            assert_eq!(status(denied(), open, &nobody).await, None, "{open}");
        }
    }

    #[tokio::test]
    async fn whoever_is_in_the_pod_shows_a_token_for_the_metrics_only() {
        let nobody = HeaderMap::new();
        for (reader, path, expected) in [
            ("127.0.0.1", "/debug/plan", None),
            ("::ffff:127.0.0.1", "/debug/metrics", None),
            ("::1", "/debug/whatif", None),
            ("127.0.0.1", "/metrics", Some(401)),
            // Where proxies of a mesh come from with what came to them.
            ("127.0.0.6", "/debug/plan", Some(401)),
            ("10.0.0.7", "/debug/plan", Some(401)),
        ] {
            let reader = reader.parse().unwrap();
            let refused = refusal(&guard(Verdict::Allowed), reader, "GET", path, &nobody).await;
            let status = refused.map(|response| response.status().as_u16());
            assert_eq!(status, expected, "{reader} {path}");
        }
    }
}
