//! What containers ask for and may take, checked as the API server checks it where a pod is made: a Deployment with
//! wrong ones is refused, or taken and never gets a pod.

use serde_json::{Map, Value, json};

use crate::spec::invalid::Invalid;

/// The parts of a container's resources.
const PARTS: [&str; 3] = ["limits", "requests", "claims"];

/// What every container can ask for; everything else has a domain before its name.
const NATIVE: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// The resources of a container, nothing where none are given.
pub(crate) fn resources(field: &str, given: Option<&Value>) -> Result<Value, Invalid> {
    let Some(given) = given.filter(|given| !given.is_null()) else {
        return Ok(json!({}));
    };
    let Some(parts) = given.as_object() else {
        return Err(Invalid::value(format!(
            "{field} is {given} and must be an object with limits and requests"
        )));
    };
    if let Some(unknown) = parts.keys().find(|key| !PARTS.contains(&key.as_str())) {
        return Err(Invalid::value(format!(
            "{field}.{unknown} is not known; {} are",
            PARTS.join(", ")
        )));
    }
    let empty = Map::new();
    let part = |name: &str| match parts.get(name) {
        None | Some(Value::Null) => Ok(&empty),
        Some(Value::Object(found)) => Ok(found),
        Some(other) => Err(Invalid::value(format!(
            "{field}.{name} is {other} and must be an object of quantities"
        ))),
    };
    let (limits, requests) = (part("limits")?, part("requests")?);
    for (name, amounts) in [("limits", limits), ("requests", requests)] {
        for (key, amount) in amounts {
            let place = format!("{field}.{name}.{key}");
            if !NATIVE.contains(&key.as_str())
                && !key.starts_with("hugepages-")
                && !key.contains('/')
            {
                return Err(Invalid::value(format!(
                    "{place} is no resource: {} or a name with a domain, such as nvidia.com/gpu",
                    NATIVE.join(", ")
                )));
            }
            quantity(&place, amount)?;
        }
    }
    for (key, amount) in requests {
        let place = format!("{field}.requests.{key}");
        let own = quantity(&place, amount)?;
        let limit = limits.get(key);
        let whole = !NATIVE.contains(&key.as_str());
        match limit {
            None if whole => {
                return Err(Invalid::value(format!(
                    "{place} needs {field}.limits.{key}: of this resource both must be the same"
                )));
            }
            Some(limit) => {
                let most = quantity(&format!("{field}.limits.{key}"), limit)?;
                if own > most || (whole && own < most) {
                    let must = if whole { "be" } else { "be at most" };
                    return Err(Invalid::value(format!(
                        "{place} is {amount} and must {must} the limit, {limit}"
                    )));
                }
            }
            None => {}
        }
    }
    Ok(given.clone())
}

/// A quantity of Kubernetes, 0 or more.
fn quantity(field: &str, value: &Value) -> Result<f64, Invalid> {
    let read = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => amount(text),
        _ => None,
    };
    read.filter(|amount| *amount >= 0.0).ok_or_else(|| {
        Invalid::value(format!(
            "{field} is {value} and must be a quantity of 0 or more, such as 500m, 2 or 4Gi"
        ))
    })
}

fn amount(text: &str) -> Option<f64> {
    let digits = text.find(|c: char| !(c.is_ascii_digit() || "+-.".contains(c)));
    let (head, suffix) = text.split_at(digits.unwrap_or(text.len()));
    let head: f64 = head.parse().ok()?;
    let thousands = ["", "k", "M", "G", "T", "P", "E"];
    let small = ["n", "u", "m"];
    let power = |list: &[&str], word: &str| list.iter().position(|one| *one == word);
    let factor = if let Some(at) = power(&thousands, suffix) {
        1000f64.powi(i32::try_from(at).ok()?)
    } else if let Some(at) = power(&small, suffix) {
        1000f64.powi(i32::try_from(at).ok()? - 3)
    } else if let Some(letter) = suffix.strip_suffix('i') {
        let at = match letter {
            "K" => 1,
            other => power(&thousands[2..], other)? + 2,
        };
        1024f64.powi(i32::try_from(at).ok()?)
    } else {
        let exponent = suffix.strip_prefix(['e', 'E'])?;
        10f64.powi(exponent.parse().ok()?)
    };
    Some(head * factor).filter(|amount| amount.is_finite())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn said(given: Value) -> String {
        resources("spec.epp.resources", Some(&given))
            .unwrap_err()
            .message
    }

    #[test]
    fn what_no_pod_could_have_is_refused_with_its_path() {
        assert_eq!(resources("r", None).unwrap(), json!({}));
        let good = json!({
            "requests": {"cpu": "500m", "memory": "1Gi", "nvidia.com/gpu": 1},
            "limits": {"cpu": 1, "memory": "1024Mi", "nvidia.com/gpu": "1"},
        });
        assert_eq!(resources("r", Some(&good)).unwrap(), good);
        for (bad, word) in [
            (json!("foo"), "spec.epp.resources is \"foo\""),
            (
                json!({"limit": {}}),
                "spec.epp.resources.limit is not known",
            ),
            (json!({"limits": 1}), "spec.epp.resources.limits is 1"),
            (json!({"limits": {"cpu": "lots"}}), "limits.cpu is \"lots\""),
            (json!({"limits": {"cpu": -1}}), "limits.cpu is -1"),
            (json!({"limits": {"gpu": 1}}), "limits.gpu is no resource"),
            (
                json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1500m"}}),
                "requests.cpu is \"2\" and must be at most the limit, \"1500m\"",
            ),
            (
                json!({"requests": {"nvidia.com/gpu": 1}}),
                "needs spec.epp.resources.limits.nvidia.com/gpu",
            ),
        ] {
            let said = said(bad);
            assert!(said.contains(word), "{word} in {said}");
        }
    }

    #[test]
    fn amounts_are_read_in_every_form() {
        for (text, wanted) in [
            ("1", 1.0),
            ("1500m", 1.5),
            ("2k", 2e3),
            ("1Ki", 1024.0),
            ("1Mi", 1_048_576.0),
            ("1e3", 1e3),
            ("0.5", 0.5),
            ("1E", 1e18),
        ] {
            assert!((amount(text).unwrap() - wanted).abs() < 1e-9, "{text}");
        }
        for text in ["", "x", "1x", "1ki", "m", "1i", "e3"] {
            assert_eq!(amount(text), None, "{text}");
        }
    }
}
