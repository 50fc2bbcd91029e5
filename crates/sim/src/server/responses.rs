//! `/v1/responses`, answered whole: the input becomes a chat, the answer one message or its tool calls.

use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use pointsman_http::{Body, Peer};
use serde_json::{Value, json};

use crate::server::answer::Said;
use crate::server::api_error::ApiError;
use crate::server::ask::{Api, Ask};
use crate::server::desk::{Desk, json_response, read_body};
use crate::server::generate::{enter, gate, served_model, unix_seconds, whole};

/// Reads a request, has it computed and answers.
///
/// # Errors
/// As a chat, and when the answer is to be streamed.
pub async fn respond(
    desk: &Arc<Desk>,
    request: Request<Incoming>,
    client: &Peer,
) -> Result<Response<Body>, ApiError> {
    let host = &desk.host;
    gate(host, request.headers())?;
    let given = request.headers().get("x-request-id");
    let given = given.and_then(|id| id.to_str().ok()).map(str::to_owned);
    let body = read_body(host, request, client).await?;
    let written: Value = serde_json::from_slice(&body.joined())
        .map_err(|fault| ApiError::bad_request(format!("the body cannot be read: {fault}")))?;
    drop(body);
    if written["stream"] == true {
        return Err(ApiError::field(
            "stream",
            "streamed responses are not simulated; use /v1/chat/completions for a stream",
        ));
    }
    let ask = Ask::read(Api::Chat, chat(&written)?.to_string().as_bytes())?;
    let model = served_model(host, ask.model.as_deref())?;
    let id = given.unwrap_or_else(|| host.chance.unique());
    let lanes = enter(desk, &ask, &model, &id).await?;
    let (choices, usage) = whole(lanes).await;
    let cut = choices
        .first()
        .is_some_and(|(_, reason)| *reason == "length");
    let (status, details) = match cut {
        true => ("incomplete", json!({"reason": "max_output_tokens"})),
        false => ("completed", Value::Null),
    };
    let output: Vec<Value> = choices
        .into_iter()
        .flat_map(|(said, _)| items(said, &id, status))
        .collect();
    Ok(json_response(&json!({
        "id": format!("resp_{id}"),
        "object": "response",
        "created_at": unix_seconds(),
        "status": status,
        "incomplete_details": details,
        "error": null,
        "instructions": written["instructions"],
        "max_output_tokens": written["max_output_tokens"],
        "model": model,
        "output": output,
        "parallel_tool_calls": written["parallel_tool_calls"] != false,
        "tool_choice": written.get("tool_choice").cloned().unwrap_or_else(|| json!("auto")),
        "tools": written.get("tools").cloned().unwrap_or_else(|| json!([])),
        "usage": {
            "input_tokens": usage.prompt,
            "input_tokens_details": {"cached_tokens": usage.cached},
            "output_tokens": usage.completion,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage.prompt + usage.completion,
        },
    })))
}

/// The same question as a chat.
fn chat(written: &Value) -> Result<Value, ApiError> {
    let mut messages = Vec::new();
    if let Some(instructions) = written["instructions"].as_str() {
        messages.push(json!({"role": "system", "content": instructions}));
    }
    match &written["input"] {
        Value::String(text) => messages.push(json!({"role": "user", "content": text})),
        Value::Array(items) => messages.extend(items.iter().map(message)),
        _ => {
            return Err(ApiError::field(
                "input",
                "input must be a string or a list of messages",
            ));
        }
    }
    let mut chat = json!({"messages": messages});
    for (from, to) in [
        ("model", "model"),
        ("max_output_tokens", "max_tokens"),
        ("temperature", "temperature"),
        ("top_p", "top_p"),
        ("parallel_tool_calls", "parallel_tool_calls"),
        ("kv_transfer_params", "kv_transfer_params"),
    ] {
        if let Some(value) = written.get(from) {
            chat[to] = value.clone();
        }
    }
    if let Some(tools) = written["tools"].as_array() {
        // Tools of the server's own, such as a search, have no name: nothing can call them here.
        let named = tools.iter().filter(|tool| tool["type"] == "function");
        chat["tools"] = named
            .map(|tool| json!({"type": "function", "function": tool}))
            .collect();
    }
    chat["tool_choice"] = match &written["tool_choice"] {
        Value::Object(choice) => {
            json!({"type": "function", "function": {"name": choice.get("name")}})
        }
        choice => choice.clone(),
    };
    Ok(chat)
}

/// An item of the input as a message; what is not a message (a call, its result) counts by its text.
fn message(item: &Value) -> Value {
    let role = item["role"].as_str().unwrap_or("tool");
    let content = match (&item["content"], &item["output"], &item["arguments"]) {
        (Value::Null, Value::String(text), _) | (Value::Null, _, Value::String(text)) => {
            Value::from(text.as_str())
        }
        (content, _, _) => content.clone(),
    };
    json!({"role": role, "content": content})
}

fn items(said: Said, id: &str, status: &str) -> Vec<Value> {
    match said {
        Said::Text(text) => vec![json!({
            "id": format!("msg_{id}"),
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": [{"type": "output_text", "text": text, "annotations": [], "logprobs": null}],
        })],
        Said::Calls(calls) => {
            let calls = calls.as_array().into_iter().flatten();
            let item = |call: &Value| {
                json!({
                    "id": format!("fc_{}", call["id"].as_str().unwrap_or_default()),
                    "call_id": call["id"],
                    "type": "function_call",
                    "name": call["function"]["name"],
                    "arguments": call["function"]["arguments"],
                    "status": status,
                })
            };
            calls.map(item).collect()
        }
    }
}
