//! Plugins that go by more than load, through the gateway: sessions, adapters, own metrics, tokens under way, ranks.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use pointsman_tests::answer::{chat, chat_body};
use pointsman_tests::backend::{Backend, Received, Reply};
use pointsman_tests::http::{Request, Response};
use pointsman_tests::patience::until;
use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::{Gateway, endpoints_file};
use serde_json::json;

const PATH: &str = "/v1/chat/completions";

/// Answers with the backend's name.
fn answer(name: &str, reply: &mut Reply) {
    let message = json!({"role": "assistant", "content": name});
    let choice = json!({"index": 0, "finish_reason": "stop", "message": message});
    let usage = json!({"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12});
    let body = json!({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage});
    reply.json(200, &body);
}

/// A backend that answers with its name, and with this page when its metrics are asked for.
fn backend(name: &'static str, page: &'static str) -> Backend {
    Backend::start(move |request: &Received, reply: &mut Reply| {
        if request.path == "/metrics" {
            reply.whole(200, "text/plain; version=0.0.4", page.as_bytes());
        } else {
            answer(name, reply);
        }
    })
}

const IDLE: &str = "vllm:num_requests_waiting 0\nvllm:num_requests_running 0\n";

/// A gateway before these backends, with this configuration.
struct Bed {
    gateway: Gateway,
    files: Scratch,
}

impl Bed {
    #[track_caller]
    fn start(name: &str, backends: &[(&str, SocketAddr)], config: &str) -> Self {
        let files = Scratch::new(name);
        let endpoints = files.file("endpoints.yaml", &endpoints_file(backends));
        let config = files.file("config.yaml", config);
        let gateway = Gateway::before(&endpoints, &["--config-file", &config]);
        Self { gateway, files }
    }

    fn send(&self, request: Request) -> Response {
        let response = request.answered(self.gateway.address);
        assert_eq!(response.status, 200, "{}", response.text());
        response
    }

    /// Who served the request.
    fn served(&self, request: Request) -> String {
        content(&self.send(request))
    }

    /// Waits until the metrics page of every endpoint has been read.
    fn scraped(&self) {
        until("every endpoint to be scraped", || {
            let endpoints = self.gateway.endpoints();
            let fresh = |e: &serde_json::Value| e["scrape"] == "fresh";
            (!endpoints.is_empty() && endpoints.iter().all(fresh)).then_some(())
        });
    }
}

fn content(response: &Response) -> String {
    let answer = response.json();
    let content = answer["choices"][0]["message"]["content"].as_str();
    content.unwrap().to_owned()
}

fn of_model(model: &str) -> Request {
    let mut body = chat_body("Hello", 4);
    body["model"] = json!(model);
    Request::post(PATH, &body)
}

/// Three backends `a`, `b` and `c` that answer with their names.
fn three() -> [(&'static str, Backend); 3] {
    ["a", "b", "c"].map(|name| (name, backend(name, IDLE)))
}

fn addresses<'n>(backends: &[(&'n str, Backend)]) -> Vec<(&'n str, SocketAddr)> {
    backends
        .iter()
        .map(|(name, one)| (*name, one.address()))
        .collect()
}

const FIRST: &str =
    "apiVersion: inference.networking.x-k8s.io/v1alpha1\nkind: EndpointPickerConfig\n";

#[test]
fn a_session_stays_where_its_token_says() {
    let backends = three();
    let second =
        "plugins: [{type: session-affinity-scorer}, {type: max-score-picker}]\n".to_owned();
    for (name, config) in [
        ("first", format!("{FIRST}{second}")),
        ("second", second.clone()),
    ] {
        let bed = Bed::start(&format!("session-{name}"), &addresses(&backends), &config);
        let mut seen = Vec::new();
        for _ in 0..3 {
            let begun = bed.send(chat("Hello", 4));
            let token = begun.header("x-session-token").unwrap().to_owned();
            let home = content(&begun);
            for _ in 0..8 {
                let request = chat("And then?", 4).header("x-session-token", &token);
                let next = bed.send(request);
                assert_eq!(content(&next), home, "{name}");
                assert_eq!(next.header("x-session-token"), Some(token.as_str()));
            }
            seen.push((token, home));
        }
        // base64 of `default/a`, `default/b`, `default/c`.
        for (token, home) in seen {
            let expected = match home.as_str() {
                "a" => "ZGVmYXVsdC9h",
                "b" => "ZGVmYXVsdC9i",
                _ => "ZGVmYXVsdC9j",
            };
            assert_eq!(token, expected);
        }
        // A token of nobody is no session.
        let stray = bed.send(chat("Hello", 4).header("x-session-token", "bm9ib2R5"));
        assert_ne!(stray.header("x-session-token"), Some("bm9ib2R5"));
    }
}

