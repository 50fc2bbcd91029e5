//! From method and path to whoever answers. What is not listed here is 404.

use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use pointsman_http::{Body, Peer};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::server::admin;
use crate::server::api_error::ApiError;
use crate::server::ask::{Api, Ask};
use crate::server::desk::{Desk, json_response, read_body};
use crate::server::embeddings;
use crate::server::generate;
use crate::server::host::Host;
use crate::server::peer;
use crate::server::responses;
use crate::server::tokens::tokenize;
use crate::server::transfers::Found;

/// Before the name of one model.
const MODEL: &str = "/v1/models/";

/// Answers one request.
pub async fn answer(desk: Arc<Desk>, request: Request<Incoming>, peer: Peer) -> Response<Body> {
    let mut response = match route(&desk, request, &peer).await {
        Ok(response) => response,
        Err(error) => error.response(),
    };
    if let Some((name, namespace)) = &desk.host.settings.pod {
        let headers = response.headers_mut();
        headers.insert("x-inference-port", HeaderValue::from(desk.port));
        for (key, value) in [
            ("x-inference-pod", Some(name)),
            ("x-inference-namespace", namespace.as_ref()),
        ] {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
                headers.insert(key, value);
            }
        }
    }
    response
}

async fn route(
    desk: &Arc<Desk>,
    request: Request<Incoming>,
    peer: &Peer,
) -> Result<Response<Body>, ApiError> {
    let host = &desk.host;
    let path = request.uri().path().to_owned();
    let method = request.method().clone();
    let get = method == Method::GET || method == Method::HEAD;
    let post = method == Method::POST;
    match path.as_str() {
        "/v1/completions" if post => {
            generate::generate(desk, Api::Completions, request, peer).await
        }
        "/v1/chat/completions" if post => generate::generate(desk, Api::Chat, request, peer).await,
        "/v1/responses" if post => responses::respond(desk, request, peer).await,
        "/v1/embeddings" if post => {
            generate::gate(host, request.headers())?;
            let body = read_body(host, request, peer).await?;
            embeddings::answer(desk, &body.joined()).map(|answer| json_response(&answer))
        }
        "/v1/completions/render" if post => {
            let body = read_body(host, request, peer).await?;
            let ask = Ask::read(Api::Completions, &body.joined())?;
            let rendered = ask.prompts.iter();
            let rendered = rendered.map(|prompt| json!({"token_ids": prompt.tokens}));
            Ok(json_response(&rendered.collect()))
        }
        "/v1/chat/completions/render" if post => {
            let body = read_body(host, request, peer).await?;
            let ask = Ask::read(Api::Chat, &body.joined())?;
            Ok(json_response(
                &json!({"token_ids": ask.prompts[0].tokens, "features": null}),
            ))
        }
        "/v1/models" if get => Ok(json_response(&models(host))),
        path if get && path.starts_with(MODEL) => {
            let name = peer::decode(&path[MODEL.len()..]).unwrap_or_default();
            let found = model_list(host)
                .into_iter()
                .find(|model| model["id"] == name.as_str());
            let model = found.ok_or_else(|| generate::no_model(&name))?;
            Ok(json_response(&model))
        }
        "/v1/load_lora_adapter" if post => {
            let body = read_body(host, request, peer).await?;
            host.adapters.load(&body.joined(), &host.settings.models)
        }
        "/v1/unload_lora_adapter" if post => {
            let body = read_body(host, request, peer).await?;
            host.adapters.unload(&body.joined())
        }
        "/sleep" if post => {
            host.sleep();
            Ok(Response::new(Body::empty()))
        }
        "/wake_up" if post => {
            let query = request.uri().query().unwrap_or_default();
            let tags: Vec<&str> = query
                .split('&')
                .filter_map(|pair| pair.strip_prefix("tags="))
                .flat_map(|tags| tags.split(','))
                .collect();
            host.wake_up(&tags);
            Ok(Response::new(Body::empty()))
        }
        "/is_sleeping" if get => Ok(json_response(&json!({"is_sleeping": host.is_asleep()}))),
        "/health" | "/ping" if get || (post && path == "/ping") => Ok(Response::new(Body::empty())),
        "/health/ready" if get => match host.is_ready() {
            true => Ok(Response::new(Body::empty())),
            false => Err(ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the server is starting up",
            )),
        },
        "/metrics" if get => {
            let mut response = Response::new(Body::bytes(host.expose()));
            let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            Ok(response)
        }
        "/version" if get => Ok(json_response(
            &json!({"version": concat!("pointsman-sim ", env!("CARGO_PKG_VERSION"))}),
        )),
        "/load" if get => {
            let gauges = host.gauges();
            Ok(json_response(
                &json!({"server_load": gauges.running + gauges.waiting}),
            ))
        }
        "/tokenize" if post => {
            let body = read_body(host, request, peer).await?;
            tokenized(desk, &body.joined())
        }
        "/detokenize" if post => {
            let body = read_body(host, request, peer).await?;
            detokenized(desk, &body.joined())
        }
        "/reset_prefix_cache" if post => Ok(json_response(
            &json!({"success": host.reset_prefix_cache()}),
        )),
        "/admin/config" if get => Ok(json_response(&admin::view(host))),
        "/admin/config" if post => {
            let body = read_body(host, request, peer).await?;
            admin::update(host, &body.joined()).map(|view| json_response(&view))
        }
        path if get && path.starts_with(peer::PATH) => {
            let id = peer::decode(&path[peer::PATH.len()..]);
            let lease = host.settings.kv_lease;
            let overwritten = id
                .as_deref()
                .is_some_and(|id| host.transfers.find(id, lease) == Found::Overwritten);
            let tokens = id.and_then(|id| host.transfers.tokens(&id));
            let missing = || {
                ApiError::new(
                    StatusCode::NOT_FOUND,
                    "no prompt was computed under this id",
                )
            };
            Ok(json_response(
                &json!({"tokens": tokens.ok_or_else(missing)?, "overwritten": overwritten}),
            ))
        }
        "/v1/completions"
        | "/v1/chat/completions"
        | "/v1/completions/render"
        | "/v1/chat/completions/render"
        | "/v1/responses"
        | "/v1/embeddings"
        | "/v1/models"
        | "/v1/load_lora_adapter"
        | "/v1/unload_lora_adapter"
        | "/sleep"
        | "/wake_up"
        | "/is_sleeping"
        | "/health"
        | "/health/ready"
        | "/ping"
        | "/metrics"
        | "/version"
        | "/load"
        | "/tokenize"
        | "/detokenize"
        | "/reset_prefix_cache"
        | "/admin/config" => Err(ApiError::new(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("{method} is not allowed on {path}"),
        )),
        path => Err(ApiError::new(
            StatusCode::NOT_FOUND,
            format!("{path} does not exist"),
        )),
    }
}

