//! The routes as JSON: the rules in order of precedence, what they match and where they send requests.

use pointsman_wire::receipt::SCHEMA_VERSION;
use serde_json::{Value, json};

use crate::door::route::{Rule, Target, rows_of_service};
use crate::router::Router;

/// The rules in force; a Service is shown with the endpoints of the pool that belong to it now.
pub fn in_force(router: &Router) -> String {
    let snapshot = router.membership.snapshot();
    let backend = |(target, weight): &(Target, u32)| match target {
        Target::Pool => json!({"kind": "InferencePool", "weight": weight}),
        Target::Service(name) => {
            let endpoints: Vec<&str> = rows_of_service(&snapshot, name)
                .map(|row| snapshot.endpoints[row].name.as_ref())
                .collect();
            json!({"kind": "Service", "name": name, "weight": weight, "endpoints": endpoints})
        }
    };
    let rules: Vec<Value> = router
        .routes
        .rules()
        .map(|rule| view(&rule, rule.backends.iter().map(backend).collect()))
        .collect();
    json!({"schemaVersion": SCHEMA_VERSION, "rules": rules}).to_string()
}

fn view(rule: &Rule<'_>, backends: Vec<Value>) -> Value {
    let headers: Vec<Value> = rule
        .headers
        .iter()
        .map(|(name, kind, value)| json!({"name": name, "type": kind, "value": value}))
        .collect();
    json!({
        "path": {"type": rule.path.0, "value": rule.path.1},
        "method": rule.method,
        "headers": headers,
        "backends": backends,
        "timeoutMs": rule.timeout.map(|t| t.as_millis() as u64),
    })
}
