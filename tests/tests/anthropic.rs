//! Anthropic's messages at the gateway: read like a chat where the plan names their parser, and refused in the form that their clients
//! read.

#![allow(clippy::unwrap_used)]

use pointsman_tests::answer::{Events, chat};
use pointsman_tests::backend::{Backend, Received, Reply};
use pointsman_tests::http::{Request, Response};
use pointsman_tests::port;
use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::{Gateway, endpoints_file};
use serde_json::{Value, json};

const PATH: &str = "/v1/messages";

fn answer(request: &Received, reply: &mut Reply) {
    if request.method != "POST" {
        return reply.whole(404, "text/plain", b"");
    }
    if request.json()["stream"] == true {
        reply.begin_events();
        reply.event("{\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\"}}");
        // Dies within its answer.
        return;
    }
    let usage = json!({"input_tokens": 7, "output_tokens": 3});
    reply.json(
        200,
        &json!({"id": "msg_1", "type": "message", "usage": usage}),
    );
}

fn parsers(names: &[&str]) -> String {
    let plugins: String = names
        .iter()
        .map(|name| format!(", {{type: {name}}}"))
        .collect();
    let listed: Vec<String> = names
        .iter()
        .map(|name| format!("{{pluginRef: {name}}}"))
        .collect();
    format!(
        "plugins: [{{type: random-picker}}{plugins}]\nrequestHandler: {{parsers: [{}]}}\n",
        listed.join(", ")
    )
}

struct Bed {
    backend: Backend,
    gateway: Gateway,
    _files: Scratch,
}

impl Bed {
    #[track_caller]
    fn start(name: &str, parsers_of_plan: &[&str]) -> Self {
        let backend = Backend::start(answer);
        let files = Scratch::new(name);
        let endpoints = endpoints_file(&[("only", backend.address())]);
        let endpoints = files.file("endpoints.yaml", &endpoints);
        let config = files.file("config.yaml", &parsers(parsers_of_plan));
        let gateway = Gateway::before(&endpoints, &["--config-file", &config]);
        Self {
            backend,
            gateway,
            _files: files,
        }
    }

    #[track_caller]
    fn post(&self, body: &Value) -> Response {
        Request::post(PATH, body).answered(self.gateway.address)
    }
}

fn message() -> Value {
    let said = json!([{"role": "user", "content": "Hello"}]);
    json!({"model": "m", "max_tokens": 3, "messages": said})
}

#[track_caller]
fn refused(response: &Response, status: u16, kind: &str) {
    assert_eq!(response.status, status, "{}", response.text());
    let body = response.json();
    assert_eq!(
        (&body["type"], &body["error"]["type"]),
        (&json!("error"), &json!(kind)),
        "{body}"
    );
    let text = body["error"]["message"].as_str().unwrap();
    assert!(!text.is_empty(), "{body}");
    assert_eq!(body.as_object().unwrap().len(), 2, "{body}");
}

#[test]
fn messages_are_scheduled_by_what_they_say() {
    let bed = Bed::start("messages", &["openai-parser", "anthropic-parser"]);
    let response = bed.post(&message());
    assert_eq!(
        (response.status, &response.json()["id"]),
        (200, &json!("msg_1"))
    );
    assert_eq!(bed.backend.received(PATH)[0].json(), message());
    bed.gateway.wait_idle();
    let receipt = &bed.gateway.decisions(1)[0];
    assert_eq!(receipt["model"], "m", "{receipt}");
    assert!(receipt["promptBytes"].as_u64().unwrap() > 0, "{receipt}");
    assert_eq!(receipt["usage"]["promptTokens"], 7, "{receipt}");

    // What is not for a model to answer is scheduled without being read.
    let counting = format!("{PATH}/count_tokens");
    let response = Request::post(&counting, &json!({})).answered(bed.gateway.address);
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(bed.gateway.decisions(9).len(), 2);
}

#[test]
fn without_their_parser_they_pass_unread() {
    let bed = Bed::start("messages-unread", &["openai-parser"]);
    assert_eq!(bed.post(&json!({"anything": 1})).status, 200);
    assert!(bed.gateway.decisions(1).is_empty());
}

#[test]
fn faults_are_told_in_the_form_of_their_clients() {
    let bed = Bed::start("messages-faults", &["openai-parser", "anthropic-parser"]);
    let at = bed.gateway.address;
    for body in [
        "",
        "{",
        "[]",
        "{\"model\":\"m\"}",
        "{\"model\":\"m\",\"messages\":[]}",
    ] {
        let response = Request::new("POST", PATH, body).answered(at);
        refused(&response, 400, "invalid_request_error");
    }
    let response = Request::get(PATH).answered(at);
    refused(&response, 405, "invalid_request_error");
    assert_eq!(response.header("allow"), Some("POST"));
    assert!(bed.backend.received(PATH).is_empty());

    let mut streamed = message();
    streamed["stream"] = json!(true);
    let answering = Request::post(PATH, &streamed).open(at).unwrap();
    let (events, whole) = Events::of(answering.body).rest();
    assert!(whole, "{events:?}");
    let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
    assert_eq!(
        (events.len(), &last["type"]),
        (2, &json!("error")),
        "{events:?}"
    );
    assert_eq!(last["error"]["type"], "api_error");

    let files = Scratch::new("messages-down");
    let endpoints = files.file("endpoints.yaml", &endpoints_file(&[("gone", port::free())]));
    let config = files.file(
        "config.yaml",
        &parsers(&["openai-parser", "anthropic-parser"]),
    );
    let gateway = Gateway::before_nothing(&endpoints, &["--config-file", &config]);
    let response = Request::post(PATH, &message()).answered(gateway.address);
    refused(&response, 502, "api_error");
    let response = chat("Hello", 2).answered(gateway.address);
    assert_eq!(
        response.json()["error"]["type"],
        "server_error",
        "a chat's form is its own"
    );
}
