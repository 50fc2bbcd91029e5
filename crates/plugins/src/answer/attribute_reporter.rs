//! Tells the gateway a number about each answer, worked out from what the engine counted.
//!
//! # When to use
//! Where the gateway limits or bills by tokens: it finds the number in the dynamic metadata of the answer's end.
//!
//! # Rule
//! `attributes` has one entry. Where its `condition` holds, or it has none, the value of its `expression`, cut to a whole
//! number, is written under `key.name` into the metadata of `key.namespace`. Zero is not written, and neither is anything
//! where the expression comes to no number.
//!
//! Both are written in CEL over `usage`: `usage.prompt_tokens`, `usage.completion_tokens`, `usage.total_tokens`,
//! `usage.prompt_tokens_details.cached_tokens`; with `+ - * / %`, comparisons, `&& || !`, `a ? b : c`, `has()`,
//! `int()`, `double()`.
//!
//! # Reads
//! The answer's usage.
//!
//! # Example
//! ```yaml
//! - type: request-attribute-reporter
//!   parameters:
//!     attributes:
//!     - key: {namespace: envoy.lb, name: x-gateway-inference-request-cost}
//!       expression: usage.prompt_tokens + 2.0 * usage.completion_tokens
//!       condition: has(usage.completion_tokens)
//! ```
//!
//! # Limits
//! Works behind another gateway only. The rest of CEL (lists, maps, macros, functions of text) is refused; unlike there,
//! whole numbers and decimal ones mix.

