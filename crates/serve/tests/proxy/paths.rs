//! Paths other than generation, and requests that are refused.

use http::Request;
use tokio::net::TcpStream;

use pointsman_serve::door::proxy::config::ProxyKind;

use crate::rig::{Engine, Front, Manner, Raw, config, error_code, nowhere, soon, spoken};

#[tokio::test]
async fn health_looks_at_both_engines() {
    let good = Engine::start(Manner::Answer(200, ""));
    let sick = Engine::start(Manner::Answer(503, ""));
    for (prefill, decode, status, word) in [
        (good.url(), good.url(), 200, "healthy"),
        (sick.url(), good.url(), 200, "degraded"),
        (nowhere(), good.url(), 200, "degraded"),
        (good.url(), sick.url(), 503, "unhealthy"),
        (good.url(), nowhere(), 503, "unhealthy"),
    ] {
        let front = Front::start(&prefill, &decode);
        let (answer, body) = front.get("/health").await;
        let health: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (answer.status().as_u16(), health["status"].as_str().unwrap()),
            (status, word),
            "{body}"
        );
        assert_eq!(health["prefill"], prefill);
        assert_eq!(health["decode"], decode);
    }
    assert!(good.seen().iter().all(|seen| seen.path == "/health"));
}

#[tokio::test]
async fn metrics_are_those_of_decode_else_of_prefill() {
    let prefill = Engine::start(Manner::Answer(200, "of prefill"));
    let decode = Engine::start(Manner::Answer(200, "of decode"));
    let sick = Engine::start(Manner::Answer(404, ""));
    for (decode, expected) in [
        (decode.url(), "of decode\n"),
        (sick.url(), "of prefill\n"),
        (nowhere(), "of prefill\n"),
    ] {
        let (answer, page) = Front::start(&prefill.url(), &decode).get("/metrics").await;
        assert_eq!(
            answer.headers()["content-length"],
            page.len().to_string(),
            "{page}"
        );
        let own = page.strip_prefix(expected).unwrap();
        assert!(
            own.starts_with("# HELP pointsman_proxy_requests_total "),
            "{own}"
        );
        assert!(own.ends_with("pointsman_proxy_decode_retries_total 0\n"));
    }
    let (answer, _) = Front::start(&nowhere(), &sick.url()).get("/metrics").await;
    assert_eq!(answer.status(), 503);
}

#[tokio::test]
async fn an_engine_hears_the_id_that_the_client_is_told_and_never_a_pair_of_the_clients() {
    let decode = Engine::start(Manner::Answer(200, "decoded"));
    let front = Front::start(&nowhere(), &decode.url());
    let pair =
        "___prefill_addr_10.0.0.1:1___decode_addr_10.0.0.2:2_0123456789abcdef0123456789abcdef";
    for given in [
        Some(pair),
        Some("___decode_addr_10.0.0.2:2"),
        Some("mine"),
        None,
    ] {
        let mut request = Request::post("/v1/responses");
        if let Some(id) = given {
            request = request.header("x-request-id", id);
        }
        let (answer, _) = front.send(request, "{}").await;
        let seen = decode.seen().pop().unwrap().id();
        assert_eq!(answer.headers()["x-request-id"], seen);
        assert_eq!(seen == "mine", given == Some("mine"), "{seen}");
        assert!(!seen.contains("_addr_"), "{seen}");
    }
}

#[tokio::test]
async fn anthropic_s_clients_are_refused_in_their_form() {
    let front = Front::with(spoken(ProxyKind::NixlV2, &nowhere(), &nowhere()));
    for (path, body, status, kind) in [
        ("/v1/messages", "{", 400, "invalid_request_error"),
        ("/v1/messages", "{}", 502, "api_error"),
        ("/v1/messages/count_tokens", "{}", 502, "api_error"),
    ] {
        let (answer, text) = front.post(path, body).await;
        assert_eq!(answer.status(), status, "{text}");
        let told: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&told["type"], &told["error"]["type"]),
            (&"error".into(), &kind.into()),
            "{text}"
        );
    }
    let (_, text) = front.post("/v1/chat/completions", "{").await;
    assert_eq!(error_code(&text), "malformed");
}

