//! The picker behind a real Envoy: what clients get, what endpoints get, and who was chosen.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use pointsman_tests::answer::{Events, MODEL, chat, pair_of, pair_of_candidate};
use pointsman_tests::backend::{Backend, Received, Reply};
use pointsman_tests::burst::burst;
use pointsman_tests::envoy::{Bodies, Envoy};
use pointsman_tests::http::{self, Request, Response};
use pointsman_tests::patience::{LONG, until};
use pointsman_tests::picker::Picker;
use pointsman_tests::port;
use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::{Gateway, endpoints_file};
use serde_json::{Value, json};

const CONFIG: &str = "apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: active-request-scorer
- type: max-score-picker
schedulingProfiles:
- name: default
  plugins: [{pluginRef: active-request-scorer}, {pluginRef: max-score-picker}]
";

/// Envoy, the picker, and three endpoints that say who they are.
struct Bed {
    backends: Vec<Backend>,
    picker: Picker,
    envoy: Envoy,
    _files: Scratch,
}

impl Bed {
    fn new(bodies: Bodies, script: fn(&Received, &mut Reply)) -> Self {
        let backends: Vec<Backend> = (0..3)
            .map(|_| {
                Backend::start(move |request, reply| {
                    if request.path == "/metrics" {
                        return reply.whole(404, "text/plain", b"");
                    }
                    script(request, reply);
                })
            })
            .collect();
        let files = Scratch::new("extproc-envoy");
        let names = ["a", "b", "c"];
        let rows: Vec<(&str, SocketAddr)> = names
            .into_iter()
            .zip(backends.iter().map(Backend::address))
            .collect();
        let endpoints = files.file("endpoints.json", &endpoints_file(&rows));
        let config = files.file("config.yaml", CONFIG);
        let picker = Picker::before(&endpoints, &["--config-file", &config]);
        let envoy = Envoy::before(picker.server.address, bodies);
        Self {
            backends,
            picker,
            envoy,
            _files: files,
        }
    }

    /// The one request with this path that reached an endpoint, and the endpoint's name.
    #[track_caller]
    fn arrived(&self, path: &str) -> (Received, &'static str) {
        let mut found = Vec::new();
        for (backend, name) in self.backends.iter().zip(["a", "b", "c"]) {
            found.extend(backend.received(path).into_iter().map(|r| (r, name)));
        }
        assert_eq!(found.len(), 1, "requests for {path}");
        found.remove(0)
    }

    /// The endpoint that was picked for the request that this answers.
    #[track_caller]
    fn picked_for(&self, response: &Response) -> String {
        self.picker.picked(response.header("x-request-id").unwrap())
    }
}

