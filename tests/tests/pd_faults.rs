//! The faults of a P/D proxy against real processes: the proxy, simulated engines that check what they fetch, and scripted ones.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use pointsman_tests::answer::{Events, MODEL, chat, chat_stream};
use pointsman_tests::backend::Backend;
use pointsman_tests::burst::burst;
use pointsman_tests::http::{Request, connect};
use pointsman_tests::patience::{LONG, until};
use pointsman_tests::port;
use pointsman_tests::server::{Proxy, Sim};
use serde_json::json;

/// A simulated pair; the decode engine asks the other what it keeps.
fn pair(connector: &str) -> (Sim, Sim) {
    let common = ["--kv-connector", connector];
    let prefill = Sim::start(MODEL, &[&common[..], &["--role", "prefill"]].concat());
    let peer = url(&prefill);
    let flags = [&common[..], &["--role", "decode", "--kv-peer", &peer]].concat();
    let decode = Sim::start(MODEL, &flags);
    (prefill, decode)
}

fn url(sim: &Sim) -> String {
    format!("http://{}", sim.address)
}

/// A proxy with flags in front of engines at these URLs.
fn before(prefill: &str, decode: &str, flags: &[&str]) -> Proxy {
    let flags = [&["--prefill", prefill, "--decode", decode], flags].concat();
    Proxy::start(&flags, &[])
}