#[test]
fn a_session_by_cookie_moves_once_when_its_endpoint_fails() {
    let down: Arc<[AtomicBool; 2]> = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
    let backends: Vec<(&str, Backend)> = [("a", 0), ("b", 1)]
        .map(|(name, at)| {
            let down = Arc::clone(&down);
            let script = move |request: &Received, reply: &mut Reply| {
                // A script that returns without an answer is a server that died.
                if request.path == "/metrics" {
                    reply.whole(404, "text/plain", b"");
                } else if !down[at].load(Ordering::SeqCst) {
                    answer(name, reply);
                }
            };
            (name, Backend::start(script))
        })
        .into();
    let config = "plugins:\n\
        - {type: session-id-producer, parameters: {cookieName: sid}}\n\
        - type: session-affinity-filter\n\
        \u{20} parameters: {strategy: session_id, sessionIdConfig: {sources: [{attribute: SessionID}]}}\n\
        - {type: random-picker}\n";
    let bed = Bed::start("session-id", &addresses(&backends), config);
    let ask = |session: &str| {
        bed.served(chat("Hello", 4).header("cookie", &format!("theme=dark; sid={session}")))
    };
    let home = ask("one");
    for _ in 0..8 {
        assert_eq!(ask("one"), home);
    }
    let at = usize::from(home == "b");
    down[at].store(true, Ordering::SeqCst);
    let moved = ask("one");
    assert_ne!(moved, home, "the other serves it");
    down[at].store(false, Ordering::SeqCst);
    for _ in 0..8 {
        assert_eq!(ask("one"), moved, "and keeps it");
    }
    // A change of the configuration keeps the sessions.
    bed.files.file("config.yaml", &format!("{config}# again\n"));
    until("the changed file to be taken", || {
        (bed.gateway.admin_json("/debug/plan")["generation"] == 2).then_some(())
    });
    for _ in 0..8 {
        assert_eq!(ask("one"), moved, "after the change");
    }
}

#[test]
fn an_adapter_is_asked_for_where_it_is_loaded() {
    const SQL: &str = "vllm:num_requests_waiting 0\n\
        vllm:lora_requests_info{max_lora=\"1\",running_lora_adapters=\"sql\",waiting_lora_adapters=\"\"} 1.7e9\n";
    const LAW: &str = "vllm:num_requests_waiting 0\n\
        vllm:lora_requests_info{max_lora=\"1\",running_lora_adapters=\"law\",waiting_lora_adapters=\"\"} 1.6e9\n\
        vllm:lora_requests_info{max_lora=\"1\",running_lora_adapters=\"old\",waiting_lora_adapters=\"\"} 1.5e9\n";
    let backends = [("sql", backend("sql", SQL)), ("law", backend("law", LAW))];
    let config = "plugins: [{type: lora-affinity-scorer}, {type: max-score-picker}]\n";
    let bed = Bed::start("lora", &addresses(&backends), config);
    bed.scraped();
    for _ in 0..6 {
        for model in ["sql", "law"] {
            assert_eq!(bed.served(of_model(model)), model);
        }
    }
    let scores = &bed.gateway.decisions(1)[0]["profiles"][0]["candidates"];
    let of = |name: &str| {
        let found = scores
            .as_array()
            .unwrap()
            .iter()
            .find(|c| c["endpoint"] == format!("default/{name}"));
        found.unwrap()["scores"]["lora-affinity-scorer"]
            .as_f64()
            .unwrap()
    };
    assert_eq!((of("law"), of("sql")), (1.0, 0.0));
}

#[test]
fn a_metric_of_the_configurations_own_decides() {
    const LOW: &str =
        "vllm:num_requests_waiting 0\ngpu_use{gpu=\"0\"} 0.2\ngpu_use{gpu=\"1\"} 0.99\n";
    const HIGH: &str =
        "vllm:num_requests_waiting 0\ngpu_use{gpu=\"0\"} 0.7\ngpu_use{gpu=\"1\"} 0.1\n";
    const FULL: &str =
        "vllm:num_requests_waiting 0\ngpu_use{gpu=\"0\"} 0.95\ngpu_use{gpu=\"1\"} 0\n";
    let backends = [
        ("low", backend("low", LOW)),
        ("high", backend("high", HIGH)),
        ("full", backend("full", FULL)),
    ];
    let extractor = "- type: core-metrics-extractor\n  parameters:\n    engineConfigs:\n    - name: vllm\n\
        \u{20}     queuedRequestsSpec: vllm:num_requests_waiting\n\
        \u{20}     customMetrics: [{attributeKey: gpu, metricSpec: 'gpu_use{gpu=0}'}]\n";
    let below = "- type: endpoint-attribute-filter\n  parameters: {attribute: gpu, onMissing: Fail, \
        algorithm: {type: threshold, threshold: {operator: LessThan, value: 0.9}}}\n";
    let higher = "- type: endpoint-attribute-scorer\n  parameters: {attributeKey: gpu, algorithm: {type: linear_higher_is_better}}\n";
    let config = format!("plugins:\n{extractor}{below}{higher}- type: max-score-picker\n");
    let bed = Bed::start("attribute", &addresses(&backends), &config);
    bed.scraped();
    for _ in 0..6 {
        assert_eq!(bed.served(chat("Hello", 4)), "high");
    }
}

