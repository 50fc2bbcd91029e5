//! The picker chooses who encodes, who prefills and who decodes; headers tell the decode endpoint.

#![allow(clippy::unwrap_used)]

use pointsman_tests::answer::{chat, chat_body};
use pointsman_tests::backend::{Backend, Received, Reply};
use pointsman_tests::http::Request;
use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::{Gateway, plain};
use serde_json::{Value, json};

const PATH: &str = "/v1/chat/completions";

const PREFILLER: &str = "x-prefiller-host-port";
const ENCODERS: &str = "x-encoder-hosts-ports";

fn config(handler: &str) -> String {
    format!(
        "plugins:\n\
         - type: disagg-profile-handler\n  parameters: {handler}\n\
         - {{type: prefix-based-pd-decider, parameters: {{nonCachedTokens: 200}}}}\n\
         - type: always-disagg-multimodal-decider\n\
         - type: encode-filter\n- type: prefill-filter\n- type: decode-filter\n\
         - {{name: two, type: max-score-picker, parameters: {{maxNumOfEndpoints: 2}}}}\n\
         - {{name: one, type: max-score-picker}}\n\
         schedulingProfiles:\n\
         - {{name: encode, plugins: [{{pluginRef: encode-filter}}, {{pluginRef: two}}]}}\n\
         - {{name: prefill, plugins: [{{pluginRef: prefill-filter}}, {{pluginRef: one}}]}}\n\
         - {{name: decode, plugins: [{{pluginRef: decode-filter}}, {{pluginRef: one}}]}}\n"
    )
}

fn answer(request: &Received, reply: &mut Reply) {
    if request.path == "/metrics" {
        return reply.whole(404, "text/plain", b"");
    }
    let message = json!({"role": "assistant", "content": "ok"});
    let choice = json!({"index": 0, "finish_reason": "stop", "message": message});
    reply.json(
        200,
        &json!({"id": "x", "object": "chat.completion", "choices": [choice]}),
    );
}

struct Bed {
    /// Two that encode, one that prefills, one that decodes.
    backends: [(&'static str, Backend); 4],
    gateway: Gateway,
    files: Scratch,
}

impl Bed {
    #[track_caller]
    fn start(name: &str, handler: &str) -> Self {
        let backends =
            ["encode", "encode", "prefill", "decode"].map(|role| (role, Backend::start(answer)));
        let line = |(at, (role, one)): (usize, &(&str, Backend))| {
            let address = one.address();
            format!(
                "- {{name: e{at}, address: {}, port: \"{}\", labels: {{llm-d.ai/role: {role}}}}}\n",
                address.ip(),
                address.port()
            )
        };
        let lines: String = backends.iter().enumerate().map(line).collect();
        let files = Scratch::new(name);
        let endpoints = files.file("endpoints.yaml", &format!("endpoints:\n{lines}"));
        let config = files.file("config.yaml", &config(handler));
        let gateway = Gateway::before(&endpoints, &["--config-file", &config]);
        Self {
            backends,
            gateway,
            files,
        }
    }

    fn address(&self, at: usize) -> String {
        self.backends[at].1.address().to_string()
    }

    /// Sends a request and gives what the decode endpoint received of it, and what was decided.
    #[track_caller]
    fn decoded(&self, request: &Request) -> (Received, Value) {
        let response = request.answered(self.gateway.address);
        assert_eq!(response.status, 200, "{}", response.text());
        for (_, other) in &self.backends[..3] {
            assert!(
                other.received(PATH).is_empty(),
                "only the decode endpoint is sent to"
            );
        }
        let received = self.backends[3].1.received(PATH).pop().unwrap();
        (received, self.gateway.decisions(1)[0]["pd"].clone())
    }
}

fn picture(text: &str) -> Request {
    let mut body = chat_body("", 4);
    body["messages"][0]["content"] = json!([
        {"type": "text", "text": text},
        {"type": "image_url", "image_url": {"url": "http://example.org/a.png"}},
    ]);
    Request::post(PATH, &body)
}

#[test]
fn each_part_runs_elsewhere_when_its_decider_says_so() {
    let bed = Bed::start(
        "disagg",
        "{deciders: {prefill: prefix-based-pd-decider, encode: always-disagg-multimodal-decider}}",
    );
    let long = "long ".repeat(400);

    let (received, pd) = bed.decoded(
        &chat("Hello", 4)
            .header(PREFILLER, "10.0.0.1:1")
            .header(ENCODERS, "10.0.0.1:1"),
    );
    assert_eq!(
        (received.header(PREFILLER), received.header(ENCODERS)),
        (None, None)
    );
    assert_eq!(pd["decision"], "decode-only", "{pd}");

    let (received, pd) = bed.decoded(&chat(&long, 4));
    assert_eq!(received.header(PREFILLER), Some(bed.address(2).as_str()));
    assert_eq!(received.header(ENCODERS), None);
    assert_eq!(pd["decision"], "prefill-decode", "{pd}");

    // An image alone counts as 225 tokens, more than the decider lets pass.
    let (received, pd) = bed.decoded(&picture(&long));
    let mut encoders: Vec<String> = received
        .header(ENCODERS)
        .unwrap()
        .split(',')
        .map(str::to_owned)
        .collect();
    encoders.sort();
    let mut expected = vec![bed.address(0), bed.address(1)];
    expected.sort();
    assert_eq!(encoders, expected);
    assert_eq!(received.header(PREFILLER), Some(bed.address(2).as_str()));
    assert_eq!(pd["decision"], "encode-prefill-decode", "{pd}");
    bed.gateway.wait_idle();
}

#[test]
fn without_a_decider_a_part_stays_where_it_decodes() {
    let bed = Bed::start(
        "disagg-encode",
        "{deciders: {encode: always-disagg-multimodal-decider}}",
    );
    let (received, pd) = bed.decoded(&picture("see"));
    assert!(received.header(ENCODERS).is_some());
    assert_eq!(received.header(PREFILLER), None);
    assert_eq!(pd["decision"], "encode-decode", "{pd}");
    let page = Request::get("/metrics").answered(bed.gateway.admin).text();
    let counted = page.lines().any(|line| {
        line.starts_with("llm_d_epp_disagg_decision_total{")
            && line.contains("\"encode-decode\"")
            && line.ends_with(" 1")
    });
    assert!(counted, "the decision is counted");
}

#[test]
fn prefill_may_be_picked_first_and_the_receipt_still_says_who_decoded() {
    let bed = Bed::start("disagg-first", "{stageOrder: prefill-first}");
    let (received, pd) = bed.decoded(&chat("Hello", 4));
    assert_eq!(received.header(PREFILLER), Some(bed.address(2).as_str()));
    assert_eq!(pd["decision"], "prefill-decode", "{pd}");

    bed.gateway.wait_idle();
    let receipts = bed.gateway.admin_json("/debug/decisions?limit=10");
    let receipts = bed.files.file("receipts.json", &receipts.to_string());
    let config = bed.files.path().join("config.yaml");
    let config = config.display().to_string();
    let arguments = ["replay", &receipts, "-o", "json", "--config-file", &config];
    let output = plain(&arguments.map(str::to_owned)).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let again: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(again["replayed"], 1, "{again}");
    assert_eq!(again["changed"], json!([]), "{again}");
}
