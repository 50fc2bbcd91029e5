//! The picker chooses who prefills and who decodes; a header tells the decode endpoint, or the gateway carries both
//! legs out itself.

#![allow(clippy::unwrap_used)]

use pointsman_tests::answer::{chat, chat_body};
use pointsman_tests::backend::{Backend, Received, Reply};
use pointsman_tests::http::Request;
use pointsman_tests::patience::LONG;
use pointsman_tests::port;
use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::Gateway;
use serde_json::{Value, json};

const PATH: &str = "/v1/chat/completions";

const CONFIG: &str = "apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: prefill-header-handler
- type: pd-profile-handler
  parameters: {threshold: THRESHOLD}
- type: prefill-filter
- type: decode-filter
- type: prefix-cache-scorer
- type: max-score-picker
schedulingProfiles:
- name: prefill
  plugins: [{pluginRef: prefill-filter}, {pluginRef: max-score-picker}]
- name: decode
  plugins: [{pluginRef: decode-filter}, {pluginRef: prefix-cache-scorer}, {pluginRef: max-score-picker}]
";

fn config(threshold: u32, handoff: &str) -> String {
    let own = format!("pointsman: {{gateway: {{handoff: {handoff}}}}}\n");
    CONFIG.replace("THRESHOLD", &threshold.to_string()) + &own
}

fn answer(request: &Received, reply: &mut Reply) {
    if request.path == "/metrics" {
        return reply.whole(404, "text/plain", b"");
    }
    let id = request.header("x-request-id").unwrap_or("none");
    let mut body = json!({
        "id": format!("chatcmpl-{id}"),
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6},
    });
    if request.json()["kv_transfer_params"]["do_remote_decode"] == true {
        body["kv_transfer_params"] = json!({
            "do_remote_prefill": true, "remote_block_ids": [1, 2], "remote_engine_id": "e1",
            "remote_host": "127.0.0.1", "remote_port": 5600,
        });
    }
    reply.json(200, &body);
}

struct Bed {
    prefill: Backend,
    decode: Backend,
    gateway: Gateway,
    _files: Scratch,
}

fn bed(name: &str, config: &str) -> Bed {
    bed_with(name, config, Backend::start(answer), &[])
}

fn bed_with(name: &str, config: &str, prefill: Backend, routes: &[&str]) -> Bed {
    let decode = Backend::start(answer);
    let files = Scratch::new(name);
    let line = |name: &str, backend: &Backend, role: &str| {
        let address = backend.address();
        format!(
            "- {{name: {name}, address: {}, port: \"{}\", labels: {{llm-d.ai/role: {role}}}}}\n",
            address.ip(),
            address.port()
        )
    };
    let endpoints = format!(
        "endpoints:\n{}{}",
        line("p", &prefill, "prefill"),
        line("d", &decode, "decode")
    );
    let endpoints = files.file("endpoints.yaml", &endpoints);
    let config = files.file("config.yaml", config);
    let mut flags = vec!["--config-file", &config];
    let routes = routes.first().map(|text| files.file("routes.yaml", text));
    if let Some(routes) = &routes {
        flags.extend(["--routes", routes]);
    }
    let gateway = Gateway::before(&endpoints, &flags);
    Bed {
        prefill,
        decode,
        gateway,
        _files: files,
    }
}

fn pd(gateway: &Gateway) -> Value {
    gateway.decisions(1)[0]["pd"].clone()
}

#[test]
fn the_decode_endpoint_is_told_who_prefills() {
    let bed = bed("pd-header", &config(0, "header"));
    let response = chat("Hello", 4)
        .header("x-prefiller-host-port", "169.254.169.254:80")
        .answered(bed.gateway.address);
    assert_eq!(response.status, 200, "{}", response.text());
    let received = bed.decode.received(PATH);
    let told: Vec<&str> = received[0]
        .headers
        .iter()
        .filter(|(name, _)| name == "x-prefiller-host-port")
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(
        told,
        [bed.prefill.address().to_string()],
        "the picker's, never the client's"
    );
    assert!(bed.prefill.received(PATH).is_empty());
    assert_eq!(pd(&bed.gateway)["decision"], "prefill-decode");
}

