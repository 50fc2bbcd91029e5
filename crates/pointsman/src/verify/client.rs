//! Requests with a bound each, and one deadline over all.

use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};
use pointsman_http::{Body, ClientOptions, Pool, SendErrorKind, collect};
use tokio::time::timeout;

use crate::verify::seen::Failure;

/// Longest wait for a page of an admin port or of an engine.
pub(crate) const PAGE_TIME: Duration = Duration::from_secs(3);

/// Longest page that is read, in bytes.
const PAGE: usize = 64 << 20;

/// Sends requests.
#[derive(Clone)]
pub(crate) struct Client {
    pool: Pool,
}

/// One request.
pub(crate) struct Call<'a> {
    /// Where to.
    pub(crate) address: SocketAddr,
    /// The `host` header.
    pub(crate) authority: &'a str,
    /// Path and query.
    pub(crate) path: &'a str,
    /// Further headers.
    pub(crate) headers: &'a [(&'a str, &'a str)],
    /// JSON to POST; `None`: GET.
    pub(crate) body: Option<String>,
}

/// A whole answer.
pub(crate) struct Page {
    /// HTTP status.
    pub(crate) status: u16,
    /// Its headers.
    pub(crate) headers: HeaderMap,
    /// Its body.
    pub(crate) text: String,
}

impl Client {
    /// Without connections yet.
    pub(crate) fn new() -> Self {
        let options = ClientOptions {
            max_idle_per_host: 64,
            ..ClientOptions::default()
        };
        Self {
            pool: Pool::new(options),
        }
    }

    /// The whole answer, within `limit`.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn page(&self, call: Call<'_>, limit: Duration) -> Result<Page, Failure> {
        let whole = async {
            let (head, body) = self.send(call).await?.into_parts();
            let body = collect(body, PAGE, limit).await;
            let body = body.map_err(|error| Failure::Broken(error.to_string()))?;
            Ok(Page {
                status: head.status.as_u16(),
                headers: head.headers,
                text: String::from_utf8_lossy(&body.joined()).into_owned(),
            })
        };
        timeout(limit, whole)
            .await
            .unwrap_or(Err(Failure::Silent(limit.as_secs())))
    }

    /// The head of an answer whose body is still to come, within `limit`.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn open(
        &self,
        call: Call<'_>,
        limit: Duration,
    ) -> Result<Response<Body>, Failure> {
        timeout(limit, self.send(call))
            .await
            .unwrap_or(Err(Failure::Silent(limit.as_secs())))
    }

    /// Status and text of a page.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub(crate) async fn read(
        &self,
        address: SocketAddr,
        path: &str,
    ) -> Result<(u16, String), String> {
        let authority = address.to_string();
        let call = Call {
            address,
            authority: &authority,
            path,
            headers: &[],
            body: None,
        };
        let page = self.page(call, PAGE_TIME).await;
        page.map(|page| (page.status, page.text))
            .map_err(|failure| failure.to_string())
    }

    async fn send(&self, call: Call<'_>) -> Result<Response<Body>, Failure> {
        let broken = |error: &dyn std::fmt::Display| Failure::Broken(error.to_string());
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = call.path.parse().map_err(|e| broken(&e))?;
        let headers = request.headers_mut();
        let host = HeaderValue::from_str(call.authority).map_err(|e| broken(&e))?;
        headers.insert(header::HOST, host);
        for (name, value) in call.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|e| broken(&e))?;
            headers.insert(name, HeaderValue::from_str(value).map_err(|e| broken(&e))?);
        }
        if let Some(body) = call.body {
            let json = HeaderValue::from_static("application/json");
            headers.insert(header::CONTENT_TYPE, json);
            *request.method_mut() = Method::POST;
            *request.body_mut() = Body::bytes(body);
        }
        self.pool
            .send(call.address, request)
            .await
            .map_err(|error| match error.kind {
                SendErrorKind::Connect => Failure::Refused,
                SendErrorKind::ConnectTimeout => Failure::Silent(2),
                _ => Failure::Broken(error.to_string()),
            })
    }
}
