//! A running pointsman as its own commands see it: GET on the admin port, within bounds of time and size.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use http::{HeaderValue, Request, StatusCode, header};
use pointsman_http::{Body, ClientOptions, Frames, Pool, collect};
use pointsman_serve::handoff::target::Target;
use serde_json::Value;

/// Longest answer that is read.
const MOST_BYTES: usize = 256 << 20;

/// Longest wait for an answer, and between two parts of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Flag that names the admin port.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct AdminArgs {
    /// Admin port of the running pointsman.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9090")]
    pub(crate) admin: String,
}

impl AdminArgs {
    /// Asks for a JSON document on the admin port.
    ///
    /// # Errors
    /// A sentence that says what to do about it.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let target = target(&self.admin, "--admin")?;
        let (status, body) = fetch(&target, path).await.with_context(|| {
            format!(
                "the admin port {} cannot be asked; is a pointsman running there? (--admin names another)",
                target.url()
            )
        })?;
        let answer: Value = serde_json::from_slice(&body.joined())
            .map_err(|e| anyhow!("{}{path} answered no JSON: {e}", target.url()))?;
        if status != StatusCode::OK {
            let said = answer["error"]["message"]
                .as_str()
                .unwrap_or("no reason given");
            bail!("{}{path} answered {status}: {said}", target.url());
        }
        Ok(answer)
    }
}

/// The address that a flag gives: `http://host:port`, or `host:port`, as servers take it under the same variable.
pub(crate) fn target(text: &str, flag: &str) -> anyhow::Result<Target> {
    let bare = !text.contains("://") && text.contains(':');
    let url = if bare {
        format!("http://{text}")
    } else {
        text.to_owned()
    };
    Target::parse(&url)
        .map_err(|_| anyhow!("{flag} '{text}' is no address; write http://host:port"))
}

async fn fetch(target: &Target, path: &str) -> anyhow::Result<(StatusCode, Frames)> {
    let addresses = target.resolve().await.map_err(|why| anyhow!(why))?;
    let address = *addresses.first().context("its host has no address")?;
    let pool = Pool::new(ClientOptions::default());
    let request = Request::get(path)
        .header(header::HOST, target.authority())
        .header(header::ACCEPT, HeaderValue::from_static("application/json"))
        .body(Body::bytes(Vec::new()))?;
    let response = tokio::time::timeout(PATIENCE, pool.send(address, request))
        .await
        .map_err(|_| anyhow!("no answer within {} s", PATIENCE.as_secs()))??;
    let (head, body) = response.into_parts();
    Ok((head.status, collect(body, MOST_BYTES, PATIENCE).await?))
}

/// An id as part of a path.
pub(crate) fn in_path(id: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(id.len());
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_lack_its_scheme_but_not_its_port() {
        let url = |text: &str| target(text, "--admin").map(|t| t.url().to_owned()).ok();
        let expected = Some("http://127.0.0.1:9090".to_owned());
        assert_eq!(url("http://127.0.0.1:9090/"), expected);
        assert_eq!(url("127.0.0.1:9090"), expected);
        assert_eq!((url("9090"), url("https://a:1")), (None, None));
    }

    #[test]
    fn an_id_cannot_leave_its_place_in_the_path() {
        assert_eq!(in_path("cmpl-a:1_b.c"), "cmpl-a:1_b.c");
        assert_eq!(in_path("a/../b?c d#é"), "a%2F..%2Fb%3Fc%20d%23%C3%A9");
    }
}