#[test]
fn a_short_prompt_is_prefilled_where_it_decodes() {
    let bed = bed("pd-short", &config(1000, "header"));
    assert_eq!(chat("Hello", 4).answered(bed.gateway.address).status, 200);
    assert_eq!(
        bed.decode.received(PATH)[0].header("x-prefiller-host-port"),
        None
    );
    assert_eq!(pd(&bed.gateway)["decision"], "decode-only");
    let long = "long ".repeat(400);
    assert_eq!(chat(&long, 4).answered(bed.gateway.address).status, 200);
    assert!(
        bed.decode.received(PATH)[1]
            .header("x-prefiller-host-port")
            .is_some()
    );
    // The same again is believed to be cached where it was decoded.
    assert_eq!(chat(&long, 4).answered(bed.gateway.address).status, 200);
    assert_eq!(pd(&bed.gateway)["reason"], "few new bytes");
}

#[test]
fn the_gateway_carries_a_nixl_handoff_itself() {
    let bed = bed("pd-nixl", &config(0, "nixlv2"));
    let response = chat("Hello", 4).answered(bed.gateway.address);
    assert_eq!(response.status, 200, "{}", response.text());
    let prefill = bed.prefill.received(PATH)[0].json();
    assert_eq!(prefill["max_tokens"], 1);
    assert_eq!(prefill["kv_transfer_params"]["do_remote_decode"], true);
    let decode = bed.decode.received(PATH)[0].json();
    assert_eq!(decode["max_tokens"], 4);
    assert_eq!(
        decode["kv_transfer_params"]["remote_port"], 5600,
        "{decode}"
    );
}

#[test]
fn the_gateway_names_the_pair_in_a_p2p_handoff_and_survives_a_dead_prefill() {
    let mut bed = bed("pd-p2p", &config(0, "p2p"));
    let response = chat("Hello", 4).answered(bed.gateway.address);
    let id = response.json()["id"].as_str().unwrap().to_owned();
    assert!(
        id.starts_with("chatcmpl-___prefill_addr_127.0.0.1:14579___decode_addr_127.0.0.1:14579_"),
        "{id}"
    );
    let sent = bed.prefill.received(PATH)[0]
        .header("x-request-id")
        .map(str::to_owned);
    assert_eq!(
        sent.as_deref(),
        bed.decode.received(PATH)[0].header("x-request-id")
    );

    // A prefill endpoint that is gone leaves the whole request to the decode endpoint, under an id without a pair.
    let dead = port::free();
    let endpoints = format!(
        "endpoints:\n- {{name: p, address: 127.0.0.1, port: \"{}\", labels: {{llm-d.ai/role: prefill}}}}\n\
         - {{name: d, address: 127.0.0.1, port: \"{}\", labels: {{llm-d.ai/role: decode}}}}\n",
        dead.port(),
        bed.decode.address().port()
    );
    let endpoints = bed._files.file("dead.yaml", &endpoints);
    let config = bed._files.file("again.yaml", &config(0, "p2p"));
    bed.gateway = Gateway::before(&endpoints, &["--config-file", &config]);
    let response = chat("Hello", 4).answered(bed.gateway.address);
    assert_eq!(response.status, 200, "{}", response.text());
    assert!(
        !response.text().contains("prefill_addr"),
        "{}",
        response.text()
    );
}

/// An id that would have an engine fetch a KV cache from an address of the client's choice.
const PAIR: &str =
    "___prefill_addr_10.0.0.1:1___decode_addr_10.0.0.2:2_0123456789abcdef0123456789abcdef";

