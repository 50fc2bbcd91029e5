//! Scraping and the picker's own metrics: whose page fails disturbs nobody else, and what that does to picks.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pointsman_tests::answer::chat;
use pointsman_tests::backend::{Backend, Received, Reply};
use pointsman_tests::http::Request;
use pointsman_tests::patience::{LONG, until};
use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::{Gateway, endpoints_file};
use serde_json::{Value, json};

/// A backend with this metrics page; anything else is answered with a completion that names the backend.
fn backend(name: &'static str, page: impl Fn(&mut Reply) + Send + Sync + 'static) -> SocketAddr {
    let started = Backend::start(move |request: &Received, reply: &mut Reply| {
        if request.path == "/metrics" {
            page(reply);
        } else {
            let usage = json!({"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12});
            let choice = json!({"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": name}});
            reply.json(200, &json!({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage}));
        }
    });
    started.address()
}

fn text(reply: &mut Reply, page: &str) {
    reply.whole(200, "text/plain; version=0.0.4", page.as_bytes());
}

fn waiting(count: u32) -> String {
    format!(
        "# TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting {count}\nvllm:num_requests_running 0\n"
    )
}

/// The endpoint as the admin port shows it.
fn endpoint(gateway: &Gateway, name: &str) -> Value {
    let full = format!("default/{name}");
    let found = gateway.endpoints().into_iter().find(|e| e["name"] == full);
    found.unwrap_or_else(|| panic!("{full} is not listed"))
}

/// The value of a series on the admin port's page.
fn series(gateway: &Gateway, series: &str) -> Option<f64> {
    let page = Request::get("/metrics").answered(gateway.admin).text();
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

#[test]
fn a_page_that_hangs_drips_or_floods_disturbs_no_other() {
    let hangs = backend("hangs", |reply| {
        reply.peer_leaves(LONG);
    });
    let drips = backend("drips", |reply| {
        reply.part(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 1000\r\n\r\n");
        while reply.part(b"#") {
            std::thread::sleep(Duration::from_secs(1));
        }
    });
    let floods = backend("floods", |reply| {
        reply.part(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 50000000\r\n\r\n",
        );
        let line = "vllm:something_else{a=\"b\"} 1\n".repeat(4096);
        for _ in 0..50_000_000 / line.len() {
            if !reply.part(line.as_bytes()) {
                return;
            }
        }
    });
    let looks = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&looks);
    let good = backend("good", move |reply| {
        let look = counted.fetch_add(1, Ordering::Relaxed);
        text(reply, &waiting(look));
    });
    let files = Scratch::new("bad-pages");
    let endpoints = [
        ("hangs", hangs),
        ("drips", drips),
        ("floods", floods),
        ("good", good),
    ];
    let endpoints = files.file("endpoints.yaml", &endpoints_file(&endpoints));
    let gateway = Gateway::before(&endpoints, &["--scrape-interval", "50"]);
    until("the failing pages to be known as such", || {
        let states = [
            ("hangs", "unreachable"),
            ("drips", "unreachable"),
            ("floods", "garbage"),
        ];
        states
            .iter()
            .all(|(name, state)| endpoint(&gateway, name)["scrape"] == *state)
            .then_some(())
    });
    // The good one is looked at all the while: while the others fail, its value goes on.
    let before = looks.load(Ordering::Relaxed);
    until("the good page to be read on", || {
        (looks.load(Ordering::Relaxed) > before + 20).then_some(())
    });
    let good = endpoint(&gateway, "good");
    assert_eq!(good["scrape"], "fresh");
    assert!(
        good["readings"]["waiting"]["value"].as_f64().unwrap() > 0.0,
        "{good}"
    );
    assert_eq!(series(&gateway, "pointsman_stale_endpoints"), Some(3.0));
    assert!(
        series(
            &gateway,
            "llm_d_epp_datalayer_poll_errors_total{source_type=\"metrics-data-source\"}"
        ) > Some(2.0)
    );
    assert_eq!(chat("Hello", 3).answered(gateway.address).status, 200);
}

#[test]
fn an_engine_is_read_by_its_label_and_its_restart_is_seen() {
    let restarted = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&restarted);
    let address = backend("sglang", move |reply| {
        let started = 1000 + seen.load(Ordering::Relaxed);
        text(
            reply,
            &format!(
                "sglang:num_queue_reqs 4\nsglang:num_running_reqs 2.9\nsglang:token_usage 0.5\nvllm:num_requests_waiting 99\n\
             sglang:cache_config_info{{page_size=\"64\",num_pages=\"1000\"}} 1\nprocess_start_time_seconds {started}\n"
            ),
        );
    });
    let files = Scratch::new("sglang");
    let row = json!({
        "name": "s", "address": address.ip().to_string(), "port": address.port(),
        "labels": {"llm-d.ai/engine-type": "sglang"},
    });
    let endpoints = files.file("endpoints.yaml", &json!({"endpoints": [row]}).to_string());
    let gateway = Gateway::before(&endpoints, &["--scrape-interval", "50"]);
    let fresh = until("the first reading", || {
        let found = endpoint(&gateway, "s");
        (found["scrape"] == "fresh").then_some(found)
    });
    let reading = |name: &str| fresh["readings"][name]["value"].as_f64();
    assert_eq!(
        (reading("waiting"), reading("running")),
        (Some(4.0), Some(2.0))
    );
    assert_eq!(reading("kvUsage"), Some(0.5));
    assert_eq!(fresh["engine"], "sglang");
    assert_eq!(
        fresh["cacheConfig"],
        json!({"blockSize": 64, "blocks": 1000})
    );
    let epoch = fresh["epoch"].as_u64().unwrap();
    restarted.store(60, Ordering::Relaxed);
    until("the restart to be seen", || {
        (endpoint(&gateway, "s")["epoch"].as_u64() == Some(epoch + 1)).then_some(())
    });
}

/// Who answers 40 chats when one endpoint has a queue of 3 and the other no metrics page.
fn answered_by(policy: &str) -> Vec<String> {
    let queued = backend("queued", |reply| text(reply, &waiting(3)));
    let blind = backend("blind", |reply| reply.whole(404, "text/plain", b"no page"));
    let files = Scratch::new("stale");
    let endpoints = [("queued", queued), ("blind", blind)];
    let endpoints = files.file("endpoints.yaml", &endpoints_file(&endpoints));
    let config = files.file(
        "config.yaml",
        &format!(
            "plugins:\n- type: queue-scorer\n- type: max-score-picker\n- type: single-profile-handler\n\
             schedulingProfiles:\n- name: default\n  plugins:\n  - {{pluginRef: queue-scorer, weight: 1}}\n  - {{pluginRef: max-score-picker}}\n\
             pointsman: {{staleness: {{policy: {policy}}}}}\n"
        ),
    );
    let gateway = Gateway::before(
        &endpoints,
        &[
            "--scrape-interval",
            "50",
            "--config-file",
            &config,
            "--seed",
            "3",
        ],
    );
    until("both pages to be known", || {
        let known = endpoint(&gateway, "queued")["scrape"] == "fresh"
            && endpoint(&gateway, "blind")["scrape"] == "not-found";
        known.then_some(())
    });
    let by_reason = "pointsman_stale_endpoints_by_reason{reason=\"not-found\"}";
    assert_eq!(series(&gateway, by_reason), Some(1.0));
    let answers = (0..40).map(|n| {
        let response = chat(&format!("number {n}"), 3).answered(gateway.address);
        assert_eq!(response.status, 200, "{}", response.text());
        let content = &response.json()["choices"][0]["message"]["content"];
        content.as_str().unwrap().to_owned()
    });
    answers.collect()
}

#[test]
fn an_endpoint_never_scraped_looks_idle_when_its_zeros_are_used() {
    let answers = answered_by("use");
    assert!(answers.iter().all(|name| name == "blind"), "{answers:?}");
}

#[test]
fn an_endpoint_never_scraped_counts_as_the_busiest_when_it_is_penalised() {
    let answers = answered_by("penalise");
    let blind = answers.iter().filter(|name| *name == "blind").count();
    assert!((5..=35).contains(&blind), "a tie is shared: {blind} of 40");
}

#[test]
fn an_endpoint_never_scraped_is_left_out_when_it_is_excluded() {
    let answers = answered_by("exclude");
    assert!(answers.iter().all(|name| name == "queued"), "{answers:?}");
}

#[test]
fn requests_are_counted_under_both_names() {
    let address = backend("one", |reply| text(reply, &waiting(0)));
    let files = Scratch::new("counted");
    let endpoints = files.file("endpoints.yaml", &endpoints_file(&[("one", address)]));
    let gateway = Gateway::before(&endpoints, &["--profile", "proxy-performance"]);
    for _ in 0..3 {
        assert_eq!(chat("Hello", 3).answered(gateway.address).status, 200);
    }
    let page = Request::get("/metrics").answered(gateway.admin).text();
    let count = |name: &str| {
        let lines = page
            .lines()
            .filter(|line| line.starts_with(&format!("{name}{{")));
        lines
            .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
            .sum::<f64>()
    };
    for name in [
        "llm_d_epp_request_total",
        "inference_objective_request_total",
    ] {
        assert_eq!(count(name), 3.0, "{name}");
    }
    for name in [
        "llm_d_epp_request_duration_seconds_count",
        "inference_objective_request_duration_seconds_count",
        "llm_d_epp_request_ttft_seconds_count",
        "llm_d_epp_request_input_tokens_count",
        "inference_objective_output_tokens_count",
    ] {
        assert_eq!(count(name), 3.0, "{name}");
    }
    assert_eq!(count("llm_d_epp_request_output_tokens_sum"), 9.0);
    assert_eq!(count("pointsman_plan_info"), 1.0);
}

#[test]
fn an_answer_with_an_error_is_counted_also_where_nothing_was_decided() {
    let started = Backend::start(|request: &Received, reply: &mut Reply| {
        let status = if request.path == "/version" { 500 } else { 200 };
        reply.json(status, &json!({}));
    });
    let files = Scratch::new("undecided");
    let endpoints = files.file(
        "endpoints.yaml",
        &endpoints_file(&[("one", started.address())]),
    );
    let gateway = Gateway::before(&endpoints, &["--scrape-interval", "0"]);
    let errors = || {
        let page = Request::get("/metrics").answered(gateway.admin).text();
        let lines = page.lines().filter(|line| {
            line.starts_with("llm_d_epp_request_error_total{")
                && line.contains("error_code=\"ModelServerError\"")
        });
        lines
            .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
            .sum::<f64>()
    };
    assert_eq!(
        Request::get("/health").answered(gateway.address).status,
        200
    );
    assert_eq!(errors(), 0.0);
    for _ in 0..2 {
        assert_eq!(
            Request::get("/version").answered(gateway.address).status,
            500
        );
    }
    until("both to be counted", || (errors() == 2.0).then_some(()));
}

#[test]
fn plugins_show_what_they_know_under_their_names() {
    const CONFIG: &str = "apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- {type: prefix-cache-scorer, name: mine}
- type: token-load-scorer
- type: max-score-picker
schedulingProfiles:
- name: default
  plugins: [{pluginRef: mine}, {pluginRef: token-load-scorer}, {pluginRef: max-score-picker}]
";
    let address = backend("one", |reply| text(reply, &waiting(0)));
    let files = Scratch::new("states");
    let endpoints = files.file("endpoints.yaml", &endpoints_file(&[("one", address)]));
    let config = files.file("config.yaml", CONFIG);
    let gateway = Gateway::before(&endpoints, &["--config-file", &config]);
    let long = "A prompt of several blocks. ".repeat(100);
    assert_eq!(chat(&long, 3).answered(gateway.address).status, 200);
    let view = gateway.admin_json("/debug/plugins/state");
    assert!(view["timestamp"].as_str().unwrap().ends_with('Z'), "{view}");
    let of = |name: &str| &view["plugins"][name];
    assert_eq!(of("mine")["type"], "prefix-cache-scorer", "{view}");
    assert!(of("max-score-picker")["message"].is_string(), "{view}");
    let held = &of("approx-prefix-cache-producer")["state"];
    assert!(held["entries"].as_u64().unwrap() > 1, "{view}");
    assert_eq!(held["endpoints"][0]["endpoint"], "default/one", "{view}");
    let load = &of("inflight-load-producer")["state"];
    let one = &load["endpoints"]["default/one"];
    assert_eq!(*one, json!({"requests": 0, "tokens": 0}), "{view}");
}
