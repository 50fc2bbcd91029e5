//! What each dialect tells the two engines.

use std::time::Duration;

use http::Request;
use pointsman_serve::door::proxy::config::{OnPrefillFailure, ProxyKind};
use pointsman_wire::handoff::parse_internal_id;
use serde_json::json;

use crate::rig::{Engine, Front, Manner, error_code, more, nowhere, spoken};

const CHAT: &str = "/v1/chat/completions";
const BODY: &str = r#"{"model":"m","max_tokens":9,"stream":true,"messages":[]}"#;
const PARAMS: &str = r#"{"id":"x","kv_transfer_params":{"do_remote_prefill":true,"do_remote_decode":false,"remote_engine_id":"e","remote_block_ids":[1, 2],"remote_host":"h","remote_port":5600,"tp_size":1}}"#;

#[tokio::test]
async fn nixlv2_repeats_to_decode_what_prefill_said() {
    let prefill = Engine::start(Manner::Answer(200, PARAMS));
    let decode = Engine::start(Manner::Answer(200, "done"));
    let front = Front::with(spoken(ProxyKind::NixlV2, &prefill.url(), &decode.url()));
    assert_eq!(front.post(CHAT, BODY).await.1, "done");
    let (first, second) = (&prefill.generations()[0], &decode.generations()[0]);
    assert_eq!(first.id(), second.id());
    assert_eq!(parse_internal_id(&first.id()), None);
    let asked = first.json();
    assert_eq!(
        (&asked["stream"], &asked["min_tokens"]),
        (&json!(false), &json!(1))
    );
    assert_eq!(asked["kv_transfer_params"]["do_remote_decode"], true);
    let start = &BODY[..BODY.len() - 1];
    let params = &PARAMS[PARAMS.find("{\"do").unwrap()..PARAMS.len() - 1];
    assert_eq!(
        second.body,
        format!("{start},\"kv_transfer_params\":{params}}}")
    );
    assert_eq!(front.tally().fallbacks, 0);
    // The other generation paths are handed off as well.
    front.post("/v1/responses", r#"{"input":"p"}"#).await;
    assert_eq!(prefill.generations()[1].json()["max_output_tokens"], 1);
}

#[tokio::test]
async fn a_stored_prefix_is_asked_for_first() {
    const DECLINED: &str = r#"{"choices":[{"index":0,"finish_reason":"cache_threshold"}]}"#;
    const EVENT: &str =
        "data: {\"choices\":[{\"finish_reason\":\"cache_threshold\"}]}\n\ndata: [DONE]\n\n";
    const WHOLE: &str = r#"{"choices":[{"index":0,"finish_reason":"stop"}]}"#;
    let body = r#"{"prompt":"p","cache_hit_threshold":0.5}"#;
    let open = r#"{"prompt":"p","cache_hit_threshold":0}"#;
    for declined in [
        &[Manner::Answer(200, DECLINED), Manner::Answer(200, "done")],
        &[Manner::Events(EVENT), Manner::Answer(200, "done")] as &'static [Manner],
    ] {
        let prefill = Engine::start(Manner::Answer(200, "{}"));
        let decode = Engine::start(Manner::Turns(declined));
        let front = Front::with(spoken(
            ProxyKind::SharedStorage,
            &prefill.url(),
            &decode.url(),
        ));
        assert_eq!(front.post(CHAT, body).await.1, "done");
        let (asked, told) = (prefill.generations(), decode.generations());
        let bodies: Vec<_> = told.iter().map(|seen| seen.body.as_str()).collect();
        assert_eq!(bodies, [body, open]);
        assert_eq!(asked.len(), 1);
        assert_eq!(
            (
                asked[0].id(),
                asked[0].json()["max_completion_tokens"].clone()
            ),
            (told[1].id(), json!(1))
        );
        assert_ne!(told[0].id(), told[1].id());
    }
    // An answer at once is the answer, whatever its form.
    for manner in [
        Manner::Answer(200, WHOLE),
        Manner::Answer(503, "busy"),
        Manner::Events("data: {\"choices\":[{\"delta\":{}}]}\n\n"),
    ] {
        let prefill = Engine::start(Manner::Answer(200, "{}"));
        let expected = match &manner {
            Manner::Answer(_, text) | Manner::Events(text) => *text,
            other => panic!("{other:?}"),
        };
        let decode = Engine::start(manner);
        let front = Front::with(spoken(
            ProxyKind::SharedStorage,
            &prefill.url(),
            &decode.url(),
        ));
        assert_eq!(front.post(CHAT, body).await.1, expected);
        assert!(prefill.generations().is_empty());
    }
    // Without the field prefill comes first.
    let prefill = Engine::start(Manner::Answer(200, "{}"));
    let decode = Engine::start(Manner::Answer(200, DECLINED));
    let front = Front::with(spoken(
        ProxyKind::SharedStorage,
        &prefill.url(),
        &decode.url(),
    ));
    assert_eq!(front.post(CHAT, BODY).await.1, DECLINED);
    assert_eq!(
        (prefill.generations().len(), decode.generations().len()),
        (1, 1)
    );
}

#[tokio::test]
async fn an_lmcache_decode_gets_the_clients_bytes() {
    let (prefill, decode) = (
        Engine::start(Manner::Answer(200, "{}")),
        Engine::start(Manner::Answer(200, "done")),
    );
    let front = Front::with(spoken(ProxyKind::Lmcache, &prefill.url(), &decode.url()));
    assert_eq!(front.post(CHAT, BODY).await.1, "done");
    assert_eq!(decode.generations()[0].body, BODY);
    assert_eq!(
        prefill.generations()[0].json(),
        json!({"model": "m", "stream": true, "messages": [], "max_tokens": 1, "max_completion_tokens": 1})
    );
}

#[tokio::test]
async fn an_sglang_pair_works_at_the_same_time() {
    let pause = Duration::from_millis(800);
    let prefill = Engine::start(Manner::After(pause));
    let decode = Engine::start(Manner::Answer(200, "done"));
    let front = Front::with(spoken(ProxyKind::Sglang, &prefill.url(), &decode.url()));
    let asking = front.post(CHAT, BODY);
    tokio::pin!(asking);
    tokio::select! {
        _ = &mut asking => panic!("the answer is held until prefill has done its part"),
        _ = async { tokio::join!(prefill.first(), decode.first()) } => {}
    }
    assert_eq!(asking.await.1, "done");
    let (first, second) = (
        prefill.generations()[0].json(),
        decode.generations()[0].json(),
    );
    assert_eq!(first, second);
    assert_eq!(
        (&first["bootstrap_host"], &first["bootstrap_port"]),
        (&json!("127.0.0.1"), &json!(8998))
    );
    assert!(first["bootstrap_room"].as_i64().unwrap() > 0);
    assert_eq!(first["max_tokens"], 9);
}

#[tokio::test]
async fn a_failed_sglang_prefill_does_not_leave_decode_waiting() {
    let decode = Engine::start(Manner::Silent);
    for (prefill, status, code) in [
        (nowhere(), 502, "upstream-unreachable"),
        (
            Engine::start(Manner::Answer(500, "")).url(),
            502,
            "upstream-unreachable",
        ),
    ] {
        let front = Front::with(spoken(ProxyKind::Sglang, &prefill, &decode.url()));
        let (answer, body) = front.post(CHAT, BODY).await;
        assert_eq!(
            (answer.status().as_u16(), error_code(&body).as_str()),
            (status, code)
        );
    }
    decode.is_left().await;
    // The next prefill gets a room of its own.
    let (prefill, decode) = (
        Engine::start(Manner::After(Duration::from_millis(20))),
        Engine::start(Manner::Answer(200, "done")),
    );
    let sick = Engine::start(Manner::Answer(500, ""));
    let mut several = spoken(ProxyKind::Sglang, &sick.url(), &decode.url());
    several.more_prefills = vec![more(&prefill.url(), "good")];
    several.on_prefill_failure = OnPrefillFailure::Local;
    let front = Front::with(several);
    assert_eq!(front.post(CHAT, BODY).await.1, "done");
    let room =
        |engine: &Engine| engine.generations().pop().unwrap().json()["bootstrap_room"].clone();
    assert_eq!(room(&prefill), room(&decode));
    assert_ne!(room(&prefill), room(&sick));
    // A decode that blames the client does not wait for prefill.
    let (slow, strict) = (
        Engine::start(Manner::Silent),
        Engine::start(Manner::Answer(422, "no")),
    );
    let front = Front::with(spoken(ProxyKind::Sglang, &slow.url(), &strict.url()));
    assert_eq!(front.post(CHAT, BODY).await.1, "no");
    slow.is_left().await;
}

#[tokio::test]
async fn a_picker_may_choose_among_the_prefills_it_was_given() {
    let (one, two) = (
        Engine::start(Manner::Answer(200, "")),
        Engine::start(Manner::Answer(200, "")),
    );
    let decode = Engine::start(Manner::Answer(200, "done"));
    let mut several = spoken(ProxyKind::Fs, &one.url(), &decode.url());
    several.more_prefills = vec![more(&two.url(), "two")];
    let front = Front::with(several);
    for _ in 0..3 {
        let chosen = Request::post(CHAT).header("x-prefiller-host-port", two.addr.to_string());
        front.send(chosen, BODY).await;
    }
    assert_eq!((one.generations().len(), two.generations().len()), (0, 3));
    let forged = Request::post(CHAT).header("x-prefiller-host-port", "169.254.169.254:80");
    assert_eq!(front.send(forged, BODY).await.1, "done");
    for seen in [two.generations(), decode.generations()].concat() {
        assert!(!seen.headers.contains_key("x-prefiller-host-port"));
    }
}
