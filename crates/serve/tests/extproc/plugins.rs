//! What plugins do at this door beside picking: refuse, tell who sent, tell who served, tell what it cost, read calls.

use bytes::Bytes;
use pointsman_core::model::slots::Reading;
use pointsman_serve::door::extproc::conversation::Turn;

use crate::rig::{Rig, destination};
use crate::tongue::{answered, asked, post, reply, reply_trailers, served_by};

const ONE: &[&str] = &["10.0.0.1:8000"];
const BODY: &str = r#"{"model":"m","prompt":"p"}"#;
const ANSWER: &str = r#"{"usage":{"prompt_tokens":7,"completion_tokens":3}}"#;

fn config(plugins: &str, more: &str) -> String {
    format!(
        "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n- type: random-picker\n{plugins}{more}"
    )
}

#[test]
fn an_admitter_refuses_by_priority_and_load_with_500() {
    let objectives = "pointsman: {objectives: [{name: batch, priority: -1}]}\n\
        saturationDetector: {pluginRef: utilization-detector}\n";
    let plugins = "- type: probabilistic-admitter\n- type: utilization-detector\n  parameters: {queueDepthThreshold: 999999, metricsStalenessThreshold: 24h}\n";
    let rig = Rig::new(ONE, &config(plugins, objectives));
    let ask = |fields: &[(&str, &str)]| {
        let mut talk = rig.talk();
        talk.say(post("/v1/completions", "id", fields));
        talk.say(asked(BODY, true))
    };
    let (slots, now) = (rig.router.membership.slots(), rig.router.clock.now());
    let slot = rig.router.membership.snapshot().endpoints[0].slot;
    let batch = [("x-llm-d-inference-objective", "batch")];
    slots.write(slot, Reading::Waiting, 0.0, now);
    destination(&ask(&batch));
    slots.write(slot, Reading::Waiting, 50.0, now);
    destination(&ask(&[]));
    assert_eq!(
        ask(&batch),
        [
            "immediate 500 body=inference error: Internal - request cannot be admitted: \
          probabilistic-admitter: rejected, saturation=10.000 prob=1.00"
        ]
    );
    assert_eq!(rig.in_flight(), [0]);
}

#[test]
fn the_answer_tells_who_served_as_the_gateway_says() {
    let plugin = "- type: destination-endpoint-served-verifier\n";
    let rig = Rig::new(ONE, &config(plugin, ""));
    let head = |told: bool| {
        let mut talk = rig.talk();
        talk.say(post("/v1/completions", "id", &[]));
        talk.say(asked(BODY, true));
        let answer = answered("200", &[], false);
        let lines = talk.say(match told {
            true => served_by(answer, "10.0.0.1:8000"),
            false => answer,
        });
        lines[0].clone()
    };
    let name = "+x-conformance-test-served-endpoint=";
    assert!(head(true).contains(&format!("{name}10.0.0.1:8000")));
    assert!(head(false).contains(&format!("{name}fail: missing envoy lb metadata")));
}

#[test]
fn what_an_answer_cost_goes_with_its_last_piece() {
    let reporter = "- type: request-attribute-reporter
  parameters:
    attributes:
    - key: {name: x-gateway-inference-request-cost}
      expression: usage.prompt_tokens + 2.0 * usage.completion_tokens
      condition: has(usage.completion_tokens)
";
    let rig = Rig::new(ONE, &config(reporter, ""));
    let begin = || {
        let mut talk = rig.talk();
        talk.say(post("/v1/completions", "id", &[]));
        talk.say(asked(BODY, true));
        talk.say(answered(
            "200",
            &[("content-type", "application/json")],
            false,
        ));
        talk
    };
    let meta = "meta envoy.lb{ x-gateway-inference-request-cost=13 }";
    let mut talk = begin();
    assert_eq!(
        talk.say(reply(ANSWER, true)),
        [format!("response_body body={ANSWER} end {meta}")]
    );
    let mut talk = begin();
    let (one, two) = ANSWER.split_at(20);
    assert_eq!(
        talk.say(reply(one, false)),
        [format!("response_body body={one}")]
    );
    assert_eq!(
        talk.say(reply(two, false)),
        [format!("response_body body={two}")]
    );
    assert_eq!(
        talk.say(reply("", true)),
        [format!("response_body body= end {meta}")]
    );
    let mut talk = begin();
    talk.say(reply(ANSWER, false));
    assert_eq!(
        talk.say(reply_trailers()),
        [format!("response_trailers {meta}")]
    );
    // Without usage there is nothing to tell.
    let mut talk = begin();
    assert_eq!(talk.say(reply("{}", true)), ["response_body body={} end"]);
    assert_eq!(rig.in_flight(), [0]);
}

