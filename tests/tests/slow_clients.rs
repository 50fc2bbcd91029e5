//! G1, G5, G6, P11: clients that take their time, answers that are large or oddly cut, connections that go stale.

#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::io::{Read, Write};
use std::sync::Mutex;
use std::time::Duration;

use pointsman_tests::answer::{MODEL, chat, chat_stream};
use pointsman_tests::backend::{Backend, Reply};
use pointsman_tests::burst::burst;
use pointsman_tests::http::{Request, connect};
use pointsman_tests::patience::LONG;
use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::{Gateway, Sim, endpoints_file};

/// A gateway before one backend.
struct Rig {
    gateway: Gateway,
    backend: Backend,
    _files: Scratch,
}

impl Rig {
    #[track_caller]
    fn start(name: &str, script: impl Fn(&str, &mut Reply) + Send + Sync + 'static) -> Self {
        let backend = Backend::start(move |request, reply| {
            if request.path == "/metrics" {
                return reply.whole(404, "text/plain", b"");
            }
            script(&request.path, reply);
        });
        let files = Scratch::new(name);
        let endpoints = files.file(
            "endpoints.yaml",
            &endpoints_file(&[("only", backend.address())]),
        );
        Self {
            gateway: Gateway::before(&endpoints, &["--profile", "proxy-performance"]),
            backend,
            _files: files,
        }
    }
}

#[test]
fn g1_slow_heads_and_bodies_hold_nobody_up_and_are_cut_off() {
    let sim = Sim::start(MODEL, &["--max-num-seqs", "64"]);
    let files = Scratch::new("slowloris");
    let endpoints = files.file("endpoints.yaml", &endpoints_file(&[("only", sim.address)]));
    let gateway = Gateway::before(&endpoints, &["--profile", "proxy-performance"]);

    let request = chat("Hello", 2).bytes();
    let mut heads: Vec<_> = (0..200)
        .map(|number| {
            let mut slow = connect(gateway.address, LONG).unwrap();
            // Each has stopped at another byte of the head.
            slow.write_all(&request[..number % 60]).unwrap();
            slow
        })
        .collect();
    let bodies: Vec<_> = (0..50)
        .map(|_| {
            let mut slow = connect(gateway.address, LONG).unwrap();
            slow.write_all(&request[..request.len() - 10]).unwrap();
            slow
        })
        .collect();
    let statuses = burst(40, 4, |number| {
        // Meanwhile the slow ones move by a byte.
        if let Some(mut slow) = heads.get(number)
            && number % 2 == 0
        {
            let _ = slow.write_all(b"G");
        }
        chat("Hello", 2).answered(gateway.address).status
    });
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    for slow in &mut heads {
        // Closed, or refused for what the byte made of it: but not kept.
        let mut answer = Vec::new();
        match slow.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{answer:?}");
    }
    assert_eq!(chat("Hello", 2).answered(gateway.address).status, 200);
    drop(bodies);
    gateway.wait_idle();
}

