//! The two legs of a generation request.

use std::time::Duration;

use http::Request;
use pointsman_http::Fault;
use pointsman_wire::handoff::parse_internal_id;

use crate::rig::{Engine, Front, Manner, config, error_code, nowhere, soon};

const BODY: &str =
    r#"{"model":"m",  "max_tokens":64,"stream":true,"stream_options":{},"prompt":"héllo"}"#;

#[tokio::test]
async fn both_legs_carry_one_id_and_decode_gets_the_clients_bytes() {
    let prefill = Engine::start(Manner::Answer(200, "thrown away"));
    let decode = Engine::start(Manner::Answer(201, "decoded"));
    let front = Front::start(&prefill.url(), &decode.url());
    let request = Request::post("/v1/completions?x=1")
        .header("authorization", "Bearer k")
        .header("x-request-id", "mine")
        .header("connection", "keep-alive, x-secret")
        .header("x-secret", "1")
        .header("te", "trailers")
        .header("proxy-authorization", "p");
    let (answer, body) = front.send(request, BODY).await;
    assert_eq!((answer.status().as_u16(), body.as_str()), (201, "decoded"));
    assert_eq!(answer.headers()["x-engine"], "yes");
    assert_eq!(answer.headers()["x-request-id"], "mine");
    assert_eq!(answer.headers()["content-length"], "7");

    let (first, second) = (prefill.seen(), decode.seen());
    let ([first], [second]) = (first.as_slice(), second.as_slice()) else {
        panic!("one leg each")
    };
    assert_eq!(
        first.body,
        r#"{"model":"m","prompt":"héllo","max_tokens":1,"stream":false}"#
    );
    assert_eq!(second.body, BODY);
    let id = first.headers["x-request-id"].to_str().unwrap();
    assert_eq!(id, second.headers["x-request-id"]);
    let pair = parse_internal_id(id).unwrap();
    assert_eq!(
        (pair.prefill, pair.decode),
        ("vllm-prefill-fs", "vllm-decode-fs")
    );
    for (seen, engine) in [(first, &prefill), (second, &decode)] {
        assert_eq!(
            (seen.method.as_str(), seen.path.as_str()),
            ("POST", "/v1/completions?x=1")
        );
        assert_eq!(seen.headers["host"], engine.addr.to_string());
        assert_eq!(seen.headers["authorization"], "Bearer k");
        assert_eq!(seen.headers["content-length"], seen.body.len().to_string());
        for gone in ["x-secret", "te", "proxy-authorization", "connection"] {
            assert!(!seen.headers.contains_key(gone), "{gone}");
        }
    }
    assert_eq!(front.tally().requests, 1);
    assert!(front.warnings.lock().unwrap().is_empty());
}

#[tokio::test]
async fn equal_client_ids_make_different_legs() {
    let prefill = Engine::start(Manner::Answer(200, ""));
    let decode = Engine::start(Manner::Answer(200, ""));
    let front = Front::start(&prefill.url(), &decode.url());
    for _ in 0..2 {
        front
            .send(
                Request::post("/v1/completions").header("x-request-id", "same"),
                BODY,
            )
            .await;
    }
    let seen = decode.seen();
    assert_ne!(
        seen[0].headers["x-request-id"],
        seen[1].headers["x-request-id"]
    );
}

#[tokio::test]
async fn a_token_reaches_the_client_before_the_next_is_made() {
    let prefill = Engine::start(Manner::Answer(200, ""));
    let decode = Engine::start(Manner::Stream);
    let front = Front::start(&prefill.url(), &decode.url());
    let mut raw = front.raw_chat(BODY).await;
    let stream = decode.stream().await;
    raw.read_until("\r\n\r\n").await;
    for piece in [
        "data: {\"a\":1}\n\n",
        "data: h\u{e9}",
        "\r\n\r\n: comment\n\n",
    ] {
        stream.send(piece).await.unwrap();
        assert_eq!(
            raw.read_until(piece).await,
            format!("{:X}\r\n{piece}\r\n", piece.len())
        );
    }
    stream.finish();
    assert_eq!(raw.read_until("\r\n\r\n").await, "0\r\n\r\n");
}

#[tokio::test]
async fn a_prefill_that_blames_the_client_ends_the_request() {
    for status in [400, 401, 404, 422] {
        let prefill = Engine::start(Manner::Answer(status, "your fault"));
        let decode = Engine::start(Manner::Answer(200, ""));
        let front = Front::start(&prefill.url(), &decode.url());
        let (answer, body) = front.post("/v1/completions", BODY).await;
        assert_eq!(
            (answer.status().as_u16(), body.as_str()),
            (status, "your fault")
        );
        assert!(decode.seen().is_empty());
        assert_eq!(front.tally().prefill_refused, 1);
    }
}

