//! `/v1/completions` and `/v1/chat/completions`, from the body's last byte to the answer's first.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use pointsman_http::{Body, Peer};
use serde_json::{Value, json};

use crate::engine::block_hash::hash_tokens;
use crate::flags::Mode;
use crate::server::answer::{Answer, Usage};
use crate::server::answer_body::AnswerBody;
use crate::server::answer_text::{AnswerText, plan};
use crate::server::api_error::ApiError;
use crate::server::ask::{Api, Ask};
use crate::server::desk::{Desk, json_text, read_body};
use crate::server::handoff::handoff;
use crate::server::host::{Entry, Host, reason_index};
use crate::server::tokens::token;

/// Seconds since 1970.
pub fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Reads a request, has it computed and answers.
pub async fn generate(
    desk: &Arc<Desk>,
    api: Api,
    request: Request<Incoming>,
    client: &Peer,
) -> Result<Response<Body>, ApiError> {
    let host = &desk.host;
    gate(host, request.headers())?;
    let given_id = request
        .headers()
        .get("x-request-id")
        .and_then(|id| id.to_str().ok())
        .map(str::to_owned);
    let body = read_body(host, request, client).await?;
    let ask = Ask::read(api, &body.joined())?;
    drop(body);
    let model = served_model(host, ask.model.as_deref())?;
    let adapter = host.adapters.has(&model).then_some(model.as_str());
    let room = room(host, &ask)?;
    let prompt = ask.tokens.len() as u32;

    let request_id = given_id.clone().unwrap_or_else(|| host.chance.unique());
    let handoff = handoff(desk, &ask, &request_id).await?;
    let seed = host.chance.draw(&ask.tokens);
    let planned = plan(
        ask.max_tokens,
        ask.ignore_eos,
        room,
        host.settings.length,
        seed,
    );
    let reason = match (ask.transfer_flag("do_remote_decode"), planned.cut) {
        (true, _) => "remote_decode",
        (false, true) => "length",
        (false, false) => "stop",
    };
    let mut blocks = Vec::new();
    if host.settings.engine.prefix_caching {
        hash_tokens(
            &ask.tokens,
            host.settings.engine.block_size as usize,
            &mut blocks,
        );
        if let Some(adapter) = adapter {
            // What an adapter computes is no use to another.
            let own = u64::from(token(adapter)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            blocks.iter_mut().for_each(|block| *block ^= own);
        }
    }
    let seat = host.enter(&Entry {
        prompt_tokens: prompt,
        blocks: &blocks,
        output_tokens: planned.tokens,
        max_tokens: ask.max_tokens,
        watched: ask.stream,
        reason: reason_index(reason),
        peer: handoff.peer.as_deref(),
        record: handoff.record.as_deref(),
        adapter,
    })?;

    let id = answer_id(host, api, &request_id);
    let answer = Answer::new(&ask, &id, &model, unix_seconds());
    let mut text = match host.settings.mode {
        _ if handoff.garbage => AnswerText::echo("\u{fffd}".to_owned()),
        Mode::Random => AnswerText::words(seed),
        Mode::Echo => AnswerText::echo(ask.text.clone()),
    };
    let prefix = if ask.echo {
        ask.text.clone()
    } else {
        String::new()
    };
    let mut response = if ask.stream {
        let body = AnswerBody::new(seat, answer, text, prefix, reason, prompt);
        let mut response = Response::new(Body::boxed(body));
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream; charset=utf-8"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    } else {
        let summary = seat.progress.ended().await;
        let mut said = prefix;
        (0..summary.output_tokens).for_each(|_| text.next_token(&mut said));
        let usage = Usage {
            prompt,
            completion: summary.output_tokens,
            cached: summary.cached_tokens,
        };
        let params =
            (reason == "remote_decode").then(|| transfer_params(host, &request_id, prompt));
        json_text(answer.document(&said, reason, usage, params.as_ref()))
    };
    if host.settings.echo_request_id
        && let Ok(value) = HeaderValue::from_str(&request_id)
    {
        response.headers_mut().insert("x-request-id", value);
    }
    Ok(response)
}

/// Whether a request is let in: not with an error that it asks for itself, not while the engine sleeps, and not
/// when chance, as often as it was told to, is against it.
///
/// # Errors
/// When it is not.
pub fn gate(host: &Host, headers: &HeaderMap) -> Result<(), ApiError> {
    forced_error(headers)?;
    if host.is_asleep() {
        return Err(ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the engine sleeps; POST /wake_up wakes it",
        ));
    }
    let settings = &host.settings;
    let Some(mishaps) = &settings.mishaps else {
        return Ok(());
    };
    let model = &settings.models[0];
    match mishaps.strike(host.chance.number(), model, settings.max_model_len) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// `X-Return-Error: <status>` asks for an error.
fn forced_error(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(asked) = headers.get("x-return-error") else {
        return Ok(());
    };
    let status = asked
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse::<u16>().ok());
    match status.and_then(|status| StatusCode::from_u16(status).ok()) {
        Some(status) if status.is_client_error() || status.is_server_error() => Err(ApiError::new(
            status,
            format!("error {} as asked for by x-return-error", status.as_u16()),
        )),
        _ => Err(ApiError::bad_request(
            "x-return-error must be a status from 400 to 599",
        )),
    }
}

