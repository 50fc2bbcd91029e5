//! G3 and G4, byte by byte: requests that servers on a way could read differently, and headers that must not cross a door.

#![allow(clippy::unwrap_used)]

mod headers;
mod vectors;

use std::io::{Read, Write};
use std::net::SocketAddr;

use pointsman_tests::backend::{Backend, Received};
use pointsman_tests::burst::burst;
use pointsman_tests::http::connect;
use pointsman_tests::patience::LONG;
use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::{Gateway, Proxy, endpoints_file};
use serde_json::json;

use crate::vectors::{JSON, POST, head, post, refused};

/// A backend that answers everything with what it got, and a door before it.
struct Rig<D> {
    door: D,
    backend: Backend,
    _files: Scratch,
}

fn echo() -> Backend {
    Backend::start(|request, reply| {
        if request.path == "/metrics" {
            return reply.whole(404, "text/plain", b"");
        }
        let got = json!({"id": "x", "headers": request.headers, "body": String::from_utf8_lossy(&request.body)});
        reply.json(200, &got);
    })
}

fn gateway() -> Rig<Gateway> {
    let backend = echo();
    let files = Scratch::new("raw");
    let endpoints = files.file(
        "endpoints.yaml",
        &endpoints_file(&[("only", backend.address())]),
    );
    Rig {
        door: Gateway::before(&endpoints, &["--profile", "proxy-performance"]),
        backend,
        _files: files,
    }
}

fn proxy() -> Rig<Proxy> {
    let backend = echo();
    let url = backend.url();
    Rig {
        door: Proxy::start(&["--prefill", &url, "--decode", &url], &[]),
        backend,
        _files: Scratch::new("raw-proxy"),
    }
}

impl<D> Rig<D> {
    /// What reached the backend of a path, scrapes and probes left out.
    fn reached(&self, path: &str) -> Vec<Received> {
        self.backend.received(path)
    }
}

/// Sends bytes and reads to the end of the connection.
fn raw(to: SocketAddr, bytes: &[u8]) -> Result<String, String> {
    let mut connection = connect(to, LONG).map_err(|error| error.to_string())?;
    // A refusal may come, and the connection end, before all is written.
    let _ = connection.write_all(bytes);
    let mut answer = Vec::new();
    match connection.read_to_end(&mut answer) {
        Ok(_) => Ok(String::from_utf8_lossy(&answer).into_owned()),
        Err(error) => Err(format!(
            "{error} after {:?}",
            String::from_utf8_lossy(&answer)
        )),
    }
}

/// What would be served if the connection went on after the vector.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";