#[test]
fn g1_clients_that_never_read_hold_nobody_up_and_fill_no_memory() {
    let rig = Rig::start("never-read", |path, reply| {
        if path != "/large" {
            return reply.whole(200, "text/plain", b"small");
        }
        reply.part(b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n");
        let mebibyte = vec![b'x'; 1 << 20];
        while reply.part(&mebibyte) {}
    });
    let small = Request::get("/small");
    assert_eq!(small.answered(rig.gateway.address).text(), "small");
    let before = rig.gateway.process.resident();
    let silent: Vec<_> = (0..20)
        .map(|_| {
            let mut silent = connect(rig.gateway.address, LONG).unwrap();
            silent.write_all(&Request::get("/large").bytes()).unwrap();
            silent
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(small.answered(rig.gateway.address).text(), "small");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(rig.backend.received("/large").len(), 20);
    let grown = rig.gateway.process.resident().saturating_sub(before);
    assert!(grown < 40 << 20, "grew by {grown} bytes");
    drop(silent);
    rig.gateway.wait_idle();
}

#[test]
fn g5_a_connection_that_went_stale_is_replaced_unseen() {
    let seen = Mutex::new(HashSet::new());
    // Each connection is good for one request and resets at the next.
    let rig = Rig::start("stale", move |_, reply| {
        if seen.lock().unwrap().insert(reply.peer()) {
            reply.json(200, &serde_json::json!({"id": "x"}));
        }
    });
    for _ in 0..20 {
        let response = chat("Hello", 2).answered(rig.gateway.address);
        assert_eq!(response.status, 200, "{}", response.text());
    }
    let asked = rig.backend.received("/v1/chat").len();
    assert!(asked > 20, "connections were used again: {asked}");
    for receipt in rig.gateway.decisions(20) {
        let attempts = receipt["attempts"].as_array().map(Vec::len);
        assert!(attempts.is_none_or(|count| count == 1), "{receipt}");
    }
    rig.gateway.wait_idle();
}

#[test]
fn g6_a_large_answer_to_a_slow_client_leaves_memory_flat() {
    const SIZE: usize = 256 << 20;
    let rig = Rig::start("large", |path, reply| {
        if path != "/large" {
            return reply.whole(200, "text/plain", b"small");
        }
        let piece = vec![b'x'; 1 << 20];
        reply.part(format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n").as_bytes());
        for _ in 1..SIZE >> 20 {
            if !reply.part(&piece) {
                return;
            }
        }
        reply.raw(&piece);
    });
    assert_eq!(
        Request::get("/small").answered(rig.gateway.address).text(),
        "small"
    );
    let before = rig.gateway.process.resident();
    let mut answering = Request::get("/large").open(rig.gateway.address).unwrap();
    let (mut length, mut most, mut next) = (0, 0, 0);
    while let Some(piece) = answering.body.next_piece().unwrap() {
        length += piece.len();
        if length >= next {
            // The backend has time to run ahead, if it is let.
            std::thread::sleep(Duration::from_millis(100));
            most = most.max(rig.gateway.process.resident());
            next += 16 << 20;
        }
    }
    assert_eq!(length, SIZE);
    let grown = most.saturating_sub(before);
    assert!(grown < 30 << 20, "grew by {grown} bytes");
    rig.gateway.wait_idle();
}

#[test]
fn p11_event_streams_pass_byte_for_byte_however_they_are_cut() {
    let long = format!("data: {{\"long\":\"{}\"}}\n\n", "y".repeat(1 << 20));
    let events = [
        ": a comment\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"Größe 🚂\"}}]}\n\n",
        "data: {\"crlf\":1}\r\n\r\n",
        "event: x\r\nid: 5\r\ndata: one\r\ndata: two\r\n\r\n",
        "data:{\"no\":\"space\"}\n\n",
        "retry: 10\n\n\n\n",
        &long,
        "data: {\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":5,\"total_tokens\":8},\"choices\":[]}\n\n",
        "data: [DONE]\n\n",
    ]
    .concat()
    .into_bytes();
    let whole = events.clone();
    let rig = Rig::start("event-cuts", move |_, reply| {
        reply.part(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n");
        // Cut in pieces of 1, 2, 3, … bytes: inside of characters, of `data:` and of line ends; then in large ones.
        let (mut rest, mut size) = (&events[..], 1);
        while !rest.is_empty() {
            let (piece, more) = rest.split_at(size.min(rest.len()));
            reply.part(format!("{:x}\r\n", piece.len()).as_bytes());
            reply.part(piece);
            reply.part(b"\r\n");
            rest = more;
            size = if size < 5 {
                size + 1
            } else if more.len() < 400 || more.len() > 1 << 20 {
                1
            } else {
                7001
            };
        }
        reply.raw(b"0\r\n\r\n");
    });
    let mut answering = chat_stream("Hello", 8).open(rig.gateway.address).unwrap();
    let mut came = Vec::new();
    while let Some(piece) = answering.body.next_piece().unwrap() {
        came.extend_from_slice(&piece);
    }
    assert!(came == whole, "{} bytes of {}", came.len(), whole.len());
    rig.gateway.wait_idle();
    let receipt = &rig.gateway.decisions(1)[0];
    assert!(
        receipt.to_string().contains("\"completion_tokens\":5")
            || receipt.to_string().contains("\"completionTokens\":5")
            || receipt.to_string().contains("\"completion\":5"),
        "the usage was found: {receipt}"
    );
}
