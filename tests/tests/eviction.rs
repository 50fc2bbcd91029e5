//! Requests of a negative priority give way in flight, seen from outside: what their clients hear, that the engine is
//! let go, and that nobody else is touched. At the gateway, and behind a real Envoy.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::thread::JoinHandle;

use pointsman_tests::answer::{Events, chat, chat_stream};
use pointsman_tests::backend::{Backend, Received, Reply};
use pointsman_tests::envoy::{Bodies, Envoy};
use pointsman_tests::http::{Request, Response};
use pointsman_tests::patience::{LONG, until};
use pointsman_tests::picker::Picker;
use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::{Gateway, endpoints_file};
use serde_json::json;

fn config(limit: u32) -> String {
    json!({
        "apiVersion": "llm-d.ai/v1alpha1",
        "kind": "EndpointPickerConfig",
        "featureGates": ["flowControl"],
        "plugins": [
            {"type": "active-request-scorer"},
            {"type": "concurrency-detector", "parameters": {"maxConcurrency": limit}},
        ],
        "schedulingProfiles": [{"name": "default", "plugins": [{"pluginRef": "active-request-scorer"}]}],
        "flowControl": {
            "saturationDetector": {"pluginRef": "concurrency-detector"},
            "enableEviction": true,
        },
        "pointsman": {"objectives": [{"name": "urgent", "priority": 10}, {"name": "batch", "priority": -1}]},
    })
    .to_string()
}

