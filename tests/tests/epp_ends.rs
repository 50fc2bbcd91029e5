//! Pickers that end, die or change their plan while a real Envoy asks them: nothing that has begun is cut, nobody hangs.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use pointsman_tests::answer::Events;
use pointsman_tests::backend::{Backend, Received, Reply};
use pointsman_tests::envoy::{Bodies, Envoy};
use pointsman_tests::grpc::call;
use pointsman_tests::http::Request;
use pointsman_tests::patience::until;
use pointsman_tests::picker::Picker;
use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::endpoints_file;
use serde_json::json;

/// Pieces that a streamed answer has, and the time between two of them for each second that it lasts.
const PIECES: u32 = 40;

/// How many clients ask short questions all the while.
const CLIENTS: usize = 8;

/// Two endpoints: a streamed answer lasts as many seconds as `max_tokens`, any other comes at once.
struct Bed {
    _backends: Vec<Backend>,
    files: Scratch,
    endpoints: String,
}

impl Bed {
    fn new(name: &str) -> Self {
        let backends: Vec<Backend> = (0..2).map(|_| Backend::start(answer)).collect();
        let files = Scratch::new(name);
        let rows = [("a", backends[0].address()), ("b", backends[1].address())];
        let endpoints = files.file("endpoints.json", &endpoints_file(&rows));
        Self {
            _backends: backends,
            files,
            endpoints,
        }
    }

    fn config(&self, weight: usize) -> String {
        self.files.file("config.yaml", &numbered(weight))
    }
}

fn answer(request: &Received, reply: &mut Reply) {
    if request.path == "/metrics" {
        return reply.whole(404, "text/plain", b"");
    }
    let asked = request.json();
    if asked["stream"] != true {
        return reply.json(200, &json!({"id": "c", "model": "m"}));
    }
    let seconds = asked["max_tokens"].as_u64().unwrap_or_default() as u32;
    reply.begin_events();
    for number in 0..PIECES {
        if !reply.event(&json!({"id": "c", "number": number}).to_string()) {
            return;
        }
        thread::sleep(Duration::from_secs(1) * seconds / PIECES);
    }
    reply.event("[DONE]");
    reply.end();
}

/// A configuration that differs from every other number's.
fn numbered(number: usize) -> String {
    format!(
        "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n- type: active-request-scorer\n- type: max-score-picker\n\
         schedulingProfiles:\n- name: default\n  plugins: [{{pluginRef: active-request-scorer, weight: {number}}}, {{pluginRef: max-score-picker}}]\n"
    )
}

fn short() -> Request {
    Request::post("/v1/completions", &json!({"model": "m", "prompt": "p"}))
}

fn lasting(seconds: u32) -> Request {
    let asked = json!({"model": "m", "prompt": "p", "stream": true, "max_tokens": seconds});
    Request::post("/v1/completions", &asked)
}

/// `kill -TERM` while streams of so many seconds run and others come: all of them come to their end.
fn no_stream_is_cut_by_a_termination(seconds: u32, drain: &[&str]) {
    const STREAMS: usize = 12;
    let bed = Bed::new("epp-term");
    let config = bed.config(1);
    let flags = [&["--config-file", config.as_str()], drain].concat();
    let mut picker = Picker::before(&bed.endpoints, &flags);
    let envoy = Envoy::before(picker.server.address, Bodies::FullDuplex);
    let (begun, halfway) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (served, after) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let terminated = AtomicBool::new(false);
    thread::scope(|scope| {
        let streams: Vec<_> = (0..STREAMS)
            .map(|_| {
                scope.spawn(|| {
                    let answering = lasting(seconds).open(envoy.address).unwrap();
                    assert_eq!(answering.head.status, 200);
                    let mut events = Events::of(answering.body);
                    let mut seen = Vec::new();
                    while let Some(event) = events.next_data().expect("a stream was cut") {
                        seen.push(event);
                        if seen.len() == 1 {
                            begun.fetch_add(1, Ordering::SeqCst);
                        }
                        if seen.len() > PIECES as usize / 2 {
                            halfway.store(true, Ordering::SeqCst);
                        }
                    }
                    seen
                })
            })
            .collect();
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                // A gateway that has noticed nothing yet goes on asking.
                while !halfway.load(Ordering::SeqCst) {
                    let answer = short().answered(envoy.address);
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    served.fetch_add(1, Ordering::SeqCst);
                    if terminated.load(Ordering::SeqCst) {
                        after.fetch_add(1, Ordering::SeqCst);
                    }
                    thread::sleep(Duration::from_millis(20));
                }
            });
        }
        until("all streams to have begun", || {
            (begun.load(Ordering::SeqCst) == STREAMS).then_some(())
        });
        picker.server.process.terminate();
        terminated.store(true, Ordering::SeqCst);
        until("health to turn", || {
            let check = call(picker.health, "/grpc.health.v1.Health/Check", &[]).ok()?;
            (check == [0, 0, 0, 0, 2, 8, 2]).then_some(())
        });
        for stream in streams {
            let events = stream.join().unwrap();
            assert_eq!(events.len(), PIECES as usize + 1, "{events:?}");
            assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
        }
    });
    assert!(
        after.into_inner() > 0,
        "{} were served, none of them after the termination",
        served.into_inner()
    );
    let status = picker.server.process.wait_end();
    let lines = picker.server.process.lines().join("\n");
    assert_eq!(status.code(), Some(0), "{lines}");
    assert!(lines.contains("all answers finished"), "{lines}");
}