#[tokio::test]
async fn without_prefill_decode_computes_the_prompt_itself() {
    let decode = Engine::start(Manner::Answer(200, "decoded"));
    for status in [500, 503, 429, 408, 302] {
        let prefill = Engine::start(Manner::Answer(status, "overloaded"));
        let front = Front::start(&prefill.url(), &decode.url());
        let (answer, body) = front.post("/v1/completions", BODY).await;
        assert_eq!(
            (answer.status().as_u16(), body.as_str()),
            (200, "decoded"),
            "{status}"
        );
        assert_eq!(front.tally().prefill_failed, 1);
        let warnings = front.warnings.lock().unwrap();
        assert!(
            warnings[0].starts_with("prefill failed, decode computes the prompt itself: "),
            "{}",
            warnings[0]
        );
    }
    let front = Front::start(&nowhere(), &decode.url());
    assert_eq!(front.post("/v1/completions", BODY).await.1, "decoded");
    let alone = decode.seen().pop().unwrap();
    assert_eq!(alone.body, BODY);
    let id = alone.headers["x-request-id"].to_str().unwrap();
    assert_eq!(parse_internal_id(id), None, "an engine would wait for it");

    let prefill = Engine::start(Manner::Silent);
    let mut late = config(&prefill.url(), &decode.url());
    late.prefill_timeout = Duration::from_millis(30);
    let front = Front::with(late);
    assert_eq!(front.post("/v1/completions", BODY).await.1, "decoded");
    prefill.is_left().await;
}

#[tokio::test]
async fn without_decode_there_is_no_answer() {
    let prefill = Engine::start(Manner::Answer(200, ""));
    let front = Front::start(&prefill.url(), &nowhere());
    let (answer, body) = front.post("/v1/completions", BODY).await;
    assert_eq!(
        (answer.status().as_u16(), error_code(&body).as_str()),
        (502, "upstream-unreachable")
    );
    assert_eq!(front.tally().decode_failed, 1);

    let decode = Engine::start(Manner::Silent);
    let mut late = config(&prefill.url(), &decode.url());
    late.first_byte_timeout = Duration::from_millis(30);
    let (answer, body) = Front::with(late).post("/v1/completions", BODY).await;
    assert_eq!(
        (answer.status().as_u16(), error_code(&body).as_str()),
        (504, "upstream-timeout")
    );
    decode.is_left().await;
}

#[tokio::test]
async fn an_engines_own_error_is_passed_on() {
    let prefill = Engine::start(Manner::Answer(200, ""));
    let decode = Engine::start(Manner::Answer(500, "EngineDeadError"));
    let front = Front::start(&prefill.url(), &decode.url());
    let (answer, body) = front.post("/v1/completions", BODY).await;
    assert_eq!(
        (answer.status().as_u16(), body.as_str()),
        (500, "EngineDeadError")
    );
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_leg_that_runs() {
    let prefill = Engine::start(Manner::Silent);
    let decode = Engine::start(Manner::Silent);
    let front = Front::start(&prefill.url(), &decode.url());
    let raw = front.raw_chat(BODY).await;
    prefill.first().await;
    drop(raw);
    prefill.is_left().await;
    assert!(decode.seen().is_empty());

    let willing = Engine::start(Manner::Answer(200, ""));
    let front = Front::start(&willing.url(), &decode.url());
    let raw = front.raw_chat(BODY).await;
    decode.first().await;
    drop(raw);
    decode.is_left().await;

    let streaming = Engine::start(Manner::Stream);
    let front = Front::start(&willing.url(), &streaming.url());
    let mut raw = front.raw_chat(BODY).await;
    let stream = streaming.stream().await;
    stream.send("data: 1\n\n").await.unwrap();
    raw.read_until("data: 1").await;
    drop(raw);
    soon(stream.closed()).await;
}

#[tokio::test]
async fn a_slow_proxy_takes_that_many_times_as_long() {
    let pause = Duration::from_millis(40);
    let prefill = Engine::start(Manner::Answer(200, ""));
    let decode = Engine::start(Manner::After(pause));
    let front = Front::start(&prefill.url(), &decode.url());
    front.faults.set(Fault::Slow(3.0));
    let start = tokio::time::Instant::now();
    assert_eq!(front.post("/v1/completions", BODY).await.1, "late");
    assert!(start.elapsed() >= pause * 3);
}

#[tokio::test]
async fn engines_may_have_host_names() {
    let prefill = Engine::start(Manner::Answer(200, ""));
    let decode = Engine::start(Manner::Answer(200, "decoded"));
    let by_name = |engine: &Engine| format!("http://localhost:{}", engine.addr.port());
    let front = Front::start(&by_name(&prefill), &by_name(&decode));
    assert_eq!(front.post("/v1/completions", BODY).await.1, "decoded");
    assert_eq!(
        decode.seen()[0].headers["host"],
        format!("localhost:{}", decode.addr.port())
    );
    assert_eq!(prefill.seen().len(), 1);
}