#[test]
fn an_agent_s_session_stands_for_the_fairness_id_that_it_does_not_send() {
    let plugin = "- type: agent-identity\n  parameters: {additionalSessionHeaders: [X-Tenant]}\n";
    let rig = Rig::new(ONE, &config(plugin, ""));
    let long = "x".repeat(300);
    for fields in [
        &[("X-Claude-Code-Session-Id", "claude")][..],
        &[("session_id", "codex"), ("x-tenant", "")],
        &[("x-session-affinity", "below"), ("x-tenant", "tenant")],
        &[
            ("session-id", "unused"),
            ("x-llm-d-inference-fairness-id", "own"),
        ],
        &[("session-id", &long)],
    ] {
        let mut talk = rig.talk();
        talk.say(post("/v1/completions", "id", fields));
        destination(&talk.say(asked(BODY, true)));
    }
    let page = pointsman_serve::admin::metrics::render(&rig.router);
    let mut flows: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("llm_d_epp_request_total{"))
        .filter_map(|line| line.split("fairness_id=\"").nth(1)?.split('"').next())
        .collect();
    flows.sort_unstable();
    assert_eq!(flows, ["claude", "codex", "default-flow", "own", "tenant"]);
}

fn framed(message: &[u8]) -> Bytes {
    let mut out = vec![0, 0, 0, 0, message.len() as u8];
    out.extend(message);
    out.into()
}

#[test]
fn a_call_over_grpc_is_read_and_so_is_its_answer() {
    let parsers = "requestHandler: {parsers: [{pluginRef: vllmgrpc-parser}]}\n";
    let rig = Rig::new(ONE, &config("", parsers));
    let path = |method: &str| format!("/vllm.grpc.engine.VllmEngine/{method}");
    let call = framed(&[0x12, 5, 0x12, 3, 1, 2, 3, 0x28, 1]);
    let mut talk = rig.talk();
    talk.say(post(&path("Generate"), "call", &[]));
    let lines = talk.say(asked(call.clone(), true));
    destination(&lines);
    talk.say(answered(
        "200",
        &[("content-type", "application/grpc")],
        false,
    ));
    talk.say(reply(framed(&[0x0a, 6, 0x10, 3, 0x18, 9, 0x20, 2]), false));
    talk.say(reply_trailers());
    let found = rig.router.find("call").unwrap();
    let usage = found.outcome.unwrap().usage.unwrap();
    assert_eq!(
        (
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.cached_tokens
        ),
        (3, 9, Some(2))
    );
    let mut talk = rig.talk();
    talk.say(post(&path("Generate"), "bad", &[]));
    assert_eq!(
        talk.say(asked("{}", true)),
        ["immediate 400 body=inference error: BadRequest - invalid or unsupported gRPC payload"]
    );
    // Other calls go on unread, and the picker leaves.
    let mut talk = rig.talk();
    talk.say(post(&path("GetModelInfo"), "other", &[]));
    destination(&talk.say(asked(framed(&[]), true)));
    assert_eq!((talk.turn, rig.in_flight()), (Turn::Close, vec![0]));
}

#[test]
fn token_ids_of_a_generate_request_are_the_prompt() {
    let rig = Rig::new(ONE, &config("- type: prefix-cache-scorer\n", ""));
    let ids: Vec<String> = (0..640).map(|id| id.to_string()).collect();
    let body = format!(r#"{{"model":"m","token_ids":[{}]}}"#, ids.join(","));
    for _ in 0..2 {
        let mut talk = rig.talk();
        talk.say(post(
            "/inference/v1/generate",
            "g",
            &[("prefer", "if-available")],
        ));
        talk.say(asked(body.clone(), true));
        // The second one finds what the first has left.
        let mut talk = rig.talk();
        talk.say(post("/inference/v1/generate", "h", &[]));
        destination(&talk.say(asked(body.clone(), true)));
    }
    let mut talk = rig.talk();
    talk.say(post(
        "/inference/v1/generate",
        "g",
        &[("prefer", "if-available")],
    ));
    destination(&talk.say(asked(body, true)));
    let mut talk = rig.talk();
    talk.say(post("/inference/v1/generate", "bad", &[]));
    assert_eq!(
        talk.say(asked(r#"{"model":"m","token_ids":[]}"#, true)),
        [
            "immediate 400 body=inference error: BadRequest - invalid generate request: must have non-empty token_ids field"
        ]
    );
}
