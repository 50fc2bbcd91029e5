//! Clients that leave at any moment, and more clients than open files.

#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::Duration;

use pointsman_tests::answer::{Events, MODEL, chat, chat_stream};
use pointsman_tests::backend::Backend;
use pointsman_tests::burst::burst;
use pointsman_tests::http::{Request, connect, read_answer};
use pointsman_tests::patience::{LONG, until};
use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::{Gateway, Sim, endpoints_file};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[test]
fn a_client_that_leaves_is_cancelled_at_the_engine() {
    let (left, seen) = mpsc::channel();
    let left = Mutex::new(left);
    let backend = Backend::start(move |request, reply| {
        if request.method != "POST" {
            return reply.whole(404, "text/plain", b"");
        }
        if String::from_utf8_lossy(&request.body).contains("\"stream\":true") {
            reply.begin_events();
            reply.event("first");
        }
        if reply.peer_leaves(LONG) {
            let _ = left.lock().unwrap().send(());
        }
    });
    let files = Scratch::new("leaving");
    let endpoints = files.file(
        "endpoints.yaml",
        &endpoints_file(&[("only", backend.address())]),
    );
    let gateway = Gateway::before(&endpoints, &["--profile", "proxy-performance"]);

    // Before the first byte of an answer.
    let mut connection = connect(gateway.address, LONG).unwrap();
    connection.write_all(&chat("Hello", 8).bytes()).unwrap();
    until("the backend to be asked", || {
        (backend.received("/v1/chat").len() == 1).then_some(())
    });
    drop(connection);
    assert_eq!(seen.recv_timeout(LONG), Ok(()));
    gateway.wait_idle();

    // In the middle of the answer.
    let answering = chat_stream("Hello", 8).open(gateway.address).unwrap();
    let mut events = Events::of(answering.body);
    assert_eq!(events.next_data().unwrap().as_deref(), Some("first"));
    drop(events);
    assert_eq!(seen.recv_timeout(LONG), Ok(()));
    gateway.wait_idle();
}

#[test]
fn random_aborts_leave_nothing_in_flight() {
    let lab = Gateway::up(&["--seed", "7"]);
    let seed = u64::from(std::process::id());
    burst(80, 10, |number| {
        let mut draw = seed
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add((number as u64).wrapping_mul(0x2545_f491_4f6c_dd1d));
        let mut next = |below: u64| {
            draw ^= draw << 13;
            draw ^= draw >> 7;
            draw ^= draw << 17;
            draw % below
        };
        let bytes = chat_stream(&format!("leave {number}"), 40).bytes();
        let mut connection = connect(lab.address, LONG).unwrap();
        match next(4) {
            // Before the request is whole.
            0 => connection
                .write_all(&bytes[..1 + next(bytes.len() as u64 - 1) as usize])
                .unwrap(),
            // Between the request and its answer: during the prefill leg, the transfer, or the first step.
            1 => {
                connection.write_all(&bytes).unwrap();
                std::thread::sleep(Duration::from_millis(next(60)));
            }
            // During the answer.
            2 => {
                connection.write_all(&bytes).unwrap();
                let mut events = Events::of(read_answer(connection).unwrap().body);
                for _ in 0..next(20) {
                    events.next_data().unwrap();
                }
            }
            // Not at all.
            _ => {
                connection.write_all(&bytes).unwrap();
                let (events, whole) = Events::of(read_answer(connection).unwrap().body).rest();
                assert!(
                    whole && events.last().is_some_and(|last| last == "[DONE]"),
                    "seed {seed}, {number}: {events:?}"
                );
            }
        }
    });
    lab.wait_idle();
    // The cancellation has reached the engines too.
    for name in [
        "vllm-prefill-p2p",
        "vllm-decode-p2p",
        "vllm-prefill-fs",
        "vllm-decode-fs",
    ] {
        until(&format!("seed {seed}: {name} to run nothing"), || {
            let metrics = Request::get("/metrics").answered(lab.part(name)).text();
            let idle = ["vllm:num_requests_running", "vllm:num_requests_waiting"]
                .iter()
                .all(|gauge| {
                    let mut values = metrics
                        .lines()
                        .filter(|line| line.starts_with(&format!("{gauge}{{")));
                    values.all(|line| {
                        line.rsplit(' ').next().and_then(|value| value.parse().ok()) == Some(0.0)
                    })
                });
            (idle && metrics.contains("vllm:num_requests_running")).then_some(())
        });
    }
}

#[test]
fn a_thousand_clients_on_64_files() {
    // The clients themselves need more than a thousand.
    let limit = getrlimit(Resource::Nofile);
    let wanted = 4096;
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit {
            current: Some(limit.maximum.map_or(wanted, |maximum| maximum.min(wanted))),
            maximum: limit.maximum,
        };
        setrlimit(Resource::Nofile, raised).unwrap();
    }
    let sim = Sim::start(MODEL, &["--max-num-seqs", "256"]);
    let files = Scratch::new("thousand");
    let endpoints = files.file("endpoints.yaml", &endpoints_file(&[("only", sim.address)]));
    let mut gateway =
        Gateway::before_with_files(&endpoints, &["--profile", "proxy-performance"], 64);

    let answers = burst(1000, 1000, |_| {
        let response = chat("Hello", 1).patience(2 * LONG).send(gateway.address);
        response
            .map(|response| response.status)
            .map_err(|error| error.to_string())
    });
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    for answer in &answers {
        *counts.entry(format!("{answer:?}")).or_default() += 1;
    }
    println!("1,000 clients on 64 files: {counts:?}");
    assert!(gateway.process.ended().is_none(), "it lives");
    assert!(
        answers
            .iter()
            .all(|answer| matches!(answer, Ok(200 | 429 | 502 | 503 | 504))),
        "each ends in an answer: {counts:?}"
    );
    let good = answers.iter().filter(|answer| **answer == Ok(200)).count();
    assert!(good >= 900, "waiting clients get their turn: {counts:?}");

    until("a quiet gateway to serve again", || {
        chat("Hello", 1)
            .send(gateway.address)
            .is_ok_and(|response| response.status == 200)
            .then_some(())
    });
    gateway.wait_idle();
}
