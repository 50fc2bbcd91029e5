//! What objects of the API server do to requests: who gives way, who goes first, and when the picker may be asked at all.

use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use pointsman_tests::backend::{Backend, Received, Reply};
use pointsman_tests::cluster::Cluster;
use pointsman_tests::envoy::{Bodies, Envoy};
use pointsman_tests::http::{Request, Response};
use pointsman_tests::patience::{LONG, until};
use pointsman_tests::picker::Picker;
use pointsman_tests::port;
use pointsman_tests::scratch::Scratch;
use serde_json::{Value, json};

use crate::bed::{Bed, is_ready, setup, wait_discovery};

/// A model server that holds each request until it is let go.
struct Engine {
    port: u16,
    state: Arc<(Mutex<State>, Condvar)>,
    _backend: Backend,
}

#[derive(Default)]
struct State {
    came: Vec<String>,
    passes: u32,
}

impl Engine {
    fn at(host: u8) -> Self {
        let state: Arc<(Mutex<State>, Condvar)> = Arc::default();
        let seen = Arc::clone(&state);
        let port = port::free().port();
        let address = SocketAddr::from(([127, 0, 0, host], port));
        let backend = Backend::at(address, move |request: &Received, reply: &mut Reply| {
            if request.path == "/metrics" {
                return reply.whole(404, "text/plain", b"");
            }
            let prompt = request.json()["prompt"].as_str().unwrap().to_owned();
            let (state, changed) = &*seen;
            let mut held = state.lock().unwrap();
            held.came.push(prompt);
            let waits = |held: &mut State| held.passes == 0;
            let (mut held, _) = changed.wait_timeout_while(held, LONG, waits).unwrap();
            held.passes = held.passes.saturating_sub(1);
            drop(held);
            reply.json(200, &json!({"id": "c", "model": "m"}));
        });
        Self {
            port,
            state,
            _backend: backend,
        }
    }

    fn let_go(&self, count: u32) {
        self.state.0.lock().unwrap().passes += count;
        self.state.1.notify_all();
    }

    fn came(&self) -> Vec<String> {
        self.state.0.lock().unwrap().came.clone()
    }

    #[track_caller]
    fn wait_came(&self, prompts: &[&str]) {
        until(&format!("{prompts:?} to reach the engine"), || {
            (self.came() == prompts).then_some(())
        });
    }
}

/// A configuration under which an endpoint holds one request; with the gate the others wait.
fn one_at_a_time(gate: bool) -> String {
    let gates: &[&str] = if gate { &["flowControl"] } else { &[] };
    json!({
        "apiVersion": "llm-d.ai/v1alpha1",
        "kind": "EndpointPickerConfig",
        "featureGates": gates,
        "plugins": [
            {"type": "active-request-scorer"},
            {"type": "concurrency-detector", "parameters": {"maxConcurrency": 1}},
        ],
        "schedulingProfiles": [{"name": "default", "plugins": [{"pluginRef": "active-request-scorer"}]}],
        "flowControl": {"saturationDetector": {"pluginRef": "concurrency-detector"}},
    })
    .to_string()
}

/// A pool of one endpoint that holds one request, objectives `urgent` and `batch`, and Envoy before its picker.
struct Rig<'a> {
    _bed: Bed<'a>,
    engine: Engine,
    picker: Picker,
    envoy: Envoy,
    _files: Scratch,
}

fn rig(name: &str, host: u8, gate: bool) -> Rig<'static> {
    let bed = Bed::new(Cluster::shared(&setup()), name);
    let engine = Engine::at(host);
    bed.pool("x", &[engine.port]);
    bed.pod("a", "x", json!({}));
    bed.status("a", &format!("127.0.0.{host}"), true);
    for (objective, priority) in [("urgent", 10), ("batch", -1)] {
        bed.apply(json!({
            "apiVersion": "inference.networking.x-k8s.io/v1alpha2",
            "kind": "InferenceObjective",
            "metadata": {"name": objective},
            "spec": {"priority": priority, "poolRef": {"name": "pool"}},
        }));
    }
    let files = Scratch::new(name);
    let config = files.file("config.json", &one_at_a_time(gate));
    let picker = bed.picker_of_pool(&["--config-file", &config]);
    until("readiness", || is_ready(&picker).then_some(()));
    wait_discovery(&picker, "the objectives", |view| {
        view["objectives"] == json!({"urgent": 10, "batch": -1})
    });
    let envoy = Envoy::before(picker.server.address, Bodies::FullDuplex);
    Rig {
        _bed: bed,
        engine,
        picker,
        envoy,
        _files: files,
    }
}

