//! Who a custom resource is.

use serde_json::Value;

use crate::spec::invalid::Invalid;
use crate::spec::validity::{label_name, object_name};

/// Identity of a custom resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid; none where it was read from a file.
    pub uid: Option<String>,
}

impl Identity {
    /// Reads it from an object.
    ///
    /// # Errors
    /// The object has no name. A namespace that is left out is `default`, as everywhere.
    pub fn of(object: &Value) -> Result<Self, Invalid> {
        let name = text(object, "name")?.unwrap_or_default();
        if name.is_empty() {
            return Err(Invalid::value("metadata.name is missing"));
        }
        if name.len() > 63 {
            return Err(Invalid::new(
                "NameTooLong",
                format!(
                    "metadata.name is {} long and must be at most 63, since it becomes the value of a label",
                    name.len()
                ),
            ));
        }
        let namespace = text(object, "namespace")?.filter(|given| !given.is_empty());
        Ok(Self {
            namespace: label_name(
                "metadata.namespace",
                namespace.unwrap_or("default").to_owned(),
            )?,
            name: object_name("metadata.name", name.to_owned())?,
            uid: text(object, "uid")?.map(str::to_owned),
        })
    }
}

/// A text of the metadata. Files often hold words that YAML reads as something else: `7`, `no`, `true`.
fn text<'a>(object: &'a Value, key: &str) -> Result<Option<&'a str>, Invalid> {
    match &object["metadata"][key] {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        other => {
            let kind = match other {
                Value::Bool(_) => "a boolean",
                Value::Number(_) => "a number",
                Value::Array(_) => "a list",
                _ => "an object",
            };
            Err(Invalid::value(format!(
                "metadata.{key} is {kind} ({other}) and must be a string: quote it, as {key}: \"…\""
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_texts_of_the_right_form() {
        let of = |meta: Value| Identity::of(&json!({"metadata": meta}));
        let good = of(json!({"name": "a.b"})).unwrap();
        assert_eq!(
            (good.namespace.as_str(), good.name.as_str()),
            ("default", "a.b")
        );
        for (meta, word) in [
            (json!({}), "metadata.name is missing"),
            (
                json!({"name": true}),
                "metadata.name is a boolean (true) and must be a string: quote it",
            ),
            (
                json!({"name": "a", "namespace": 7}),
                "metadata.namespace is a number (7)",
            ),
            (
                json!({"name": "bad/name"}),
                "metadata.name is 'bad/name' and must be a DNS name",
            ),
            (json!({"name": "X_x"}), "'X_x'"),
            (
                json!({"name": "a", "namespace": "a.b"}),
                "metadata.namespace is 'a.b'",
            ),
            (json!({"name": "a".repeat(64)}), "at most 63"),
        ] {
            let said = of(meta).unwrap_err().message;
            assert!(said.contains(word), "{word} in {said}");
        }
    }
}
