//! Whole exchanges, word for word: what each mode of a gateway says and is told.

use pointsman_serve::door::extproc::conversation::Turn;
use pointsman_serve::door::extproc::settings::{ErrorFormat, Settings};

use crate::rig::{LEAST_BUSY, Rig};
use crate::tongue::{
    BUFFERED, DUPLEX, STREAMED, answered, asked, asked_trailers, get, mode, post, reply,
    reply_trailers, under,
};

const ONE: &[&str] = &["10.0.0.1:8000"];
const BODY: &str = r#"{"model":"m","prompt":"p"}"#;
const TO: &str = "+x-gateway-destination-endpoint=10.0.0.1:8000";
const META: &str = "meta envoy.lb{ x-gateway-destination-endpoint=10.0.0.1:8000 }";

#[test]
fn golden_full_duplex() {
    let rig = Rig::new(ONE, LEAST_BUSY);
    let mut talk = rig.talk();
    assert!(
        talk.say(under(
            post("/v1/completions", "id", &[]),
            mode(DUPLEX, DUPLEX)
        ))
        .is_empty()
    );
    assert!(talk.say(asked(BODY, false)).is_empty());
    assert_eq!(
        talk.say(asked("", true)),
        [
            format!("request_headers reroute {TO} +content-length=26 {META}"),
            format!("request_body body={BODY} end"),
        ]
    );
    let json = [("content-type", "application/json")];
    assert_eq!(
        talk.say(answered("200", &json, false)),
        ["response_headers +x-went-into-resp-headers=true +x-request-id=id"]
    );
    assert_eq!(
        talk.say(reply("{\"id\":\"c\"", false)),
        ["response_body body={\"id\":\"c\""]
    );
    assert_eq!(rig.in_flight(), [1]);
    assert_eq!(talk.say(reply("}", true)), ["response_body body=} end"]);
    assert_eq!((rig.in_flight(), rig.ended()), (vec![0], [1, 0, 0, 0]));
    drop(talk);
    assert_eq!(
        rig.ended(),
        [1, 0, 0, 0],
        "the end after the end counts for nothing"
    );
}

#[test]
fn golden_buffered() {
    let rig = Rig::new(ONE, LEAST_BUSY);
    let mut talk = rig.talk();
    let head = under(post("/v1/completions", "id", &[]), mode(BUFFERED, 0));
    assert_eq!(talk.say(head), ["request_headers"]);
    assert_eq!(
        talk.say(asked(BODY, true)),
        [format!("request_body reroute {TO} {META}")]
    );
    assert_eq!(
        talk.say(answered("200", &[("x-request-id", "id")], false)),
        ["response_headers +x-went-into-resp-headers=true"]
    );
    drop(talk);
    assert_eq!((rig.in_flight(), rig.ended()), (vec![0], [1, 0, 0, 0]));

    // A new name for the model is a new body, with its length.
    let mut talk = rig.talk();
    let rewrite = [("x-llm-d-model-name-rewrite", "other")];
    talk.say(under(
        post("/v1/completions", "id", &rewrite),
        mode(BUFFERED, BUFFERED),
    ));
    assert_eq!(
        talk.say(asked(BODY, false)),
        [format!(
            "request_body reroute {TO} +content-length=30 -x-llm-d-model-name-rewrite whole={{\"model\":\"other\",\"prompt\":\"p\"}} {META}"
        )]
    );
    talk.say(answered("200", &[("x-request-id", "id")], false));
    assert_eq!(
        talk.say(reply("{\"model\":\"other\"}", true)),
        ["response_body +content-length=13 whole={\"model\":\"m\"}"]
    );
}

#[test]
fn golden_none_and_streamed() {
    for request in [0, STREAMED] {
        let rig = Rig::new(ONE, LEAST_BUSY);
        let mut talk = rig.talk();
        let head = under(post("/v1/completions", "id", &[]), mode(request, request));
        assert_eq!(
            talk.say(head),
            [format!("request_headers reroute {TO} {META}")]
        );
        if request == STREAMED {
            assert_eq!(talk.say(asked(BODY, true)), ["request_body"]);
        }
        talk.say(answered("200", &[], false));
        if request == STREAMED {
            assert_eq!(talk.say(reply("x", true)), ["response_body"]);
        }
        drop(talk);
        assert_eq!((rig.in_flight(), rig.ended()), (vec![0], [1, 0, 0, 0]));
    }
}