#[test]
fn e12_streams_of_20_s_outlive_a_termination() {
    no_stream_is_cut_by_a_termination(20, &[]);
}

#[test]
fn e12_streams_of_45_s_outlive_a_termination_that_drains_for_60_s() {
    no_stream_is_cut_by_a_termination(45, &["--drain-timeout", "60s"]);
}

#[test]
fn e11_of_two_pickers_one_is_killed_and_only_what_it_held_is_lost() {
    let bed = Bed::new("epp-kill");
    let config = bed.config(1);
    let flags = ["--config-file", config.as_str(), "--health-checking"];
    let (dying, other) = (
        Picker::before(&bed.endpoints, &flags),
        Picker::before(&bed.endpoints, &flags),
    );
    let pickers = [dying.server.address, other.server.address];
    let envoy = Envoy::before_several(&pickers, Bodies::FullDuplex);
    let asked_of = |picker: &Picker| picker.server.decisions(1).len();
    let (served, lost) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    // An answer that does not come within the patience of a request is a hang, and fails here.
                    match short().send(envoy.address) {
                        Ok(answer) if answer.status == 200 => served.fetch_add(1, Ordering::SeqCst),
                        Ok(answer) => {
                            assert!(matches!(answer.status, 500..=504), "{answer:?}");
                            lost.fetch_add(1, Ordering::SeqCst)
                        }
                        Err(error) => {
                            let timed_out =
                                [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut];
                            assert!(!timed_out.contains(&error.kind()), "a client hung");
                            lost.fetch_add(1, Ordering::SeqCst)
                        }
                    };
                }
            });
        }
        until("both to be asked", || {
            (asked_of(&dying) + asked_of(&other) == 2).then_some(())
        });
        until("some to be served", || {
            (served.load(Ordering::SeqCst) > 50).then_some(())
        });
        assert_eq!(lost.load(Ordering::SeqCst), 0, "before anybody died");
        // Dropped, it is killed.
        drop(dying);
        let at_death = served.load(Ordering::SeqCst);
        until("the other one to serve on", || {
            (served.load(Ordering::SeqCst) > at_death + 400).then_some(())
        });
        over.store(true, Ordering::SeqCst);
    });
    let lost = lost.into_inner();
    assert!(lost <= CLIENTS, "{lost} lost, {CLIENTS} were in flight");
    other.server.wait_idle();
}

#[test]
fn c3_a_hundred_reloads_under_load_through_envoy_fail_nothing_and_mix_no_plans() {
    const RELOADS: usize = 100;
    let bed = Bed::new("epp-reload");
    let file = bed.config(1);
    let picker = Picker::before(&bed.endpoints, &["--config-file", &file]);
    let envoy = Envoy::before(picker.server.address, Bodies::FullDuplex);
    let plan = || picker.server.admin_json("/debug/plan");
    let mut hashes = BTreeMap::from([(1, plan()["hash"].clone())]);
    let mut seen = BTreeMap::new();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let answer = short().answered(envoy.address);
                    assert_eq!(answer.status, 200, "{}", answer.text());
                }
            });
        }
        for number in 2..=RELOADS as u64 + 1 {
            let beside = bed.files.file("config.new", &numbered(number as usize));
            std::fs::rename(beside, Path::new(&file)).unwrap();
            let taken = until(&format!("plan number {number}"), || {
                let plan = plan();
                (plan["generation"] == number).then_some(plan)
            });
            hashes.insert(number, taken["hash"].clone());
            for receipt in picker.server.decisions(50) {
                let of = &receipt["plan"];
                seen.insert(of["generation"].as_u64().unwrap(), of["hash"].clone());
            }
        }
        over.store(true, Ordering::SeqCst);
    });
    let reloads = plan()["reloads"].clone();
    assert_eq!(
        (&reloads["taken"], &reloads["refused"]),
        (&RELOADS.into(), &0.into())
    );
    for (generation, hash) in &seen {
        assert_eq!(
            hashes.get(generation),
            Some(hash),
            "plan {generation} is of another file"
        );
    }
    assert!(seen.len() > RELOADS / 2, "{} plans decided", seen.len());
    picker.server.wait_idle();
}
