//! The faults that a P/D proxy must survive, one test each; the numbers are those of `docs/proxy.md`.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use pointsman_serve::door::proxy::config::{OnPrefillFailure, ProxyKind};
use pointsman_wire::handoff::parse_internal_id;

use crate::rig::{Engine, Front, Manner, config, error_code, more, nowhere, soon, spoken};

const BODY: &str = r#"{"model":"m","stream":true,"prompt":"p"}"#;
const PATH: &str = "/v1/completions";
const PARAMS: &str = r#"{"id":"x","kv_transfer_params":{"do_remote_prefill":true,"do_remote_decode":false,"remote_engine_id":"e","remote_block_ids":[1,2],"remote_host":"h","remote_port":5600}}"#;
const LATER_PARAMS: &str = r#"{"id":"y","kv_transfer_params":{"do_remote_prefill":true,"do_remote_decode":false,"remote_engine_id":"e","remote_block_ids":[3,4],"remote_host":"h","remote_port":5600}}"#;

fn good() -> Engine {
    Engine::start(Manner::Answer(200, "done"))
}

/// A POST whose status and error code (or body) are these.
async fn answered(front: &Front, status: u16, expected: &str) {
    let (answer, body) = front.post(PATH, BODY).await;
    let found = match answer.status().as_u16() {
        200 => body,
        _ => error_code(&body),
    };
    assert_eq!(
        (answer.status().as_u16(), found.as_str()),
        (status, expected)
    );
}

#[tokio::test]
async fn p1_a_refused_prefill_is_followed_by_the_next() {
    let (prefill, decode) = (good(), good());
    let mut several = config(&nowhere(), &decode.url());
    several.more_prefills = vec![more(&nowhere(), "other"), more(&prefill.url(), "last")];
    let front = Front::with(several);
    answered(&front, 200, "done").await;
    let (first, second) = (prefill.generations(), decode.generations());
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_eq!(first[0].id(), second[0].id());
    assert_eq!(parse_internal_id(&first[0].id()).unwrap().prefill, "last");
    assert_eq!(
        (front.tally().prefill_failed, front.tally().fallbacks),
        (2, 0)
    );
}

#[tokio::test]
async fn p1_without_any_prefill_decode_is_alone_or_the_client_told() {
    let decode = good();
    let front = Front::start(&nowhere(), &decode.url());
    let (answer, _) = front.post(PATH, BODY).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(
        answer.headers()["x-pointsman-prefill-fallback"],
        "unreachable"
    );
    let alone = &decode.generations()[0];
    assert_eq!(
        (alone.body.as_str(), parse_internal_id(&alone.id())),
        (BODY, None)
    );
    assert_eq!(front.tally().fallbacks, 1);

    let mut strict = config(&nowhere(), &decode.url());
    strict.on_prefill_failure = OnPrefillFailure::Error;
    let front = Front::with(strict);
    answered(&front, 502, "upstream-unreachable").await;
    assert_eq!(decode.generations().len(), 1, "decode is left alone");
    assert_eq!(front.tally().fallbacks, 0);
}

#[tokio::test]
async fn p2_a_prefills_error_is_made_up_for_and_its_reproach_passed_on() {
    for status in [500, 502, 503, 429, 408] {
        let prefill = Engine::start(Manner::Answer(status, "{}"));
        let decode = good();
        answered(&Front::start(&prefill.url(), &decode.url()), 200, "done").await;
        assert_eq!(prefill.generations().len(), 1);
        let mut strict = config(&prefill.url(), &decode.url());
        strict.on_prefill_failure = OnPrefillFailure::Error;
        answered(&Front::with(strict), 502, "upstream-unreachable").await;
        assert_eq!(decode.generations().len(), 1, "{status}");
    }
    for status in [400, 401, 404, 422] {
        let prefill = Engine::start(Manner::Answer(status, "as it is"));
        let (spare, decode) = (good(), good());
        let mut several = config(&prefill.url(), &decode.url());
        several.more_prefills = vec![more(&spare.url(), "spare")];
        let (answer, body) = Front::with(several).post(PATH, BODY).await;
        assert_eq!(
            (answer.status().as_u16(), body.as_str()),
            (status, "as it is")
        );
        assert!(spare.seen().is_empty() && decode.seen().is_empty());
    }
}

