//! Where the reference is wrong or poor and this door is not, a test each.

use crate::rig::{LEAST_BUSY, Rig, destination};
use crate::tongue::{answered, asked, get, hinted, post, reply, served_by};

const TWO: &[&str] = &["10.0.0.1:8000", "10.0.0.1:8001"];
const BODY: &str = r#"{"model":"m","prompt":"p"}"#;

#[test]
fn a_hint_s_port_counts_with_and_without_a_body() {
    let rig = Rig::new(TWO, LEAST_BUSY);
    for (hint, allowed) in [
        ("10.0.0.1:8000", "10.0.0.1:8000"),
        ("10.0.0.1:8001", "10.0.0.1:8001"),
    ] {
        for _ in 0..8 {
            let mut talk = rig.talk();
            talk.say(hinted(post("/v1/completions", "id", &[]), &[hint]));
            let lines = talk.say(asked(BODY, true));
            assert_eq!(destination(&lines), allowed.parse().unwrap());
            let lines = rig.talk().say(hinted(get("/v1/models"), &[hint]));
            assert_eq!(destination(&lines), allowed.parse().unwrap());
        }
    }
}

#[test]
fn a_hint_that_allows_nobody_is_503_with_and_without_a_body() {
    let rig = Rig::new(TWO, LEAST_BUSY);
    for hint in [&[][..], &["10.0.0.9:1"]] {
        let mut talk = rig.talk();
        talk.say(post("/v1/completions", "id", &[]));
        let lines = talk.say(hinted(asked(BODY, true), hint));
        assert!(
            lines[0]
                .starts_with("immediate 503 +x-llm-d-request-dropped-reason=rejected-no-endpoints")
        );
        let lines = rig.talk().say(hinted(get("/v1/models"), hint));
        assert!(lines[0].starts_with("immediate 503"), "{lines:?}");
    }
    assert_eq!(rig.in_flight(), [0, 0]);
}

#[test]
fn the_latest_hint_of_any_message_counts() {
    let rig = Rig::new(TWO, LEAST_BUSY);
    let mut talk = rig.talk();
    talk.say(hinted(
        post("/v1/completions", "id", &[]),
        &["10.0.0.1:8000"],
    ));
    talk.say(hinted(asked(BODY, false), &["10.0.0.1:8001"]));
    let lines = talk.say(asked("", true));
    assert_eq!(destination(&lines), "10.0.0.1:8001".parse().unwrap());
}

#[test]
fn a_hint_can_be_switched_off() {
    let mut settings = pointsman_serve::door::extproc::settings::Settings::default();
    settings.subset_hint = false;
    let rig = Rig::with(TWO, LEAST_BUSY, settings);
    let mut talk = rig.talk();
    talk.say(hinted(post("/v1/completions", "id", &[]), &[]));
    destination(&talk.say(asked(BODY, true)));
}

#[test]
fn only_the_model_s_name_changes() {
    let rig = Rig::new(&TWO[..1], LEAST_BUSY);
    let mut talk = rig.talk();
    talk.say(post(
        "/v1/completions",
        "id",
        &[("x-llm-d-model-name-rewrite", "big")],
    ));
    let body = r#"{ "z":12345678901234567890, "model" : "m","prompt":"p","a":1.0 }"#;
    let lines = talk.say(asked(body, true));
    let expected = body.replace("\"m\"", "\"big\"");
    assert_eq!(lines[1], format!("request_body body={expected} end"));
    assert!(lines[0].contains(&format!("+content-length={}", expected.len())));
}

#[test]
fn only_what_changed_is_set_and_what_a_client_forged_is_removed() {
    let rig = Rig::new(&TWO[..1], LEAST_BUSY);
    let mut talk = rig.talk();
    let fields = [
        ("x-multi", "a"),
        ("x-multi", "b"),
        ("x-prefiller-host-port", "10.9.9.9:1"),
        ("x-llm-d-inference-objective", "o"),
        ("x-slo-ttft-ms", "5"),
        ("x-gateway-destination-endpoint", "10.9.9.9:1"),
    ];
    talk.say(post("/v1/completions", "id", &fields));
    let lines = talk.say(asked(BODY, true));
    let told = lines[0].split(" meta").next().unwrap();
    assert_eq!(
        told,
        "request_headers reroute +x-gateway-destination-endpoint=10.0.0.1:8000 +content-length=26 \
         -x-prefiller-host-port -x-llm-d-inference-objective -x-slo-ttft-ms"
    );
}

#[test]
fn the_status_is_read_where_envoy_puts_it() {
    let rig = Rig::new(&TWO[..1], LEAST_BUSY);
    let mut talk = rig.talk();
    talk.say(post("/v1/completions", "failing", &[]));
    talk.say(asked(BODY, true));
    talk.say(answered("503", &[], true));
    let found = rig.router.find("failing").unwrap();
    assert_eq!(found.outcome.unwrap().status, Some(503));
}