use pointsman_core::contract::observer::Reporter;
use pointsman_core::contract::roles::Built;
use pointsman_core::contract::spec::{
    ParamFault, Params, PluginSpec, Role, Stability, needs_nothing, schema_of,
};
use pointsman_core::model::usage::Usage;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::answer::expression::{Expression, Value};

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "request-attribute-reporter",
    aliases: &[],
    role: Role::Reporter,
    stability: Stability::Beta,
    reads: &[],
    requires: needs_nothing,
    source: include_str!("attribute_reporter.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema, Default)]
#[serde(default)]
struct Parameters {
    /// What is told: one entry.
    attributes: Vec<Attribute>,
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(default)]
struct Attribute {
    /// Where it is told.
    key: Key,
    /// The number.
    expression: String,
    /// Whether it is told; always when left out.
    condition: String,
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(default)]
struct Key {
    /// The metadata's namespace; envoy.lb when left out.
    namespace: String,
    /// The name in it.
    name: String,
}

fn build(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    let mut parameters: Parameters = params.read()?;
    let (Some(attribute), true) = (
        parameters.attributes.pop(),
        parameters.attributes.is_empty(),
    ) else {
        return Err(vec![ParamFault {
            path: "attributes".to_owned(),
            message: "must contain exactly one entry, with key.name and expression".to_owned(),
        }]);
    };
    let mut faults = Vec::new();
    let mut read = |path: &str, text: &str| match Expression::read(text) {
        Ok(expression) => Some(expression),
        Err(message) => {
            faults.push(ParamFault {
                path: format!("attributes[0].{path}"),
                message,
            });
            None
        }
    };
    let expression = read("expression", &attribute.expression);
    let condition = match attribute.condition.as_str() {
        "" => None,
        text => read("condition", text),
    };
    if attribute.key.name.is_empty() {
        faults.push(ParamFault {
            path: "attributes[0].key.name".to_owned(),
            message: "is empty; name the value".to_owned(),
        });
    }
    let Some(expression) = expression.filter(|_| faults.is_empty()) else {
        return Err(faults);
    };
    let namespace = attribute.key.namespace;
    Ok(Built::Reporter(Box::new(Attributes {
        namespace: match namespace.is_empty() {
            true => "envoy.lb".to_owned(),
            false => namespace,
        },
        name: attribute.key.name,
        expression,
        condition,
    })))
}

struct Attributes {
    namespace: String,
    name: String,
    expression: Expression,
    condition: Option<Expression>,
}

/// The field of the usage at this path below `usage`, named as engines write it.
fn field(usage: &Usage, path: &[String]) -> Option<Value> {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let number = match path[..] {
        ["prompt_tokens"] => u64::from(usage.prompt_tokens),
        ["completion_tokens"] => u64::from(usage.completion_tokens),
        ["total_tokens"] => u64::from(usage.prompt_tokens) + u64::from(usage.completion_tokens),
        [
            "prompt_tokens_details" | "prompt_token_details",
            "cached_tokens",
        ] => u64::from(usage.cached_tokens?),
        ["prompt_tokens_details" | "prompt_token_details"] => {
            return usage.cached_tokens.map(|_| Value::Object);
        }
        _ => return None,
    };
    // Numbers of JSON are decimal ones in CEL.
    Some(Value::Decimal(number as f64))
}

impl Reporter for Attributes {
    fn place(&self) -> (&str, &str) {
        (&self.namespace, &self.name)
    }

    fn number(&self, usage: &Usage) -> Option<i64> {
        let find = |path: &[String]| field(usage, path);
        if let Some(condition) = &self.condition
            && !matches!(condition.value(&find), Some(Value::Truth(true)))
        {
            return None;
        }
        let number = match self.expression.value(&find)? {
            Value::Whole(number) => number,
            Value::Decimal(number) if number.is_finite() => number as i64,
            _ => return None,
        };
        (number != 0).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use pointsman_core::contract::spec::Generation;
    use pointsman_core::fixture::build as built;

    #[track_caller]
    fn check(expression: &str, condition: &str, expected: Option<i64>) {
        let parameters = serde_json::json!({"attributes": [
            {"key": {"name": "cost"}, "expression": expression, "condition": condition}
        ]});
        let Ok(Built::Reporter(reporter)) = built(&SPEC, &parameters.to_string(), Generation::G2)
        else {
            panic!("{expression} is refused")
        };
        assert_eq!(reporter.place(), ("envoy.lb", "cost"));
        let usage = Usage {
            prompt_tokens: 30,
            completion_tokens: 12,
            cached_tokens: Some(16),
        };
        assert_eq!(
            reporter.number(&usage),
            expected,
            "{expression} if {condition}"
        );
    }

    #[test]
    fn the_number_is_what_the_expression_comes_to() {
        check("usage.completion_tokens", "", Some(12));
        check(
            "usage.total_tokens",
            "has(usage.completion_tokens)",
            Some(42),
        );
        check("usage.completion_tokens / 5.0", "", Some(2));
        check(
            "usage.prompt_tokens - usage.prompt_tokens_details.cached_tokens",
            "usage.prompt_tokens > 29.0",
            Some(14),
        );
        check(
            "usage.completion_tokens",
            "usage.prompt_tokens > 30.0",
            None,
        );
        check("usage.prompt_tokens - 30.0", "", None);
        check("usage.reasoning_tokens", "", None);
        check("usage.prompt_tokens > 1.0", "", None);
        check("usage.prompt_tokens", "usage.nothing == 1.0", None);
        check("usage.prompt_tokens / 0.0", "", None);
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_place() {
        for (parameters, path) in [
            ("{}", "attributes"),
            (
                r#"{"attributes":[{"key":{"name":"a"},"expression":"1"},{"key":{"name":"b"},"expression":"1"}]}"#,
                "attributes",
            ),
            (
                r#"{"attributes":[{"key":{},"expression":"1"}]}"#,
                "attributes[0].key.name",
            ),
            (
                r#"{"attributes":[{"key":{"name":"a"}}]}"#,
                "attributes[0].expression",
            ),
            (
                r#"{"attributes":[{"key":{"name":"a"},"expression":"1","condition":"usage."}]}"#,
                "attributes[0].condition",
            ),
        ] {
            let faults = built(&SPEC, parameters, Generation::G2).unwrap_err();
            assert_eq!(faults[0].path, path, "{parameters}");
        }
    }
}
