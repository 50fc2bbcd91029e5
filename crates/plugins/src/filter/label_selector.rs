//! Keeps the candidates whose labels match a Kubernetes label selector.
//!
//! # When to use
//! To enforce a policy by label before load is looked at, for example only proxies with an NVLink pair.
//! For plain load balancing leave it out: what it removes can never be picked.
//!
//! # Rule
//! A candidate stays if every entry of `matchLabels` is equal to its label and every expression holds:
//! `In` (label present, value listed), `NotIn` (label absent, or value not listed), `Exists`, `DoesNotExist`.
//! An empty selector keeps all.
//!
//! # Reads
//! Labels only.
//!
//! # Example
//! ```yaml
//! - name: by-kv-backend
//!   type: by-label-selector
//!   parameters:
//!     matchLabels:
//!       llm-d.ai/kv-backend: nvlink
//! ```
//!
//! # Limits
//! If no candidate matches, the request is answered 429 and the log names this filter.

use std::collections::BTreeMap;

use pointsman_core::contract::context::Ctx;
use pointsman_core::contract::roles::{Built, Filter};
use pointsman_core::contract::spec::{
    ParamFault, Params, PluginSpec, Role, Stability, needs_nothing, schema_of,
};
use pointsman_core::index::row_set::RowSet;
use pointsman_core::model::endpoint::Labels;
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "by-label-selector",
    aliases: &["label-selector-filter"],
    role: Role::Filter,
    stability: Stability::Beta,
    reads: &[],
    requires: needs_nothing,
    source: include_str!("label_selector.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    /// Labels that must have exactly these values.
    match_labels: BTreeMap<String, String>,
    /// Further conditions, all of which must hold.
    match_expressions: Vec<Expression>,
}

#[derive(Deserialize, JsonSchema)]
struct Expression {
    /// The label.
    key: String,
    /// In, NotIn, Exists or DoesNotExist.
    operator: String,
    /// The values for In and NotIn.
    #[serde(default)]
    values: Vec<String>,
}

enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
}

struct LabelSelector {
    tests: Vec<(String, Test)>,
}

fn build(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    let parameters: Parameters = params.read()?;
    let mut faults = Vec::new();
    let mut tests: Vec<(String, Test)> = parameters
        .match_labels
        .into_iter()
        .map(|(key, value)| (key, Test::In(vec![value])))
        .collect();
    for (at, expression) in parameters.match_expressions.into_iter().enumerate() {
        match test_of(&expression.operator, expression.values) {
            Ok(test) => tests.push((expression.key, test)),
            Err(message) => faults.push(ParamFault {
                path: format!("matchExpressions[{at}]"),
                message,
            }),
        }
    }
    if faults.is_empty() {
        Ok(Built::Filter(Box::new(LabelSelector { tests })))
    } else {
        Err(faults)
    }
}

fn test_of(operator: &str, values: Vec<String>) -> Result<Test, String> {
    match (operator, values.is_empty()) {
        ("In", false) => Ok(Test::In(values)),
        ("NotIn", false) => Ok(Test::NotIn(values)),
        ("Exists", true) => Ok(Test::Exists),
        ("DoesNotExist", true) => Ok(Test::DoesNotExist),
        ("In" | "NotIn", true) => Err(format!("operator {operator} needs at least one value")),
        ("Exists" | "DoesNotExist", false) => Err(format!("operator {operator} takes no values")),
        _ => Err(format!(
            "operator '{operator}' is not known; use In, NotIn, Exists or DoesNotExist"
        )),
    }
}

impl Test {
    fn holds(&self, value: Option<&str>) -> bool {
        match self {
            Self::In(values) => value.is_some_and(|v| values.iter().any(|x| x == v)),
            Self::NotIn(values) => value.is_none_or(|v| values.iter().all(|x| x != v)),
            Self::Exists => value.is_some(),
            Self::DoesNotExist => value.is_none(),
        }
    }

    fn said(&self, key: &str) -> String {
        match self {
            Self::In(values) => match values.as_slice() {
                [one] => format!("{key}={one}"),
                many => format!("{key} in ({})", many.join(", ")),
            },
            Self::NotIn(values) => format!("{key} not in ({})", values.join(", ")),
            Self::Exists => format!("{key} present"),
            Self::DoesNotExist => format!("{key} absent"),
        }
    }
}

impl LabelSelector {
    fn matches(&self, labels: &Labels) -> bool {
        self.tests
            .iter()
            .all(|(key, test)| test.holds(labels.get(key)))
    }
}

impl Filter for LabelSelector {
    fn filter(&self, ctx: &Ctx<'_>, rows: &mut RowSet) {
        rows.retain(|row| self.matches(&ctx.snapshot.endpoints[row].labels));
    }

    fn is_repeatable(&self) -> bool {
        true
    }

    fn wants(&self) -> String {
        let said: Vec<String> = self
            .tests
            .iter()
            .map(|(key, test)| test.said(key))
            .collect();
        said.join(", ")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use pointsman_core::fixture::{pool, run_filter};

    #[track_caller]
    fn check(parameters: &str, expected: &str) {
        let pool = pool("a kv=nvlink tier=1\nb kv=fs\nc tier=2\n");
        assert_eq!(
            run_filter(&SPEC, parameters, &pool),
            expected,
            "{parameters}"
        );
    }

    #[test]
    fn keeps_what_matches() {
        check("{}", "a b c");
        check(r#"{"matchLabels":{"kv":"nvlink"}}"#, "a");
        check(r#"{"matchLabels":{"kv":"nvlink","tier":"2"}}"#, "");
        check(
            r#"{"matchExpressions":[{"key":"kv","operator":"In","values":["fs","x"]}]}"#,
            "b",
        );
        check(
            r#"{"matchExpressions":[{"key":"kv","operator":"NotIn","values":["fs"]}]}"#,
            "a c",
        );
        check(
            r#"{"matchExpressions":[{"key":"kv","operator":"Exists"}]}"#,
            "a b",
        );
        check(
            r#"{"matchExpressions":[{"key":"kv","operator":"DoesNotExist"}]}"#,
            "c",
        );
    }

    #[test]
    fn it_says_what_it_wants() {
        let parameters = r#"{"matchLabels":{"kv":"nvlink"},"matchExpressions":[
            {"key":"tier","operator":"In","values":["1","2"]},{"key":"old","operator":"DoesNotExist"}]}"#;
        let generation = pointsman_core::contract::spec::Generation::G1;
        let Ok(Built::Filter(filter)) =
            pointsman_core::fixture::build(&SPEC, parameters, generation)
        else {
            panic!("a filter is built");
        };
        assert_eq!(filter.wants(), "kv=nvlink, tier in (1, 2), old absent");
    }

    #[test]
    fn wrong_operators_are_named() {
        let parameters =
            r#"{"matchExpressions":[{"key":"a","operator":"in"},{"key":"b","operator":"In"}]}"#;
        let generation = pointsman_core::contract::spec::Generation::G1;
        let faults = pointsman_core::fixture::build(&SPEC, parameters, generation).unwrap_err();
        assert_eq!(faults.len(), 2);
        assert_eq!(faults[0].path, "matchExpressions[0]");
        assert!(
            faults[0].message.contains("use In, NotIn"),
            "{}",
            faults[0].message
        );
        assert!(faults[1].message.contains("needs at least one value"));
    }
}
