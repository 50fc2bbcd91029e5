//! Before the load: whether somebody answers, and to which model.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::load::{ask_once, get};

/// Longest wait for one answer.
const LIMIT: Duration = Duration::from_secs(20);

/// Asks for the models and then for one token. Gives the model's name.
///
/// # Errors
/// One sentence: what is wrong with the target, and what to do.
pub async fn check(
    target: SocketAddr,
    host: &str,
    model: Option<&str>,
    chat: bool,
) -> Result<String, String> {
    let bounded = |what: &'static str| async move {
        tokio::time::sleep(LIMIT).await;
        format!(
            "http://{host} gave no answer to {what} within {} s",
            LIMIT.as_secs()
        )
    };
    let models = tokio::select! {
        models = get(target, "/v1/models") => models,
        silent = bounded("GET /v1/models") => return Err(silent),
    };
    let (status, page) = models.map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof => {
            format!("http://{host} does not answer in HTTP: {error}")
        }
        _ => format!("http://{host} cannot be reached: {error}; is the gateway running, and is --target right?"),
    })?;
    let listed = names(&page);
    let model = match (model, listed.first()) {
        (Some(model), _) => model.to_owned(),
        (None, Some(first)) => first.clone(),
        (None, None) => {
            return Err(format!(
                "http://{host} lists no model (GET /v1/models: {status}); name one with --model"
            ));
        }
    };
    let (path, body) = one_token(&model, chat);
    let answer = tokio::select! {
        answer = ask_once(target, host, path, &body) => answer,
        silent = bounded("a request of one token") => return Err(silent),
    };
    let (status, page) = answer
        .map_err(|error| format!("http://{host} broke off a request of one token: {error}"))?;
    let said = said(&page);
    match status {
        200 if serde_json::from_slice::<Value>(&page)
            .is_ok_and(|page| page["choices"].is_array()) =>
        {
            Ok(model)
        }
        200 => Err(format!(
            "http://{host} answered a request of one token with 200 and no completion: {said}"
        )),
        404 if !listed.is_empty() && !listed.contains(&model) => Err(format!(
            "http://{host} does not know the model '{model}'; it lists: {}",
            listed.join(", ")
        )),
        status => Err(format!(
            "http://{host} answered a request of one token for '{model}' with {status}: {said}"
        )),
    }
}

fn one_token(model: &str, chat: bool) -> (&'static str, String) {
    let mut body = serde_json::json!({"model": model, "max_tokens": 1});
    if chat {
        body["messages"] = serde_json::json!([{"role": "user", "content": "hello"}]);
        ("/v1/chat/completions", body.to_string())
    } else {
        body["prompt"] = "hello".into();
        ("/v1/completions", body.to_string())
    }
}

/// The names in a list of models.
fn names(page: &[u8]) -> Vec<String> {
    let page: Value = serde_json::from_slice(page).unwrap_or_default();
    let listed = page["data"].as_array().into_iter().flatten();
    listed
        .filter_map(|model| Some(model["id"].as_str()?.to_owned()))
        .collect()
}

/// What an answer says, short: the message of an OpenAI error, else its beginning.
#[must_use]
pub fn said(page: &[u8]) -> String {
    let parsed: Value = serde_json::from_slice(page).unwrap_or_default();
    let text = match parsed["error"]["message"].as_str() {
        Some(message) => message.to_owned(),
        None => String::from_utf8_lossy(page).trim().to_owned(),
    };
    if text.is_empty() {
        return "(an empty body)".to_owned();
    }
    let shown: String = text.chars().take(200).collect();
    format!("'{}'", shown.escape_debug())
}