#[test]
fn golden_trailers() {
    let rig = Rig::new(ONE, LEAST_BUSY);
    let mut talk = rig.talk();
    talk.say(post("/v1/completions", "id", &[]));
    talk.say(asked(BODY, false));
    assert_eq!(
        talk.say(asked_trailers()),
        [
            format!("request_headers reroute {TO} +content-length=26 {META}"),
            format!("request_body body={BODY}"),
            "request_trailers".to_owned(),
        ]
    );
    talk.say(answered("200", &[("x-request-id", "id")], false));
    assert_eq!(talk.say(reply("x", false)), ["response_body body=x"]);
    assert_eq!(talk.say(reply_trailers()), ["response_trailers"]);
    assert_eq!((rig.in_flight(), rig.ended()), (vec![0], [1, 0, 0, 0]));
}

#[test]
fn golden_without_a_body() {
    let rig = Rig::new(ONE, LEAST_BUSY);
    let mut talk = rig.talk();
    let lines = talk.say(get("/v1/models"));
    let [line] = &lines[..] else {
        panic!("{lines:?}")
    };
    let (before, id) = line.split_once(" +x-request-id=").unwrap();
    assert_eq!(before, format!("request_headers reroute {TO}"));
    assert_eq!(id.split(' ').next().unwrap().len(), 36, "a new id: {line}");
    assert!(line.ends_with(META));
    assert_eq!(rig.in_flight(), [0]);
    assert_eq!(talk.say(answered("200", &[], true)).len(), 1);
    drop(talk);
    assert_eq!(rig.ended(), [0; 4], "nothing was scheduled");
}