#[tokio::test]
async fn every_other_path_goes_to_decode() {
    let decode = Engine::start(Manner::Answer(200, "decoded"));
    let front = Front::start(&nowhere(), &decode.url());
    assert_eq!(front.get("/v1/models?x=y").await.1, "decoded");
    front
        .send(
            Request::delete("/v1/files/1")
                .header("connection", "x-secret")
                .header("x-secret", "1"),
            "bytes",
        )
        .await;
    let seen = decode.seen();
    assert_eq!(
        (seen[0].method.as_str(), seen[0].path.as_str()),
        ("GET", "/v1/models?x=y")
    );
    assert_eq!(
        (seen[1].method.as_str(), seen[1].body.as_str()),
        ("DELETE", "bytes")
    );
    assert!(!seen[1].headers.contains_key("x-secret"));
    let front = Front::start(&nowhere(), &nowhere());
    let (answer, body) = front.get("/v1/models").await;
    assert_eq!(
        (answer.status().as_u16(), error_code(&body).as_str()),
        (502, "upstream-unreachable")
    );
}

#[tokio::test]
async fn a_streamed_body_passes_to_decode_before_it_ends() {
    let decode = Engine::start(Manner::Answer(200, "decoded"));
    let front = Front::start(&nowhere(), &decode.url());
    let mut raw = Raw(soon(TcpStream::connect(front.addr)).await.unwrap());
    raw.write("PUT /x HTTP/1.1\r\nhost: f\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
        .await;
    raw.write("2\r\nde\r\n0\r\n\r\n").await;
    raw.read_until("decoded").await;
    assert_eq!(decode.seen()[0].body, "abcde");
}

#[tokio::test]
async fn bad_requests_are_refused_before_any_leg() {
    let prefill = Engine::start(Manner::Answer(200, ""));
    let decode = Engine::start(Manner::Answer(200, ""));
    let front = Front::start(&prefill.url(), &decode.url());
    for body in [
        "",
        "{",
        "[]",
        "null",
        "{\"a\":1,}",
        "{\"a\":\"\u{1}\"}",
        "{\"model\":\"m\"} {}",
    ] {
        let (answer, text) = front.post("/v1/chat/completions", body).await;
        assert_eq!(
            (answer.status().as_u16(), error_code(&text).as_str()),
            (400, "malformed"),
            "{body:?}"
        );
    }
    for method in ["GET", "PUT", "DELETE"] {
        let (answer, text) = front
            .send(Request::builder().method(method).uri("/v1/completions"), "")
            .await;
        assert_eq!(
            (answer.status().as_u16(), error_code(&text).as_str()),
            (405, "method-not-allowed")
        );
        assert_eq!(answer.headers()["allow"], "POST");
    }
    assert!(prefill.seen().is_empty() && decode.seen().is_empty());
}

#[tokio::test]
async fn a_body_too_large_is_answered_although_it_is_written_first() {
    let engine = Engine::start(Manner::Answer(200, ""));
    let mut small = config(&engine.url(), &engine.url());
    small.max_body = 1 << 20;
    let front = Front::with(small);
    let filler = "x".repeat(1 << 20);
    for head in [
        "content-length: 8388608\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n",
    ] {
        for path in ["/v1/completions", "/other"] {
            let mut raw = Raw(soon(TcpStream::connect(front.addr)).await.unwrap());
            raw.write(&format!("POST {path} HTTP/1.1\r\nhost: f\r\n{head}"))
                .await;
            let chunked = head.starts_with("transfer");
            if chunked && path == "/other" {
                // Passed through as it comes: the bound is met in the middle, and the rest is nobody's.
                raw.write(&format!("{:x}\r\n{filler}\r\n9\r\n", filler.len()))
                    .await;
                raw.write("123456789\r\n0\r\n\r\n").await;
            } else {
                for _ in 0..8 {
                    let piece = if chunked {
                        format!("{:x}\r\n{filler}\r\n", filler.len())
                    } else {
                        filler.clone()
                    };
                    raw.write(&piece).await;
                }
                if chunked {
                    raw.write("0\r\n\r\n").await;
                }
            }
            let answer = raw.read_until("}}").await;
            assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
            assert_eq!(
                error_code(answer.split_once("\r\n\r\n").unwrap().1),
                "body-too-large"
            );
        }
    }
    assert!(engine.seen().is_empty());
}