fn models(host: &Host) -> Value {
    json!({"object": "list", "data": model_list(host)})
}

/// The served names, then the adapters, each with the model that it belongs to.
fn model_list(host: &Host) -> Vec<Value> {
    let settings = &host.settings;
    let created = generate::unix_seconds();
    let model = |name: &str, root: &str, parent: Option<&str>| {
        json!({
            "id": name,
            "object": "model",
            "created": created,
            "owned_by": "vllm",
            "root": root,
            "parent": parent,
            "max_model_len": settings.max_model_len,
        })
    };
    let mut list: Vec<Value> = settings
        .models
        .iter()
        .map(|name| model(name, &settings.root, None))
        .collect();
    for adapter in host.adapters.all() {
        let parent = adapter.base_model_name.as_deref();
        let parent = parent.unwrap_or(&settings.models[0]);
        list.push(model(&adapter.name, &adapter.path, Some(parent)));
    }
    list
}

fn tokenized(desk: &Desk, body: &[u8]) -> Result<Response<Body>, ApiError> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|fault| ApiError::bad_request(format!("the body cannot be read: {fault}")))?;
    let api = if value.get("messages").is_some() {
        Api::Chat
    } else {
        Api::Completions
    };
    let tokens = match value.get("prompt").and_then(Value::as_str) {
        Some(text) => {
            let mut tokens = Vec::new();
            tokenize(text, &mut tokens);
            desk.vocabulary.lock().learn(text);
            tokens
        }
        None => Ask::read(api, body)?.prompts.swap_remove(0).tokens,
    };
    Ok(json_response(&json!({
        "max_model_len": desk.host.settings.max_model_len,
        "count": tokens.len(),
        "tokens": tokens,
        "token_strs": null,
    })))
}

#[derive(Deserialize)]
struct Detokenize {
    tokens: Vec<u32>,
}

fn detokenized(desk: &Desk, body: &[u8]) -> Result<Response<Body>, ApiError> {
    let written: Detokenize = serde_json::from_slice(body)
        .map_err(|fault| ApiError::bad_request(format!("the body cannot be read: {fault}")))?;
    let text = desk.vocabulary.lock().text(&written.tokens);
    Ok(json_response(&json!({"prompt": text})))
}