#[test]
fn golden_large_bodies_in_pieces() {
    let rig = Rig::new(ONE, LEAST_BUSY);
    let mut talk = rig.talk();
    talk.say(post("/v1/completions", "id", &[]));
    let body = format!(r#"{{"model":"m","prompt":"{}"}}"#, "x".repeat(150_000));
    for piece in body.as_bytes().chunks(16_384) {
        talk.say(asked(piece.to_vec(), false));
    }
    let length = body.len();
    assert_eq!(
        talk.say(asked("", true)),
        [
            format!("request_headers reroute {TO} +content-length={length} {META}"),
            "request_body body=(62000)".to_owned(),
            "request_body body=(62000)".to_owned(),
            format!("request_body body=({}) end", length - 124_000),
        ]
    );
    talk.say(answered(
        "200",
        &[("content-type", "application/json")],
        false,
    ));
    assert_eq!(
        talk.say(reply(vec![b'x'; 100_000], false)),
        ["response_body body=(62000)", "response_body body=(38000)"]
    );
    assert_eq!(talk.say(reply("", true)), ["response_body body= end"]);
}

#[test]
fn golden_refusals() {
    let check = |rig: &Rig, path: &str, fields: &[(&str, &str)], body: &str, expected: &str| {
        let mut talk = rig.talk();
        talk.say(post(path, "id", fields));
        assert_eq!(talk.say(asked(body.to_owned(), true)), [expected]);
        assert_eq!(talk.turn, Turn::Close);
        assert!(rig.in_flight().iter().all(|&count| count == 0));
    };
    let rig = Rig::new(ONE, LEAST_BUSY);
    check(
        &rig,
        "/v1/completions",
        &[],
        "{",
        "immediate 400 body=inference error: BadRequest - error unmarshaling request bodyMap: unexpected end of JSON input",
    );
    check(
        &rig,
        "/v1/completions",
        &[],
        r#"{"prompt":"p"}"#,
        "immediate 400 body=inference error: BadRequest - model not found in request body",
    );
    check(
        &rig,
        "/v1/chat/completions",
        &[],
        BODY,
        "immediate 400 body=inference error: BadRequest - invalid chat completions request: must have valid messages field",
    );
    check(
        &rig,
        "/v1/completions",
        &[("prefer", "if-available")],
        BODY,
        "immediate 412 body=inference error: PreconditionFailed - no decode worker has the requested KV cache",
    );
    let empty = Rig::new(&[], LEAST_BUSY);
    check(
        &empty,
        "/v1/completions",
        &[],
        BODY,
        "immediate 503 +x-llm-d-request-dropped-reason=rejected-no-endpoints body=inference error: ServiceUnavailable - failed to find endpoint candidates for serving the request",
    );
    let lines = empty.talk().say(get("/v1/models"));
    assert_eq!(
        lines,
        ["immediate 500 body=inference error: Internal - no pods available in datastore"]
    );
    let filtered = LEAST_BUSY
        .replace("- type: active", "- type: decode-filter\n- type: active")
        .replace(
            "[{pluginRef: active",
            "[{pluginRef: decode-filter}, {pluginRef: active",
        );
    let prefill = ("llm-d.ai/role", "prefill");
    let filtered = Rig::labelled(ONE, &[prefill], &filtered, Settings::default());
    check(
        &filtered,
        "/v1/completions",
        &[],
        BODY,
        "immediate 429 +x-llm-d-request-dropped-reason=rejected-saturated body=inference error: ResourceExhausted - no endpoints available for the given request",
    );
    let parsers =
        format!("{LEAST_BUSY}requestHandler:\n  parsers: [{{pluginRef: openai-parser}}]\n");
    let parsers = parsers.replace("- type: max", "- type: openai-parser\n- type: max");
    check(
        &Rig::new(ONE, &parsers),
        "/tokenize",
        &[],
        "x",
        "immediate 400 body=inference error: BadRequest - no parser registered matching path suffix for: /tokenize",
    );
    let mut small = Settings::default();
    small.max_body = 10;
    check(
        &Rig::with(ONE, LEAST_BUSY, small),
        "/v1/completions",
        &[],
        BODY,
        "immediate 413 body=inference error: RequestEntityTooLarge - request body is larger than 10 bytes",
    );
    let mut openai = Settings::default();
    openai.error_format = ErrorFormat::OpenAi;
    check(
        &Rig::with(&[], LEAST_BUSY, openai),
        "/v1/completions",
        &[],
        BODY,
        r#"immediate 503 +content-type=application/json +x-llm-d-request-dropped-reason=rejected-no-endpoints body={"error":{"message":"the pool has no endpoint for this request","type":"server_error","param":null,"code":"no-endpoints"}}"#,
    );
}

#[test]
fn golden_an_answer_that_is_not_looked_at() {
    let rig = Rig::new(ONE, LEAST_BUSY);
    let mut talk = rig.talk();
    talk.say(post("/v1/messages/count_tokens", "id", &[]));
    assert_eq!(talk.say(asked("any", true)).len(), 2);
    assert_eq!(talk.turn, Turn::Close);
    assert_eq!((rig.in_flight(), rig.ended()), (vec![0], [1, 0, 0, 0]));
}

#[test]
fn golden_who_prefills_is_told_and_cannot_be_forged() {
    let config = "apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: prefill-header-handler
- type: pd-profile-handler
  parameters: {threshold: 0}
- type: prefill-filter
- type: decode-filter
- type: max-score-picker
schedulingProfiles:
- name: prefill
  plugins: [{pluginRef: prefill-filter}, {pluginRef: max-score-picker}]
- name: decode
  plugins: [{pluginRef: decode-filter}, {pluginRef: max-score-picker}]
";
    let roles = [("llm-d.ai/role", "prefill"), ("llm-d.ai/role", "decode")];
    let addresses = ["10.0.0.1:1", "10.0.0.2:2"];
    let rig = Rig::labelled(&addresses, &roles, config, Settings::default());
    let mut talk = rig.talk();
    talk.say(post(
        "/v1/completions",
        "id",
        &[("x-prefiller-host-port", "10.9.9.9:9")],
    ));
    let lines = talk.say(asked(BODY, true));
    assert!(
        lines[0].starts_with(
            "request_headers reroute +x-gateway-destination-endpoint=10.0.0.2:2 +content-length=26 +x-prefiller-host-port=10.0.0.1:1 meta"
        ),
        "{lines:?}"
    );
    assert_eq!(rig.in_flight(), [1, 1]);
    talk.say(answered("200", &[], false));
    assert_eq!(
        rig.in_flight(),
        [0, 1],
        "the prefill's work is done with the first byte"
    );
    drop(talk);
    assert_eq!(rig.in_flight(), [0, 0]);
}

#[test]
fn golden_scores_and_fallbacks() {
    let config = LEAST_BUSY.replace(
        "- type: max-score-picker",
        "- type: max-score-picker\n  parameters: {maxNumOfEndpoints: 2}",
    );
    let mut settings = Settings::default();
    settings.emit_scores = true;
    let rig = Rig::with(&["10.0.0.1:1", "[::1]:2"], &config, settings);
    // One request in flight, so that the order is known.
    let mut first = rig.talk();
    first.say(post("/v1/completions", "a", &[]));
    let lines = first.say(asked(BODY, true));
    let busy = lines[0].contains("endpoint=10.0.0.1:1,");
    let order = if busy {
        "[::1]:2,10.0.0.1:1"
    } else {
        "10.0.0.1:1,[::1]:2"
    };
    let mut second = rig.talk();
    second.say(post("/v1/completions", "b", &[]));
    let lines = second.say(asked(BODY, true));
    let scores = if busy {
        "10.0.0.1:1=0 [::1]:2=1"
    } else {
        "10.0.0.1:1=1 [::1]:2=0"
    };
    assert_eq!(
        lines[0],
        format!(
            "request_headers reroute +x-gateway-destination-endpoint={order} +content-length=26 meta envoy.lb{{ x-gateway-destination-endpoint={order} x-gateway-destination-endpoint-scores{{ {scores} }} }}"
        )
    );
}
