//! Waiting to be let in, seen from outside: who goes when, who is refused with what, and that no limit is exceeded.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pointsman_tests::answer::{chat, chat_body};
use pointsman_tests::backend::{Backend, Received, Reply};
use pointsman_tests::http::{Request, Response};
use pointsman_tests::patience::{LONG, until};
use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::{Gateway, endpoints_file};
use serde_json::{Value, json};

/// A backend that holds each request until it is let go, and knows how many it holds.
#[derive(Clone)]
struct Engine {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    held: Mutex<Held>,
    changed: Condvar,
    most: AtomicU32,
}

#[derive(Default)]
struct Held {
    /// Prompts in the order in which they came.
    came: Vec<String>,
    under_way: u32,
    /// How many may end.
    passes: u32,
    open: bool,
}

impl Engine {
    fn start() -> Self {
        let state: Arc<State> = Arc::default();
        let seen = Arc::clone(&state);
        let backend = Backend::start(move |request, reply| seen.answer(request, reply));
        Self {
            address: backend.address(),
            state,
        }
    }

    /// Lets so many end.
    fn let_go(&self, count: u32) {
        self.state.held.lock().unwrap().passes += count;
        self.state.changed.notify_all();
    }

    /// From now on nobody is held.
    fn open(&self) {
        self.state.held.lock().unwrap().open = true;
        self.state.changed.notify_all();
    }

    fn came(&self) -> Vec<String> {
        self.state.held.lock().unwrap().came.clone()
    }

    /// The most that it ever held at once.
    fn most(&self) -> u32 {
        self.state.most.load(Ordering::SeqCst)
    }
}