impl Rig<'_> {
    /// Sends in the background; the prompt is the objective's name, or whatever it is where there is none.
    fn send(&self, prompt: &str, objective: Option<&str>) -> JoinHandle<Response> {
        let (address, request) = (self.envoy.address, ask(prompt, objective));
        std::thread::spawn(move || request.answered(address))
    }

    fn queued(&self) -> f64 {
        let page = Request::get("/metrics")
            .answered(self.picker.server.admin)
            .text();
        let sizes = page
            .lines()
            .filter(|line| line.starts_with("llm_d_epp_flow_control_queue_size{"));
        sizes
            .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
            .sum()
    }
}

fn ask(prompt: &str, objective: Option<&str>) -> Request {
    let request = Request::post("/v1/completions", &json!({"model": "m", "prompt": prompt}));
    match objective {
        Some(name) => request.header("x-gateway-inference-objective", name),
        None => request,
    }
}

#[test]
fn who_has_an_objective_below_zero_gives_way_when_the_pool_is_full() {
    let rig = rig("shed", 21, false);
    let first = rig.send("first", Some("batch"));
    rig.engine.wait_came(&["first"]);
    let shed = ask("shed", Some("batch")).answered(rig.envoy.address);
    let reason = shed.header("x-llm-d-request-dropped-reason");
    assert_eq!((shed.status, reason), (429, Some("rejected-saturated")));
    // An objective that nobody declared, and none, are those of everybody.
    let usual = [
        rig.send("usual", None),
        rig.send("usual", Some("unheard-of")),
    ];
    rig.engine.wait_came(&["first", "usual", "usual"]);
    rig.engine.let_go(3);
    for answer in [first].into_iter().chain(usual) {
        assert_eq!(answer.join().unwrap().status, 200);
    }
}

#[test]
fn whose_objective_is_higher_goes_first() {
    let rig = rig("order", 22, true);
    let mut answers = vec![rig.send("first", None)];
    rig.engine.wait_came(&["first"]);
    let waiting = [
        ("batch", Some("batch")),
        ("usual", None),
        ("urgent", Some("urgent")),
    ];
    for (place, (prompt, objective)) in (1..).zip(waiting) {
        answers.push(rig.send(prompt, objective));
        let place = f64::from(place);
        until("it to stand in the queue", || {
            (rig.queued() == place).then_some(())
        });
    }
    for came in 2..=4 {
        rig.engine.let_go(1);
        let expected = ["first", "urgent", "usual", "batch"];
        rig.engine.wait_came(&expected[..came]);
    }
    rig.engine.let_go(1);
    for answer in answers {
        assert_eq!(answer.join().unwrap().status, 200);
    }
}

#[test]
fn a_pool_that_speaks_what_no_parser_reads_makes_no_picker_ready() {
    let bed = Bed::new(Cluster::shared(&setup()), "speech");
    bed.pool("x", &[8000]);
    bed.pod("a", "x", json!({}));
    bed.status("a", "127.0.0.2", true);
    let files = Scratch::new("speech");
    let mut config: Value = serde_json::from_str(&one_at_a_time(false)).unwrap();
    config["plugins"]
        .as_array_mut()
        .unwrap()
        .push(json!({"type": "vllmgrpc-parser"}));
    config["requestHandler"] = json!({"parsers": [{"pluginRef": "vllmgrpc-parser"}]});
    let config = files.file("config.json", &config.to_string());
    let picker = bed.picker_of_pool(&["--config-file", &config]);
    // The API server takes a pool that says nothing for one that speaks HTTP/1.1.
    let view = wait_discovery(&picker, "the endpoint", |view| view["endpoints"] == 1);
    let missing = view["missing"].as_str().unwrap_or_default();
    assert!(missing.contains("appProtocol"), "{view}");
    assert!(!is_ready(&picker));
    bed.cluster.kubectl(&[
        "patch",
        "-n",
        &bed.namespace,
        "inferencepool/pool",
        "--type=merge",
        "-p",
        r#"{"spec":{"appProtocol":"kubernetes.io/h2c"}}"#,
    ]);
    until("readiness", || is_ready(&picker).then_some(()));
}