#[tokio::test]
async fn p3_a_prefill_that_hangs_is_left_at_its_deadline() {
    let prefill = Engine::start(Manner::Silent);
    let decode = good();
    let mut short = config(&prefill.url(), &decode.url());
    short.prefill_timeout = Duration::from_millis(1500);
    let front = Front::with(short.clone());
    let asking = front.post(PATH, BODY);
    tokio::pin!(asking);
    let early = tokio::select! {
        _ = &mut asking => panic!("answered before the deadline"),
        _ = prefill.first() => decode.seen(),
    };
    assert!(early.is_empty(), "decode is not started early");
    let (answer, body) = asking.await;
    assert_eq!((answer.status().as_u16(), body.as_str()), (200, "done"));
    assert_eq!(answer.headers()["x-pointsman-prefill-fallback"], "timeout");
    prefill.is_left().await;

    short.on_prefill_failure = OnPrefillFailure::Error;
    answered(&Front::with(short), 504, "upstream-timeout").await;
    prefill.is_left().await;
}

#[tokio::test]
async fn p3_a_request_may_set_the_deadline_within_bounds() {
    let prefill = Engine::start(Manner::Silent);
    let decode = good();
    let with = |value: &str| {
        Request::post(PATH).header("x-pointsman-prefill-timeout-ms", value.to_owned())
    };
    let front = Front::start(&prefill.url(), &decode.url());
    assert_eq!(front.send(with("30"), BODY).await.1, "done");
    let mut capped = config(&prefill.url(), &decode.url());
    capped.max_prefill_timeout = Duration::from_millis(30);
    assert_eq!(
        Front::with(capped).send(with("600000"), BODY).await.1,
        "done"
    );
    for seen in [prefill.generations(), decode.generations()].concat() {
        assert!(!seen.headers.contains_key("x-pointsman-prefill-timeout-ms"));
    }
    for wrong in ["", "0", "-1", "soon", "1e9", "99999999999999999999999"] {
        let (answer, body) = front.send(with(wrong), BODY).await;
        assert_eq!(
            (answer.status().as_u16(), error_code(&body).as_str()),
            (400, "malformed")
        );
    }
}

#[tokio::test]
async fn p4_a_refused_decode_is_followed_by_another_with_a_fresh_prefill() {
    let (prefill, decode) = (good(), good());
    let mut several = config(&prefill.url(), &nowhere());
    several.more_decodes = vec![more(&decode.url(), "other")];
    let front = Front::with(several);
    answered(&front, 200, "done").await;
    let (prefills, decodes) = (prefill.generations(), decode.generations());
    assert_eq!((prefills.len(), decodes.len()), (2, 1));
    let (first, second) = (prefills[0].id(), prefills[1].id());
    assert_eq!(second, decodes[0].id());
    let (first, second) = (
        parse_internal_id(&first).unwrap(),
        parse_internal_id(&second).unwrap(),
    );
    assert_ne!(first.unique, second.unique);
    assert_eq!((first.decode, second.decode), ("vllm-decode-fs", "other"));
    assert_eq!(
        (front.tally().decode_failed, front.tally().decode_retries),
        (1, 1)
    );
}

#[tokio::test]
async fn p4_only_one_other_decode_is_tried() {
    let prefill = good();
    answered(
        &Front::start(&prefill.url(), &nowhere()),
        502,
        "upstream-unreachable",
    )
    .await;
    let decode = good();
    let mut several = config(&prefill.url(), &nowhere());
    several.more_decodes = vec![more(&nowhere(), "b"), more(&decode.url(), "c")];
    let front = Front::with(several);
    answered(&front, 502, "upstream-unreachable").await;
    assert!(decode.seen().is_empty());
    assert_eq!(front.tally().decode_failed, 2);
}

#[tokio::test]
async fn p4_transfer_parameters_are_never_told_twice() {
    const TURNS: &[Manner] = &[
        Manner::Answer(200, PARAMS),
        Manner::Answer(200, LATER_PARAMS),
    ];
    let prefill = Engine::start(Manner::Turns(TURNS));
    let decode = good();
    let mut several = spoken(ProxyKind::NixlV2, &prefill.url(), &nowhere());
    several.more_decodes = vec![more(&decode.url(), "other")];
    answered(&Front::with(several), 200, "done").await;
    let told = decode.generations()[0].json();
    assert_eq!(
        told["kv_transfer_params"]["remote_block_ids"],
        serde_json::json!([3, 4])
    );
}