impl State {
    fn answer(&self, request: &Received, reply: &mut Reply) {
        if request.path == "/metrics" {
            return reply.whole(404, "text/plain", b"no page");
        }
        let content = request.json()["messages"][0]["content"].clone();
        let mut held = self.held.lock().unwrap();
        held.came
            .push(content.as_str().unwrap_or_default().to_owned());
        held.under_way += 1;
        self.most.fetch_max(held.under_way, Ordering::SeqCst);
        while !held.open && held.passes == 0 {
            let (back, waited) = self.changed.wait_timeout(held, LONG).unwrap();
            held = back;
            if waited.timed_out() {
                return;
            }
        }
        held.passes = held.passes.saturating_sub(1);
        // Before the answer's last byte: the next request may come with it.
        held.under_way -= 1;
        drop(held);
        let choice = json!({"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}});
        reply.json(
            200,
            &json!({"id": "x", "object": "chat.completion", "choices": [choice]}),
        );
    }
}

/// A configuration with flow control over a limit of so many requests per endpoint.
fn config(limit: u32, flow: &Value) -> String {
    let mut flow = flow.clone();
    flow["saturationDetector"] = json!({"pluginRef": "concurrency-detector"});
    json!({
        "apiVersion": "llm-d.ai/v1alpha1",
        "kind": "EndpointPickerConfig",
        "featureGates": ["flowControl"],
        "plugins": [
            {"type": "active-request-scorer"},
            {"type": "round-robin-fairness-policy"},
            {"type": "slo-deadline-ordering-policy"},
            {"type": "concurrency-detector", "parameters": {"maxConcurrency": limit}},
        ],
        "schedulingProfiles": [{"name": "default", "plugins": [{"pluginRef": "active-request-scorer"}]}],
        "flowControl": flow,
        "pointsman": {"objectives": [{"name": "urgent", "priority": 10}, {"name": "batch", "priority": -1}]},
    })
    .to_string()
}

struct Rig {
    gateway: Gateway,
    engines: Vec<Engine>,
    files: Scratch,
}

/// A gateway in front of so many engines.
fn rig(engines: usize, config: &str) -> Rig {
    let files = Scratch::new("flow");
    let engines: Vec<Engine> = (0..engines).map(|_| Engine::start()).collect();
    let names: Vec<String> = (0..engines.len()).map(|n| format!("e{n}")).collect();
    let named = names.iter().map(String::as_str);
    let rows: Vec<_> = named.zip(engines.iter().map(|e| e.address)).collect();
    let endpoints = files.file("endpoints.yaml", &endpoints_file(&rows));
    let config = files.file("config.yaml", config);
    let flags = ["--config-file", config.as_str(), "--scrape-interval", "0"];
    let gateway = if engines.is_empty() {
        Gateway::before_nothing(&endpoints, &flags)
    } else {
        Gateway::before(&endpoints, &flags)
    };
    Rig {
        gateway,
        engines,
        files,
    }
}

impl Rig {
    /// Sends in the background.
    fn send(&self, request: Request) -> JoinHandle<Response> {
        let address = self.gateway.address;
        std::thread::spawn(move || request.answered(address))
    }

    /// Sends in the background, and returns when it stands in the queue as number `place`.
    fn queue(&self, request: Request, place: u64) -> JoinHandle<Response> {
        let sent = self.send(request);
        self.wait_queued(place);
        sent
    }

    /// How many stand in the queue.
    fn queued(&self) -> u64 {
        self.sum("llm_d_epp_flow_control_queue_size{") as u64
    }

    #[track_caller]
    fn wait_queued(&self, count: u64) {
        until(&format!("{count} to stand in the queue"), || {
            (self.queued() == count).then_some(())
        });
    }

    /// The sum of all series that begin so on the metrics page.
    fn sum(&self, series: &str) -> f64 {
        let page = Request::get("/metrics").answered(self.gateway.admin).text();
        let lines = page.lines().filter(|line| line.starts_with(series));
        lines
            .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
            .sum()
    }

    #[track_caller]
    fn wait_came(&self, count: usize) {
        until(&format!("{count} to reach the engines"), || {
            let came: usize = self.engines.iter().map(|e| e.came().len()).sum();
            (came == count).then_some(())
        });
    }
}

fn reason(response: &Response) -> Option<&str> {
    response.header("x-llm-d-request-dropped-reason")
}

#[test]
fn what_the_pool_has_no_room_for_waits_and_goes_in_order() {
    let rig = rig(1, &config(1, &json!({})));
    let first = rig.send(chat("first", 1));
    rig.wait_came(1);
    let waiting: Vec<_> = (1..=4)
        .map(|n| rig.queue(chat(&format!("waiting-{n}"), 1), n))
        .collect();
    for _ in 0..5 {
        rig.engines[0].let_go(1);
    }
    assert_eq!(first.join().unwrap().status, 200);
    for answer in waiting {
        let answer = answer.join().unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let expected = ["first", "waiting-1", "waiting-2", "waiting-3", "waiting-4"];
    assert_eq!(rig.engines[0].came(), expected);
    assert_eq!((rig.engines[0].most(), rig.queued()), (1, 0));
    // The receipt tells how long it took: each waited for the one before.
    let receipts = rig.gateway.decisions(5);
    assert!(
        receipts[0]["timesMs"]["queue"].as_f64().unwrap() > 0.0,
        "{}",
        receipts[0]
    );
    assert_eq!(
        receipts[4]["timesMs"]["queue"], 0.0,
        "the first did not wait"
    );
    rig.gateway.wait_idle();
    let dispatched = "llm_d_epp_flow_control_requests_total{outcome=\"Dispatched\"";
    assert_eq!(rig.sum(dispatched), 5.0);
    for prefix in ["llm_d_epp", "inference_extension"] {
        let waited = format!("{prefix}_flow_control_request_queue_duration_seconds_count{{");
        assert_eq!(rig.sum(&waited), 4.0, "{prefix}");
    }
    let full =
        "llm_d_epp_flow_control_pool_saturation{inference_pool=\"default\",stage=\"effective\"}";
    until("the pool to be empty again", || {
        (rig.sum(full) == 0.0).then_some(())
    });
}

#[test]
fn who_waits_too_long_is_told_so() {
    let rig = rig(1, &config(1, &json!({"defaultRequestTTL": "300ms"})));
    let first = rig.send(chat("first", 1));
    rig.wait_came(1);
    let began = Instant::now();
    let late = chat("late", 1)
        .header("x-request-id", "too-late")
        .answered(rig.gateway.address);
    assert_eq!(
        (late.status, reason(&late)),
        (503, Some("rejected-ttl-expired")),
        "{}",
        late.text()
    );
    assert_eq!(late.json()["error"]["code"], "ttl-expired");
    let receipt = rig.gateway.admin_json("/debug/decisions/too-late");
    assert_eq!(receipt["outcome"]["reason"], "ttl-expired", "{receipt}");
    assert!(receipt["timesMs"]["queue"].as_f64().unwrap() >= 300.0);
    assert!(began.elapsed() >= Duration::from_millis(300));
    rig.engines[0].open();
    assert_eq!(first.join().unwrap().status, 200);
    assert_eq!(rig.engines[0].came(), ["first"]);
    assert_eq!(
        rig.sum("llm_d_epp_flow_control_requests_total{outcome=\"EvictedTTL\""),
        1.0
    );
}

#[test]
fn a_full_queue_refuses_and_says_when_to_come_back() {
    let rig = rig(1, &config(1, &json!({"maxRequests": "2"})));
    let first = rig.send(chat("first", 1));
    rig.wait_came(1);
    let waiting: Vec<_> = (1..=2).map(|n| rig.queue(chat("waiting", 1), n)).collect();
    let refused = chat("refused", 1).answered(rig.gateway.address);
    assert_eq!(
        (refused.status, reason(&refused)),
        (429, Some("rejected-saturated")),
        "{}",
        refused.text()
    );
    assert_eq!(refused.json()["error"]["code"], "queue-full");
    // Nothing has drained yet, so it is told to stay away for long.
    assert_eq!(refused.header("retry-after"), Some("60"));
    rig.engines[0].open();
    assert_eq!(first.join().unwrap().status, 200);
    for answer in waiting {
        assert_eq!(answer.join().unwrap().status, 200);
    }
    assert_eq!(rig.engines[0].came().len(), 3);
    assert_eq!(
        rig.sum("llm_d_epp_flow_control_requests_total{outcome=\"RejectedCapacity\""),
        1.0
    );
}

#[test]
fn a_band_without_room_for_the_bytes_refuses() {
    let body = chat_body("waiting", 1).to_string().len();
    let band = json!({"priority": 0, "maxBytes": (2 * body + body / 2).to_string()});
    let rig = rig(1, &config(1, &json!({"priorityBands": [band]})));
    let first = rig.send(chat("waiting", 1));
    rig.wait_came(1);
    let waiting: Vec<_> = (1..=2).map(|n| rig.queue(chat("waiting", 1), n)).collect();
    assert_eq!(
        rig.sum("llm_d_epp_flow_control_queue_bytes{") as usize,
        2 * body
    );
    assert_eq!(chat("waiting", 1).answered(rig.gateway.address).status, 429);
    // Another band has room of its own.
    let urgent = chat("urgent", 1).header("x-llm-d-inference-objective", "urgent");
    let urgent = rig.queue(urgent, 3);
    rig.engines[0].open();
    for answer in waiting.into_iter().chain([first, urgent]) {
        assert_eq!(answer.join().unwrap().status, 200);
    }
}

#[test]
fn a_higher_priority_goes_first_and_the_lowest_last() {
    let rig = rig(1, &config(1, &json!({})));
    let mut sent = vec![rig.send(chat("first", 1))];
    rig.wait_came(1);
    let objective = "x-gateway-inference-objective";
    let asked = [
        chat("batch", 1).header(objective, "batch"),
        chat("usual-1", 1),
        chat("unknown", 1).header(objective, "no-such-objective"),
        chat("urgent", 1).header(objective, "urgent"),
    ];
    for (place, request) in (1..).zip(asked) {
        sent.push(rig.queue(request, place));
    }
    rig.engines[0].let_go(5);
    for answer in sent {
        assert_eq!(answer.join().unwrap().status, 200);
    }
    let expected = ["first", "urgent", "usual-1", "unknown", "batch"];
    assert_eq!(rig.engines[0].came(), expected);
    let urgent = "llm_d_epp_flow_control_requests_total{outcome=\"Dispatched\",priority=\"10\"";
    assert_eq!(rig.sum(urgent), 1.0);
}

#[test]
fn two_clients_take_turns_however_much_one_sends() {
    let band = json!({"fairnessPolicyRef": "round-robin-fairness-policy"});
    let rig = rig(1, &config(1, &json!({"defaultPriorityBand": band})));
    let mut sent = vec![rig.send(chat("first", 1))];
    rig.wait_came(1);
    let from = |id: &str, n: u64| {
        chat(&format!("{id}-{n}"), 1).header("x-llm-d-inference-fairness-id", id)
    };
    for n in 1..=4 {
        sent.push(rig.queue(from("loud", n), n));
    }
    for n in 1..=2 {
        sent.push(rig.queue(from("quiet", n), 4 + n));
    }
    rig.engines[0].let_go(7);
    for answer in sent {
        assert_eq!(answer.join().unwrap().status, 200);
    }
    let expected = [
        "first", "loud-1", "quiet-1", "loud-2", "quiet-2", "loud-3", "loud-4",
    ];
    assert_eq!(rig.engines[0].came(), expected);
}

#[test]
fn who_wants_its_first_token_soonest_goes_first_and_nonsense_jumps_no_queue() {
    let band = json!({"orderingPolicyRef": "slo-deadline-ordering-policy"});
    let rig = rig(1, &config(1, &json!({"defaultPriorityBand": band})));
    let mut sent = vec![rig.send(chat("first", 1))];
    rig.wait_came(1);
    let wish = |name: &str, value: &str| chat(name, 1).header("x-llm-d-slo-ttft-ms", value);
    let asked = [
        wish("negative", "-1"),
        wish("huge", "1e30"),
        wish("patient", "900000"),
        wish("hasty", "100"),
        wish("overflow", "18446744073709551615"),
    ];
    for (place, request) in (1..).zip(asked) {
        sent.push(rig.queue(request, place));
    }
    rig.engines[0].let_go(6);
    for answer in sent {
        assert_eq!(answer.join().unwrap().status, 200);
    }
    let expected = ["first", "hasty", "patient", "negative", "huge", "overflow"];
    assert_eq!(rig.engines[0].came(), expected);
}

#[test]
fn no_engine_ever_holds_more_than_its_limit() {
    let rig = rig(2, &config(4, &json!({})));
    rig.engines.iter().for_each(Engine::open);
    let address = rig.gateway.address;
    let clients: Vec<_> = (0..24)
        .map(|client| {
            std::thread::spawn(move || {
                for n in 0..25 {
                    let answer = chat(&format!("{client}-{n}"), 1).answered(address);
                    assert_eq!(answer.status, 200, "{}", answer.text());
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    let came: usize = rig.engines.iter().map(|engine| engine.came().len()).sum();
    assert_eq!(came, 24 * 25);
    for engine in &rig.engines {
        assert!(
            (1..=4).contains(&engine.most()),
            "{} at once",
            engine.most()
        );
    }
    rig.gateway.wait_idle();
}

#[test]
fn as_a_filter_alone_the_limit_holds_too_and_the_rest_is_refused() {
    let config = json!({
        "plugins": [{"type": "concurrency-detector", "parameters": {"maxConcurrency": 4}}, {"type": "random-picker"}],
        "schedulingProfiles": [{"name": "default", "plugins": [{"pluginRef": "concurrency-detector"}, {"pluginRef": "random-picker"}]}],
    });
    let rig = rig(2, &config.to_string());
    let sent: Vec<_> = (0..20).map(|n| rig.send(chat(&n.to_string(), 1))).collect();
    rig.wait_came(8);
    let refused = chat("one more", 1).answered(rig.gateway.address);
    assert_eq!(
        (refused.status, reason(&refused)),
        (429, Some("rejected-saturated"))
    );
    rig.engines.iter().for_each(Engine::open);
    let answers: Vec<u16> = sent
        .into_iter()
        .map(|sent| sent.join().unwrap().status)
        .collect();
    let served = answers.iter().filter(|status| **status == 200).count();
    assert!(
        served >= 8 && answers.iter().all(|s| [200, 429].contains(s)),
        "{answers:?}"
    );
    for engine in &rig.engines {
        assert_eq!(engine.most(), 4);
    }
}

#[test]
fn who_leaves_gives_its_place_up() {
    let rig = rig(1, &config(1, &json!({"maxRequests": "1"})));
    let first = rig.send(chat("first", 1));
    rig.wait_came(1);
    let leaver = std::net::TcpStream::connect(rig.gateway.address).unwrap();
    std::io::Write::write_all(&mut &leaver, &chat("leaver", 1).bytes()).unwrap();
    rig.wait_queued(1);
    assert_eq!(chat("refused", 1).answered(rig.gateway.address).status, 429);
    drop(leaver);
    rig.wait_queued(0);
    let second = rig.queue(chat("second", 1), 1);
    rig.engines[0].let_go(2);
    assert_eq!(first.join().unwrap().status, 200);
    assert_eq!(second.join().unwrap().status, 200);
    assert_eq!(rig.engines[0].came(), ["first", "second"]);
    rig.gateway.wait_idle();
    let left = "llm_d_epp_flow_control_requests_total{outcome=\"EvictedContextCancelled\"";
    assert_eq!(rig.sum(left), 1.0);
}

#[test]
fn an_empty_pool_is_waited_for() {
    let rig = rig(0, &config(1, &json!({})));
    let waiting = rig.queue(chat("early", 1), 1);
    let engine = Engine::start();
    engine.open();
    let path = rig
        .files
        .file("new.yaml", &endpoints_file(&[("e0", engine.address)]));
    std::fs::rename(path, rig.files.path().join("endpoints.yaml")).unwrap();
    let answer = waiting.join().unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(engine.came(), ["early"]);
}

#[test]
fn an_empty_pool_is_not_waited_for_too_long() {
    let flow = json!({"noEndpointRequestTTL": "4s", "maxRequests": "1"});
    let rig = rig(0, &config(1, &flow));
    let began = Instant::now();
    let waiting = rig.queue(chat("early", 1), 1);
    // The one place is taken, and there is no endpoint that could free it.
    let refused = chat("refused", 1).answered(rig.gateway.address);
    let none = (503, Some("rejected-no-endpoints"));
    assert_eq!(
        (refused.status, reason(&refused)),
        none,
        "{}",
        refused.text()
    );
    let answer = waiting.join().unwrap();
    assert_eq!((answer.status, reason(&answer)), none, "{}", answer.text());
    assert!(began.elapsed() >= Duration::from_secs(4));
}

#[test]
fn a_router_that_ends_refuses_those_who_wait_and_finishes_the_others() {
    let mut rig = rig(1, &config(1, &json!({})));
    let first = rig.send(chat("first", 1));
    rig.wait_came(1);
    let waiting: Vec<_> = (1..=3).map(|n| rig.queue(chat("waiting", 1), n)).collect();
    rig.gateway.process.interrupt();
    for answer in waiting {
        let answer = answer.join().unwrap();
        assert_eq!(
            (answer.status, reason(&answer)),
            (503, Some("rejected-shutting-down"))
        );
    }
    rig.engines[0].open();
    assert_eq!(first.join().unwrap().status, 200);
    assert_eq!(rig.gateway.process.wait_end().code(), Some(0));
}

#[test]
fn without_the_gate_only_those_of_a_negative_priority_give_way() {
    let config = json!({
        "plugins": [
            {"type": "active-request-scorer"},
            {"type": "concurrency-detector", "parameters": {"maxConcurrency": 1}},
        ],
        "schedulingProfiles": [{"name": "default", "plugins": [{"pluginRef": "active-request-scorer"}]}],
        "flowControl": {"saturationDetector": {"pluginRef": "concurrency-detector"}},
        "pointsman": {"objectives": [{"name": "batch", "priority": -1}]},
    });
    let rig = rig(1, &config.to_string());
    let batch = || chat("batch", 1).header("x-llm-d-inference-objective", "batch");
    let first = rig.send(batch());
    rig.wait_came(1);
    let shed = batch().answered(rig.gateway.address);
    assert_eq!(
        (shed.status, reason(&shed)),
        (429, Some("rejected-saturated")),
        "{}",
        shed.text()
    );
    assert_eq!(shed.header("retry-after"), Some("1"));
    let usual = rig.send(chat("usual", 1));
    rig.wait_came(2);
    rig.engines[0].open();
    for answer in [first, usual] {
        assert_eq!(answer.join().unwrap().status, 200);
    }
}

/// A backend with a metrics page whose queue the test sets.
fn scraped(full: Arc<AtomicBool>) -> SocketAddr {
    Backend::start(move |request, reply| {
        if request.path != "/metrics" {
            return reply.json(200, &json!({"id": "x", "object": "chat.completion", "choices": []}));
        }
        let waiting = if full.load(Ordering::SeqCst) { 50 } else { 0 };
        let page = format!("vllm:num_requests_waiting {waiting}\nvllm:num_requests_running 0\nvllm:kv_cache_usage_perc 0.1\n");
        reply.whole(200, "text/plain; version=0.0.4", page.as_bytes());
    })
    .address()
}

#[test]
fn what_engines_report_holds_requests_back_until_it_gets_better() {
    let full = Arc::new(AtomicBool::new(true));
    let address = scraped(Arc::clone(&full));
    let files = Scratch::new("flow-scraped");
    let endpoints = files.file("endpoints.yaml", &endpoints_file(&[("e0", address)]));
    // The defaults: the detector goes by waiting requests and the KV cache.
    let config = json!({"featureGates": ["flowControl"], "apiVersion": "llm-d.ai/v1alpha1", "plugins": [{"type": "queue-scorer"}, {"type": "utilization-detector", "parameters": {"metricsStalenessThreshold": "10s"}}], "schedulingProfiles": [{"name": "default", "plugins": [{"pluginRef": "queue-scorer"}]}]});
    let config = files.file("config.yaml", &config.to_string());
    let gateway = Gateway::before(
        &endpoints,
        &["--config-file", &config, "--scrape-interval", "50"],
    );
    until("the page to be read", || {
        (gateway.endpoints()[0]["scrape"] == "fresh").then_some(())
    });
    let rig = Rig {
        gateway,
        engines: Vec::new(),
        files,
    };
    let waiting = rig.queue(chat("waiting", 1), 1);
    let saturation =
        "llm_d_epp_flow_control_pool_saturation{inference_pool=\"default\",stage=\"effective\"}";
    assert_eq!(rig.sum(saturation), 10.0);
    full.store(false, Ordering::SeqCst);
    assert_eq!(waiting.join().unwrap().status, 200);
}
