//! Faults as they are written: one that is switched, or a list of them on a timeline.

use std::time::Duration;

use pointsman_http::Fault;
use serde_json::Value;

use crate::flags::duration;
use crate::server::api_error::ApiError;

/// A fault of a timeline: when it begins after the start, what it is, and how long it lasts.
pub type TimedFault = (Duration, Fault, Option<Duration>);

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

/// Reads a fault: a kind, an object or null.
///
/// # Errors
/// What is wrong with it.
pub fn fault(value: &Value) -> Result<(Fault, Option<Duration>), ApiError> {
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

/// Reads a number above 0.
///
/// # Errors
/// When it is none.
pub fn positive(key: &str, value: &Value) -> Result<f64, ApiError> {
    let number = value
        .as_f64()
        .filter(|n| n.is_finite() && *n > 0.0 && *n <= 1e6);
    number.ok_or_else(|| {
        ApiError::bad_request(format!(
            "{key}: found {value}, must be a number above 0, at most 1e6"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
