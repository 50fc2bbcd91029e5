//! `/admin/config`: the settings that can change while the server runs.
//!
//! A POST is a partial update: all of it holds or none. Keys are the flags' names, with dashes or
//! underscores. `faults` is a kind or `null`, or `{"kind", "factor"?, "for"?}`; a fault that closes this
//! very port needs `for`, since nobody could end it here.

use std::time::Duration;

use pointsman_http::Fault;
use serde_json::{Map, Value, json};

use crate::flags::duration;
use crate::server::api_error::ApiError;
use crate::server::host::{Host, Knobs, TimedFault};

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

fn positive(key: &str, value: &Value) -> Result<f64, ApiError> {
    let number = value
        .as_f64()
        .filter(|n| n.is_finite() && *n > 0.0 && *n <= 1e6);
    number.ok_or_else(|| {
        ApiError::bad_request(format!(
            "{key}: found {value}, must be a number above 0, at most 1e6"
        ))
    })
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

/// Reads `faults: [{at, for, kind, factor}]`, or the list alone. Unlike one that is switched on from outside, a
/// fault that closes the port may last for ever here.
///
/// # Errors
/// What is wrong with it.
pub fn read_timeline(value: &Value) -> Result<Vec<TimedFault>, String> {
    let list = value.get("faults").unwrap_or(value);
    let Some(list) = list.as_array() else {
        return Err("must be a list of faults such as {at: 12s, for: 5s, kind: slow}".to_owned());
    };
    list.iter().map(timed).collect()
}

fn timed(entry: &Value) -> Result<TimedFault, String> {
    let mut entry = entry.clone();
    let map = entry.as_object_mut();
    let map = map.ok_or_else(|| "each must have a kind".to_owned())?;
    let mut time = |key: &str| match map.remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => duration(&text)
            .map(Some)
            .map_err(|fault| format!("{key}: {fault}")),
        Some(Value::Number(number)) if number.as_f64() == Some(0.0) => Ok(Some(Duration::ZERO)),
        Some(other) => Err(format!("{key}: found {other}, must be a time such as 5s")),
    };
    let (at, length) = (time("at")?.unwrap_or_default(), time("for")?);
    // Checked with a length, because only the run-time switch needs one.
    map.insert("for".to_owned(), Value::from("1s"));
    let (fault, _) = fault(&entry).map_err(|error| error.message)?;
    Ok((at, fault, length))
}

fn fault(value: &Value) -> Result<(Fault, Option<Duration>), ApiError> {
    let bad = |message: String| ApiError::bad_request(format!("faults: {message}"));
    let (kind, factor, length) = match value {
        Value::Null => return Ok((Fault::None, None)),
        Value::String(kind) => (kind.as_str(), None, None),
        Value::Object(map) => {
            if let Some(key) = map
                .keys()
                .find(|key| !["kind", "factor", "for"].contains(&key.as_str()))
            {
                return Err(bad(format!(
                    "unknown key {key:?}; known are kind, factor, for"
                )));
            }
            let kind = map
                .get("kind")
                .and_then(Value::as_str)
                .ok_or_else(|| bad("kind is missing".to_owned()))?;
            (kind, map.get("factor"), map.get("for"))
        }
        other => {
            return Err(bad(format!(
                "found {other}, must be a kind, an object or null"
            )));
        }
    };
    let length = match length {
        None => None,
        Some(Value::String(text)) => Some(duration(text).map_err(|m| bad(format!("for: {m}")))?),
        Some(other) => {
            return Err(bad(format!(
                "for: found {other}, must be a time such as \"5s\""
            )));
        }
    };
    let fault = match kind {
        "none" => Fault::None,
        "down" => Fault::Down,
        "hang" => Fault::Hang,
        "metrics-404" => Fault::MetricsNotFound,
        "die-mid-stream" => Fault::DieMidStream,
        "slow" => {
            Fault::Slow(factor.map_or(Ok(10.0), |factor| positive("faults: factor", factor))?)
        }
        other => {
            let known = "none, down, slow, hang, metrics-404, die-mid-stream";
            return Err(bad(format!("unknown kind {other:?}; known are {known}")));
        }
    };
    if matches!(fault, Fault::Down | Fault::Hang) && length.is_none() {
        return Err(bad(format!(
            "{kind} needs \"for\", or nobody could end it through this port"
        )));
    }
    Ok((fault, length))
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

    #[test]
    fn faults_are_read() {
        assert_eq!(
            fault(&json!({"kind": "slow", "factor": 4})).unwrap(),
            (Fault::Slow(4.0), None)
        );
        assert_eq!(
            fault(&json!("metrics-404")).unwrap(),
            (Fault::MetricsNotFound, None)
        );
        let five = Some(Duration::from_secs(5));
        assert_eq!(
            fault(&json!({"kind": "down", "for": "5s"})).unwrap(),
            (Fault::Down, five)
        );
        assert_eq!(fault(&Value::Null).unwrap(), (Fault::None, None));
    }
}
