//! The API server is away while requests come in.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pointsman_tests::cluster::Cluster;
use pointsman_tests::envoy::{Bodies, Envoy};
use pointsman_tests::http::Request;
use pointsman_tests::patience::until;
use serde_json::json;

use crate::bed::{Bed, is_ready, servers, setup, state, wait_discovery};

/// How long the API server is away, and how many requests come in a second.
const AWAY: Duration = Duration::from_secs(20);
const RATE: u32 = 200;

/// Clients that share the rate.
const CLIENTS: u32 = 8;

#[test]
fn requests_do_not_notice_that_the_api_server_is_away() {
    let cluster = Cluster::start(&setup());
    let bed = Bed::new(&cluster, "outage");
    let (servers, port) = servers(&[11, 12, 13]);
    bed.pool("x", &[port]);
    for host in [11, 12, 13] {
        let name = format!("p{host}");
        bed.pod(&name, "x", json!({}));
        bed.status(&name, &format!("127.0.0.{host}"), true);
    }
    let picker = bed.picker_of_pool(&[]);
    until("readiness", || is_ready(&picker).then_some(()));
    until("three endpoints", || {
        (picker.server.endpoints().len() == 3).then_some(())
    });
    let envoy = Envoy::before(picker.server.address, Bodies::FullDuplex);
    let (stop, failed) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let sent = std::sync::atomic::AtomicUsize::new(0);
    let send = || {
        let body = json!({"model": "m", "prompt": "x"});
        let mut next = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            let answer = Request::post("/v1/completions", &body).send(envoy.address);
            sent.fetch_add(1, Ordering::Relaxed);
            match answer {
                Ok(answer) if answer.status == 200 => {}
                Ok(answer) => failed.lock().unwrap().push(answer.text()),
                Err(error) => failed.lock().unwrap().push(error.to_string()),
            }
            next += Duration::from_secs(1) * CLIENTS / RATE;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(send);
        }
        let stopping = StopAtEnd(&stop);
        cluster.stop_api();
        wait_discovery(&picker, "the outage to be said", |view| {
            state(view, "pods") == "degraded" && state(view, "the pool") == "degraded"
        });
        std::thread::sleep(AWAY);
        assert!(
            is_ready(&picker),
            "an outage of the API server is none of the picker"
        );
        assert_eq!(picker.server.endpoints().len(), 3);
        cluster.start_api(&setup());
        let back = Instant::now();
        bed.status("p13", "127.0.0.13", false);
        until("the unready pod to leave", || {
            (picker.server.endpoints().len() == 2).then_some(())
        });
        println!(
            "out of the pool {:?} after the API server was ready",
            back.elapsed()
        );
        // Requests that were on their way have arrived when the picker is asked again; none follow.
        let before = servers[2].received("/v1/completions").len();
        let (at, many) = (sent.load(Ordering::Relaxed), 400);
        until("more requests", || {
            (sent.load(Ordering::Relaxed) > at + many).then_some(())
        });
        let after = servers[2].received("/v1/completions").len();
        assert!(
            after - before <= CLIENTS as usize,
            "{} went to a pod that had left",
            after - before
        );
        drop(stopping);
    });
    let failed = failed.into_inner().unwrap();
    assert!(
        failed.is_empty(),
        "{} failed: {:?}",
        failed.len(),
        failed.first()
    );
}

/// Ends the clients, also when an assertion fails.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