/// The value of one series on a page of metrics.
#[track_caller]
fn series(address: SocketAddr, name: &str) -> f64 {
    let page = Request::get("/metrics").answered(address).text();
    let line = page.lines().find(|line| line.starts_with(name));
    let line = line.unwrap_or_else(|| panic!("no {name} in\n{page}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

const FETCHED: &str = "pointsman_sim_transferred_tokens_total";

#[test]
fn every_connector_hands_the_cache_of_a_simulated_pair_over() {
    for (connector, engines) in [
        ("nixlv2", "nixl"),
        ("shared-storage", "shared-storage"),
        ("lmcache", "shared-storage"),
        ("sglang", "nixl"),
    ] {
        let (prefill, decode) = pair(engines);
        let flags = ["--kv-connector", connector];
        let proxy = before(&url(&prefill), &url(&decode), &flags);
        let words = "word ".repeat(200);
        let response = chat(&words, 4).answered(proxy.address);
        assert_eq!(response.status, 200, "{connector}: {}", response.text());
        assert_eq!(response.header("x-pointsman-prefill-fallback"), None);
        let fetched = series(decode.address, FETCHED);
        assert!(fetched >= 200.0, "{connector}: {fetched} tokens fetched");
        let stale = series(decode.address, "pointsman_sim_stale_transfers_total");
        assert_eq!(stale, 0.0);
        let own = "pointsman_proxy_requests_total{outcome=\"handed-off\"}";
        assert_eq!(series(proxy.address, own), 1.0);
        // The decode engine's own page is still there, before it.
        series(proxy.address, "vllm:num_requests_running");
    }
}

#[test]
fn p1_a_prefill_that_is_gone_is_made_up_for_by_the_next_or_by_decode() {
    let (prefill, decode) = pair("nixl");
    let gone = format!("http://{}", port::free());
    let both = format!("{gone},{}", url(&prefill));
    let flags = ["--kv-connector", "nixlv2"];
    let proxy = before(&both, &url(&decode), &flags);
    for _ in 0..4 {
        let response = chat("Hello", 2).answered(proxy.address);
        assert_eq!(response.status, 200);
        assert_eq!(response.header("x-pointsman-prefill-fallback"), None);
    }
    let proxy = before(&gone, &url(&decode), &flags);
    let response = chat("Hello", 2).answered(proxy.address);
    assert_eq!(
        (
            response.status,
            response.header("x-pointsman-prefill-fallback")
        ),
        (200, Some("unreachable"))
    );
    let strict = [&flags[..], &["--on-prefill-failure", "error"]].concat();
    let proxy = before(&gone, &url(&decode), &strict);
    let response = chat("Hello", 2).answered(proxy.address);
    assert_eq!(response.status, 502, "{}", response.text());
    assert_eq!(response.json()["error"]["code"], "upstream-unreachable");
}

#[test]
fn p1_the_id_of_a_p2p_pair_is_not_used_without_its_prefill() {
    let (_prefill, decode) = pair("p2p-nccl");
    let gone = format!("http://{}", port::free());
    let proxy = before(&gone, &url(&decode), &["--kind", "p2p"]);
    let id = chat("Hello", 2).answered(proxy.address).json()["id"].clone();
    let id = id.as_str().unwrap();
    assert!(
        id.starts_with("chatcmpl-") && !id.contains("___prefill_addr_"),
        "{id}"
    );
}

#[test]
fn p3_a_hanging_prefill_is_left_at_the_requests_own_deadline() {
    let (left, seen) = mpsc::channel::<()>();
    let prefill = Backend::start(move |_, reply| {
        if reply.peer_leaves(LONG) {
            let _ = left.send(());
        }
    });
    let decode = Sim::start(MODEL, &[]);
    let proxy = before(&prefill.url(), &url(&decode), &["--kind", "fs"]);
    let request = chat("Hello", 2).header("x-pointsman-prefill-timeout-ms", "150");
    let response = request.answered(proxy.address);
    assert_eq!(
        (
            response.status,
            response.header("x-pointsman-prefill-fallback")
        ),
        (200, Some("timeout"))
    );
    assert_eq!(seen.recv_timeout(LONG), Ok(()), "the prefill leg is closed");
}

#[test]
fn p4_a_decode_that_is_gone_is_followed_by_another_that_fetches_afresh() {
    let (prefill, decode) = pair("nixl");
    let gone = format!("http://{}", port::free());
    let both = format!("{gone},{}", url(&decode));
    let proxy = before(
        &url(&prefill),
        &both,
        &["--kv-connector", "nixlv2", "--workers", "1"],
    );
    let words = "word ".repeat(100);
    let response = chat(&words, 2).answered(proxy.address);
    assert_eq!(response.status, 200, "{}", response.text());
    assert!(series(decode.address, FETCHED) >= 100.0);
    assert_eq!(
        series(proxy.address, "pointsman_proxy_decode_retries_total"),
        1.0
    );
    let proxy = before(&url(&prefill), &gone, &["--kv-connector", "nixlv2"]);
    let response = chat("Hello", 2).answered(proxy.address);
    assert_eq!(response.status, 502, "{}", response.text());
}

#[test]
fn p6_a_client_that_leaves_frees_both_engines() {
    const ABORTED: &str = "pointsman_sim_aborted_total";
    const RUNNING: &str = "vllm:num_requests_running";
    let aborted = |sim: &Sim, times: f64| {
        until("the engine to abort", || {
            (series(sim.address, ABORTED) >= times).then_some(())
        });
    };
    for connector in ["nixlv2", "sglang"] {
        // So slow that whatever runs is still running when its client leaves.
        let slow = ["--speed", "0.002"];
        let common = ["--kv-connector", "nixl"];
        let prefill = Sim::start(
            MODEL,
            &[&common[..], &slow, &["--role", "prefill"]].concat(),
        );
        let decode = Sim::start(MODEL, &[&common[..], &["--role", "decode"]].concat());
        let flags = ["--kv-connector", connector];
        let proxy = before(&url(&prefill), &url(&decode), &flags);
        let mut client = connect(proxy.address, LONG).unwrap();
        client.write_all(&chat("Hello there", 4).bytes()).unwrap();
        until("the prefill leg", || {
            (series(prefill.address, RUNNING) == 1.0).then_some(())
        });
        drop(client);
        aborted(&prefill, 1.0);
        assert_eq!(series(decode.address, "vllm:generation_tokens_total"), 0.0);
        let own = "pointsman_proxy_aborted_total{stage=\"before-answer\"}";
        until("the proxy's count", || {
            (series(proxy.address, own) == 1.0).then_some(())
        });
    }
    // Within the answer.
    let prefill = Sim::start(MODEL, &[]);
    let decode = Sim::start(MODEL, &["--speed", "0.05"]);
    let proxy = before(&url(&prefill), &url(&decode), &["--kind", "fs"]);
    let answering = chat_stream("Hello", 500).open(proxy.address).unwrap();
    let mut events = Events::of(answering.body);
    assert!(events.next_data().unwrap().is_some());
    drop(events);
    aborted(&decode, 1.0);
}

/// A prefill engine that has another one compute, and lets the half of its first answer wait for so long. Gives its URL and the number
/// of prompts it was given.
fn dawdling(engine: SocketAddr, pause: Duration) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let mut reader = BufReader::new(connection);
            let (mut line, mut length) = (String::new(), 0);
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            if reader.read_exact(&mut body).is_err() || length == 0 {
                continue;
            }
            let number = count.fetch_add(1, Ordering::SeqCst);
            let body = serde_json::from_slice(&body).unwrap();
            let answer = Request::post("/v1/chat/completions", &body).answered(engine);
            let head = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                answer.body.len()
            );
            let (now, later) = answer.body.split_at(answer.body.len() / 2);
            let mut writer = reader.into_inner();
            // Whoever has left is not written to.
            let _ = writer.write_all(&[head.as_bytes(), now].concat());
            if number == 0 {
                std::thread::sleep(pause);
            }
            let _ = writer.write_all(later);
        }
    });
    (url, asked)
}