fn answer(request: &Received, reply: &mut Reply) {
    let body = request.json();
    if body["stream"] != true {
        return reply.json(200, &completion(&body["model"], "hello"));
    }
    reply.begin_events();
    for piece in ["Hel", "lo, ", "world"] {
        reply.event(
            &json!({"id": "c-1", "model": body["model"], "choices": [{"text": piece}]}).to_string(),
        );
    }
    let usage = json!({"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10});
    reply.event(&json!({"id": "c-1", "choices": [], "usage": usage}).to_string());
    reply.event("[DONE]");
    reply.end();
}

fn completion(model: &Value, text: &str) -> Value {
    json!({
        "id": "c-1", "model": model, "choices": [{"text": text}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    })
}

#[test]
fn bodies_pass_byte_for_byte_to_the_endpoint_that_was_chosen() {
    for bodies in [Bodies::FullDuplex, Bodies::Buffered] {
        let bed = Bed::new(bodies, answer);
        let strange = "{ \"model\":\"m\" ,\"n\":12345678901234567890, \"stream\": false,\"messages\":[{\"role\":\"user\",\"content\":\"\\u00e4ß\"}]}";
        let response = Request::new("POST", "/v1/chat/completions", strange)
            .header("content-type", "application/json")
            .answered(bed.envoy.address);
        assert_eq!(response.status, 200, "{bodies:?}: {}", response.text());
        assert_eq!(response.json(), completion(&json!("m"), "hello"));
        assert_eq!(response.header("x-went-into-resp-headers"), Some("true"));
        let (arrived, name) = bed.arrived("/v1/chat/completions");
        assert_eq!(arrived.body, strange.as_bytes(), "{bodies:?}");
        assert_eq!(bed.picked_for(&response), format!("default/{name}"));

        let asked = json!({"model": "m", "prompt": "p", "stream": true});
        let streamed = Request::post("/v1/completions", &asked)
            .open(bed.envoy.address)
            .unwrap();
        assert_eq!(streamed.head.status, 200);
        let id = streamed.head.header("x-request-id").unwrap().to_owned();
        let (events, whole) = Events::of(streamed.body).rest();
        assert!(whole && events.len() == 5, "{bodies:?}: {events:?}");
        assert_eq!(events[4], "[DONE]");
        let (arrived, name) = bed.arrived("/v1/completions");
        assert_eq!(arrived.json(), asked);
        assert_eq!(bed.picker.picked(&id), format!("default/{name}"));
        bed.picker.server.wait_idle();

        let receipt = bed
            .picker
            .server
            .admin_json(&format!("/debug/decisions/{id}"));
        assert_eq!(receipt["door"], "ext_proc");
        assert_eq!(receipt["outcome"]["kind"], "served", "{receipt}");
        if bodies == Bodies::FullDuplex {
            assert_eq!(receipt["usage"]["completionTokens"], 3, "{receipt}");
        }
    }
}

#[test]
fn a_mebibyte_goes_both_ways_unchanged() {
    fn echo(request: &Received, reply: &mut Reply) {
        reply.whole(200, "application/json", &request.body);
    }
    for bodies in [Bodies::FullDuplex, Bodies::Buffered] {
        let bed = Bed::new(bodies, echo);
        let prompt: String = (0..1 << 20)
            .map(|n| char::from(b'a' + (n % 23) as u8))
            .collect();
        let body = json!({"model": "m", "prompt": prompt}).to_string();
        let response = Request::new("POST", "/v1/completions", body.clone())
            .header("content-type", "application/json")
            .answered(bed.envoy.address);
        assert_eq!(response.status, 200, "{bodies:?}: {}", response.text());
        assert!(
            response.body == body.as_bytes(),
            "{bodies:?}: the answer changed"
        );
        assert!(bed.arrived("/v1/completions").0.body == body.as_bytes());
        bed.picker.server.wait_idle();
    }
}

#[test]
fn a_buffered_body_above_the_gateway_s_bound_is_refused_by_the_gateway() {
    let bed = Bed::new(Bodies::Buffered, answer);
    let body = json!({"model": "m", "prompt": "x".repeat(5 << 20)}).to_string();
    let request = Request::new("POST", "/v1/completions", body);
    let mut connection = http::connect(bed.envoy.address, LONG).unwrap();
    // Envoy answers before it has read everything, so the rest may not be writable.
    let _ = connection.write_all(&request.bytes());
    let mut head = [0; 12];
    connection.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 413");
    drop(connection);
    bed.picker.server.wait_idle();
}

#[test]
fn trailers_end_a_body() {
    let bed = Bed::new(Bodies::FullDuplex, answer);
    let body = json!({"model": "m", "prompt": "p"}).to_string();
    let bytes = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n{:x}\r\n{body}\r\n0\r\nx-sum: 1\r\n\r\n",
        body.len()
    );
    let response =
        http::exchange(bed.envoy.address, bytes.as_bytes(), Duration::from_secs(20)).unwrap();
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(bed.arrived("/v1/completions").0.body, body.as_bytes());
    bed.picker.server.wait_idle();
}

#[test]
fn a_header_sent_twice_arrives_twice_and_forged_ones_do_not() {
    for bodies in [Bodies::FullDuplex, Bodies::Buffered] {
        let bed = Bed::new(bodies, answer);
        let decoy = Backend::start(|_, reply| reply.json(200, &json!({"decoy": true})));
        let forged = decoy.address().to_string();
        let mut request = Request::post("/v1/completions", &json!({"model": "m", "prompt": "p"}))
            .header("x-multi", "a")
            .header("x-multi", "b")
            .header("x-llm-d-inference-fairness-id", "tenant");
        let steering = [
            "x-gateway-destination-endpoint",
            "x-gateway-destination-endpoint-served",
            "x-gateway-destination-endpoint-subset",
            "x-prefiller-host-port",
            "x-encoder-hosts-ports",
            "x-data-parallel-host-port",
            "x-kv-cache-source-host-port",
            "x-llm-d-request-dropped-reason",
        ];
        for name in steering {
            request = request.header(name, &forged);
        }
        let response = request.answered(bed.envoy.address);
        assert_eq!(response.status, 200, "{bodies:?}: {}", response.text());
        assert!(
            decoy.received("/").is_empty(),
            "{bodies:?}: the client chose"
        );
        let (arrived, name) = bed.arrived("/v1/completions");
        let multi: Vec<&str> = arrived
            .headers
            .iter()
            .filter(|(name, _)| name == "x-multi")
            .flat_map(|(_, value)| value.split(','))
            .map(str::trim)
            .collect();
        assert_eq!(multi, ["a", "b"], "{bodies:?}");
        for name in &steering[1..] {
            assert_eq!(arrived.header(name), None, "{bodies:?}: {name}");
        }
        assert_eq!(arrived.header("x-llm-d-inference-fairness-id"), None);
        let chosen = arrived.header("x-gateway-destination-endpoint").unwrap();
        let at = ["a", "b", "c"].iter().position(|n| *n == name).unwrap();
        assert_eq!(chosen, bed.backends[at].address().to_string());
    }
}

#[test]
fn another_model_is_named_and_the_answer_names_the_client_s() {
    let bed = Bed::new(Bodies::FullDuplex, answer);
    for stream in [false, true] {
        let path = format!("/v{}/completions", u8::from(stream));
        let asked = json!({"model": "mine", "prompt": "p", "stream": stream});
        let mut answering = Request::post(&path, &asked)
            .header("x-llm-d-model-name-rewrite", "a-much-longer-name")
            .open(bed.envoy.address)
            .unwrap();
        assert_eq!(answering.head.status, 200);
        let text = String::from_utf8(answering.body.rest().unwrap()).unwrap();
        assert!(text.contains("\"model\":\"mine\""), "{text}");
        assert!(!text.contains("a-much-longer-name"), "{text}");
        assert_eq!(bed.arrived(&path).0.json()["model"], "a-much-longer-name");
    }
}

#[test]
fn refusals_are_the_reference_s_word_for_word() {
    let bed = Bed::new(Bodies::FullDuplex, answer);
    let check = |path: &str, body: &str, status: u16, expected: &str| {
        let response = Request::new("POST", path, body).answered(bed.envoy.address);
        assert_eq!(
            (response.status, response.text().as_str()),
            (status, expected)
        );
    };
    check(
        "/v1/completions",
        "{",
        400,
        "inference error: BadRequest - error unmarshaling request bodyMap: unexpected end of JSON input",
    );
    check(
        "/v1/chat/completions",
        "{\"model\":\"m\"}",
        400,
        "inference error: BadRequest - invalid chat completions request: must have valid messages field",
    );
    check(
        "/v1/completions",
        "{\"prompt\":\"p\"}",
        400,
        "inference error: BadRequest - model not found in request body",
    );
    let response = Request::post("/v1/completions", &json!({"model": "m", "prompt": "p"}))
        .header("prefer", "if-available")
        .answered(bed.envoy.address);
    assert_eq!(response.status, 412);
    assert_eq!(
        response.text(),
        "inference error: PreconditionFailed - no decode worker has the requested KV cache"
    );
    assert!(bed.backends.iter().all(|b| b.received("/v1").is_empty()));
    bed.picker.server.wait_idle();

    let files = Scratch::new("extproc-empty");
    let endpoints = files.file("endpoints.json", "endpoints: []\n");
    for (flags, expected) in [
        (
            &[][..],
            "inference error: ServiceUnavailable - failed to find endpoint candidates for serving the request",
        ),
        (&["--error-format", "openai"][..], ""),
    ] {
        let empty = Picker::before(&endpoints, flags);
        let envoy = Envoy::before(empty.server.address, Bodies::FullDuplex);
        let response = Request::post("/v1/completions", &json!({"model": "m", "prompt": "p"}))
            .answered(envoy.address);
        assert_eq!(response.status, 503);
        let reason = response.header("x-llm-d-request-dropped-reason");
        assert_eq!(reason, Some("rejected-no-endpoints"));
        if expected.is_empty() {
            assert_eq!(response.json()["error"]["code"], "no-endpoints");
        } else {
            assert_eq!(response.text(), expected);
            let models = Request::get("/v1/models").answered(envoy.address);
            assert_eq!(models.status, 500);
            assert_eq!(
                models.text(),
                "inference error: Internal - no pods available in datastore"
            );
        }
    }
}

#[test]
fn a_balancer_that_follows_metadata_sends_to_who_was_chosen() {
    let bed = Bed::new(Bodies::FullDuplex, answer);
    let addresses: Vec<SocketAddr> = bed.backends.iter().map(Backend::address).collect();
    for bodies in [Bodies::FullDuplex, Bodies::Buffered] {
        let envoy = Envoy::by_metadata(bed.picker.server.address, bodies, &addresses);
        for number in 0..12 {
            let path = format!("/{bodies:?}/{number}/v1/completions");
            let response =
                Request::post(&path, &json!({"model": "m", "prompt": "p"})).answered(envoy.address);
            assert_eq!(response.status, 200, "{}", response.text());
            let (_, name) = bed.arrived(&path);
            assert_eq!(bed.picked_for(&response), format!("default/{name}"));
        }
    }
    bed.picker.server.wait_idle();
}

#[test]
fn requests_without_a_body_reach_an_endpoint() {
    for bodies in [Bodies::FullDuplex, Bodies::Buffered, Bodies::None] {
        let bed = Bed::new(bodies, |_, reply| reply.json(200, &json!({"data": []})));
        let response = Request::get("/v1/models").answered(bed.envoy.address);
        assert_eq!(response.status, 200, "{bodies:?}: {}", response.text());
        bed.arrived("/v1/models");
    }
}

#[test]
fn where_bodies_are_not_passed_the_head_decides() {
    for bodies in [Bodies::None, Bodies::Streamed] {
        let bed = Bed::new(bodies, answer);
        let asked = json!({"model": "m", "prompt": "p".repeat(200_000)});
        let response = Request::post("/v1/completions", &asked).answered(bed.envoy.address);
        assert_eq!(response.status, 200, "{bodies:?}: {}", response.text());
        let (arrived, name) = bed.arrived("/v1/completions");
        assert_eq!(arrived.json(), asked);
        assert_eq!(bed.picked_for(&response), format!("default/{name}"));
        bed.picker.server.wait_idle();
    }
}

#[test]
fn a_client_that_leaves_frees_its_endpoint() {
    fn hang(_: &Received, reply: &mut Reply) {
        reply.begin_events();
        while reply.event("{\"choices\":[]}") {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    for bodies in [Bodies::FullDuplex, Bodies::Buffered] {
        let bed = Bed::new(bodies, hang);
        let asked = json!({"model": "m", "prompt": "p", "stream": true});
        let answering = Request::post("/v1/completions", &asked)
            .open(bed.envoy.address)
            .unwrap();
        let id = answering.head.header("x-request-id").unwrap().to_owned();
        until("the request to be in flight", || {
            let rows = bed.picker.server.endpoints();
            let sum: u64 = rows.iter().filter_map(|row| row["inFlight"].as_u64()).sum();
            (sum == 1).then_some(())
        });
        drop(answering);
        bed.picker.server.wait_idle();
        let receipt = bed
            .picker
            .server
            .admin_json(&format!("/debug/decisions/{id}"));
        // Where answers are not passed to the picker, it cannot tell their end from the client's leaving.
        let heard = bodies == Bodies::FullDuplex;
        let expected = if heard { "client-gone" } else { "served" };
        assert_eq!(receipt["outcome"]["kind"], expected, "{receipt}");

        // Half a body, and gone.
        let mut connection = http::connect(bed.envoy.address, LONG).unwrap();
        let head =
            "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{\"model\":";
        connection.write_all(head.as_bytes()).unwrap();
        drop(connection);
        bed.picker.server.wait_idle();
    }
}

#[test]
fn an_endpoint_that_refuses_leaves_nothing_in_flight() {
    let files = Scratch::new("extproc-dead");
    let endpoints = files.file("endpoints.json", &endpoints_file(&[("a", port::free())]));
    let config = files.file("config.yaml", CONFIG);
    let picker = Picker::before(&endpoints, &["--config-file", &config]);
    let envoy = Envoy::before(picker.server.address, Bodies::FullDuplex);
    let asked = json!({"model": "m", "prompt": "p"});
    let response = Request::post("/v1/completions", &asked).answered(envoy.address);
    assert_eq!(response.status, 503, "{}", response.text());
    picker.server.wait_idle();
}

#[test]
fn sixty_requests_reach_the_lab_s_pairs_that_were_chosen_for_them() {
    let lab = Gateway::up(&["--quiet"]);
    let files = Scratch::new("extproc-lab");
    let rows = ["vllm-p2p-proxy", "vllm-fs-proxy"].map(|name| {
        let at = lab_part(&lab, name);
        json!({
            "name": format!("{name}-0-rank-0"), "namespace": "llm-d-vllm",
            "address": at.ip().to_string(), "port": at.port().to_string(),
        })
    });
    let endpoints = files.file("endpoints.json", &json!({ "endpoints": rows }).to_string());
    let config = files.file("config.yaml", CONFIG);
    let picker = Picker::before(&endpoints, &["--config-file", &config]);
    for bodies in [Bodies::FullDuplex, Bodies::Buffered] {
        let envoy = Envoy::before(picker.server.address, bodies);
        let served = burst(60, 12, |number| {
            let response =
                chat(&format!("question {number} {bodies:?}"), 4).answered(envoy.address);
            assert_eq!(response.status, 200, "{}", response.text());
            let id = response.header("x-request-id").unwrap().to_owned();
            (
                id,
                pair_of(&response.json()).to_owned(),
                response.json()["model"].clone(),
            )
        });
        let mut pairs = std::collections::BTreeSet::new();
        for (id, pair, model) in &served {
            assert_eq!(pair_of_candidate(&picker.picked(id)), pair, "{id}");
            assert_eq!(model, MODEL);
            pairs.insert(pair.clone());
        }
        assert_eq!((served.len(), pairs.len()), (60, 2));
        picker.server.wait_idle();
    }
}

fn lab_part(lab: &Gateway, name: &str) -> SocketAddr {
    let endpoints = lab.endpoints();
    let row = endpoints
        .iter()
        .find(|row| row["name"].as_str().is_some_and(|full| full.contains(name)));
    let row = row.unwrap_or_else(|| panic!("{name} is not among {endpoints:?}"));
    row["address"].as_str().unwrap().parse().unwrap()
}
