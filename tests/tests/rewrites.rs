//! Models that are asked for in place of those that clients name: the embedded gateway and the picker behind Envoy do
//! the same with the same configuration.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use pointsman_tests::backend::{Backend, Received, Reply};
use pointsman_tests::envoy::{Bodies, Envoy};
use pointsman_tests::http::Request;
use pointsman_tests::picker::Picker;
use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::{Gateway, endpoints_file};
use serde_json::{Value, json};

const CONFIG: &str = "apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: active-request-scorer
- type: max-score-picker
schedulingProfiles:
- name: default
  plugins: [{pluginRef: active-request-scorer}, {pluginRef: max-score-picker}]
pointsman:
  modelRewrites:
  - name: canary
    models: [food-review]
    targets: [{model: food-review-1, weight: 3}, {model: food-review-2, weight: 1}]
  - name: same
    models: [base]
    targets: [{model: base}]
";

/// An engine that answers under the name that it was asked for, as engines do.
fn engine(request: &Received, reply: &mut Reply) {
    if request.path == "/metrics" {
        return reply.whole(404, "text/plain", b"");
    }
    let asked = request.json();
    let model = asked["model"].clone();
    if asked["stream"] == true {
        reply.begin_events();
        for number in 0..3 {
            reply.event(&json!({"id": "c", "model": model, "number": number}).to_string());
        }
        reply.event("[DONE]");
        return reply.end();
    }
    let usage = json!({"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12});
    reply.json(200, &json!({"id": "c", "model": model, "usage": usage}));
}

/// What a client sees and what the engine is asked at one door.
fn at_door(door: SocketAddr, admin: SocketAddr, engine: &Backend) {
    // Whole numbers that no 64-bit float holds, and the order of members, stay as they are.
    let body = r#"{"seed":9007199254740993,"model": "food-review","prompt":"x","a":1}"#;
    let ask = |body: &str| {
        let request = Request::new("POST", "/v1/completions", body.as_bytes());
        let answer = request
            .header("content-type", "application/json")
            .answered(door);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer
    };
    let rounds = 60;
    for _ in 0..rounds {
        assert_eq!(ask(body).json()["model"], "food-review");
    }
    let bodies = || -> Vec<String> {
        let received = engine.received("/v1/completions");
        let bodies = received.iter();
        bodies
            .map(|one| String::from_utf8(one.body.clone()).unwrap())
            .collect()
    };
    let named = |model: &str| body.replace("\"food-review\"", &format!("\"{model}\""));
    let [first, second] = ["food-review-1", "food-review-2"].map(|model| {
        let of_model = named(model);
        bodies().iter().filter(|one| **one == of_model).count()
    });
    assert_eq!(first + second, rounds, "{:?}", bodies());
    assert!(
        first > second && second > 0,
        "3 to 1 was asked for: {first} to {second}"
    );

    let streamed = ask(r#"{"model":"food-review","prompt":"x","stream":true}"#).text();
    assert_eq!(
        streamed.matches(r#""model":"food-review""#).count(),
        3,
        "{streamed}"
    );
    assert!(streamed.contains("[DONE]"), "{streamed}");

    // A rule that changes nothing is followed and counted; what no rule names stays.
    for model in ["base", "other"] {
        let body = json!({"model": model, "prompt": "y"}).to_string();
        assert_eq!(ask(&body).json()["model"], model);
        assert_eq!(*bodies().last().unwrap(), body);
    }

    let page = Request::get("/metrics").answered(admin).text();
    for family in [
        "llm_d_epp_model_rewrite_decisions_total",
        "inference_extension_model_rewrite_decisions_total",
    ] {
        let count = |rewrite: &str, model: &str| {
            let begin =
                format!("{family}{{model_rewrite_name=\"{rewrite}\",model_name=\"{model}\"");
            let lines = page.lines().filter(|line| line.starts_with(&begin));
            let values = lines.map(|line| line.rsplit_once(' ').unwrap().1);
            values
                .map(|value| value.parse::<f64>().unwrap())
                .sum::<f64>()
        };
        assert_eq!(
            count("canary", "food-review"),
            rounds as f64 + 1.0,
            "{page}"
        );
        assert_eq!(count("same", "base"), 1.0, "{page}");
        assert_eq!(count("canary", "other"), 0.0, "{page}");
    }
    let counted =
        "llm_d_epp_request_total{model_name=\"food-review\",target_model_name=\"food-review-1\"";
    assert!(page.lines().any(|line| line.starts_with(counted)), "{page}");
}

struct Bed {
    engine: Backend,
    files: Scratch,
    endpoints: String,
}

fn bed() -> Bed {
    let engine = Backend::start(engine);
    let files = Scratch::new("rewrites");
    let endpoints = files.file(
        "endpoints.json",
        &endpoints_file(&[("a", engine.address())]),
    );
    Bed {
        engine,
        files,
        endpoints,
    }
}

#[test]
fn the_gateway_follows_the_rules_of_its_configuration() {
    let bed = bed();
    let config = bed.files.file("config.yaml", CONFIG);
    let flags = ["--config-file", &config, "--scrape-interval", "0"];
    let gateway = Gateway::before(&bed.endpoints, &flags);
    at_door(gateway.address, gateway.admin, &bed.engine);
    let plan: Value = gateway.admin_json("/debug/plan");
    let shown = &plan["settings"]["modelRewrites"];
    assert_eq!(shown[1]["rewrite"], "canary", "{shown}");
    assert_eq!(
        shown[1]["targets"][0],
        json!({"model": "food-review-1", "weight": 3})
    );
}

#[test]
fn the_picker_follows_the_same_rules() {
    let bed = bed();
    let config = bed.files.file("config.yaml", CONFIG);
    let picker = Picker::before(&bed.endpoints, &["--config-file", &config]);
    let envoy = Envoy::before(picker.server.address, Bodies::FullDuplex);
    at_door(envoy.address, picker.server.admin, &bed.engine);
}
