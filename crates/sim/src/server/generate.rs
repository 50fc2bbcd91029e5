//! `/v1/completions` and `/v1/chat/completions`, from the body's last byte to the answer's first.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use pointsman_http::{Body, Peer};
use serde_json::{Value, json};

use crate::engine::block_hash::hash_tokens;
use crate::flags::Mode;
use crate::server::answer::{Answer, Said, Usage};
use crate::server::answer_body::AnswerBody;
use crate::server::answer_text::{AnswerText, Planned, plan};
use crate::server::api_error::ApiError;
use crate::server::ask::{Api, Ask, Asked};
use crate::server::desk::{Desk, json_text, read_body};
use crate::server::handoff::handoff;
use crate::server::host::{Entry, Host, reason_index};
use crate::server::lane::{Lane, Script};
use crate::server::tokens::token;
use crate::server::tool_calls::ToolCalls;

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
    let request_id = given_id.unwrap_or_else(|| host.chance.unique());
    let lanes = enter(desk, &ask, &model, &request_id).await?;
    let id = answer_id(host, api, &request_id);
    let answer = Answer::new(&ask, &id, &model, unix_seconds());
    let mut response = if ask.stream {
        let mut response = Response::new(Body::boxed(AnswerBody::new(answer, lanes)));
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream; charset=utf-8"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    } else {
        let params = ask
            .transfer_flag("do_remote_decode")
            .then(|| transfer_params(host, &request_id, ask.prompts[0].tokens.len() as u32));
        let (choices, usage) = whole(lanes).await;
        json_text(answer.document(&choices, usage, params.as_ref()))
    };
    if host.settings.echo_request_id
        && let Ok(value) = HeaderValue::from_str(&request_id)
    {
        response.headers_mut().insert("x-request-id", value);
    }
    Ok(response)
}

/// Puts every choice of a request into the engine.
///
/// # Errors
/// When one of them does not fit, or its KV does not come. The others leave the engine again.
pub(crate) async fn enter(
    desk: &Desk,
    ask: &Ask,
    model: &str,
    request_id: &str,
) -> Result<Vec<Lane>, ApiError> {
    let host = &desk.host;
    let rooms = ask.prompts.iter().map(|prompt| room(host, ask, prompt));
    let rooms = rooms.collect::<Result<Vec<_>, _>>()?;
    let handoff = handoff(desk, ask, request_id).await?;
    let mut lanes = Vec::with_capacity(ask.prompts.len() * ask.n);
    for (prompt, room) in ask.prompts.iter().zip(rooms) {
        let drawn = host.chance.draw(&prompt.tokens);
        let blocks = blocks(host, model, &prompt.tokens);
        for copy in 0..ask.n {
            // Choices differ; the first is what it would be alone.
            let seed = drawn ^ (copy as u64).wrapping_mul(0xa076_1d64_78bd_642f);
            let (script, planned) = script(host, ask, prompt, room, seed);
            let reason = match (ask.transfer_flag("do_remote_decode"), planned.cut, &script) {
                (true, _, _) => "remote_decode",
                (false, true, _) => "length",
                (false, false, Script::Calls(_)) => "tool_calls",
                (false, false, Script::Text(_)) => "stop",
            };
            let script = match script {
                Script::Text(_) if handoff.garbage => {
                    Script::Text(AnswerText::echo("\u{fffd}".to_owned()))
                }
                script => script,
            };
            let prefix = if ask.echo {
                prompt.text.clone()
            } else {
                String::new()
            };
            let seat = host.enter(&Entry {
                prompt_tokens: prompt.tokens.len() as u32,
                blocks: &blocks,
                output_tokens: planned.tokens,
                max_tokens: ask.max_tokens,
                watched: ask.stream,
                reason: reason_index(reason),
                peer: handoff.peer.as_deref(),
                record: handoff.record.as_deref().filter(|_| lanes.is_empty()),
                adapter: host.adapters.has(model).then_some(model),
            })?;
            lanes.push(Lane {
                seat,
                script,
                prefix,
                reason,
                prompt: (copy == 0).then_some(prompt.tokens.len() as u32),
            });
        }
    }
    Ok(lanes)
}

/// What one choice says, and for how long.
fn script(host: &Host, ask: &Ask, prompt: &Asked, room: u32, seed: u64) -> (Script, Planned) {
    let settings = &host.settings;
    if let Some(wanted) = &ask.wanted {
        let id = || host.chance.unique();
        let calls = ToolCalls::make(wanted, &settings.tool_bounds, seed, id);
        let (all, limit) = (calls.tokens(), ask.max_tokens.unwrap_or(room).min(room));
        let planned = Planned {
            tokens: all.min(limit.max(1)),
            cut: all > limit,
        };
        return (Script::Calls(calls), planned);
    }
    let planned = plan(ask.max_tokens, ask.ignore_eos, room, settings.length, seed);
    let text = match settings.mode {
        Mode::Random => AnswerText::words(seed),
        Mode::Echo => AnswerText::echo(prompt.text.clone()),
    };
    (Script::Text(text), planned)
}

/// The block hashes of a prompt for this model or adapter.
fn blocks(host: &Host, model: &str, tokens: &[u32]) -> Vec<u64> {
    let engine = &host.settings.engine;
    let mut blocks = Vec::new();
    if engine.prefix_caching {
        hash_tokens(tokens, engine.block_size as usize, &mut blocks);
        if host.adapters.has(model) {
            // What an adapter computes is no use to another.
            let own = u64::from(token(model)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            blocks.iter_mut().for_each(|block| *block ^= own);
        }
    }
    blocks
}

/// Waits for all choices: what each said and why it ended, and what they cost together.
pub(crate) async fn whole(lanes: Vec<Lane>) -> (Vec<(Said, &'static str)>, Usage) {
    let mut choices = Vec::with_capacity(lanes.len());
    let mut sum = Usage::default();
    for lane in lanes {
        let reason = lane.reason;
        let (said, usage) = lane.whole().await;
        choices.push((said, reason));
        sum.prompt += usage.prompt;
        sum.completion += usage.completion;
        sum.cached += usage.cached;
    }
    (choices, sum)
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
fn room(host: &Host, ask: &Ask, prompt: &Asked) -> Result<u32, ApiError> {
    let (limit, prompt) = (host.settings.max_model_len, prompt.tokens.len() as u64);
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