/// Answers at once, or never where the prompt says so: then only its client's leaving ends it.
fn answer(request: &Received, reply: &mut Reply) {
    if request.path == "/metrics" {
        return reply.whole(404, "text/plain", b"");
    }
    let body = request.json();
    let prompt = body["messages"][0]["content"].as_str().unwrap_or_default();
    if body["stream"] == true {
        reply.begin_events();
        reply.event(r#"{"id":"x","choices":[{"delta":{"content":"Once"}}]}"#);
    }
    if prompt.starts_with("for ever") {
        assert!(reply.peer_leaves(LONG), "its client never leaves");
        return;
    }
    reply.json(200, &json!({"id": "x", "choices": []}));
}

/// A door before one engine.
struct Bed {
    /// Where clients go.
    address: SocketAddr,
    admin: SocketAddr,
    engine: Backend,
    envoy: Option<Envoy>,
    picker: Option<Picker>,
    gateway: Option<Gateway>,
    _files: Scratch,
}

impl Bed {
    fn new(limit: u32, envoy: bool) -> Self {
        let engine = Backend::start(answer);
        let files = Scratch::new("eviction");
        let endpoints = files.file(
            "endpoints.yaml",
            &endpoints_file(&[("e", engine.address())]),
        );
        let config = files.file("config.yaml", &config(limit));
        let (mut picker, mut gateway, mut before) = (None, None, None);
        let (address, admin) = if envoy {
            let started = Picker::before(&endpoints, &["--config-file", &config]);
            let (asked, admin) = (started.server.address, started.server.admin);
            let envoy = before.insert(Envoy::before(asked, Bodies::FullDuplex));
            picker = Some(started);
            (envoy.address, admin)
        } else {
            let flags = ["--config-file", &config, "--scrape-interval", "0"];
            let started = gateway.insert(Gateway::before(&endpoints, &flags));
            (started.address, started.admin)
        };
        Self {
            address,
            admin,
            engine,
            envoy: before,
            picker,
            gateway,
            _files: files,
        }
    }

    fn server(&self) -> &Gateway {
        let picker = self.picker.as_ref().map(|picker| &picker.server);
        picker.or(self.gateway.as_ref()).unwrap()
    }

    fn send(&self, request: Request) -> JoinHandle<Response> {
        let address = self.address;
        std::thread::spawn(move || request.answered(address))
    }

    #[track_caller]
    fn wait_came(&self, count: usize) {
        until(&format!("{count} to reach the engine"), || {
            let came = self.engine.received("/v1/chat/completions").len();
            (came == count).then_some(())
        });
    }

    /// A number on the metrics page.
    fn counted(&self, series: &str) -> Option<f64> {
        let page = Request::get("/metrics").answered(self.admin).text();
        let mut lines = page.lines();
        let line = lines.find(|line| line.starts_with(series))?;
        line.rsplit_once(' ')?.1.parse().ok()
    }

    #[track_caller]
    fn wait_confirmed(&self, count: f64) {
        let series = "llm_d_epp_flow_control_revocations_total{outcome=\"confirmed\"";
        until("who gave way to have ended", || {
            (self.counted(series) == Some(count)).then_some(())
        });
    }
}

fn batch(request: Request) -> Request {
    request.header("x-llm-d-inference-objective", "batch")
}

#[test]
fn an_unanswered_one_is_refused_and_the_engine_is_let_go() {
    for envoy in [false, true] {
        let bed = Bed::new(1, envoy);
        let running = bed.send(batch(chat("for ever", 1)).header("x-request-id", "gives-way"));
        bed.wait_came(1);
        let next = chat("next", 1).answered(bed.address);
        assert_eq!(next.status, 200, "envoy {envoy}: {}", next.text());
        let evicted = running.join().unwrap();
        assert_eq!(evicted.status, 429, "envoy {envoy}: {}", evicted.text());
        let reason = evicted.header("x-llm-d-request-dropped-reason");
        assert_eq!(reason, Some("evicted"));
        if envoy {
            assert_eq!(evicted.text(), "request evicted by flow control");
        } else {
            assert_eq!(evicted.json()["error"]["code"], "evicted");
            assert_eq!(evicted.header("retry-after"), Some("1"));
        }
        bed.wait_confirmed(1.0);
        bed.server().wait_idle();
        let issued = "llm_d_epp_flow_control_revocations_issued_total{priority=\"0\"";
        assert_eq!(bed.counted(issued), Some(1.0));
        let receipt = bed.server().admin_json("/debug/decisions/gives-way");
        assert_eq!(receipt["outcome"]["reason"], "evicted", "{receipt}");
    }
}

#[test]
fn a_stream_ends_with_a_word_of_why_and_never_looks_whole() {
    for envoy in [false, true] {
        let bed = Bed::new(1, envoy);
        let stream = batch(chat_stream("for ever", 1)).patience(LONG);
        let answer = stream.open(bed.address).unwrap();
        let mut events = Events::of(answer.body);
        assert!(events.next_data().unwrap().unwrap().contains("Once"));
        let next = chat("next", 1).answered(bed.address);
        assert_eq!(next.status, 200, "envoy {envoy}: {}", next.text());
        let (rest, whole) = events.rest();
        let done = rest.iter().any(|data| data == "[DONE]");
        assert!(!done, "{rest:?}");
        if envoy {
            assert!(!whole, "a stream that Envoy resets does not end well");
        } else {
            assert!(rest[0].contains(r#""code":"evicted""#), "{rest:?}");
        }
        bed.wait_confirmed(1.0);
        bed.server().wait_idle();
    }
}

#[test]
fn many_that_give_way_all_end_and_nobody_above_them_is_touched() {
    for envoy in [false, true] {
        let bed = Bed::new(4, envoy);
        let running: Vec<_> = (0..4)
            .map(|n| bed.send(batch(chat(&format!("for ever {n}"), 1))))
            .collect();
        bed.wait_came(4);
        // Each holds its place until its client leaves, so all four have to give way.
        let urgent = |n: usize| {
            let request = chat_stream(&format!("for ever, urgent {n}"), 1).patience(LONG);
            let request = request.header("x-llm-d-inference-objective", "urgent");
            let answer = request.open(bed.address).unwrap();
            let mut events = Events::of(answer.body);
            assert!(events.next_data().unwrap().unwrap().contains("Once"));
            events
        };
        let urgent: Vec<_> = (0..4).map(urgent).collect();
        for evicted in running {
            let evicted = evicted.join().unwrap();
            assert_eq!(evicted.status, 429, "envoy {envoy}: {}", evicted.text());
        }
        bed.wait_confirmed(4.0);
        let pending = bed.counted("llm_d_epp_flow_control_pending_reclaim{");
        assert!(pending.is_some());
        drop(urgent);
        bed.server().wait_idle();
        assert!(bed.envoy.is_some() == envoy);
    }
}
