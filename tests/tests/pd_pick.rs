//! The picker chooses who prefills and who decodes; a header tells the decode endpoint, or the gateway carries both
//! legs out itself.

#![allow(clippy::unwrap_used)]

use pointsman_tests::answer::chat;
use pointsman_tests::backend::{Backend, Received, Reply};
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
    let (prefill, decode) = (Backend::start(answer), Backend::start(answer));
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
    let gateway = Gateway::before(&endpoints, &["--config-file", &config]);
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
