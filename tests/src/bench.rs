//! What `pointsman bench` prints.

use std::process::Output;

use serde_json::Value;

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
