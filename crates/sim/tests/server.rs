//! The server over real sockets: ids, streams, usage, errors, aborts, pairs, metrics.
//!
//! Timing is read from the server's own histograms, which hold the engine's virtual times: no test
//! measures this machine.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use pointsman_http::{Body, ClientOptions, DrainStarter, Fault, Pool, bind, collect, drain};
use pointsman_sim::flags::SimConfig;
use pointsman_sim::server::{Sim, SimShared};
use pointsman_wire::handoff::internal_id;
use pointsman_wire::prometheus::{self, dialect::Dialect};
use serde_json::{Value, json};

#[path = "server/reference.rs"]
mod reference;

#[path = "server/choices.rs"]
mod choices;

const MODEL: &str = "Qwen/Qwen3-Coder-30B-A3B-Instruct";

/// A server under test and a client for it.
struct Bench {
    addr: SocketAddr,
    pool: Pool,
    shared: SimShared,
    _drain: DrainStarter,
}

/// What came back.
struct Reply {
    status: StatusCode,
    headers: http::HeaderMap,
    body: Vec<u8>,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no json: {}", self.text()))
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The events of a stream; the last must be `[DONE]`.
    fn events(&self) -> Vec<Value> {
        let mut events: Vec<&str> = self.text().split_terminator("\n\n").collect();
        assert_eq!(events.pop(), Some("data: [DONE]"));
        events
            .iter()
            .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
            .collect()
    }
}

impl Bench {
    fn start(flags: &[&str]) -> Self {
        Self::sharing(flags, SimShared::default())
    }

    fn sharing(flags: &[&str], shared: SimShared) -> Self {
        let flags = [&["--speed", "20", "--deterministic"], flags].concat();
        let config = SimConfig::from_flags(flags).unwrap();
        let bound = bind(([127, 0, 0, 1], 0).into(), "sim").unwrap();
        let addr = bound.local_addr();
        let (starter, signal) = drain();
        let sim = Sim::new(&config, shared.clone()).unwrap();
        tokio::spawn(sim.serve(bound, signal));
        Self {
            addr,
            pool: Pool::new(ClientOptions::default()),
            shared,
            _drain: starter,
        }
    }

    async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.pool.send(self.addr, request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = collect(body, 1 << 26, Duration::from_secs(10))
            .await
            .unwrap()
            .joined()
            .into_owned();
        Reply {
            status: head.status,
            headers: head.headers,
            body,
        }
    }

    async fn get(&self, path: &str) -> Reply {
        self.send(request(Method::GET, path, "", None)).await
    }

    async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send(request(Method::POST, path, &body.to_string(), None))
            .await
    }

    async fn chat(&self, body: Value, id: &str) -> Reply {
        self.send(request(
            Method::POST,
            "/v1/chat/completions",
            &body.to_string(),
            Some(id),
        ))
        .await
    }

    /// The value of the one series of this name.
    async fn metric(&self, name: &str) -> f64 {
        let page = self.get("/metrics").await;
        let line = page
            .text()
            .lines()
            .find(|line| line.starts_with(&format!("{name}{{")))
            .map(str::to_owned);
        let line = line.unwrap_or_else(|| panic!("no {name} in\n{}", page.text()));
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    }
}

fn request(method: Method, path: &str, body: &str, id: Option<&str>) -> Request<Body> {
    let mut builder = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "sim");
    if let Some(id) = id {
        builder = builder.header("x-request-id", id);
    }
    builder.body(Body::bytes(body.to_owned())).unwrap()
}

fn hello(max_tokens: u32) -> Value {
    json!({"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": max_tokens})
}

