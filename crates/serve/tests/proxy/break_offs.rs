//! Answers that break after their head.

use std::time::Duration;

use pointsman_http::Fault;

use crate::rig::{Engine, Front, Manner, config, soon};

const BODY: &str = r#"{"model":"m","prompt":"p"}"#;

#[tokio::test]
async fn an_event_stream_ends_in_an_error_event() {
    let prefill = Engine::start(Manner::Answer(200, ""));
    let decode = Engine::start(Manner::Stream);
    let front = Front::start(&prefill.url(), &decode.url());
    let mut raw = front.raw_chat(BODY).await;
    let stream = decode.stream().await;
    stream.send("data: {\"n\":1}\n\n").await.unwrap();
    raw.read_until("\"n\":1").await;
    drop(stream);
    let (rest, _) = raw.read_to_end().await;
    assert!(rest.contains("data: {\"error\":{\"message\":"), "{rest}");
    assert!(!rest.contains("[DONE]"));
    assert_eq!(front.tally().broken, 1);
    assert!(front.warnings.lock().unwrap()[0].starts_with("decode broke off its answer: "));
}

#[tokio::test]
async fn any_other_answer_is_reset() {
    let prefill = Engine::start(Manner::Answer(200, ""));
    let decode = Engine::start(Manner::Plain);
    let front = Front::start(&prefill.url(), &decode.url());
    let mut raw = front.raw_chat(BODY).await;
    let stream = decode.stream().await;
    stream.send("{\"half\":").await.unwrap();
    raw.read_until("half").await;
    drop(stream);
    let (rest, orderly) = raw.read_to_end().await;
    assert!(!rest.contains("0\r\n\r\n") && !orderly, "{rest}");
}

#[tokio::test]
async fn an_answer_that_stands_still_counts_as_broken() {
    let prefill = Engine::start(Manner::Answer(200, ""));
    let decode = Engine::start(Manner::Stream);
    let mut short = config(&prefill.url(), &decode.url());
    short.stall_timeout = Duration::from_millis(50);
    let front = Front::with(short);
    let mut raw = front.raw_chat(BODY).await;
    let stream = decode.stream().await;
    stream.send("data: 1\n\n").await.unwrap();
    let (seen, _) = raw.read_to_end().await;
    assert!(
        seen.contains("data: 1\n\n") && seen.contains("data: {\"error\""),
        "{seen}"
    );
    soon(stream.closed()).await;
}

#[tokio::test]
async fn an_engine_told_to_die_dies_mid_stream() {
    let prefill = Engine::start(Manner::Answer(200, ""));
    let decode = Engine::start(Manner::Stream);
    decode.faults.set(Fault::DieMidStream);
    let front = Front::start(&prefill.url(), &decode.url());
    let mut raw = front.raw_chat(BODY).await;
    let stream = decode.stream().await;
    for _ in 0..2 {
        let _ = stream.send("data: 1\n\n").await;
    }
    let (seen, _) = raw.read_to_end().await;
    assert!(
        seen.contains("data: 1\n\n")
            && seen.contains("data: {\"error\"")
            && !seen.contains("[DONE]"),
        "{seen}"
    );
}

#[tokio::test]
async fn a_connection_that_died_between_requests_is_replaced() {
    let prefill = Engine::start(Manner::Answer(200, ""));
    let decode = Engine::start(Manner::Answer(200, "decoded"));
    let front = Front::start(&prefill.url(), &decode.url());
    assert_eq!(front.post("/v1/completions", BODY).await.1, "decoded");
    for engine in [&prefill, &decode] {
        engine.faults.set(Fault::Down);
        soon(async {
            while tokio::net::TcpStream::connect(engine.addr).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
        engine.faults.clear();
        soon(async {
            while tokio::net::TcpStream::connect(engine.addr).await.is_err() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }
    assert_eq!(front.post("/v1/completions", BODY).await.1, "decoded");
    assert_eq!(front.tally().prefill_failed, 0);
}
