//! Fields that the API server fills in by itself, and fields that must not be there at all.
//!
//! What is filled in stands in no spec and is nobody's edit, so it is no drift. What is not listed here and comes back
//! at once when it is taken out is learned while running (`apply.rs`), so a newer API server costs one request, not a
//! quarrel.

use serde_json::{Value, json};

/// Whether the API server, not somebody, put this value there.
pub(crate) fn is_default(kind: &str, above: &str, key: &str, value: &Value) -> bool {
    // Built-in kinds write empty structs where nothing was said.
    let empty = match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    };
    if value.is_null() || (empty && kind == "Deployment") {
        return true;
    }
    match kind {
        "Deployment" => of_pod(above, key, value),
        "Service" => match key {
            "nodePort" => true,
            "protocol" => value == "TCP",
            // Its own port where nothing else is said.
            "targetPort" => above == "ports" && value.is_number(),
            _ => false,
        },
        "EndpointSlice" => match key {
            "protocol" => value == "TCP",
            "name" => value == "",
            _ => false,
        },
        "Gateway" => match key {
            "allowedRoutes" => *value == json!({"namespaces": {"from": "Same"}}),
            "group" => value == "",
            "kind" => value == "Secret",
            _ => false,
        },
        "HTTPRoute" => key == "weight" && *value == 1,
        "InferencePool" => match key {
            "appProtocol" => value == "http",
            "group" => value == "",
            "kind" => value == "Service",
            "failureMode" => value == "FailClose",
            _ => false,
        },
        _ => false,
    }
}

fn of_pod(above: &str, key: &str, value: &Value) -> bool {
    let probe = above.ends_with("Probe");
    match key {
        "terminationMessagePath" => value == "/dev/termination-log",
        "terminationMessagePolicy" => value == "File",
        "imagePullPolicy" => value == "IfNotPresent" || value == "Always",
        "protocol" => value == "TCP",
        "scheme" => value == "HTTP",
        "apiVersion" => above == "fieldRef" && value == "v1",
        "defaultMode" => *value == 0o644,
        "timeoutSeconds" | "successThreshold" => probe && *value == 1,
        "periodSeconds" => probe && *value == 10,
        "failureThreshold" => probe && *value == 3,
        _ => false,
    }
}

/// Maps in which nothing may stand that was not asked for.
pub(crate) fn is_whole(kind: &str, path: &[&str]) -> bool {
    matches!(
        (kind, path),
        ("ConfigMap", ["data"])
            | ("Service", ["spec", "selector"])
            | (
                "Deployment",
                ["metadata", "labels"] | ["spec", "template", "metadata", "labels"]
            )
            | (
                "Gateway"
                    | "HTTPRoute"
                    | "ReferenceGrant"
                    | "DestinationRule"
                    | "EnvoyFilter"
                    | "InferencePool",
                ["spec", ..],
            )
    )
}

/// Fields of objects that others may add to, but not these.
pub(crate) fn unwanted(kind: &str) -> &'static [&'static [&'static str]] {
    match kind {
        "ConfigMap" => &[&["binaryData"]],
        // What is paused does not roll, whatever is asked for.
        "Deployment" => &[&["spec", "paused"]],
        // Without a selector the addresses are kept here; with one the cluster would keep others.
        "Service" => &[&["spec", "selector"]],
        _ => &[],
    }
}