#[tokio::test]
async fn ids_are_made_as_vllm_makes_them() {
    let bench = Bench::start(&[]);
    assert_eq!(
        bench.chat(hello(2), "abc").await.json()["id"],
        "chatcmpl-abc"
    );
    let completion = json!({"model": MODEL, "prompt": "a b c", "max_tokens": 2});
    let body = completion.to_string();
    let named = bench
        .send(request(Method::POST, "/v1/completions", &body, Some("abc")))
        .await;
    assert_eq!(named.json()["id"], "cmpl-abc");
    assert!(named.headers.get("x-request-id").is_none());
    let unnamed = bench.post("/v1/completions", &completion).await.json();
    let id = unnamed["id"].as_str().unwrap();
    assert!(
        id.len() == 37 && id[5..].bytes().all(|b| b.is_ascii_hexdigit()),
        "{id}"
    );
    let suffixed = Bench::start(&["--choice-suffix", "--enable-request-id-headers"]);
    let named = suffixed
        .send(request(Method::POST, "/v1/completions", &body, Some("abc")))
        .await;
    assert_eq!(
        (named.json()["id"].as_str(), &named.headers["x-request-id"]),
        (Some("cmpl-abc-0"), &"abc".parse().unwrap())
    );
}

#[tokio::test]
async fn a_chat_is_answered_whole_with_its_usage() {
    let bench = Bench::start(&[]);
    let reply = bench.chat(hello(8), "1").await;
    let value = reply.json();
    assert_eq!(
        (reply.status, &reply.headers["content-type"]),
        (StatusCode::OK, &"application/json".parse().unwrap())
    );
    assert_eq!(
        (value["object"].as_str(), value["model"].as_str()),
        (Some("chat.completion"), Some(MODEL))
    );
    assert_eq!(value["choices"][0]["finish_reason"], "length");
    assert_eq!(value["choices"][0]["message"]["role"], "assistant");
    assert!(
        !value["choices"][0]["message"]["content"]
            .as_str()
            .unwrap()
            .is_empty()
    );
    // Two bounds, the role, the word, and the two tokens that ask for the answer.
    assert_eq!(value["usage"]["prompt_tokens"], 6);
    assert_eq!(value["usage"]["completion_tokens"], 8);
    assert_eq!(value["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
}

#[tokio::test]
async fn a_repeated_prompt_is_found_in_the_cache_until_it_is_reset() {
    let bench = Bench::start(&[]);
    let long = json!({"prompt": "word ".repeat(100), "max_tokens": 1});
    let cached =
        |reply: Reply| reply.json()["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64();
    assert_eq!(cached(bench.post("/v1/completions", &long).await), Some(0));
    assert_eq!(cached(bench.post("/v1/completions", &long).await), Some(96));
    assert_eq!(
        bench.post("/reset_prefix_cache", &json!({})).await.json(),
        json!({"success": true})
    );
    assert_eq!(cached(bench.post("/v1/completions", &long).await), Some(0));
}

#[tokio::test]
async fn a_stream_has_role_tokens_finish_usage_and_done() {
    let bench = Bench::start(&[]);
    let mut body = hello(5);
    body["stream"] = json!(true);
    let plain = bench.chat(body.clone(), "7").await;
    assert!(
        plain.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/event-stream")
    );
    let events = plain.events();
    assert_eq!(events.len(), 1 + 5 + 1);
    assert!(
        events
            .iter()
            .all(|e| e["id"] == "chatcmpl-7" && e["object"] == "chat.completion.chunk")
    );
    assert_eq!(
        events[0]["choices"][0]["delta"],
        json!({"role": "assistant", "content": ""})
    );
    assert_eq!(events[6]["choices"][0]["finish_reason"], "length");
    body["stream_options"] = json!({"include_usage": true});
    let counted = bench.chat(body.clone(), "8").await.events();
    assert_eq!(counted.len(), 8);
    assert!(counted[..7].iter().all(|e| e["usage"].is_null()));
    assert_eq!(
        (
            &counted[7]["choices"],
            &counted[7]["usage"]["completion_tokens"]
        ),
        (&json!([]), &json!(5))
    );
    let whole: String = counted
        .iter()
        .filter_map(|e| e["choices"][0]["delta"]["content"].as_str())
        .collect();
    body["stream"] = json!(false);
    body.as_object_mut().unwrap().remove("stream_options");
    assert_eq!(
        bench.chat(body, "9").await.json()["choices"][0]["message"]["content"],
        whole.as_str()
    );
}

#[tokio::test]
async fn a_completion_streams_and_echoes() {
    let bench = Bench::start(&["--mode", "echo"]);
    let body = json!({"prompt": "one two", "max_tokens": 2, "stream": true, "echo": true});
    let events = bench.post("/v1/completions", &body).await.events();
    let text: String = events
        .iter()
        .filter_map(|e| e["choices"][0]["text"].as_str())
        .collect();
    assert_eq!((events.len(), text.as_str()), (3, "one twoone two"));
}

#[tokio::test]
async fn tokens_come_as_they_are_made() {
    let bench = Bench::start(&["--speed", "1"]);
    let mut body = hello(40);
    body["stream"] = json!(true);
    let response = bench.pool.send(
        bench.addr,
        request(
            Method::POST,
            "/v1/chat/completions",
            &body.to_string(),
            None,
        ),
    );
    let mut body = response.await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    assert!(
        (bench.metric("vllm:num_requests_running").await - 1.0).abs() < 1e-9,
        "the rest is still to come"
    );
    let mut frames = 1;
    while let Some(frame) = body.frame().await {
        frame.unwrap();
        frames += 1;
    }
    assert!(frames > 20, "{frames} frames");
}

#[tokio::test]
async fn a_client_that_leaves_aborts_its_request() {
    let bench = Bench::start(&["--speed", "1"]);
    for stream in [true, false] {
        let mut body = hello(5000);
        body["stream"] = json!(stream);
        let sent = bench.pool.send(
            bench.addr,
            request(
                Method::POST,
                "/v1/chat/completions",
                &body.to_string(),
                None,
            ),
        );
        if stream {
            let mut response = sent.await.unwrap().into_body();
            response.frame().await.unwrap().unwrap();
        } else {
            assert!(
                tokio::time::timeout(Duration::from_millis(60), sent)
                    .await
                    .is_err()
            );
        }
    }
    // Cancelled by the connections' end, which the server notices by itself: ask until it has.
    let waited = async {
        while bench.metric("pointsman_sim_aborted_total").await < 2.0
            || bench.metric("vllm:num_requests_running").await > 0.0
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waited)
        .await
        .expect("both requests are aborted");
    assert!(bench.metric("vllm:generation_tokens_total").await < 5000.0);
}

#[tokio::test]
async fn what_is_wrong_is_said_in_openais_shape() {
    let bench = Bench::start(&["--max-model-len", "64", "--kv-cache-size", "2"]);
    let check = async |path: &str, body: &str, status: u16, kind: &str, part: &str| {
        let reply = bench.send(request(Method::POST, path, body, None)).await;
        let error = &reply.json()["error"];
        assert_eq!(
            (reply.status.as_u16(), error["code"].as_u64()),
            (status, Some(u64::from(status))),
            "{body}"
        );
        assert_eq!(error["type"], kind, "{body}");
        assert!(error["message"].as_str().unwrap().contains(part), "{error}");
        assert!(error.get("param").is_some());
    };
    let chat = "/v1/chat/completions";
    check(
        chat,
        r#"{"model":"x","messages":[{"role":"user","content":"a"}]}"#,
        404,
        "NotFoundError",
        "The model `x` does not exist.",
    )
    .await;
    check(
        chat,
        r#"{"messages":[{"role":"user","content":"a"}],"max_tokens":60}"#,
        400,
        "BadRequestError",
        "maximum context length is 64 tokens. However, you requested 66",
    )
    .await;
    check(
        chat,
        r#"{"messages":"#,
        400,
        "BadRequestError",
        "cannot be read",
    )
    .await;
    check(chat, "", 400, "BadRequestError", "cannot be read").await;
    check(
        chat,
        &format!("{}1{}", "[".repeat(200), "]".repeat(200)),
        400,
        "BadRequestError",
        "nested deeper",
    )
    .await;
    check(
        "/v1/completions",
        r#"{"prompt":"a","max_tokens":40}"#,
        400,
        "BadRequestError",
        "kv blocks",
    )
    .await;
    check(
        "/v1/pictures",
        "{}",
        404,
        "NotFoundError",
        "/v1/pictures does not exist",
    )
    .await;
    check(
        "/v1/models",
        "{}",
        405,
        "BadRequestError",
        "POST is not allowed",
    )
    .await;
    let mut forced = request(Method::POST, chat, &hello(1).to_string(), None);
    forced
        .headers_mut()
        .insert("x-return-error", "429".parse().unwrap());
    let reply = bench.send(forced).await;
    assert_eq!(
        (
            reply.status.as_u16(),
            reply.json()["error"]["type"].as_str()
        ),
        (429, Some("RateLimitError"))
    );
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_and_the_answer_arrives() {
    let bench = Bench::start(&["--max-request-body-size-mb", "1"]);
    let body = json!({"prompt": "x".repeat(2 << 20)}).to_string();
    let reply = bench
        .send(request(Method::POST, "/v1/completions", &body, None))
        .await;
    assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn the_small_endpoints_answer() {
    let bench = Bench::start(&[
        "--served-model-name",
        "a",
        "b",
        "--startup-duration",
        "3600s",
    ]);
    let models = bench.get("/v1/models").await.json();
    assert_eq!(
        (
            models["data"][0]["id"].as_str(),
            models["data"][1]["id"].as_str()
        ),
        (Some("a"), Some("b"))
    );
    assert_eq!(
        (
            models["data"][0]["owned_by"].as_str(),
            models["data"][0]["root"].as_str()
        ),
        (Some("vllm"), Some(MODEL))
    );
    let health = bench.get("/health").await;
    assert_eq!((health.status, health.body.len()), (StatusCode::OK, 0));
    assert_eq!(
        bench.get("/health/ready").await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(bench.get("/ping").await.status, StatusCode::OK);
    assert_eq!(bench.get("/load").await.json(), json!({"server_load": 0}));
    assert!(bench.get("/version").await.json()["version"].is_string());
    let tokens = bench
        .post("/tokenize", &json!({"prompt": "Hello, world"}))
        .await
        .json();
    assert_eq!(
        (tokens["count"].as_u64(), &tokens["token_strs"]),
        (Some(3), &Value::Null)
    );
    let text = bench
        .post("/detokenize", &json!({"tokens": tokens["tokens"]}))
        .await
        .json();
    assert_eq!(text, json!({"prompt": "Hello, world"}));
}

#[tokio::test]
async fn metrics_are_read_by_our_own_scraper() {
    let bench = Bench::start(&[]);
    bench.chat(hello(3), "1").await;
    let page = bench.get("/metrics").await;
    let readings = prometheus::parse(Dialect::default(), &page.body).unwrap();
    assert_eq!(
        (readings.waiting, readings.running, readings.kv_usage),
        (Some(0.0), Some(0.0), Some(0.0))
    );
    assert_eq!((readings.block_size, readings.problems), (Some(16), 0));
    assert!(readings.num_blocks.unwrap() > 1000 && readings.start_time.unwrap() > 1e9);
    assert!((bench.metric("vllm:generation_tokens_total").await - 3.0).abs() < 1e-9);
    assert!((bench.metric("vllm:time_to_first_token_seconds_count").await - 1.0).abs() < 1e-9);
    assert!((bench.metric("vllm:inter_token_latency_seconds_count").await - 2.0).abs() < 1e-9);
}

#[tokio::test]
async fn the_slow_factor_slows_and_the_fault_switch_too() {
    let bench = Bench::start(&[]);
    let mean = async |bench: &Bench, before: f64| {
        bench.metric("vllm:e2e_request_latency_seconds_sum").await - before
    };
    bench.chat(hello(8), "1").await;
    let normal = mean(&bench, 0.0).await;
    let seen = bench
        .post("/admin/config", &json!({"slow-factor": 4}))
        .await;
    assert_eq!(seen.json()["slow-factor"], 4.0);
    bench.chat(hello(8), "2").await;
    let slow = mean(&bench, normal).await;
    assert!((slow / normal - 4.0).abs() < 0.01, "{normal} {slow}");
    bench.shared.faults.set(Fault::Slow(2.0));
    bench.chat(hello(8), "3").await;
    let slower = mean(&bench, normal + slow).await;
    assert!((slower / normal - 8.0).abs() < 0.01, "{normal} {slower}");
    let refused = bench
        .post("/admin/config", &json!({"slow-factor": 1, "nonsense": 1}))
        .await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(bench.get("/admin/config").await.json()["slow-factor"], 4.0);
}

/// A prompt long enough that its prefill dwarfs a step.
fn long_chat(max_tokens: u32) -> Value {
    json!({"messages": [{"role": "user", "content": "word ".repeat(4000)}], "max_tokens": max_tokens})
}

const UUID: &str = "0123456789abcdef0123456789abcdef";

#[tokio::test]
async fn a_decode_server_takes_over_what_its_pair_computed() {
    let shared = SimShared::default();
    let twin = SimShared {
        registry: shared.registry.clone(),
        ..SimShared::default()
    };
    let pair = &["--kv-connector", "p2p-nccl"];
    let prefill = Bench::sharing(&[pair, &["--role", "prefill"][..]].concat(), shared);
    let decode = Bench::sharing(&[pair, &["--role", "decode"][..]].concat(), twin);
    let id = internal_id("p:14579", "d:14579", UUID);
    let reply = prefill.chat(long_chat(1), &id).await;
    assert_eq!(reply.json()["id"], format!("chatcmpl-{id}"));
    let computed = prefill.metric("vllm:time_to_first_token_seconds_sum").await;
    decode.chat(long_chat(4), &id).await;
    let taken_over = decode.metric("vllm:time_to_first_token_seconds_sum").await;
    assert!(
        decode
            .metric("pointsman_sim_transferred_tokens_total")
            .await
            > 4000.0
    );
    decode.post("/reset_prefix_cache", &json!({})).await;
    let other = internal_id("p:14579", "d:14579", &UUID.replace('0', "f"));
    decode.chat(long_chat(4), &other).await;
    let on_its_own = decode.metric("vllm:time_to_first_token_seconds_sum").await - taken_over;
    // 92 us and one small step against a prefill of 4,000 tokens.
    assert!(taken_over < 0.2 * computed, "{taken_over} {computed}");
    assert!(on_its_own > 0.9 * computed, "{on_its_own} {computed}");
}

#[tokio::test]
async fn a_decode_server_in_another_process_asks_its_peer() {
    let pair = &["--kv-connector", "shared-storage"];
    let prefill = Bench::start(&[pair, &["--role", "prefill"][..]].concat());
    let url = format!("http://{}", prefill.addr);
    let decode = Bench::start(&[pair, &["--role", "decode", "--kv-peer", &url][..]].concat());
    let id = internal_id("vllm-prefill-fs", "vllm-decode-fs", UUID);
    prefill.chat(long_chat(1), &id).await;
    decode.chat(long_chat(2), &id).await;
    assert!(
        decode
            .metric("pointsman_sim_transferred_tokens_total")
            .await
            > 4000.0
    );
    decode.chat(hello(2), &id.replace('0', "e")).await;
    let miss = prefill.get("/admin/transfer/nothing").await;
    assert_eq!(miss.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_protocol_with_transfer_parameters_is_spoken() {
    let bench = Bench::start(&["--kv-connector", "nixl"]);
    let mut body = json!({"prompt": "word ".repeat(1000), "max_tokens": 1, "kv_transfer_params": {"do_remote_decode": true}});
    let answer = bench.post("/v1/completions", &body).await.json();
    assert_eq!(answer["choices"][0]["finish_reason"], "remote_decode");
    let params = &answer["kv_transfer_params"];
    assert_eq!(
        (&params["do_remote_prefill"], &params["do_remote_decode"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(params["remote_block_ids"].as_array().unwrap().len(), 63);
    bench.post("/reset_prefix_cache", &json!({})).await;
    body["kv_transfer_params"] = params.clone();
    body["max_tokens"] = json!(3);
    let answer = bench.post("/v1/completions", &body).await.json();
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert!((bench.metric("pointsman_sim_transferred_tokens_total").await - 999.0).abs() < 1e-9);
}

#[tokio::test]
async fn a_queue_that_is_full_says_429() {
    let bench = Bench::start(&[
        "--speed",
        "1",
        "--max-num-seqs",
        "1",
        "--max-waiting-queue-length",
        "1",
    ]);
    let ask = || bench.chat(hello(20), "q");
    let (a, b, c) = tokio::join!(ask(), ask(), ask());
    let mut statuses = [a.status.as_u16(), b.status.as_u16(), c.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 429]);
}

#[tokio::test]
async fn a_hundred_clients_at_once_are_all_answered() {
    let bench = Arc::new(Bench::start(&[]));
    let mut asks = tokio::task::JoinSet::new();
    for i in 0..100 {
        let mut body = hello(16);
        body["stream"] = json!(i % 2 == 0);
        let bench = Arc::clone(&bench);
        asks.spawn(async move { bench.chat(body, &i.to_string()).await.status });
    }
    while let Some(status) = asks.join_next().await {
        assert_eq!(status.unwrap(), StatusCode::OK);
    }
    assert!((bench.metric("vllm:e2e_request_latency_seconds_count").await - 100.0).abs() < 1e-9);
}

#[tokio::test]
async fn kv_that_is_fetched_after_its_time_is_garbage() {
    let bench = Bench::start(&["--kv-connector", "nixl", "--kv-lease", "1ms"]);
    let mut body = json!({"prompt": "word ".repeat(100), "max_tokens": 1, "kv_transfer_params": {"do_remote_decode": true}});
    let answer = bench.post("/v1/completions", &body).await.json();
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    body["kv_transfer_params"] = answer["kv_transfer_params"].clone();
    body["max_tokens"] = json!(3);
    let answer = bench.post("/v1/completions", &body).await.json();
    let text = answer["choices"][0]["text"].as_str().unwrap();
    assert!(text.contains('\u{fffd}'), "{text}");
    assert!((bench.metric("pointsman_sim_stale_transfers_total").await - 1.0).abs() < 1e-9);
}

#[tokio::test]
async fn an_sglang_pair_meets_in_its_room() {
    let shared = SimShared::default();
    let twin = SimShared {
        registry: shared.registry.clone(),
        ..SimShared::default()
    };
    let prefill = Bench::sharing(&["--role", "prefill"], shared);
    let decode = Bench::sharing(&["--role", "decode"], twin);
    let body = json!({"prompt": "word ".repeat(1000), "max_tokens": 2, "bootstrap_room": 7});
    let (first, second) = tokio::join!(
        prefill.post("/v1/completions", &body),
        decode.post("/v1/completions", &body)
    );
    assert_eq!(
        (first.status, second.status),
        (StatusCode::OK, StatusCode::OK)
    );
    assert!(
        decode
            .metric("pointsman_sim_transferred_tokens_total")
            .await
            > 900.0
    );
}