#[test]
fn an_answer_is_not_held_and_its_usage_is_seen_however_it_is_cut() {
    let events = "data: {\"id\":\"c-9\",\"choices\":[]}\n\ndata: {\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}\n\ndata: [DONE]\n\n";
    let json = "{\"id\":\"c-9\",\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}";
    for (kind, text) in [("text/event-stream", events), ("application/json", json)] {
        for size in 1..40 {
            let rig = Rig::new(&TWO[..1], LEAST_BUSY);
            let mut talk = rig.talk();
            talk.say(post("/v1/completions", "id", &[]));
            talk.say(asked(BODY, true));
            talk.say(answered("200", &[("content-type", kind)], false));
            for piece in text.as_bytes().chunks(size) {
                let expected = format!("response_body body={}", String::from_utf8_lossy(piece));
                assert_eq!(talk.say(reply(piece.to_vec(), false)), [expected]);
            }
            talk.say(reply("", true));
            let outcome = rig.router.find("c-9").unwrap().outcome.unwrap();
            let usage = outcome.usage.unwrap();
            assert_eq!((usage.prompt_tokens, usage.completion_tokens), (7, 3));
        }
    }
}

#[test]
fn a_model_s_name_is_changed_back_however_it_is_cut() {
    let text = "data: {\"model\":\"big\",\"x\":\"big\"}\n\n";
    for size in 1..text.len() {
        let rig = Rig::new(&TWO[..1], LEAST_BUSY);
        let mut talk = rig.talk();
        talk.say(post(
            "/v1/completions",
            "id",
            &[("x-llm-d-model-name-rewrite", "big")],
        ));
        talk.say(asked(BODY, true));
        let fields = [
            ("content-type", "text/event-stream"),
            ("content-length", "33"),
        ];
        let lines = talk.say(answered("200", &fields, false));
        assert!(lines[0].ends_with("-content-length"), "{lines:?}");
        let mut said = String::new();
        let pieces = text.as_bytes().chunks(size).map(<[u8]>::to_vec);
        for piece in pieces.chain([Vec::new()]) {
            let last = piece.is_empty();
            for line in talk.say(reply(piece, last)) {
                let body = line.strip_prefix("response_body body=").unwrap();
                said.push_str(body.strip_suffix(" end").unwrap_or(body));
            }
        }
        assert_eq!(said, text.replacen("big", "m", 1), "by {size}");
    }
}

#[test]
fn a_request_counts_in_flight_from_its_decision_on() {
    let rig = Rig::new(TWO, LEAST_BUSY);
    let mut talks = Vec::new();
    for _ in 0..10 {
        let mut talk = rig.talk();
        talk.say(post("/v1/completions", "id", &[]));
        talk.say(asked(BODY, true));
        talks.push(talk);
    }
    assert_eq!(rig.in_flight(), [5, 5], "each decision saw the one before");
}

#[test]
fn two_exchanges_of_one_id_are_two() {
    let rig = Rig::new(&TWO[..1], LEAST_BUSY);
    let mut talks: Vec<_> = (0..2)
        .map(|_| {
            let mut talk = rig.talk();
            talk.say(post("/v1/completions", "same", &[]));
            talk.say(asked(BODY, true));
            talk
        })
        .collect();
    assert_eq!(rig.in_flight(), [2]);
    talks[0].say(answered("200", &[], true));
    assert_eq!(rig.in_flight(), [1]);
    drop(talks);
    assert_eq!((rig.in_flight(), rig.ended()), (vec![0], [1, 0, 0, 1]));
}

