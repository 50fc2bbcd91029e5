//! What the reference simulator offers beside generation: adapters, sleep, embeddings, errors at random.

use super::*;

#[tokio::test]
async fn adapters_are_listed_loaded_and_asked_for() {
    let module = r#"{"name":"a","path":"/a","base_model_name":"base"}"#;
    let bench = Bench::start(&["--lora-modules", module, "--max-loras=2", "--model=m"]);
    let load = json!({"lora_name": "team/b", "lora_path": "/b"});
    let reply = bench.post("/v1/load_lora_adapter", &load).await;
    assert_eq!((reply.status, reply.body.len()), (StatusCode::OK, 0));
    let models = bench.get("/v1/models").await.json();
    let ids: Vec<_> = models["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["id"].clone())
        .collect();
    assert_eq!(ids, ["m", "a", "team/b"]);
    let first = bench.get("/v1/models/a").await.json();
    assert_eq!(
        (&first["parent"], &first["root"]),
        (&json!("base"), &json!("/a"))
    );
    let second = bench.get("/v1/models/team/b").await.json();
    assert_eq!(
        (&second["parent"], &second["root"]),
        (&json!("m"), &json!("/b"))
    );
    assert_eq!(
        bench.get("/v1/models/c").await.status,
        StatusCode::NOT_FOUND
    );

    let prompt = "word ".repeat(64);
    let ask = |model: &str| json!({"model": model, "prompt": prompt, "max_tokens": 2});
    let cached = async |model: &str| {
        let answer = bench.post("/v1/completions", &ask(model)).await.json();
        assert_eq!(answer["model"], model);
        answer["usage"]["prompt_tokens_details"]["cached_tokens"]
            .as_u64()
            .unwrap()
    };
    assert_eq!(
        (cached("m").await, cached("a").await),
        (0, 0),
        "prefixes are not shared"
    );
    assert!(cached("a").await > 0);

    let page = bench.get("/metrics").await;
    let idle = r#"vllm:lora_requests_info{max_lora="2",running_lora_adapters="",waiting_lora_adapters=""}"#;
    assert!(page.text().contains(idle), "{}", page.text());
    let long = json!({"model": "a", "prompt": "x", "max_tokens": 5000});
    let long = bench.post("/v1/completions", &long);
    let seen = async {
        loop {
            let page = bench.get("/metrics").await;
            if page.text().contains(r#"running_lora_adapters="a""#) {
                return;
            }
        }
    };
    tokio::select! {
        _ = long => panic!("the page never named the adapter"),
        () = seen => {}
    }
    bench
        .post("/v1/unload_lora_adapter", &json!({"lora_name": "a"}))
        .await;
    let gone = bench.post("/v1/completions", &ask("a")).await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_engine_sleeps_only_where_it_may() {
    let asleep =
        async |bench: &Bench| bench.get("/is_sleeping").await.json()["is_sleeping"].clone();
    let bench = Bench::start(&["--enable-sleep-mode"]);
    assert_eq!(
        bench.post("/sleep", &json!({})).await.status,
        StatusCode::OK
    );
    assert_eq!(asleep(&bench).await, false, "not in development mode");

    let bench = Bench::start(&["--enable-sleep-mode", "--server-dev-mode"]);
    bench.post("/sleep", &json!({})).await;
    assert_eq!(asleep(&bench).await, true);
    assert!(bench.metric("vllm:engine_sleep_state").await > 0.5);
    let refused = bench.chat(hello(1), "x").await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    bench.post("/wake_up?tags=weights", &json!({})).await;
    assert_eq!(asleep(&bench).await, true, "the cache still sleeps");
    bench.post("/wake_up", &json!({})).await;
    assert_eq!(asleep(&bench).await, false);
    assert_eq!(bench.chat(hello(1), "x").await.status, StatusCode::OK);
}

#[tokio::test]
async fn embeddings_follow_the_text() {
    let bench = Bench::start(&["--default-embedding-dimensions=8"]);
    let embed = async |body: Value| bench.post("/v1/embeddings", &body).await;
    let answer = embed(json!({"model": MODEL, "input": ["a b", "c", "a b"]}))
        .await
        .json();
    let data = answer["data"].as_array().unwrap();
    assert_eq!(
        (data.len(), data[0]["embedding"].as_array().unwrap().len()),
        (3, 8)
    );
    assert_eq!(data[0]["embedding"], data[2]["embedding"]);
    assert_ne!(data[0]["embedding"], data[1]["embedding"]);
    assert_eq!(
        (answer["object"].as_str(), data[2]["index"].as_u64()),
        (Some("list"), Some(2))
    );
    assert_eq!(answer["usage"]["prompt_tokens"], 5);
    let coded = embed(json!({"input": [1, 2], "encoding_format": "base64", "dimensions": 3})).await;
    assert_eq!(
        coded.json()["data"][0]["embedding"].as_str().unwrap().len(),
        16
    );
    for body in [
        json!({"input": ""}),
        json!({"input": []}),
        json!({"input": "a", "dimensions": 0}),
        json!({"input": "a", "encoding_format": "morse"}),
        json!({}),
    ] {
        assert_eq!(
            embed(body.clone()).await.status,
            StatusCode::BAD_REQUEST,
            "{body}"
        );
    }
    let other = embed(json!({"input": "a", "model": "x"})).await;
    assert_eq!(other.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn errors_come_as_often_as_they_were_asked_for() {
    let types = ["--failure-types", "rate_limit", "server_error"];
    let bench = Bench::start(&[&["--failure-injection-rate=100"], &types[..]].concat());
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..40 {
        let reply = bench.chat(hello(1), "x").await;
        assert_eq!(reply.json()["error"]["code"], reply.status.as_u16());
        seen.insert(reply.status.as_u16());
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [429, 503]);
    assert_eq!(bench.get("/v1/models").await.status, StatusCode::OK);
}

#[tokio::test]
async fn prompts_are_rendered_and_metrics_take_the_references_label() {
    let bench = Bench::start(&["--metrics-compat=sim"]);
    let prompt = json!({"prompt": "Hello, world"});
    let tokens = bench.post("/tokenize", &prompt).await.json()["tokens"].clone();
    let rendered = bench.post("/v1/completions/render", &prompt).await.json();
    assert_eq!(rendered, json!([{"token_ids": tokens}]));
    let chat = bench
        .post("/v1/chat/completions/render", &hello(1))
        .await
        .json();
    assert!(chat["token_ids"].as_array().unwrap().len() > 1);
    bench.chat(hello(1), "x").await;
    let page = bench.get("/metrics").await;
    let label = r#"vllm:request_success_total{finish_reason="length""#;
    assert!(page.text().contains(label) && !page.text().contains("finished_reason"));
}

#[tokio::test]
async fn a_timeline_of_faults_strikes() {
    let bench = Bench::start(&["--faults", r#"[{"at": "0ms", "kind": "metrics-404"}]"#]);
    let struck = async {
        while bench.get("/metrics").await.status == StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), struck)
        .await
        .unwrap();
    assert_eq!(bench.get("/health").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_metrics_page_says_what_it_is_told() {
    let bench = Bench::start(&["--fake-metrics", r#"{"running-requests": 7}"#]);
    bench.chat(hello(1), "x").await;
    let running = bench.metric("vllm:num_requests_running").await;
    assert!((running - 7.0).abs() < 1e-9, "{running}");
    assert!(bench.metric("vllm:prompt_tokens_total").await.abs() < 1e-9);
}