#[track_caller]
fn check_refused(answer: &str, expected: u16, what: &str) {
    let status = answer.get(9..12).unwrap_or_default();
    assert_eq!(status, expected.to_string(), "{what}: {answer:?}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{what}: {answer:?}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("connection: close"), "{what}: {head}");
    let body: serde_json::Value =
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{what}: {error} in {answer:?}"));
    for key in ["message", "type", "param", "code"] {
        assert!(body["error"].get(key).is_some(), "{what}: {body}");
    }
}

#[test]
fn g3_request_smuggling_vectors_are_refused_and_never_reach_a_backend() {
    let rig = gateway();
    let vectors = refused();
    assert!(vectors.len() >= 40);
    let problems = burst(vectors.len(), 8, |number| {
        let (what, bytes, expected) = &vectors[number];
        // Each with something behind it that must not be taken for a request.
        let bytes = [bytes, SMUGGLED.as_bytes()].concat();
        match raw(rig.door.address, &bytes) {
            Ok(answer) => check_refused(&answer, *expected, what),
            Err(error) => panic!("{what}: {error}"),
        }
    });
    assert_eq!(problems.len(), vectors.len());
    for path in ["/smuggled", "/v1/chat", "/x", "/ä"] {
        assert!(rig.reached(path).is_empty(), "{:?}", rig.reached(path));
    }
    rig.door.wait_idle();
}

#[test]
fn g3_the_proxy_refuses_the_same_vectors() {
    let rig = proxy();
    let vectors = refused();
    burst(vectors.len(), 8, |number| {
        let (what, bytes, expected) = &vectors[number];
        let bytes = [bytes, SMUGGLED.as_bytes()].concat();
        match raw(rig.door.address, &bytes) {
            Ok(answer) => check_refused(&answer, *expected, what),
            Err(error) => panic!("{what}: {error}"),
        }
    });
    for path in ["/smuggled", "/v1/chat", "/x"] {
        assert!(rig.reached(path).is_empty(), "{:?}", rig.reached(path));
    }
}

#[test]
fn g3_vectors_that_come_byte_by_byte_are_refused_too() {
    let rig = gateway();
    let chosen = [
        "length and coding",
        "two equal lengths",
        "a space before the colon",
        "a folded line",
        "bare line feeds",
        "NUL in a value",
        "no Host",
        "a bare line feed after a chunk size",
        "a length in the trailers",
    ];
    let vectors: Vec<_> = refused()
        .into_iter()
        .filter(|(what, ..)| chosen.contains(what))
        .collect();
    assert_eq!(vectors.len(), chosen.len());
    burst(vectors.len(), vectors.len(), |number| {
        let (what, bytes, expected) = &vectors[number];
        let mut connection = connect(rig.door.address, LONG).unwrap();
        for byte in bytes {
            if connection.write_all(&[*byte]).is_err() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let _ = connection.write_all(SMUGGLED.as_bytes());
        let mut answer = String::new();
        connection
            .read_to_string(&mut answer)
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        check_refused(&answer, *expected, what);
    });
    for path in ["/smuggled", "/v1/chat", "/x"] {
        assert!(rig.reached(path).is_empty(), "{:?}", rig.reached(path));
    }
}

#[test]
fn g3_answers_before_a_refusal_keep_their_order() {
    let rig = gateway();
    let good = "GET /first HTTP/1.1\r\nhost: a\r\n\r\n";
    let bad = "GET /second HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n";
    let answer = raw(
        rig.door.address,
        format!("{good}{bad}{SMUGGLED}").as_bytes(),
    )
    .unwrap();
    let second = answer.rfind("HTTP/1.1 ").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    check_refused(&answer[second..], 400, "the second");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 2, "{answer}");
    assert_eq!(rig.reached("/first").len(), 1);
    assert!(rig.reached("/second").is_empty() && rig.reached("/smuggled").is_empty());
}

#[test]
fn g3_unusual_but_good_requests_pass() {
    let rig = gateway();
    let length = JSON.len();
    let size = format!("{length:X}");
    let close = "connection: close\r\n";
    let vectors = [
        (
            "chunked",
            post(
                &format!("{close}transfer-encoding: chunked\r\n"),
                &format!("{size}\r\n{JSON}\r\n0\r\n\r\n"),
            ),
        ),
        (
            "mixed case and spaces",
            head(
                POST,
                &format!("HOST:\t a \r\nConnection:close\r\ncOnTeNt-LeNgTh: \t{length} \t\r\n"),
                JSON,
            ),
        ),
        (
            "Chunked",
            post(
                &format!("{close}Transfer-Encoding:  Chunked  \r\n"),
                &format!("{size}\r\n{JSON}\r\n0\r\n\r\n"),
            ),
        ),
        (
            "extensions",
            post(
                &format!("{close}transfer-encoding: chunked\r\n"),
                &format!("{size};a;b=c;d=\"e f\"\r\n{JSON}\r\n0;z\r\n\r\n"),
            ),
        ),
        (
            "trailers",
            post(
                &format!("{close}transfer-encoding: chunked\r\n"),
                &format!("{size}\r\n{JSON}\r\n0\r\nx-sum: 1\r\nX-Other: 2\r\n\r\n"),
            ),
        ),
        (
            "zeros before a size",
            post(
                &format!("{close}transfer-encoding: chunked\r\n"),
                &format!("000{size}\r\n{JSON}\r\n000\r\n\r\n"),
            ),
        ),
        (
            "absolute form",
            head(
                "POST http://a:80/v1/chat/completions HTTP/1.1",
                &format!("host: A:80\r\n{close}content-length: {length}\r\n"),
                JSON,
            ),
        ),
        (
            "HTTP/1.0 without Host",
            head(
                "POST /v1/chat/completions HTTP/1.0",
                &format!("content-length: {length}\r\n"),
                JSON,
            ),
        ),
        (
            "an empty line first",
            [
                b"\r\n",
                &post(&format!("{close}content-length: {length}\r\n"), JSON)[..],
            ]
            .concat(),
        ),
        (
            "a value beyond ASCII",
            post(
                &format!("{close}x-name: J\u{fc}rgen\r\ncontent-length: {length}\r\n"),
                JSON,
            ),
        ),
        (
            "an empty value",
            post(
                &format!("{close}x-empty:\r\ncontent-length: {length}\r\n"),
                JSON,
            ),
        ),
        (
            "8,000 bytes in a field",
            post(
                &format!(
                    "{close}x-long: {}\r\ncontent-length: {length}\r\n",
                    "y".repeat(8000)
                ),
                JSON,
            ),
        ),
        (
            "leading zeros in a length",
            post(&format!("{close}content-length: 000{length}\r\n"), JSON),
        ),
        (
            "a query",
            head(
                "POST /v1/chat/completions?a=b&c=%20{d} HTTP/1.1",
                &format!("host: a\r\n{close}content-length: {length}\r\n"),
                JSON,
            ),
        ),
        (
            "an IPv6 Host",
            head(
                POST,
                &format!("host: [::1]:80\r\n{close}content-length: {length}\r\n"),
                JSON,
            ),
        ),
    ];
    for (number, (what, bytes)) in vectors.iter().enumerate() {
        let answer = raw(rig.door.address, bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(answer.contains(" 200 "), "{what}: {answer}");
        let reached = rig.reached("/v1/chat");
        assert_eq!(reached.len(), number + 1, "{what}");
        assert_eq!(reached[number].body, JSON.as_bytes(), "{what}");
    }
    // Two good ones in one write are answered one after the other.
    let first = post(&format!("content-length: {length}\r\n"), JSON);
    let second = post(
        &format!("{close}transfer-encoding: chunked\r\n"),
        &format!("{size}\r\n{JSON}\r\n0\r\n\r\n"),
    );
    let answer = raw(rig.door.address, &[first, second].concat()).unwrap();
    assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 2, "{answer}");
    rig.door.wait_idle();
}