#[test]
fn p7_a_cache_older_than_its_lease_is_never_fetched() {
    let lease = "4s";
    let engine = Sim::start(MODEL, &["--kv-connector", "nixl", "--kv-lease", lease]);
    let (prefill, asked) = dawdling(engine.address, Duration::from_millis(4500));
    let flags = ["--kv-connector", "nixlv2", "--kv-lease", lease];
    let proxy = before(&prefill, &url(&engine), &flags);
    let response = chat("Hello", 4).answered(proxy.address);
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(asked.load(Ordering::SeqCst), 2, "prefill is done again");
    assert!(series(engine.address, FETCHED) > 0.0);
    let stale = series(engine.address, "pointsman_sim_stale_transfers_total");
    assert_eq!(stale, 0.0);
    let redone = series(proxy.address, "pointsman_proxy_prefills_redone_total");
    assert_eq!(redone, 1.0);
}

#[test]
fn p9_equal_request_ids_of_clients_do_not_meet() {
    let (prefill, decode) = pair("nixl");
    let proxy = before(&url(&prefill), &url(&decode), &["--kv-connector", "nixlv2"]);
    let ids = Mutex::new(Vec::new());
    let statuses = burst(16, 8, |_| {
        let request = chat("Hello", 2).header("x-request-id", "same");
        let response = request.answered(proxy.address);
        assert_eq!(response.header("x-request-id"), Some("same"));
        let id = response.json()["id"].as_str().unwrap().to_owned();
        ids.lock().unwrap().push(id);
        response.status
    });
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    let mut ids = ids.into_inner().unwrap();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 16);
}

#[test]
fn p10_a_body_of_200_mb_is_refused_in_bounded_memory() {
    let engine = Backend::start(|_, reply| reply.json(200, &json!({})));
    let proxy = before(
        &engine.url(),
        &engine.url(),
        &["--kind", "fs", "--workers", "1"],
    );
    let limit: u64 = 32 << 20;
    let before = proxy.process.resident();
    let piece = vec![b'x'; 1 << 20];
    let mut most = before;
    for framing in ["content-length: 209715200", "transfer-encoding: chunked"] {
        let mut client = connect(proxy.address, LONG).unwrap();
        let head = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: p\r\n{framing}\r\n\r\n");
        client.write_all(head.as_bytes()).unwrap();
        let chunked = framing.starts_with("transfer");
        for number in 0..200 {
            let written = if chunked {
                let frame = [b"100000\r\n", &piece[..], b"\r\n"].concat();
                client.write_all(&frame)
            } else {
                client.write_all(&piece)
            };
            if number % 20 == 0 {
                most = most.max(proxy.process.resident());
            }
            // What lies beyond the answer and the part that is read for politeness is reset.
            if written.is_err() {
                break;
            }
        }
        let mut answer = [0; 12];
        if client.read_exact(&mut answer).is_ok() {
            assert_eq!(&answer, b"HTTP/1.1 413");
        }
    }
    let refused =
        Request::new("POST", "/v1/chat/completions", vec![b'x'; 40 << 20]).answered(proxy.address);
    assert_eq!(refused.status, 413, "{}", refused.text());
    assert_eq!(refused.json()["error"]["code"], "body-too-large");
    let grown = most - before;
    assert!(grown <= 3 * limit, "grew by {} MiB", grown >> 20);
    assert!(engine.received("/v1/chat").is_empty());
}
