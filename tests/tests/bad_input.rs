//! What clients do wrong, over raw sockets: bodies, paths, methods, bytes that are no HTTP.

#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::net::Shutdown;

use pointsman_tests::answer::{MODEL, chat, chat_body};
use pointsman_tests::http::{Request, connect, exchange, read_answer};
use pointsman_tests::patience::LONG;
use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::{Gateway, Sim, endpoints_file};
use serde_json::json;

/// A gateway before one simulator.
struct Rig {
    gateway: Gateway,
    sim: Sim,
    _files: Scratch,
}

impl Rig {
    #[track_caller]
    fn start() -> Self {
        let sim = Sim::start(MODEL, &["--max-num-seqs", "64"]);
        let files = Scratch::new("bad-input");
        let endpoints = files.file("endpoints.yaml", &endpoints_file(&[("only", sim.address)]));
        Self {
            gateway: Gateway::before(&endpoints, &["--profile", "proxy-performance"]),
            sim,
            _files: files,
        }
    }
}

/// `{"model":…,"messages":…,"metadata":[[…]]}`, so deep in all.
fn nested(levels: usize) -> String {
    let arrays = levels - 1;
    let body = chat_body("deep", 2).to_string();
    format!(
        "{},\"metadata\":{}{}}}",
        body.strip_suffix('}').unwrap(),
        "[".repeat(arrays),
        "]".repeat(arrays)
    )
}