#[test]
fn a_client_names_no_transfer_where_nothing_is_prefilled_elsewhere() {
    let said = |handoff: &str, path: &str, body: Value| {
        let bed = bed(&format!("pd-own-{handoff}"), &config(1000, handoff));
        for id in [PAIR, "___decode_addr_10.0.0.2:2"] {
            let response = Request::post(path, &body)
                .header("x-request-id", id)
                .answered(bed.gateway.address);
            assert_eq!(response.status, 200, "{}", response.text());
        }
        assert_eq!(pd(&bed.gateway)["decision"], "decode-only");
        assert!(bed.prefill.received(path).is_empty());
        let received = bed.decode.received(path);
        for one in &received {
            let id = one.header("x-request-id").unwrap();
            assert!(!id.contains("_addr_"), "{handoff} {path}: {id}");
        }
        received[0].json()
    };
    let mut body = chat_body("Hello", 4);
    body["kv_transfer_params"] = json!({"do_remote_prefill": true, "remote_host": "10.0.0.1"});
    body["cache_hit_threshold"] = json!(0.5);

    let seen = said("nixlv2", PATH, body.clone());
    assert_eq!(seen["kv_transfer_params"], Value::Null, "{seen}");
    assert_eq!(seen["max_tokens"], 4, "the rest is as it came");
    // Below the threshold the engine would decline, and nobody else would compute the prompt.
    let seen = said("shared-storage", PATH, body.clone());
    assert_eq!(seen["cache_hit_threshold"], 0, "{seen}");
    assert_eq!(said("p2p", PATH, body.clone()), body);
    // An engine reads the id on every path, taken by the dialect or not.
    let input = json!({"model": "m", "input": "Hello"});
    assert_eq!(said("p2p", "/v1/responses", input.clone()), input);
}

#[test]
fn only_what_the_dialect_takes_is_computed_in_two_legs() {
    for (handoff, path) in [("nixlv2", "/v1/embeddings"), ("p2p", "/v1/responses")] {
        let bed = bed(&format!("pd-untaken-{handoff}"), &config(0, handoff));
        let input = json!({"model": "m", "input": "Hello"});
        let response = Request::post(path, &input).answered(bed.gateway.address);
        assert_eq!(response.status, 200, "{}", response.text());
        assert!(bed.prefill.received(path).is_empty(), "{handoff} {path}");
        assert_eq!(bed.decode.received(path).len(), 1, "{handoff} {path}");
    }
}

#[test]
fn a_body_that_the_dialect_cannot_change_is_the_clients_fault() {
    let own = "pointsman: {gateway: {handoff: nixlv2}}\n";
    let plan = "plugins: [{type: random-picker}, {type: passthrough-parser}]\n\
                requestHandler: {parsers: [{pluginRef: passthrough-parser}]}\n";
    let bed = bed("pd-malformed", &format!("{plan}{own}"));
    let response = Request::new("POST", PATH, "no JSON").answered(bed.gateway.address);
    assert_eq!(response.status, 400, "{}", response.text());
    assert_eq!(response.json()["error"]["code"], "malformed");
    let asked = [&bed.prefill, &bed.decode].map(|one| one.received(PATH).len());
    assert_eq!(asked, [0, 0]);
    let receipt = &bed.gateway.decisions(1)[0];
    assert_eq!(
        receipt["attempts"].as_array().unwrap().len(),
        1,
        "{receipt}"
    );
    assert_eq!(receipt["attempts"][0]["cause"], Value::Null, "{receipt}");
    bed.gateway.wait_idle();
}

