//! `pointsman proxy` in front of any OpenAI servers, and `pointsman gateway` in front of two simulators.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::mpsc;

use pointsman_tests::answer::{Events, MODEL, PairId, chat, chat_stream};
use pointsman_tests::backend::{Backend, Received, Reply};
use pointsman_tests::burst::burst;
use pointsman_tests::http::Request;
use pointsman_tests::patience::{LONG, until};
use pointsman_tests::port;
use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::{Gateway, Proxy, Sim, endpoints_file};
use serde_json::{Value, json};

/// Answers a generation request at once, naming the request id as vLLM does.
fn answer(request: &Received, reply: &mut Reply) {
    let id = request.header("x-request-id").unwrap_or("none");
    reply.json(
        200,
        &json!({"id": format!("chatcmpl-{id}"), "object": "chat.completion", "choices": []}),
    );
}

#[test]
fn the_first_decode_byte_reaches_the_client_before_decode_has_ended() {
    let prefill = Backend::start(answer);
    let (release, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let decode = Backend::start(move |_, reply| {
        reply.begin_events();
        reply.event("first");
        // The stream goes on only when the client has said that it saw the first event.
        if held.lock().unwrap().recv_timeout(LONG).is_ok() {
            reply.event("second");
            reply.event("[DONE]");
            reply.end();
        }
    });
    let proxy = Proxy::start(
        &[
            "--kind",
            "fs",
            "--prefill-name",
            "vllm-prefill-fs",
            "--decode-name",
            "vllm-decode-fs",
        ],
        &[
            ("PREFILL_URL", &prefill.url()),
            ("DECODE_URL", &decode.url()),
        ],
    );
    let mut sent = json!({"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 64, "max_completion_tokens": 64});
    sent["stream"] = json!(true);
    sent["stream_options"] = json!({"include_usage": true});
    let answering = Request::post("/v1/chat/completions", &sent)
        .open(proxy.address)
        .unwrap();
    assert_eq!(answering.head.status, 200);
    let mut events = Events::of(answering.body);
    assert_eq!(events.next_data().unwrap().as_deref(), Some("first"));
    release.send(()).unwrap();
    assert_eq!(
        events.rest(),
        (vec!["second".to_owned(), "[DONE]".to_owned()], true)
    );

    let (prefill, decode) = (only(&prefill), only(&decode));
    let copy = prefill.json();
    assert_eq!(
        (&copy["max_tokens"], &copy["max_completion_tokens"]),
        (&json!(1), &json!(1)),
        "{copy}"
    );
    assert!(
        copy["stream"].is_null() || copy["stream"] == false,
        "{copy}"
    );
    assert!(copy["stream_options"].is_null(), "{copy}");
    assert_eq!(copy["messages"], sent["messages"]);
    assert_eq!(
        String::from_utf8(decode.body.clone()).unwrap(),
        sent.to_string(),
        "decode gets the body as it came"
    );
    let id = decode.header("x-request-id").unwrap();
    assert_eq!(
        prefill.header("x-request-id"),
        Some(id),
        "one id on both legs"
    );
    let pair = PairId::parse(&format!("x-{id}"));
    assert_eq!(
        (pair.prefill.as_str(), pair.decode.as_str()),
        ("vllm-prefill-fs", "vllm-decode-fs")
    );
}

#[test]
fn p2p_ids_carry_the_zmq_addresses() {
    let (prefill, decode) = (Backend::start(answer), Backend::start(answer));
    let proxy = Proxy::start(
        &["--kind", "p2p"],
        &[
            ("PREFILL_URL", &prefill.url()),
            ("DECODE_URL", &decode.url()),
            ("PREFILL_ZMQ", "vllm-prefill-p2p:14579"),
            ("DECODE_ZMQ", "vllm-decode-p2p:14579"),
        ],
    );
    let response = chat("Hello", 4).answered(proxy.address);
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(
        PairId::parse(response.json()["id"].as_str().unwrap()).pair(),
        "p2p"
    );
}

#[test]
fn errors_of_either_leg_pass_through() {
    let refusal = json!({"error": {"message": "too long", "type": "BadRequestError", "param": null, "code": 400}});
    let refused = refusal.clone();
    let refusing = Backend::start(move |_, reply| reply.json(400, &refused));
    let good = Backend::start(answer);
    let after_prefill = Proxy::start(
        &[
            "--kind",
            "fs",
            "--prefill",
            &refusing.url(),
            "--decode",
            &good.url(),
        ],
        &[],
    );
    let response = chat("Hello", 4).answered(after_prefill.address);
    assert_eq!((response.status, response.json()), (400, refusal.clone()));
    assert!(
        good.received("/v1/chat").is_empty(),
        "decode is not asked after a refused prefill"
    );

    let after_decode = Proxy::start(
        &[
            "--kind",
            "fs",
            "--prefill",
            &good.url(),
            "--decode",
            &refusing.url(),
        ],
        &[],
    );
    let response = chat("Hello", 4).answered(after_decode.address);
    assert_eq!((response.status, response.json()), (400, refusal));
}

#[test]
fn a_dead_decode_is_502_a_dead_prefill_is_made_up_for_and_health_sees_both() {
    let good = Backend::start(|request, reply| {
        if request.path == "/health" {
            reply.whole(200, "text/plain", b"")
        } else {
            answer(request, reply)
        }
    });
    let dead = format!("http://{}", port::free());
    let before = |prefill: &str, decode: &str| {
        Proxy::start(
            &["--kind", "fs", "--prefill", prefill, "--decode", decode],
            &[],
        )
    };
    let proxy = before(&good.url(), &dead);
    let response = chat("Hello", 4).answered(proxy.address);
    assert_eq!(response.status, 502, "{}", response.text());
    assert!(
        response.json()["error"]["message"].is_string(),
        "{}",
        response.text()
    );
    let health = Request::get("/health").answered(proxy.address);
    assert_eq!(
        (health.status, &health.json()["status"]),
        (503, &json!("unhealthy"))
    );
    let proxy = before(&dead, &good.url());
    let response = chat("Hello", 4).answered(proxy.address);
    assert_eq!(response.status, 200, "{}", response.text());
    let health = Request::get("/health").answered(proxy.address);
    assert_eq!(
        (health.status, &health.json()["status"]),
        (200, &json!("degraded"))
    );
    let whole = Proxy::start(
        &[
            "--kind",
            "fs",
            "--prefill",
            &good.url(),
            "--decode",
            &good.url(),
        ],
        &[],
    );
    let health = Request::get("/health").answered(whole.address);
    assert_eq!(
        (health.status, &health.json()["status"]),
        (200, &json!("healthy"))
    );
}

#[test]
fn metrics_come_from_decode_else_from_prefill_else_503() {
    let exposing = |text: &'static str| {
        Backend::start(move |_, reply| reply.whole(200, "text/plain", text.as_bytes()))
    };
    let (prefill, decode) = (exposing("from_prefill 1\n"), exposing("from_decode 1\n"));
    let dead = || format!("http://{}", port::free());
    let check = |prefill: String, decode: String, expected: (u16, &str)| {
        let proxy = Proxy::start(
            &["--kind", "fs", "--prefill", &prefill, "--decode", &decode],
            &[],
        );
        let response = Request::get("/metrics").answered(proxy.address);
        assert_eq!(response.status, expected.0, "{}", response.text());
        assert!(response.text().contains(expected.1), "{}", response.text());
    };
    check(prefill.url(), decode.url(), (200, "from_decode 1"));
    check(prefill.url(), dead(), (200, "from_prefill 1"));
    check(dead(), dead(), (503, ""));
}

#[test]
fn other_paths_go_to_decode() {
    let prefill = Backend::start(|_, reply| reply.json(200, &json!({"from": "prefill"})));
    let decode = Backend::start(|request, reply| {
        reply.json(200, &json!({"from": "decode", "path": request.path}))
    });
    let proxy = Proxy::start(
        &[
            "--kind",
            "fs",
            "--prefill",
            &prefill.url(),
            "--decode",
            &decode.url(),
        ],
        &[],
    );
    let response = Request::get("/v1/models?all=1").answered(proxy.address);
    assert_eq!(
        response.json(),
        json!({"from": "decode", "path": "/v1/models?all=1"})
    );
}

#[test]
fn a_client_that_leaves_cancels_the_leg_that_runs() {
    let (left, seen) = mpsc::channel::<&'static str>();
    let prefill_left = left.clone();
    let prefill = Backend::start(move |request, reply| {
        if String::from_utf8_lossy(&request.body).contains("leave during prefill") {
            if reply.peer_leaves(LONG) {
                let _ = prefill_left.send("prefill");
            }
        } else {
            answer(request, reply);
        }
    });
    let decode = Backend::start(move |_, reply| {
        reply.begin_events();
        reply.event("first");
        if reply.peer_leaves(LONG) {
            let _ = left.send("decode");
        }
    });
    let proxy = Proxy::start(
        &[
            "--kind",
            "fs",
            "--prefill",
            &prefill.url(),
            "--decode",
            &decode.url(),
        ],
        &[],
    );

    let mut connection = pointsman_tests::http::connect(proxy.address, LONG).unwrap();
    std::io::Write::write_all(&mut connection, &chat("leave during prefill", 4).bytes()).unwrap();
    until("the prefill leg", || {
        (!prefill.received("/v1/chat").is_empty()).then_some(())
    });
    drop(connection);
    assert_eq!(seen.recv_timeout(LONG), Ok("prefill"));
    assert!(
        decode.received("/v1/chat").is_empty(),
        "no decode leg for a client that has left"
    );

    let answering = chat_stream("leave during decode", 64)
        .open(proxy.address)
        .unwrap();
    let mut events = Events::of(answering.body);
    assert_eq!(events.next_data().unwrap().as_deref(), Some("first"));
    drop(events);
    assert_eq!(seen.recv_timeout(LONG), Ok("decode"));
}

#[test]
fn a_gateway_balances_over_two_simulators() {
    let sims = [
        Sim::start(MODEL, &["--max-num-seqs", "64"]),
        Sim::start(MODEL, &["--max-num-seqs", "64"]),
    ];
    let names: [(&str, SocketAddr); 2] = [("first", sims[0].address), ("second", sims[1].address)];
    let scratch = Scratch::new("endpoints");
    let file = scratch.file("endpoints.yaml", &endpoints_file(&names));
    let gateway = Gateway::before(&file, &["--profile", "proxy-performance"]);
    let statuses = burst(40, 8, |number| {
        chat(&format!("number {number}"), 8)
            .answered(gateway.address)
            .status
    });
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    let mut split: BTreeMap<String, usize> = BTreeMap::new();
    for receipt in gateway.decisions(40) {
        *split
            .entry(
                receipt["profiles"][0]["picked"][0]
                    .as_str()
                    .unwrap()
                    .to_owned(),
            )
            .or_default() += 1;
    }
    assert!(
        split.len() == 2 && split.values().all(|picks| *picks >= 8),
        "{split:?}"
    );
    for sim in &sims {
        let metrics = Request::get("/metrics").answered(sim.address).text();
        let served = sum(&metrics, "vllm:request_success_total");
        assert!(
            served >= 8.0,
            "the simulator's own count agrees: {served}\n{metrics}"
        );
    }
    gateway.wait_idle();
}

/// The requests on generation paths must be one; this is it.
#[track_caller]
fn only(backend: &Backend) -> Received {
    let received = backend.received("/v1/chat");
    assert_eq!(received.len(), 1, "{received:?}");
    received[0].clone()
}

/// The sum over all series of a metric in an exposition.
fn sum(exposition: &str, name: &str) -> f64 {
    let series = exposition.lines().filter(|line| line.starts_with(name));
    series
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// The instrument itself: a body is JSON or null.
#[test]
fn the_scripted_backend_reads_bodies_as_they_come() {
    let backend = Backend::start(|request, reply| reply.json(200, &json!({"got": request.json()})));
    let response = Request::post("/echo", &json!({"a": 1})).answered(backend.address());
    assert_eq!(response.json(), json!({"got": {"a": 1}}));
    let response = Request::new("POST", "/echo", "no json").answered(backend.address());
    assert_eq!(response.json(), json!({"got": Value::Null}));

    let streaming = Backend::start(|request, reply| {
        reply.begin_events();
        reply.event("one");
        if request.path == "/whole" {
            reply.end();
        }
    });
    let check = |path: &str, whole: bool| {
        let answering = Request::get(path).open(streaming.address()).unwrap();
        assert_eq!(
            Events::of(answering.body).rest(),
            (vec!["one".to_owned()], whole),
            "{path}"
        );
    };
    check("/whole", true);
    check("/dying", false);
}

#[test]
fn a_gateway_finds_its_endpoints_by_its_configuration() {
    let sim = Sim::start(MODEL, &[]);
    let scratch = Scratch::new("discovery");
    let endpoints = scratch.file("pool.yaml", &endpoints_file(&[("only", sim.address)]));
    let config = json!({
        "apiVersion": "llm-d.ai/v1alpha1",
        "kind": "EndpointPickerConfig",
        "plugins": [
            {"name": "disc", "type": "file-discovery", "parameters": {"path": endpoints}},
            {"type": "active-request-scorer"},
            {"type": "max-score-picker"},
            {"type": "single-profile-handler"},
        ],
        "schedulingProfiles": [{
            "name": "default",
            "plugins": [{"pluginRef": "active-request-scorer", "weight": 1}, {"pluginRef": "max-score-picker"}],
        }],
        "dataLayer": {"discovery": {"pluginRef": "disc"}},
    });
    let gateway = Gateway::configured(&scratch.file("epp.yaml", &config.to_string()));
    assert_eq!(chat("Hello", 2).answered(gateway.address).status, 200);
    let receipt = gateway.decisions(1).remove(0);
    assert_eq!(receipt["plan"]["compat"], "g2", "{receipt}");
}