#[test]
fn tokens_under_way_count_until_the_first_byte() {
    let hold = Arc::new(AtomicBool::new(true));
    let backends: Vec<(&str, Backend)> = ["a", "b"]
        .map(|name| {
            let hold = Arc::clone(&hold);
            let script = move |request: &Received, reply: &mut Reply| {
                if request.path == "/metrics" {
                    return reply.whole(404, "text/plain", b"");
                }
                while request.body.len() > 4_000 && hold.load(Ordering::SeqCst) {
                    thread::sleep(Duration::from_millis(5));
                }
                answer(name, reply);
            };
            (name, Backend::start(script))
        })
        .into();
    let config = "plugins: [{type: token-load-scorer, parameters: {queueThresholdTokens: 100000}}, {type: max-score-picker}]\n";
    let bed = Bed::start("tokens", &addresses(&backends), config);
    let plan = bed.gateway.admin_json("/debug/plan");
    assert_eq!(
        plan["added"],
        json!([
            "inflight-load-producer",
            "token-producer",
            "single-profile-handler"
        ]),
        "{plan}"
    );
    let long = thread::spawn({
        let address = bed.gateway.address;
        move || chat(&"long ".repeat(2_000), 4).answered(address).status
    });
    let busy = until("the long prompt to arrive", || {
        let arrived = backends
            .iter()
            .find(|(_, one)| !one.received(PATH).is_empty());
        arrived.map(|(name, _)| *name)
    });
    for _ in 0..8 {
        assert_ne!(bed.served(chat("short", 4)), busy);
    }
    hold.store(false, Ordering::SeqCst);
    assert_eq!(long.join().unwrap(), 200);
    // Nothing is under way any more: chance decides again.
    until("the other one to be picked again", || {
        (bed.served(chat("short", 4)) == busy).then_some(())
    });
}

#[test]
fn a_rank_is_named_to_the_port_that_stands_for_all() {
    let ranks = [
        ("rank-0", backend("rank-0", IDLE)),
        ("rank-1", backend("rank-1", IDLE)),
    ];
    let front = ranks[0].1.address();
    let config = format!(
        "plugins: [{{type: data-parallel-profile-handler, parameters: {{primaryPort: {}}}}}, {{type: random-picker}}]\n",
        front.port()
    );
    let bed = Bed::start("ranks", &addresses(&ranks), &config);
    for _ in 0..12 {
        assert_eq!(bed.served(chat("Hello", 4)), "rank-0", "all go to one port");
    }
    let header = |request: &Received| {
        request
            .header("x-data-parallel-host-port")
            .map(str::to_owned)
    };
    let mut named: Vec<_> = ranks[0]
        .1
        .received(PATH)
        .iter()
        .filter_map(header)
        .collect();
    assert_eq!(named.len(), 12);
    named.sort();
    named.dedup();
    let mut expected = ranks.each_ref().map(|(_, one)| one.address().to_string());
    expected.sort();
    assert_eq!(named, expected, "both ranks are meant at some time");
}

#[test]
fn headers_prefer_and_insist() {
    let files = Scratch::new("labels");
    let backends = three();
    let line = |(name, one): &(&str, Backend)| {
        let address = one.address();
        format!(
            "- {{name: {name}, address: {}, port: \"{}\", labels: {{tenant: t{name}}}}}\n",
            address.ip(),
            address.port()
        )
    };
    let endpoints = format!(
        "endpoints:\n{}",
        backends.iter().map(line).collect::<String>()
    );
    let endpoints = files.file("endpoints.yaml", &endpoints);
    let config = files.file(
        "config.yaml",
        "plugins: [{type: header-label-affinity-scorer, parameters: {headerName: X-Tenant, labelKey: tenant}}, {type: max-score-picker}]\n",
    );
    let gateway = Gateway::before(&endpoints, &["--config-file", &config]);
    for (name, _) in &backends {
        for _ in 0..4 {
            let response = chat("Hello", 4)
                .header("x-tenant", &format!("t{name}"))
                .answered(gateway.address);
            assert_eq!(content(&response), *name);
        }
    }
    let config = files.file(
        "testing.yaml",
        "plugins: [{type: header-based-testing-filter}]\n",
    );
    let gateway = Gateway::before(&endpoints, &["--config-file", &config]);
    for (name, one) in &backends {
        let address = one.address().to_string();
        let response = chat("Hello", 4)
            .header("test-epp-endpoint-selection", &address)
            .answered(gateway.address);
        assert_eq!(content(&response), *name);
    }
    let nobody = chat("Hello", 4).answered(gateway.address);
    assert_eq!(nobody.status, 429, "{}", nobody.text());
}
