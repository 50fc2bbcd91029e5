//! G4: which headers cross the gateway, in both directions.

use pointsman_tests::answer::chat_body;
use pointsman_tests::backend::Backend;
use pointsman_tests::http::Request;
use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::{Gateway, endpoints_file};

use crate::gateway;

#[test]
fn g4_forged_and_hop_by_hop_headers_never_reach_a_backend() {
    let rig = gateway();
    let stripped = [
        ("x-gateway-destination-endpoint", "127.0.0.1:1"),
        ("X-Gateway-Destination-Endpoint-Subset", "127.0.0.1:1"),
        ("x-gateway-destination-endpoint-served", "127.0.0.1:1"),
        ("x-gateway-model-name-rewrite", "other"),
        ("x-gateway-anything", "1"),
        ("x-prefiller-host-port", "127.0.0.1:1"),
        ("x-encoder-hosts-ports", "127.0.0.1:1"),
        ("x-data-parallel-host-port", "127.0.0.1:1"),
        ("x-kv-cache-source-host-port", "127.0.0.1:1"),
        ("x-llm-d-model-name-rewrite", "other"),
        ("x-llm-d-request-dropped-reason", "rejected-saturated"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("proxy-authorization", "Basic eA=="),
        ("te", "trailers"),
        ("trailer", "x-sum"),
        ("upgrade", "websocket"),
        ("http2-settings", "AAMAAABk"),
        ("x-named", "1"),
        ("x-named-too", "1"),
    ];
    let kept = [
        ("authorization", "Bearer secret"),
        ("x-forwarded-for", "10.1.2.3"),
        ("x-llm-d-slo-ttft-ms", "200"),
        ("x-gateway-inference-objective", "urgent"),
        ("x-gateway-inference-fairness-id", "me"),
        ("x-custom", "1"),
    ];
    let mut request = Request::post("/v1/chat/completions", &chat_body("x", 1))
        .header("Connection", "x-named, authorization, X-Forwarded-For")
        .header("connection", " X-Named-Too ,, x-llm-d-slo-ttft-ms");
    for (name, value) in stripped.iter().chain(&kept) {
        request = request.header(name, value);
    }
    let response = request.answered(rig.door.address);
    assert_eq!(response.status, 200, "{}", response.text());
    let reached = &rig.reached("/v1/chat")[0];
    for (name, _) in stripped {
        let name = name.to_ascii_lowercase();
        assert_eq!(reached.header(&name), None, "{name} was forwarded");
    }
    assert_eq!(reached.header("connection"), None);
    for (name, value) in kept {
        assert_eq!(reached.header(name), Some(value), "{name}");
    }
    rig.door.wait_idle();
}

#[test]
fn g4_an_engine_does_not_speak_for_the_gateway() {
    let backend = Backend::start(|request, reply| {
        if request.path == "/metrics" {
            return reply.whole(404, "text/plain", b"");
        }
        reply.raw(
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: x-inner\r\nx-inner: 1\r\nkeep-alive: timeout=1\r\n\
              x-llm-d-request-dropped-reason: rejected-saturated\r\nx-gateway-destination-endpoint-served: 10.0.0.1:1\r\n\
              x-request-id: theirs\r\nx-outer: 1\r\n\r\n{}",
        );
    });
    let files = Scratch::new("answers");
    let endpoints = files.file(
        "endpoints.yaml",
        &endpoints_file(&[("only", backend.address())]),
    );
    let gateway = Gateway::before(&endpoints, &["--profile", "proxy-performance"]);
    let response = Request::post("/v1/chat/completions", &chat_body("x", 1))
        .header("x-request-id", "mine")
        .answered(gateway.address);
    assert_eq!(response.status, 200, "{}", response.text());
    for name in [
        "x-inner",
        "keep-alive",
        "x-llm-d-request-dropped-reason",
        "x-gateway-destination-endpoint-served",
    ] {
        assert_eq!(response.header(name), None, "{name}");
    }
    assert_eq!(response.header("x-outer"), Some("1"));
    assert_eq!(response.header("x-request-id"), Some("mine"));
}

#[test]
fn g4_request_ids_are_kept_when_they_are_plain_and_replaced_otherwise() {
    let rig = gateway();
    let long = "x".repeat(257);
    for (given, kept) in [
        ("abc.1_2:3-X", true),
        ("", false),
        ("two words", false),
        ("a\"b", false),
        ("a;b", false),
        (&*long, false),
        (&long[..256], true),
    ] {
        let before = rig.reached("/v1/chat").len();
        let response = Request::post("/v1/chat/completions", &chat_body("x", 1))
            .header("x-request-id", given)
            .answered(rig.door.address);
        let id = response.header("x-request-id").unwrap();
        assert_eq!(id == given, kept, "{given:?} became {id:?}");
        assert!(!id.is_empty());
        let reached = rig.reached("/v1/chat");
        assert_eq!(reached[before].header("x-request-id"), Some(id));
    }
    // Two ids are one: the first.
    let response = Request::post("/v1/chat/completions", &chat_body("x", 1))
        .header("x-request-id", "first")
        .header("x-request-id", "second")
        .answered(rig.door.address);
    assert_eq!(response.header("x-request-id"), Some("first"));
    let reached = rig.reached("/v1/chat");
    let ids = reached.last().unwrap().headers.iter();
    assert_eq!(ids.filter(|(name, _)| name == "x-request-id").count(), 1);
}
