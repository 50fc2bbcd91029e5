//! What `pointsman bench` prints.

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::backend::{Backend, Received, Reply};
use crate::binary::pointsman;

/// Bytes that are text.
///
/// # Panics
/// When they are none.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// The document of a run that must be good.
///
/// # Panics
/// When it is not.
#[track_caller]
#[must_use]
pub fn document(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).expect("a document");
    assert_eq!(document["schemaVersion"], 1);
    document
}

/// `pointsman bench` with these flags.
#[must_use]
pub fn command(flags: &[&str]) -> Command {
    let mut command = Command::new(pointsman());
    command.arg("bench").args(flags);
    command
}

/// What it comes to.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn bench(flags: &[&str]) -> Output {
    command(flags).output().expect("the program")
}

/// The run fails with this sentence.
///
/// # Panics
/// When it does not.
#[track_caller]
pub fn fails(flags: &[&str], sentence: &str) -> Output {
    let output = bench(flags);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{flags:?}: {said}");
    assert!(said.contains(sentence), "{flags:?}: {said}");
    output
}

/// A model server: lists one model, answers what `serve` says.
pub fn server(serve: impl Fn(&Received, &mut Reply) + Send + Sync + 'static) -> Backend {
    Backend::start(move |received, reply| {
        if received.method == "GET" {
            reply.json(200, &json!({"object": "list", "data": [{"id": "m"}]}));
        } else if received.json()["stream"] == true {
            serve(received, reply);
        } else {
            reply.json(
                200,
                &json!({"id": "x", "choices": [{"index": 0, "text": "a"}]}),
            );
        }
    })
}

/// A whole stream of three tokens.
pub fn streams(reply: &mut Reply) {
    reply.begin_events();
    for _ in 0..3 {
        reply.event("{\"id\":\"x\",\"choices\":[{\"index\":0,\"text\":\"a\"}]}");
    }
    reply.event("[DONE]");
    reply.end();
}

/// A figure.
///
/// # Panics
/// When it is none.
#[must_use]
pub fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}