#[tokio::test]
async fn p5_a_decode_that_dies_within_its_answer_ends_in_an_error_event() {
    let prefill = good();
    let decode = Engine::start(Manner::Stream);
    let front = Front::start(&prefill.url(), &decode.url());
    let mut raw = front.raw_chat(BODY).await;
    let stream = decode.stream().await;
    stream.send("data: {\"n\":1}\n\n").await.unwrap();
    raw.read_until("\"n\":1").await;
    drop(stream);
    let (rest, _) = raw.read_to_end().await;
    assert!(rest.contains("data: {\"error\":{\"message\":"), "{rest}");
    assert!(!rest.contains("[DONE]"), "{rest}");
    assert_eq!((front.tally().broken, front.tally().requests), (1, 1));
}

#[tokio::test]
async fn p6_a_client_that_leaves_takes_both_legs_with_it() {
    // During prefill.
    let silent = Engine::start(Manner::Silent);
    let decode = good();
    let front = Front::start(&silent.url(), &decode.url());
    let raw = front.raw_chat(BODY).await;
    silent.first().await;
    drop(raw);
    silent.is_left().await;
    // Between the legs: the prompt is computed, its answer not read to the end.
    let slow = Engine::start(Manner::Slowly(Duration::from_secs(60), PARAMS));
    let between = Front::start(&slow.url(), &decode.url());
    let raw = between.raw_chat(BODY).await;
    slow.first().await;
    drop(raw);
    slow.is_left().await;
    assert!(decode.seen().is_empty(), "no decode leg without a client");
    // Before decode's first byte, and within its answer.
    let prefill = good();
    let front_two = Front::start(&prefill.url(), &silent.url());
    let raw = front_two.raw_chat(BODY).await;
    soon(async {
        while silent.generations().len() < 2 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    drop(raw);
    silent.is_left().await;
    let streaming = Engine::start(Manner::Stream);
    let within = Front::start(&prefill.url(), &streaming.url());
    let mut raw = within.raw_chat(BODY).await;
    let stream = streaming.stream().await;
    stream.send("data: 1\n\n").await.unwrap();
    raw.read_until("data: 1").await;
    drop(raw);
    soon(stream.closed()).await;
    for front in [&front, &between, &front_two, &within] {
        soon(async {
            while front.tally().aborted < 1 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn p6_concurrent_legs_are_both_aborted() {
    let (prefill, decode) = (Engine::start(Manner::Silent), Engine::start(Manner::Silent));
    let front = Front::with(spoken(ProxyKind::Sglang, &prefill.url(), &decode.url()));
    let raw = front.raw_chat(BODY).await;
    prefill.first().await;
    decode.first().await;
    drop(raw);
    prefill.is_left().await;
    decode.is_left().await;
}

#[tokio::test]
async fn p7_a_cache_that_has_grown_too_old_is_computed_again() {
    const TURNS: &[Manner] = &[
        Manner::Slowly(Duration::from_millis(1500), PARAMS),
        Manner::Answer(200, LATER_PARAMS),
    ];
    let prefill = Engine::start(Manner::Turns(TURNS));
    let decode = good();
    let mut leased = spoken(ProxyKind::NixlV2, &prefill.url(), &decode.url());
    leased.kv_lease = Some(Duration::from_millis(2400));
    let front = Front::with(leased);
    answered(&front, 200, "done").await;
    let told = decode.generations()[0].json();
    assert_eq!(
        told["kv_transfer_params"]["remote_block_ids"],
        serde_json::json!([3, 4])
    );
    let prefills = prefill.generations();
    assert_eq!(prefills.len(), 2);
    assert_ne!(prefills[0].id(), prefills[1].id());
    assert_eq!(front.tally().prefills_redone, 1);
}

#[tokio::test]
async fn p7_stale_parameters_are_never_sent() {
    let prefill = Engine::start(Manner::Slowly(Duration::from_millis(300), PARAMS));
    let decode = good();
    let mut leased = spoken(ProxyKind::NixlV2, &prefill.url(), &decode.url());
    leased.kv_lease = Some(Duration::from_millis(400));
    let front = Front::with(leased);
    let (answer, _) = front.post(PATH, BODY).await;
    assert_eq!(answer.headers()["x-pointsman-prefill-fallback"], "stale");
    assert_eq!(prefill.generations().len(), 2);
    let decodes = decode.generations();
    assert_eq!((decodes.len(), decodes[0].body.as_str()), (1, BODY));
}

#[tokio::test]
async fn p8_without_usable_parameters_decode_computes_the_prompt() {
    for answer in [
        "{}",
        "not json",
        r#"{"kv_transfer_params":null}"#,
        r#"{"kv_transfer_params":{"do_remote_prefill":true,"remote_engine_id":"e"}}"#,
    ] {
        let prefill = Engine::start(Manner::Answer(200, answer));
        let decode = good();
        let front = Front::with(spoken(ProxyKind::NixlV2, &prefill.url(), &decode.url()));
        let body = r#"{"prompt":"p","kv_transfer_params":{"remote_host":"forged"}}"#;
        let (reply, text) = front.post(PATH, body).await;
        assert_eq!((reply.status().as_u16(), text.as_str()), (200, "done"));
        assert_eq!(
            reply.headers()["x-pointsman-prefill-fallback"],
            "missing-params"
        );
        assert_eq!(decode.generations()[0].body, r#"{"prompt":"p"}"#);
        assert_eq!(front.tally().missing_params, 1);
        let warnings = front.warnings.lock().unwrap();
        assert!(
            warnings[0].contains("decode computes the prompt itself"),
            "{}",
            warnings[0]
        );
    }
}

#[tokio::test]
async fn p9_equal_client_ids_never_become_equal_internal_ones() {
    for kind in ProxyKind::ALL {
        let prefill = Engine::start(Manner::Answer(200, PARAMS));
        let decode = good();
        let front = Front::with(spoken(kind, &prefill.url(), &decode.url()));
        let ask = || front.send(Request::post(PATH).header("x-request-id", "same"), BODY);
        let (one, two) = tokio::join!(ask(), ask());
        for (answer, body) in [one, two] {
            assert_eq!((answer.status().as_u16(), body.as_str()), (200, "done"));
            assert_eq!(answer.headers()["x-request-id"], "same");
        }
        let mut ids: Vec<_> = decode.generations().iter().map(|seen| seen.id()).collect();
        ids.dedup();
        assert_eq!(ids.len(), 2, "{}", kind.name());
        assert!(!ids.contains(&"same".to_owned()));
        let both = [prefill.generations(), decode.generations()].concat();
        assert!(
            both.iter()
                .all(|seen| seen.headers.get_all("x-request-id").iter().count() == 1)
        );
    }
}

#[tokio::test]
async fn p10_what_is_too_large_is_refused_and_what_is_many_is_not() {
    let (prefill, decode) = (good(), good());
    let front = Front::start(&prefill.url(), &decode.url());
    let mut raw = crate::rig::Raw(
        soon(tokio::net::TcpStream::connect(front.addr))
            .await
            .unwrap(),
    );
    raw.write("POST /v1/chat/completions HTTP/1.1\r\nhost: f\r\ncontent-length: 209715200\r\n\r\n")
        .await;
    let answer = raw.read_until("}}").await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(prefill.seen().is_empty() && decode.seen().is_empty());

    let messages = vec![r#"{"role":"user","content":"Hi"}"#; 10_000].join(",");
    let body = format!("{{\"messages\":[{messages}],\"max_tokens\":5}}");
    assert_eq!(front.post("/v1/chat/completions", &body).await.1, "done");
    assert_eq!(decode.generations()[0].body, body);
    assert!(
        prefill.generations()[0]
            .body
            .ends_with("],\"max_tokens\":1}")
    );
}

#[tokio::test]
async fn p11_an_event_stream_passes_byte_for_byte_however_it_is_cut() {
    let text = format!(
        ": hello\r\n\r\nevent: x\r\ndata: {{\"t\":\"h\u{e9}\u{1f600}\"}}\r\n\r\ndata: {}\n\n: end\n\ndata: [DONE]\n\n",
        "x".repeat(1 << 20)
    );
    let bytes = Bytes::from(text.clone());
    let prefill = Engine::start(Manner::Answer(200, PARAMS));
    for kind in ProxyKind::ALL {
        let decode = Engine::start(Manner::Stream);
        let front = Front::with(spoken(kind, &prefill.url(), &decode.url()));
        let asking = front.post(PATH, BODY);
        let sending = async {
            let stream = decode.stream().await;
            // Every cut of the first hundred bytes, through names, line ends and characters.
            for at in 0..100 {
                stream.send(bytes.slice(at..=at)).await.unwrap();
            }
            for piece in bytes[100..].chunks(65_537) {
                stream.send(Bytes::copy_from_slice(piece)).await.unwrap();
            }
            stream.finish();
        };
        let ((_, found), ()) = tokio::join!(asking, sending);
        assert!(
            found == text,
            "{}: {} of {} bytes",
            kind.name(),
            found.len(),
            text.len()
        );
    }
}