#[test]
fn a_prefill_that_hangs_leaves_decode_a_part_of_the_routes_time() {
    let hanging = Backend::start(|request: &Received, reply: &mut Reply| {
        if request.path == "/metrics" {
            return reply.whole(404, "text/plain", b"");
        }
        reply.peer_leaves(LONG);
    });
    let routes = "apiVersion: gateway.networking.k8s.io/v1\n\
        kind: HTTPRoute\n\
        metadata: {name: bounded}\n\
        spec:\n\
        \x20 rules:\n\
        \x20 - matches: [{path: {type: PathPrefix, value: /}}]\n\
        \x20   timeouts: {request: 10s}\n\
        \x20   backendRefs: [{group: inference.networking.k8s.io, kind: InferencePool, name: pool}]\n";
    let bed = bed_with("pd-hanging", &config(0, "nixlv2"), hanging, &[routes]);
    let response = chat("Hello", 4).answered(bed.gateway.address);
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(bed.prefill.received(PATH).len(), 1);
    let message = response.json()["choices"][0]["message"].clone();
    assert_eq!(message["content"], "ok", "the answer is whole");
    bed.gateway.wait_idle();
    let took = bed.gateway.decisions(1)[0]["timesMs"]["total"]
        .as_f64()
        .unwrap();
    assert!(took < 10_000.0, "within the route's time: {took} ms");
}

#[test]
fn an_overloaded_endpoint_is_left_for_the_next_when_the_settings_say_so() {
    let busy = Backend::start(|request: &Received, reply: &mut Reply| {
        if request.path == "/metrics" {
            return reply.whole(404, "text/plain", b"");
        }
        reply.json(429, &json!({"error": {"message": "busy"}}));
    });
    let free = Backend::start(answer);
    let files = Scratch::new("overloaded");
    let endpoints = pointsman_tests::server::endpoints_file(&[
        ("busy", busy.address()),
        ("free", free.address()),
    ]);
    let endpoints = files.file("endpoints.yaml", &endpoints);
    let plan = "plugins: [{type: random-picker}]\n";
    let settings = "pointsman: {retries: {onStatus: true}}\n";
    let config = files.file("config.yaml", &format!("{plan}{settings}"));
    let gateway = Gateway::before(&endpoints, &["--config-file", &config]);
    for _ in 0..12 {
        let response = chat("Hello", 4).answered(gateway.address);
        assert_eq!(response.status, 200, "{}", response.text());
    }
    assert!(
        !busy.received(PATH).is_empty(),
        "the lot fell on the busy one too"
    );

    let only = files.file(
        "only.yaml",
        &pointsman_tests::server::endpoints_file(&[("busy", busy.address())]),
    );
    let gateway = Gateway::before(&only, &["--config-file", &config]);
    let response = chat("Hello", 4).answered(gateway.address);
    assert_eq!(
        (response.status, response.text().contains("busy")),
        (429, true),
        "passed through"
    );
}

#[test]
fn the_answer_of_an_overloaded_endpoint_is_its_own_and_outlives_the_next_ones_failure() {
    let busy = Backend::start(|request: &Received, reply: &mut Reply| {
        if request.path == "/metrics" {
            return reply.whole(404, "text/plain", b"");
        }
        reply.json(503, &json!({"error": {"message": "busy"}}));
    });
    let files = Scratch::new("overloaded-kept");
    let endpoints = pointsman_tests::server::endpoints_file(&[
        ("busy", busy.address()),
        ("gone", port::free()),
    ]);
    let endpoints = files.file("endpoints.yaml", &endpoints);
    let plan = "plugins: [{type: random-picker}]\n";
    // Whether the second try is the last one allowed, or nobody is left.
    for (name, most) in [("two", 2), ("any", 0)] {
        let settings = format!("pointsman: {{retries: {{onStatus: true, max: {most}}}}}\n");
        let config = files.file(&format!("{name}.yaml"), &format!("{plan}{settings}"));
        let gateway = Gateway::before(&endpoints, &["--config-file", &config]);
        let mut busy_first = 0;
        for _ in 0..16 {
            let response = chat("Hello", 4).answered(gateway.address);
            let text = response.text();
            assert_eq!(
                (response.status, text.contains("busy")),
                (503, true),
                "{text}"
            );
            gateway.wait_idle();
            let receipt = gateway.decisions(1)[0].clone();
            assert_eq!(receipt["served"], "default/busy", "{receipt}");
            busy_first += usize::from(receipt["attempts"][0]["endpoint"] == "default/busy");
        }
        assert!(busy_first > 0, "the lot fell on the busy one first, once");
    }
}
