//! What a custom resource's status says: pure, from what was done and what is seen.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::kinds::Kind;
use crate::spec::invalid::Invalid;

/// What became of one object.
#[derive(Clone, Debug)]
pub(crate) struct ChildState {
    pub(crate) kind: &'static Kind,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) state: State,
    pub(crate) hash: String,
}

/// The state of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// As asked.
    Applied,
    /// Its kind is not served.
    Skipped,
    /// A custom resource of the other kind keeps it; which one.
    Shared(String),
    /// It was no longer asked for, and is gone.
    Pruned,
    /// It could not be made so; a reason and words.
    Failed(&'static str, String),
}

impl ChildState {
    /// As the status lists it.
    pub(crate) fn written(&self) -> Value {
        let (state, reason, message) = match &self.state {
            State::Applied => ("Applied", None, None),
            State::Skipped => (
                "Skipped",
                Some("CRDMissing"),
                Some(format!(
                    "{} is not served by this cluster",
                    self.kind.full_name()
                )),
            ),
            State::Shared(whose) => {
                let text = format!("{whose} keeps it; it is taken over when that one goes");
                ("Skipped", Some("Shared"), Some(text))
            }
            State::Pruned => ("Pruned", None, None),
            State::Failed(reason, message) => ("Failed", Some(*reason), Some(message.clone())),
        };
        let mut written = json!({
            "group": self.kind.group,
            "kind": self.kind.kind,
            "namespace": self.namespace,
            "name": self.name,
            "state": state,
        });
        if state == "Applied" {
            written["hash"] = json!(self.hash);
        }
        if let Some(reason) = reason {
            written["reason"] = json!(reason);
        }
        if let Some(message) = message {
            written["message"] = json!(message);
        }
        written
    }

    /// The state's name.
    pub(crate) fn word(&self) -> &'static str {
        match self.state {
            State::Applied => "Applied",
            State::Skipped | State::Shared(_) => "Skipped",
            State::Pruned => "Pruned",
            State::Failed(..) => "Failed",
        }
    }
}

/// One condition, before it is compared with the one that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) kind: &'static str,
    pub(crate) status: &'static str,
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl Condition {
    pub(crate) fn new(
        kind: &'static str,
        holds: Option<bool>,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        let status = match holds {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        Self {
            kind,
            status,
            reason: reason.into(),
            message: message.into(),
        }
    }

    pub(crate) fn holds(&self) -> bool {
        self.status == "True"
    }
}

/// Whether the spec can be followed.
pub(crate) fn accepted(invalid: Option<&Invalid>) -> Condition {
    match invalid {
        None => Condition::new("Accepted", Some(true), "Valid", "the spec can be followed"),
        Some(invalid) => Condition::new("Accepted", Some(false), invalid.reason, &invalid.message),
    }
}

/// Whether every object is as asked.
pub(crate) fn applied(children: &[ChildState]) -> Condition {
    let failed: Vec<&ChildState> = children
        .iter()
        .filter(|child| matches!(child.state, State::Failed(..)))
        .collect();
    if let Some(State::Failed(reason, _)) = failed.first().map(|child| &child.state) {
        let texts: Vec<&str> = failed
            .iter()
            .filter_map(|child| match &child.state {
                State::Failed(_, message) => Some(message.as_str()),
                _ => None,
            })
            .collect();
        return Condition::new("Applied", Some(false), *reason, texts.join("; "));
    }
    let mut skipped: Vec<String> = children
        .iter()
        .filter(|child| child.state == State::Skipped)
        .map(|child| child.kind.full_name())
        .collect();
    skipped.dedup();
    if skipped.is_empty() {
        return Condition::new(
            "Applied",
            Some(true),
            "AllApplied",
            "all objects are as asked",
        );
    }
    let message = format!(
        "not served by this cluster: {}; install the CRDs, and the objects follow by themselves",
        skipped.join(", ")
    );
    Condition::new("Applied", Some(false), "CRDMissing", message)
}

/// Conditions as the status lists them: those that did not change keep their time.
pub(crate) fn conditions(
    before: &Value,
    now: &[Condition],
    generation: &Value,
    time: &str,
) -> Value {
    let old: BTreeMap<&str, &Value> = before
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| Some((one["type"].as_str()?, one)))
        .collect();
    let written = now.iter().map(|condition| {
        let since = old
            .get(condition.kind)
            .filter(|old| old["status"] == condition.status)
            .and_then(|old| old["lastTransitionTime"].as_str())
            .unwrap_or(time);
        let mut message = condition.message.clone();
        message.truncate(
            message
                .char_indices()
                .nth(4000)
                .map_or(message.len(), |(at, _)| at),
        );
        json!({
            "type": condition.kind,
            "status": condition.status,
            "reason": condition.reason,
            "message": message,
            "observedGeneration": generation,
            "lastTransitionTime": since,
        })
    });
    Value::Array(written.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::{ENVOY_FILTER, GATEWAY};

    fn child(kind: &'static Kind, state: State) -> ChildState {
        ChildState {
            kind,
            namespace: "n".to_owned(),
            name: "x".to_owned(),
            state,
            hash: "h".to_owned(),
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let children = [
            child(&GATEWAY, State::Applied),
            child(&ENVOY_FILTER, State::Skipped),
        ];
        let condition = applied(&children);
        assert_eq!(condition.reason, "CRDMissing");
        assert!(
            condition
                .message
                .contains("EnvoyFilter.networking.istio.io")
        );
        let forbidden = State::Failed("Forbidden", "apply gateways n/x: no".to_owned());
        assert_eq!(applied(&[child(&GATEWAY, forbidden)]).reason, "Forbidden");
        assert!(applied(&[child(&GATEWAY, State::Applied)]).holds());
    }

    #[test]
    fn only_a_change_of_the_status_is_a_transition() {
        let old = json!([{"type": "Ready", "status": "True", "lastTransitionTime": "then"}]);
        let ready = |holds, reason| [Condition::new("Ready", Some(holds), reason, "")];
        let same = conditions(&old, &ready(true, "Other"), &json!(2), "now");
        assert_eq!(same[0]["lastTransitionTime"], "then");
        assert_eq!(same[0]["observedGeneration"], 2);
        let other = conditions(&old, &ready(false, "Other"), &json!(2), "now");
        assert_eq!(other[0]["lastTransitionTime"], "now");
    }
}
