//! A running pointsman as its own commands see it: JSON from the admin port, within bounds of time and size.

use std::time::Duration;

use anyhow::{anyhow, bail};
use serde_json::Value;

use crate::place::Place;
use crate::verify::client::{Call, Client};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Flag that names the admin port.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct AdminArgs {
    /// Admin port of the running pointsman.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9090")]
    pub(crate) admin: Place,
    /// Token of a reader, for a picker in a cluster that asks for one (kubectl create token ACCOUNT).
    #[arg(long, value_name = "TOKEN", hide_env_values = true)]
    pub(crate) admin_token: Option<String>,
}

impl AdminArgs {
    /// Asks for a JSON document on the admin port.
    ///
    /// # Errors
    /// A sentence that says what to do about it.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.ask(path, None).await
    }

    /// Hands the admin port a JSON document and takes its answer.
    ///
    /// # Errors
    /// A sentence that says what to do about it.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.ask(path, Some(body)).await
    }

    async fn ask(&self, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let authority = &self.admin.authority;
        let unasked = |why: String| {
            anyhow!(
                "the admin port http://{authority} cannot be asked; is a pointsman running there? \
                 (--admin names another): {why}"
            )
        };
        let address = self.admin.resolve().await.map_err(unasked)?;
        let shown = self
            .admin_token
            .as_ref()
            .map(|token| format!("Bearer {token}"));
        let headers: Vec<(&str, &str)> = shown
            .iter()
            .map(|shown| ("authorization", shown.as_str()))
            .collect();
        let call = Call {
            address,
            authority,
            path,
            headers: &headers,
            body: body.map(Value::to_string),
        };
        let page = Client::new().page(call, PATIENCE).await;
        let page = page.map_err(|failure| unasked(failure.to_string()))?;
        if matches!(page.status, 401 | 403) {
            let said = page.text.trim();
            bail!(
                "http://{authority}{path} answered {}: {said}; --admin-token shows one whose owner may get {path}",
                page.status
            );
        }
        let answer: Value = serde_json::from_str(&page.text)
            .map_err(|e| anyhow!("http://{authority}{path} answered no JSON: {e}"))?;
        if page.status != 200 {
            let said = answer["error"]["message"]
                .as_str()
                .unwrap_or("no reason given");
            bail!("http://{authority}{path} answered {}: {said}", page.status);
        }
        Ok(answer)
    }
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
    fn an_id_cannot_leave_its_place_in_the_path() {
        assert_eq!(in_path("cmpl-a:1_b.c"), "cmpl-a:1_b.c");
        assert_eq!(in_path("a/../b?c d#é"), "a%2F..%2Fb%3Fc%20d%23%C3%A9");
    }
}
