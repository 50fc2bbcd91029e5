//! `/admin/config`: the settings that can change while the server runs.
//!
//! A POST is a partial update: all of it holds or none. Keys are the flags' names, with dashes or
//! underscores. `faults` is a kind or `null`, or `{"kind", "factor"?, "for"?}`; a fault that closes this
//! very port needs `for`, since nobody could end it here.

use std::time::Duration;

use pointsman_http::Fault;
use serde_json::{Map, Value, json};

use crate::server::api_error::ApiError;
use crate::server::host::{Host, Knobs};
use crate::server::timeline::{fault, positive};

/// Time for the answer to get out before a fault begins.
const GRACE: Duration = Duration::from_millis(20);

/// The configuration as it stands.
pub fn view(host: &Host) -> Value {
    let knobs = host.knobs();
    let settings = &host.settings;
    json!({
        "model": settings.root,
        "served-model-name": settings.models,
        "max-model-len": settings.max_model_len,
        "max-num-seqs": knobs.max_num_seqs,
        "max-num-batched-tokens": settings.engine.token_budget,
        "block-size": settings.engine.block_size,
        "kv-cache-size": settings.engine.kv_blocks,
        "speed": knobs.speed,
        "slow-factor": knobs.slow_factor,
        "seed": settings.seed,
        "deterministic": settings.deterministic,
        "kv-transfer": settings.engine.transfer.name,
        "faults": fault_json(host.faults.current()),
    })
}

/// Carries out an update, whole or not at all.
pub fn update(host: &Host, body: &[u8]) -> Result<Value, ApiError> {
    let written: Map<String, Value> = serde_json::from_slice(body).map_err(|fault| {
        ApiError::bad_request(format!("the update must be a json object: {fault}"))
    })?;
    let mut knobs = host.knobs();
    let mut planned = None;
    for (key, value) in &written {
        match key.replace('_', "-").as_str() {
            "slow-factor" => knobs.slow_factor = positive(key, value)?,
            "speed" => knobs.speed = positive(key, value)?,
            "max-num-seqs" => knobs.max_num_seqs = count(key, value)?,
            "faults" => planned = Some(fault(value)?),
            _ => {
                let known = "slow-factor, speed, max-num-seqs, faults";
                return Err(ApiError::bad_request(format!(
                    "{key:?} cannot be changed at run time; known are {known}"
                )));
            }
        }
    }
    if knobs != host.knobs() {
        host.turn(Knobs { ..knobs });
    }
    if let Some((fault, length)) = planned {
        host.plan_fault(GRACE, fault, length);
    }
    Ok(view(host))
}

fn count(key: &str, value: &Value) -> Result<u32, ApiError> {
    let number = value
        .as_u64()
        .and_then(|n| u32::try_from(n).ok())
        .filter(|&n| n > 0);
    number.ok_or_else(|| {
        ApiError::bad_request(format!(
            "{key}: found {value}, must be a whole number above 0"
        ))
    })
}

fn fault_json(fault: Fault) -> Value {
    match fault {
        Fault::None => Value::Null,
        Fault::Down => json!({"kind": "down"}),
        Fault::Slow(factor) => json!({"kind": "slow", "factor": factor}),
        Fault::Hang => json!({"kind": "hang"}),
        Fault::MetricsNotFound => json!({"kind": "metrics-404"}),
        Fault::DieMidStream => json!({"kind": "die-mid-stream"}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::SimConfig;
    use crate::server::transfers::TransferRegistry;
    use crate::settings::Settings;
    use pointsman_http::FaultSwitch;

    fn host() -> Host {
        let settings = Settings::resolve(&SimConfig::default()).unwrap();
        Host::new(
            settings,
            FaultSwitch::default(),
            TransferRegistry::default(),
        )
    }

    #[track_caller]
    fn refused(body: &str, part: &str) {
        let host = host();
        let before = host.knobs();
        let error = update(&host, body.as_bytes()).unwrap_err();
        assert_eq!(error.status.as_u16(), 400);
        assert!(error.message.contains(part), "{}", error.message);
        assert_eq!(host.knobs(), before, "nothing of a refused update holds");
    }

    #[tokio::test]
    async fn an_update_holds_whole_or_not_at_all() {
        let host = host();
        let seen = update(&host, br#"{"slow_factor": 10, "max-num-seqs": 3}"#).unwrap();
        assert_eq!(
            (seen["slow-factor"].as_f64(), seen["max-num-seqs"].as_u64()),
            (Some(10.0), Some(3))
        );
        refused(r#"{"slow-factor": 10, "speed": 0}"#, "speed");
        refused(r#"{"slow-factor": 10, "colour": "red"}"#, "colour");
        refused(r#"{"max-num-seqs": 1.5}"#, "whole number");
        refused("[]", "json object");
        refused(r#"{"faults": "down"}"#, "for");
        refused(r#"{"faults": {"kind": "flood"}}"#, "flood");
        refused(r#"{"faults": {"kind": "slow", "factor": -1}}"#, "factor");
        refused(r#"{"faults": {"kind": "hang", "for": 5}}"#, "5s");
    }
}