#[test]
fn an_endpoint_that_served_instead_counts_from_then_on() {
    let rig = Rig::new(TWO, LEAST_BUSY);
    let mut talk = rig.talk();
    talk.say(post("/v1/completions", "retried", &[]));
    let picked = destination(&talk.say(asked(BODY, true)));
    let other = TWO.iter().find(|at| **at != picked.to_string()).unwrap();
    let at = TWO.iter().position(|two| two == other).unwrap();
    talk.say(served_by(answered("200", &[], false), other));
    assert_eq!((rig.in_flight()[at], rig.in_flight()[1 - at]), (1, 0));
    talk.say(reply("x", true));
    assert_eq!(rig.in_flight(), [0, 0]);
    let outcome = rig.router.find("retried").unwrap().outcome.unwrap();
    assert_eq!(outcome.served, Some(at as u32));
    assert_eq!(outcome.attempts.len(), 2);
    let elsewhere = &rig.router.counts.served_elsewhere;
    assert_eq!(elsewhere.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[test]
fn usage_counts_whatever_the_answer_is_called() {
    let rig = Rig::new(TWO, LEAST_BUSY);
    let usage = r#"{"usage":{"prompt_tokens":5,"completion_tokens":2}}"#;
    for (id, kind) in [
        ("none", ""),
        ("text", "text/plain"),
        ("problem", "application/problem+json"),
    ] {
        let mut talk = rig.talk();
        talk.say(post("/v1/completions", id, &[]));
        talk.say(asked(BODY, true));
        let fields = [("content-type", kind)];
        let fields = &fields[usize::from(kind.is_empty())..];
        talk.say(answered("200", fields, false));
        talk.say(reply(usage, true));
        let outcome = rig.router.find(id).unwrap().outcome.unwrap();
        let told = outcome.usage.map(|usage| usage.prompt_tokens);
        assert_eq!(told, Some(5), "{kind}");
    }
}

#[test]
fn a_stream_that_was_not_asked_for_counts_as_one() {
    let rig = Rig::new(TWO, LEAST_BUSY);
    let mut talk = rig.talk();
    talk.say(post("/v1/completions", "id", &[]));
    talk.say(asked(BODY, true));
    talk.say(answered(
        "200",
        &[("content-type", "text/event-stream")],
        false,
    ));
    talk.say(reply("data: {}\n\n", false));
    talk.say(reply("data: [DONE]\n\n", true));
    // A request whose client leaves is no error.
    let mut talk = rig.talk();
    talk.say(post("/v1/completions", "gone", &[]));
    talk.say(asked(BODY, true));
    drop(talk);
    let page = pointsman_serve::admin::metrics::render(&rig.router);
    let count = |family: &str, label: &str| {
        let lines = page
            .lines()
            .filter(|line| line.starts_with(family) && line.contains(label));
        let numbers = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        numbers.sum::<f64>()
    };
    let first = "llm_d_epp_request_ttft_seconds_count";
    assert_eq!(count(first, "streaming=\"true\""), 1.0);
    assert_eq!(count(first, "streaming=\"false\""), 0.0);
    assert_eq!(
        count("llm_d_epp_request_streaming_itl_seconds_count", ""),
        1.0
    );
    assert_eq!(count("llm_d_epp_request_error_total", ""), 0.0);
    let sizes = count("llm_d_epp_request_size_bytes_sum", "");
    assert_eq!(sizes, 2.0 * BODY.len() as f64, "the body, not the prompt");
}

#[test]
fn the_token_of_a_session_names_who_answered() {
    let config = LEAST_BUSY
        .replace(
            "- type: active",
            "- type: session-affinity-scorer\n- type: active",
        )
        .replace(
            "[{pluginRef: active",
            "[{pluginRef: session-affinity-scorer}, {pluginRef: active",
        );
    let rig = Rig::new(TWO, &config);
    let tokens = ["ZGVmYXVsdC8w", "ZGVmYXVsdC8x"];
    let mut talk = rig.talk();
    talk.say(post("/v1/completions", "id", &[]));
    let picked = destination(&talk.say(asked(BODY, true)));
    let at = TWO
        .iter()
        .position(|two| *two != picked.to_string())
        .unwrap();
    let head = talk.say(served_by(answered("200", &[], false), TWO[at]));
    let told = head.concat();
    assert!(
        told.contains(tokens[at]) && !told.contains(tokens[1 - at]),
        "{told}"
    );
    let mut talk = rig.talk();
    talk.say(post(
        "/v1/completions",
        "id",
        &[("x-session-token", tokens[at])],
    ));
    let next = destination(&talk.say(asked(BODY, true)));
    assert_eq!(next.to_string(), TWO[at]);
}

#[test]
fn a_proxy_s_word_on_how_long_prefill_took_is_in_the_receipt() {
    let rig = Rig::new(TWO, LEAST_BUSY);
    for (id, field, took) in [
        (
            "told",
            Some("cache;dur=1, prefill;dur=21.5"),
            Some(21_500_000),
        ),
        ("untold", None, None),
    ] {
        let mut talk = rig.talk();
        talk.say(post("/v1/completions", id, &[]));
        talk.say(asked(BODY, true));
        let fields: Vec<_> = field
            .map(|text| ("server-timing", text))
            .into_iter()
            .collect();
        talk.say(answered("200", &fields, false));
        talk.say(reply("x", true));
        let outcome = rig.router.find(id).unwrap().outcome.unwrap();
        assert_eq!(outcome.prefill.map(|span| span.0), took, "{id}");
    }
}

#[test]
fn what_is_wanted_only_cached_goes_where_it_is_cached() {
    let config = LEAST_BUSY
        .replace(
            "- type: active",
            "- type: prefix-cache-scorer\n- type: active",
        )
        .replace(
            "[{pluginRef: active",
            "[{pluginRef: prefix-cache-scorer}, {pluginRef: active",
        );
    let rig = Rig::new(&TWO[..1], &config);
    let body = format!("{{\"model\":\"m\",\"prompt\":\"{}\"}}", "x".repeat(10_000));
    let ask = |fields: &[(&str, &str)]| {
        let mut talk = rig.talk();
        talk.say(post("/v1/completions", "id", fields));
        talk.say(asked(body.clone(), true)).remove(0)
    };
    let only = [("prefer", "respond-async, if-available")];
    assert!(ask(&only).starts_with("immediate 412"));
    // A refusal teaches nothing.
    assert!(ask(&only).starts_with("immediate 412"));
    assert!(ask(&[]).starts_with("request_headers"));
    assert!(ask(&only).starts_with("request_headers"));
    assert_eq!(rig.in_flight(), [0]);
}
