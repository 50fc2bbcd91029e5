//! Asking: small requests with a bound on everything, and one deadline over all of them.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, anyhow};
use http::{HeaderName, HeaderValue, Method, Request, Response, header};
use pointsman_http::{Body, ClientOptions, Pool, collect};
use pointsman_serve::handoff::target::Target;
use pointsman_wire::status::DROPPED_REASON;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::verify::seen::Answer;

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// What is said of a peer that lets the time pass.
pub(crate) const NO_ANSWER: &str = "no answer in time";

/// Longest answer that is read.
const MOST_BYTES: usize = 64 << 20;

/// Sends requests until the time is over.
pub(crate) struct Asker {
    pool: Pool,
    until: Instant,
    model: String,
    /// Tells this run's prompts and ids from those of others.
    run: String,
    sent: Cell<u64>,
}

/// A completion to ask for.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wanted<'a> {
    pub(crate) max_tokens: u32,
    pub(crate) stream: bool,
    pub(crate) headers: &'a [(String, String)],
}

impl Asker {
    /// Asks for completions of `model` until `until`.
    pub(crate) fn new(until: Instant, model: String, run: String) -> Self {
        let options = ClientOptions {
            connect_timeout: Duration::from_secs(2),
            ..ClientOptions::default()
        };
        Self {
            pool: Pool::new(options),
            until,
            model,
            run,
            sent: Cell::new(0),
        }
    }

    /// The same with another model.
    pub(crate) fn with_model(mut self, model: String) -> Self {
        self.model = model;
        self
    }

    /// Whether no time is left.
    pub(crate) fn is_over(&self) -> bool {
        self.left().is_zero()
    }

    /// Time that is left.
    pub(crate) fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// A request id that nobody had before.
    pub(crate) fn next_id(&self) -> String {
        let number = self.sent.get() + 1;
        self.sent.set(number);
        format!("verify-{}-{number}", self.run)
    }

    /// `GET path` as JSON.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn json(&self, target: &Target, path: &str) -> anyhow::Result<Value> {
        let (status, body) = self.get(address(target).await?, path).await?;
        if status != 200 {
            anyhow::bail!("GET {path} answered {status}");
        }
        serde_json::from_slice(&body).with_context(|| format!("GET {path} answered no JSON"))
    }

    /// `GET path`: status and body.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(crate) async fn get(
        &self,
        address: SocketAddr,
        path: &str,
    ) -> anyhow::Result<(u16, Vec<u8>)> {
        let request = Request::get(path)
            .header(header::HOST, address.to_string())
            .body(Body::bytes(Vec::new()))?;
        let response = self
            .send(address, request)
            .await
            .map_err(|why| anyhow!(why))?;
        let status = response.status().as_u16();
        let body = collect(response.into_body(), MOST_BYTES, self.patience()).await?;
        Ok((status, body.joined().into_owned()))
    }

    /// Asks for a short completion and reads the answer to its end.
    pub(crate) async fn complete(
        &self,
        address: SocketAddr,
        id: &str,
        wanted: Wanted<'_>,
    ) -> Answer {
        let response = match self.begin(address, id, wanted).await {
            Ok(response) => response,
            Err(why) => return Answer::Failed(why),
        };
        let status = response.status().as_u16();
        let text = |name: &str| {
            let value = response.headers().get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        let dropped = text(DROPPED_REASON);
        let whole = timeout(
            self.patience(),
            collect(response.into_body(), MOST_BYTES, self.patience()),
        );
        match whole.await {
            Err(_) => Answer::Failed("the answer did not end in time".to_owned()),
            Ok(Err(error)) => Answer::Failed(format!("the answer broke off: {error}")),
            Ok(Ok(frames)) => {
                let body: Value = serde_json::from_slice(&frames.joined()).unwrap_or(Value::Null);
                let field = |value: &Value| value.as_str().map(str::to_owned);
                Answer::Came {
                    status,
                    id: field(&body["id"]),
                    message: field(&body["error"]["message"]),
                    dropped,
                }
            }
        }
    }

    /// Asks for a completion; the answer's body follows as it comes.
    ///
    /// # Errors
    /// Why no head of an answer came.
    pub(crate) async fn begin(
        &self,
        address: SocketAddr,
        id: &str,
        wanted: Wanted<'_>,
    ) -> Result<Response<Body>, String> {
        // The id stands first, so that no two prompts share a cached beginning.
        let mut body = json!({
            "model": self.model,
            "prompt": format!("{id}: say something."),
            "max_tokens": wanted.max_tokens,
        });
        if wanted.stream {
            body["stream"] = true.into();
            body["ignore_eos"] = true.into();
        }
        let mut request = Request::new(Body::bytes(body.to_string()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = http::Uri::from_static("/v1/completions");
        let headers = request.headers_mut();
        let authority = HeaderValue::from_str(&address.to_string());
        headers.insert(header::HOST, authority.map_err(|e| e.to_string())?);
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        let own = [("x-request-id".to_owned(), id.to_owned())];
        for (name, value) in own.iter().chain(wanted.headers) {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|e| e.to_string())?;
            let value = HeaderValue::from_str(value).map_err(|e| e.to_string())?;
            headers.insert(name, value);
        }
        self.send(address, request).await
    }

    async fn send(
        &self,
        address: SocketAddr,
        request: Request<Body>,
    ) -> Result<Response<Body>, String> {
        match timeout(self.patience(), self.pool.send(address, request)).await {
            Err(_) => Err(NO_ANSWER.to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Ok(Ok(response)) => Ok(response),
        }
    }

    fn patience(&self) -> Duration {
        self.left().min(PATIENCE)
    }
}

/// An address of the target.
///
/// # Errors
/// Its host has none.
pub(crate) async fn address(target: &Target) -> anyhow::Result<SocketAddr> {
    let found = target.resolve().await.map_err(|why| anyhow!(why))?;
    found.first().copied().context("its host has no address")
}
