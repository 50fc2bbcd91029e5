//! The key `pointsman.modelRewrites` as written, and its way to [`Rewrites`].

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::fault::Fault;
use crate::model::rewrites::{Rewrite, Rewrites, Rule, Target};

/// Models that are asked for in place of others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WrittenRewrite {
    /// Its name, under which its decisions are counted.
    pub name: String,
    /// The models that clients name, exactly; when left out every model that no other rewrite names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// What the engine is asked for instead; with several it is drawn by weight for each request.
    pub targets: Vec<WrittenTarget>,
}

/// One of the models that a rewrite offers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WrittenTarget {
    /// The name that the engine knows.
    pub model: String,
    /// Its share of the requests. Where no target has one, all are equal; beside one that has, a target without is
    /// never drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u64>,
}

/// The rules of what is written, in its order; what is wrong with it goes to `faults`.
pub(super) fn rewrites(written: &[WrittenRewrite], faults: &mut Vec<Fault>) -> Rewrites {
    let (mut names, mut models) = (BTreeSet::new(), BTreeSet::new());
    let mut all = Vec::with_capacity(written.len());
    for (at, rewrite) in written.iter().enumerate() {
        let mut fault = |within: &str, message: String| {
            let path = format!("pointsman.modelRewrites[{at}]{within}");
            faults.push(Fault::error(path, message));
        };
        if rewrite.name.is_empty() {
            let message = "is missing a name; give it one under which to count its decisions";
            fault("", message.to_owned());
        } else if !names.insert(&rewrite.name) {
            let message = format!(
                "duplicate rewrite '{}'; give each its own name",
                rewrite.name
            );
            fault(".name", message);
        }
        for (place, model) in rewrite.models.iter().enumerate() {
            if !models.insert(model) {
                let message = format!("'{model}' is named before; name each model once");
                fault(&format!(".models[{place}]"), message);
            }
        }
        if rewrite.targets.is_empty() {
            let message = "is missing targets; name at least one model that the engines know";
            fault("", message.to_owned());
        }
        for (place, target) in rewrite.targets.iter().enumerate() {
            if target.model.is_empty() {
                let message = "is missing a model; name one that the engines know".to_owned();
                fault(&format!(".targets[{place}]"), message);
            }
        }
        let target = |target: &WrittenTarget| Target {
            model: target.model.clone(),
            weight: target.weight.unwrap_or(0),
        };
        all.push(Rewrite {
            name: rewrite.name.clone(),
            created: String::new(),
            rules: vec![Rule {
                models: rewrite.models.clone(),
                targets: rewrite.targets.iter().map(target).collect(),
            }],
        });
    }
    Rewrites::in_order(all)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};

    fn read(value: Value) -> (Rewrites, Vec<String>) {
        let written: Vec<WrittenRewrite> = serde_json::from_value(value).unwrap();
        let mut faults = Vec::new();
        let rewrites = rewrites(&written, &mut faults);
        (rewrites, faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn rules_go_by_their_order() {
        let (rewrites, faults) = read(json!([
            {"name": "z", "models": ["m"], "targets": [{"model": "big", "weight": 3}, {"model": "small", "weight": 1}]},
            {"name": "a", "targets": [{"model": "usual"}]},
        ]));
        assert_eq!(faults, Vec::<String>::new());
        let told = |model: &str, draw| rewrites.target(model, draw).unwrap().model;
        assert_eq!((told("m", 2), told("m", 3)), ("big", "small"));
        let other = rewrites.target("other", 9).unwrap();
        assert_eq!((&**other.by, other.model), ("a", "usual"));
    }

    #[test]
    fn faults_name_their_place() {
        let (_, faults) = read(json!([
            {"targets": [{}]},
            {"name": "x", "models": ["m", "m"], "targets": []},
            {"name": "x", "targets": [{"model": "t"}]},
        ]));
        for (path, word) in [
            ("modelRewrites[0]", "missing a name"),
            ("modelRewrites[0].targets[0]", "missing a model"),
            ("modelRewrites[1].models[1]", "named before"),
            ("modelRewrites[1]", "missing targets"),
            ("modelRewrites[2].name", "duplicate rewrite 'x'"),
        ] {
            let named = |fault: &&String| fault.contains(path) && fault.contains(word);
            assert!(
                faults.iter().any(|fault| named(&fault)),
                "{path}: {word}: {faults:?}"
            );
        }
        assert_eq!(faults.len(), 5, "{faults:?}");
    }
}
