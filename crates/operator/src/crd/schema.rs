//! The words that a custom resource definition is written in: an OpenAPI schema, piece by piece.

use serde_json::{Map, Value, json};

/// A quantity as Kubernetes writes it.
const QUANTITY: &str = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$";

/// The schema of one value.
pub(crate) struct Schema(Map<String, Value>);

impl Schema {
    fn of(kind: &str, says: &str) -> Self {
        let mut fields = Map::new();
        fields.insert("type".to_owned(), json!(kind));
        if !says.is_empty() {
            fields.insert("description".to_owned(), json!(says));
        }
        Self(fields)
    }

    pub(crate) fn text(says: &str) -> Self {
        Self::of("string", says)
    }

    pub(crate) fn flag(says: &str) -> Self {
        Self::of("boolean", says)
    }

    pub(crate) fn int32(says: &str) -> Self {
        Self::of("integer", says).with("format", json!("int32"))
    }

    pub(crate) fn int64(says: &str) -> Self {
        Self::of("integer", says).with("format", json!("int64"))
    }

    pub(crate) fn list(says: &str, items: Self) -> Self {
        Self::of("array", says).with("items", items.done())
    }

    pub(crate) fn labels(says: &str) -> Self {
        Self::of("object", says).with("additionalProperties", json!({"type": "string"}))
    }

    pub(crate) fn object<const N: usize>(says: &str, properties: [(&str, Self); N]) -> Self {
        let properties: Map<String, Value> = properties
            .into_iter()
            .map(|(name, schema)| (name.to_owned(), schema.done()))
            .collect();
        Self::of("object", says).with("properties", Value::Object(properties))
    }

    /// A TCP port; `says` must name the field, since the message does not.
    pub(crate) fn port(says: &str, field: &str) -> Self {
        Self::int32(says).rule(
            "self >= 1 && self <= 65535",
            &format!("{field} must be a port between 1 and 65535"),
        )
    }

    /// A name that becomes the name of a Service or a label: empty reads as not given.
    pub(crate) fn label_name(says: &str, field: &str) -> Self {
        Self::text(says).with("maxLength", json!(63)).rule(
            "self == '' || self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
            &format!("{field} must be a DNS label: lower case letters, digits and '-', at most 63, beginning and ending with a letter or digit"),
        )
    }

    /// A name of an object: empty reads as not given.
    pub(crate) fn object_name(says: &str, field: &str) -> Self {
        Self::text(says).with("maxLength", json!(253)).rule(
            "self == '' || self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",
            &format!("{field} must be a DNS name: lower case letters, digits, '-' and '.', at most 253, beginning and ending with a letter or digit"),
        )
    }

    pub(crate) fn with(mut self, key: &str, value: Value) -> Self {
        self.0.insert(key.to_owned(), value);
        self
    }

    pub(crate) fn default(self, value: impl Into<Value>) -> Self {
        self.with("default", value.into())
    }

    pub(crate) fn one_of(self, words: &[&str]) -> Self {
        self.with("enum", json!(words))
    }

    pub(crate) fn at_least(self, least: i32) -> Self {
        self.with("minimum", json!(least))
    }

    pub(crate) fn required(self, names: &[&str]) -> Self {
        self.with("required", json!(names))
    }

    /// A rule in CEL, and what the API server says to whoever breaks it.
    pub(crate) fn rule(mut self, rule: &str, message: &str) -> Self {
        let rules = self
            .0
            .entry("x-kubernetes-validations")
            .or_insert_with(|| json!([]));
        if let Value::Array(rules) = rules {
            rules.push(json!({"rule": rule, "message": message}));
        }
        self
    }

    /// Nothing said of what is inside, where the API server knows.
    pub(crate) fn without_properties(mut self) -> Self {
        self.0.remove("properties");
        self
    }

    pub(crate) fn done(self) -> Value {
        Value::Object(self.0)
    }
}

/// What a container may use, as in a pod.
pub(crate) fn resources(says: &str) -> Schema {
    let amounts = |says: &str| {
        let quantity = json!({
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": QUANTITY,
            "x-kubernetes-int-or-string": true,
        });
        Schema::of("object", says).with("additionalProperties", quantity)
    };
    let claim = Schema::object(
        "One entry of the pod's resource claims.",
        [("name", Schema::text("The name of the claim."))],
    )
    .required(&["name"]);
    let claims = Schema::list(
        "Which of the pod's resource claims the container uses.",
        claim,
    )
    .with("x-kubernetes-list-map-keys", json!(["name"]))
    .with("x-kubernetes-list-type", json!("map"));
    Schema::object(
        says,
        [
            ("claims", claims),
            ("limits", amounts("The most that the container may use.")),
            (
                "requests",
                amounts("What the container is given at least; the limits where not said."),
            ),
        ],
    )
}

/// The conditions of a status.
pub(crate) fn conditions() -> Schema {
    let condition = Schema::object(
        "One side of the state of this object.",
        [
            ("type", Schema::text("Which side.").with("maxLength", json!(316)).with(
                "pattern",
                json!(r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"),
            )),
            ("status", Schema::text("Whether it holds.").one_of(&["True", "False", "Unknown"])),
            ("reason", Schema::text("Why, in one word for programs.")
                .with("minLength", json!(1))
                .with("maxLength", json!(1024))
                .with("pattern", json!("^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"))),
            ("message", Schema::text("Why, in words for people.").with("maxLength", json!(32768))),
            ("observedGeneration", Schema::int64("The generation of the spec that this was said about.")
                .with("minimum", json!(0))),
            ("lastTransitionTime", Schema::text("When the status last changed.")
                .with("format", json!("date-time"))),
        ],
    )
    .required(&["lastTransitionTime", "message", "reason", "status", "type"]);
    Schema::list("What holds now.", condition)
}

/// The objects that stand for a custom resource, as a status lists them.
pub(crate) fn children() -> Schema {
    let child = Schema::object(
        "One object.",
        [
            ("group", Schema::text("The API group; empty for the core.")),
            ("kind", Schema::text("The kind.")),
            ("namespace", Schema::text("Where it is.")),
            ("name", Schema::text("Its name.")),
            (
                "state",
                Schema::text("What became of it.")
                    .one_of(&["Applied", "Skipped", "Failed", "Pruned"]),
            ),
            ("reason", Schema::text("Why, where it was not applied.")),
            (
                "message",
                Schema::text("Why in words, where it was not applied."),
            ),
            (
                "hash",
                Schema::text("A hash of what was asked for when it was last written."),
            ),
        ],
    )
    .required(&["group", "kind", "name", "namespace", "state"]);
    Schema::list("The objects that the operator keeps for this one.", child)
}