#[test]
fn bodies_that_cannot_be_served() {
    let rig = Rig::start();
    let check = |what: &str, path: &str, body: &[u8], expected: u16| {
        let request = Request::new("POST", path, body).header("content-type", "application/json");
        let response = request
            .send(rig.gateway.address)
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(response.status, expected, "{what}: {}", response.text());
        if expected != 200 {
            let error = &response.json()["error"];
            for key in ["message", "type", "param", "code"] {
                assert!(
                    error.get(key).is_some(),
                    "{what}: the error has {key}: {}",
                    response.text()
                );
            }
            assert!(
                error["message"]
                    .as_str()
                    .is_some_and(|text| !text.is_empty()),
                "{what}: {}",
                response.text()
            );
        }
        assert!(
            response.header("x-request-id").is_some(),
            "{what}: every answer carries its request id"
        );
    };
    let (chat, text) = ("/v1/chat/completions", "/v1/completions");
    let whole = chat_body("Hello", 2).to_string();
    for path in [chat, text] {
        check("no JSON", path, b"Hello, model!", 400);
        check("truncated JSON", path, br#"{"model":"Qwen/Qwen3-Cod"#, 400);
        check("empty body", path, b"", 400);
        check("not an object", path, b"[1,2,3]", 400);
        check("a bare string", path, br#""model""#, 400);
        check(
            "no model",
            path,
            br#"{"messages":[{"role":"user","content":"x"}],"prompt":"x"}"#,
            400,
        );
        check(
            "model of a wrong type",
            path,
            br#"{"model":5,"messages":[{"role":"user","content":"x"}],"prompt":"x"}"#,
            400,
        );
        check(
            "model null",
            path,
            br#"{"model":null,"messages":[],"prompt":"x"}"#,
            400,
        );
    }
    check(
        "something behind the object",
        chat,
        format!("{whole}x").as_bytes(),
        400,
    );
    check(
        "a control character in a string",
        chat,
        whole.replace("Hello", "He\u{1}llo").as_bytes(),
        400,
    );
    check(
        "broken UTF-8",
        chat,
        &[
            &whole.as_bytes()[..whole.len() - 1],
            b",\"user\":\"\xff\xfe\"}",
        ]
        .concat(),
        400,
    );
    check(
        "messages of a wrong type",
        chat,
        format!(r#"{{"model":"{MODEL}","messages":"x"}}"#).as_bytes(),
        400,
    );
    check(
        "no messages",
        chat,
        format!(r#"{{"model":"{MODEL}"}}"#).as_bytes(),
        400,
    );
    check(
        "no prompt",
        text,
        format!(r#"{{"model":"{MODEL}"}}"#).as_bytes(),
        400,
    );
    check(
        "max_tokens of a wrong type",
        chat,
        whole
            .replace("\"max_tokens\":2", "\"max_tokens\":\"two\"")
            .as_bytes(),
        400,
    );
    check(
        "unknown model",
        chat,
        whole.replace(MODEL, "no-such-model").as_bytes(),
        404,
    );
    check("128 levels", chat, nested(128).as_bytes(), 200);
    check("129 levels", chat, nested(129).as_bytes(), 400);
    check("100,000 levels", chat, nested(100_000).as_bytes(), 400);
    let parts = json!([{"type": "text", "text": "Hello"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]);
    let parts =
        json!({"model": MODEL, "max_tokens": 2, "messages": [{"role": "user", "content": parts}]});
    check(
        "content as a list of parts",
        chat,
        parts.to_string().as_bytes(),
        200,
    );
    check("a good one after all that", chat, whole.as_bytes(), 200);
    rig.gateway.wait_idle();
}

#[test]
fn a_body_over_the_limit_is_413_and_the_answer_can_be_read() {
    let rig = Rig::start();
    let mut body = chat_body("big", 2);
    body["padding"] = json!("x".repeat(33 << 20));
    // This client writes all of it before it reads.
    let response = Request::post("/v1/chat/completions", &body).answered(rig.gateway.address);
    assert_eq!(response.status, 413, "{}", response.text());
    assert!(response.json()["error"]["message"].is_string());
    assert_eq!(chat("Hello", 2).answered(rig.gateway.address).status, 200);
    rig.gateway.wait_idle();
}

#[test]
fn paths_and_methods() {
    let rig = Rig::start();
    let check = |method: &str, path: &str, expected: &[u16]| {
        let response = Request::new(method, path, "").answered(rig.gateway.address);
        assert!(
            expected.contains(&response.status),
            "{method} {path}: {} {}",
            response.status,
            response.text()
        );
    };
    check("GET", "/v1/chat/completions", &[405]);
    check("DELETE", "/v1/chat/completions", &[405]);
    check("BREW", "/v1/completions", &[405]);
    check("GET", "/v1/completions", &[405]);
    // The route claims all paths: these go to the least busy endpoint, whose answer passes through.
    check("GET", "/no/such/path", &[404]);
    check("POST", "/v1/no-such-api", &[404]);
    check("GET", "/version", &[200]);
    check("GET", "/v1/models", &[200]);
    rig.gateway.wait_idle();
}

#[test]
fn bytes_that_are_no_http() {
    let rig = Rig::start();
    let check = |what: &str, bytes: &[u8]| {
        // An answer of the 400 family, or a closed connection: but an end.
        match exchange(rig.gateway.address, bytes, LONG) {
            Ok(response) => assert!(
                (400..500).contains(&response.status),
                "{what}: {response:?}"
            ),
            Err(error) => assert!(
                !matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ),
                "{what}: hangs"
            ),
        }
    };
    check("garbage", b"\x00\x01\x02 garbage \xff\xfe\r\n\r\n");
    check("no version", b"POST /v1/chat/completions\r\n\r\n");
    check(
        "a length that is none",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: many\r\n\r\n{}",
    );
    check("two lengths", b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}");
    let long = format!(
        "GET /v1/models HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n",
        "a".repeat(200 * 1024)
    );
    check("a header of 200 KiB", long.as_bytes());
    check("a bad chunk size", b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n");

    // Well-formed but unusual: a chunked body, in small pieces.
    let body = chat_body("Hello", 2).to_string();
    let mut connection = connect(rig.gateway.address, LONG).unwrap();
    connection.write_all(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
    for piece in body.as_bytes().chunks(7) {
        connection
            .write_all(
                format!(
                    "{:x}\r\n{}\r\n",
                    piece.len(),
                    String::from_utf8_lossy(piece)
                )
                .as_bytes(),
            )
            .unwrap();
    }
    connection.write_all(b"0\r\n\r\n").unwrap();
    assert_eq!(read_answer(connection).unwrap().head.status, 200);
    rig.gateway.wait_idle();
}

#[test]
fn a_body_that_stops_short_is_let_go() {
    let rig = Rig::start();
    let bytes = chat("Hello", 2).bytes();
    let mut connection = connect(rig.gateway.address, LONG).unwrap();
    connection.write_all(&bytes[..bytes.len() - 10]).unwrap();
    connection.shutdown(Shutdown::Write).unwrap();
    if let Ok(answering) = read_answer(connection) {
        assert_eq!(answering.head.status, 400, "half a body is malformed");
    }
    assert_eq!(chat("Hello", 2).answered(rig.gateway.address).status, 200);
    rig.gateway.wait_idle();
}

#[test]
fn a_silent_client_holds_nobody_up() {
    let rig = Rig::start();
    let silent: Vec<_> = (0..50)
        .map(|_| connect(rig.gateway.address, LONG).unwrap())
        .collect();
    assert_eq!(chat("Hello", 2).answered(rig.gateway.address).status, 200);
    assert_eq!(
        Request::get("/health").answered(rig.sim.address).status,
        200
    );
    drop(silent);
    rig.gateway.wait_idle();
}
