//! The real `openai` Python client through the gateway: chat, completions, streams, models, errors.

#![allow(clippy::unwrap_used)]

use std::process::Command;

use pointsman_tests::answer::{MODEL, PairId};
use pointsman_tests::binary::{python, workspace};
use pointsman_tests::server::Gateway;
use serde_json::Value;

#[test]
fn the_openai_client_is_served() {
    let lab = Gateway::up(&["--quiet"]);
    let output = Command::new(python())
        .arg(workspace().join("tests/python/client.py"))
        .args([&format!("http://{}", lab.address), MODEL])
        .env_remove("http_proxy")
        .env_remove("HTTP_PROXY")
        .env_remove("ALL_PROXY")
        .env("NO_PROXY", "127.0.0.1")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap();

    let id = |value: &Value| PairId::parse(value.as_str().unwrap());
    assert_eq!(id(&seen["chat"]["id"]).kind, "chatcmpl");
    assert_eq!(seen["chat"]["tokens"], 8, "{seen}");
    assert_eq!(seen["chat"]["finish"], "length");
    assert!(!seen["chat"]["content"].as_str().unwrap().is_empty());
    assert_eq!(
        seen["parts"]["tokens"], 4,
        "content as a list of parts: {seen}"
    );
    assert_eq!(id(&seen["completion"]["id"]).kind, "cmpl");
    assert_eq!(seen["completion"]["tokens"], 8);

    let stream = &seen["stream"];
    assert_eq!(
        stream["ids"].as_array().unwrap().len(),
        1,
        "one id in all chunks: {stream}"
    );
    assert_eq!(id(&stream["ids"][0]).kind, "chatcmpl");
    assert_eq!(stream["tokens"], 8, "usage in the last chunk: {stream}");
    assert_eq!(stream["pieces"], 8, "a piece per token: {stream}");
    assert_eq!(stream["finish"], "length");
    assert_eq!(seen["completion_stream"]["pieces"], 8, "{seen}");
    assert_eq!(id(&seen["completion_stream"]["ids"][0]).kind, "cmpl");

    assert_eq!(seen["models"], serde_json::json!([MODEL]));
    assert_eq!(seen["raw"]["request_id"], "from-python");
    assert_eq!(id(&seen["raw"]["id"]).pair(), "fs");

    assert_eq!(seen["unknown_model"]["status"], 404, "{seen}");
    assert_eq!(seen["unknown_model"]["class"], "NotFoundError");
    assert_eq!(seen["bad_request"]["status"], 400, "{seen}");
    assert_eq!(seen["bad_request"]["class"], "BadRequestError");
    for error in ["unknown_model", "bad_request"] {
        assert!(
            seen[error]["body"]["message"].is_string(),
            "the client finds the error object: {}",
            seen[error]
        );
    }
}