/// The name that a request is served under: a served name or an adapter's.
///
/// # Errors
/// When nothing is served under the name that it asks for.
pub fn served_model(host: &Host, asked: Option<&str>) -> Result<String, ApiError> {
    let served = &host.settings.models;
    match asked {
        None => Ok(served[0].clone()),
        Some(name) if served.iter().any(|served| served == name) || host.adapters.has(name) => {
            Ok(name.to_owned())
        }
        Some(name) => Err(no_model(name)),
    }
}

/// 404 for a model that is not served.
pub fn no_model(name: &str) -> ApiError {
    ApiError {
        status: StatusCode::NOT_FOUND,
        message: format!("The model `{name}` does not exist."),
        param: Some("model"),
    }
}

/// How many tokens the context leaves for the answer.
fn room(host: &Host, ask: &Ask) -> Result<u32, ApiError> {
    let (limit, prompt) = (host.settings.max_model_len, ask.tokens.len() as u64);
    let asked = u64::from(ask.max_tokens.unwrap_or(1));
    if prompt + asked <= u64::from(limit) {
        return Ok(limit - prompt as u32);
    }
    let (place, param) = match ask.api {
        Api::Chat => ("messages", "messages"),
        Api::Completions => ("prompt", "prompt"),
    };
    Err(ApiError::field(
        param,
        format!(
            "This model's maximum context length is {limit} tokens. However, you requested {} tokens \
             ({prompt} in the {place}, {asked} in the completion). Please reduce the length of the {place} or completion.",
            prompt + asked,
        ),
    ))
}

/// What a decode server needs to fetch this prompt's KV.
fn transfer_params(host: &Host, id: &str, prompt: u32) -> Value {
    let blocks: Vec<u32> = (0..prompt.div_ceil(host.settings.engine.block_size)).collect();
    json!({
        "do_remote_decode": false,
        "do_remote_prefill": true,
        "remote_engine_id": host.settings.root,
        "remote_request_id": id,
        "remote_block_ids": blocks,
        "remote_host": "127.0.0.1",
        "remote_port": 14579,
        "tp_size": 1,
    })
}

fn answer_id(host: &Host, api: Api, request_id: &str) -> String {
    match (api, host.settings.choice_suffix) {
        (Api::Completions, true) => format!("cmpl-{request_id}-0"),
        (Api::Completions, false) => format!("cmpl-{request_id}"),
        (Api::Chat, _) => format!("chatcmpl-{request_id}"),
    }
}
