//! Made-up arguments for a function, by the JSON schema of its parameters.
//!
//! Understood: `type`, `enum`, `const`, `properties`, `required`, `items`, `minItems`, `maxItems`, `minimum`,
//! `maximum`, `anyOf` and `oneOf`. The rest of JSON schema is passed over.

use pointsman_core::rng::Rng;
use serde_json::{Map, Number, Value};

/// Deepest nesting of what is made up; a schema may be deeper than anybody wants.
const DEEPEST: u32 = 8;

/// Most elements of an array, whatever a schema asks for.
const MOST_ITEMS: u64 = 64;

const WORDS: [&str; 8] = [
    "platform", "signal", "points", "siding", "buffer", "junction", "cutting", "viaduct",
];

/// Bounds of what is made up.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounds {
    /// Least and largest whole number.
    pub integer: (i64, i64),
    /// Least and largest number.
    pub number: (f64, f64),
    /// Shortest and longest array.
    pub array: (u64, u64),
    /// Parameters of a hundred that are there though they need not be.
    pub parameter_percent: u8,
    /// The same for the fields of objects within parameters.
    pub field_percent: u8,
    /// Further calls of a hundred where one would do.
    pub extra_percent: u8,
}

impl Bounds {
    /// The arguments of one call.
    pub fn arguments(&self, schema: &Value, rng: &mut Rng) -> Value {
        self.object(schema, self.parameter_percent, 0, rng)
    }

    fn object(&self, schema: &Value, percent: u8, depth: u32, rng: &mut Rng) -> Value {
        let mut object = Map::new();
        let required = schema["required"].as_array();
        let is_required =
            |name: &str| required.is_some_and(|list| list.iter().any(|known| known == name));
        let properties = schema["properties"].as_object();
        for (name, inner) in properties.into_iter().flatten() {
            if is_required(name) || rng.below(100) < usize::from(percent) {
                object.insert(name.clone(), self.value(inner, depth + 1, rng));
            }
        }
        Value::Object(object)
    }

    fn value(&self, schema: &Value, depth: u32, rng: &mut Rng) -> Value {
        if depth > DEEPEST {
            return Value::Null;
        }
        if let Some(only) = schema.get("const") {
            return only.clone();
        }
        for key in ["enum", "anyOf", "oneOf"] {
            let Some(list) = schema[key].as_array().filter(|list| !list.is_empty()) else {
                continue;
            };
            let one = &list[rng.below(list.len())];
            return match key {
                "enum" => one.clone(),
                _ => self.value(one, depth + 1, rng),
            };
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => kinds.first().and_then(Value::as_str),
            kind => kind.as_str(),
        };
        match kind {
            Some("integer") => {
                let least = schema["minimum"].as_i64().unwrap_or(self.integer.0);
                let most = schema["maximum"].as_i64().unwrap_or(self.integer.1);
                let most = most.max(least);
                let span = most.abs_diff(least).min(1 << 32) as usize;
                Value::from(least.saturating_add(rng.below(span + 1) as i64))
            }
            Some("number") => {
                let least = schema["minimum"].as_f64().unwrap_or(self.number.0);
                let most = schema["maximum"].as_f64().unwrap_or(self.number.1);
                let drawn = least + rng.unit() * (most.max(least) - least);
                Number::from_f64(drawn).map_or_else(|| Value::from(0), Value::Number)
            }
            Some("boolean") => Value::from(rng.below(2) == 1),
            Some("null") => Value::Null,
            Some("array") => {
                let least = schema["minItems"].as_u64().unwrap_or(self.array.0);
                let least = least.min(MOST_ITEMS);
                let most = schema["maxItems"].as_u64().unwrap_or(self.array.1);
                let most = most.clamp(least, MOST_ITEMS);
                let length = least + rng.below((most - least) as usize + 1) as u64;
                // Nested arrays multiply: the deeper, the shorter.
                let length = length.min([MOST_ITEMS, MOST_ITEMS, 4, 4, 1][depth.min(4) as usize]);
                (0..length)
                    .map(|_| self.value(&schema["items"], depth + 1, rng))
                    .collect()
            }
            Some("object") => self.object(schema, self.field_percent, depth, rng),
            None if schema.get("properties").is_some() => {
                self.object(schema, self.field_percent, depth, rng)
            }
            _ => Value::from(WORDS[rng.below(WORDS.len())]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn bounds() -> Bounds {
        Bounds {
            integer: (0, 100),
            number: (0.0, 1.0),
            array: (1, 5),
            parameter_percent: 50,
            field_percent: 50,
            extra_percent: 45,
        }
    }

    #[test]
    fn arguments_obey_their_schema() {
        let schema = json!({
            "type": "object",
            "required": ["city", "days", "unit", "place"],
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer", "minimum": 3, "maximum": 4},
                "unit": {"type": "string", "enum": ["C", "F"]},
                "place": {
                    "type": "object",
                    "required": ["at"],
                    "properties": {"at": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}},
                },
                "note": {"type": ["boolean", "null"]},
            },
        });
        let mut with_note = 0;
        for seed in 0..200 {
            let made = bounds().arguments(&schema, &mut Rng::from_seed(seed));
            assert!(made["city"].is_string(), "{made}");
            assert!((3..=4).contains(&made["days"].as_i64().unwrap()), "{made}");
            assert!(made["unit"] == "C" || made["unit"] == "F", "{made}");
            let at = made["place"]["at"].as_array().unwrap();
            assert!(
                at.len() == 2
                    && at
                        .iter()
                        .all(|x| (0.0..=1.0).contains(&x.as_f64().unwrap()))
            );
            with_note += u32::from(made.get("note").is_some_and(Value::is_boolean));
        }
        assert!((60..140).contains(&with_note), "{with_note}");
    }

    #[test]
    fn a_schema_that_is_boundless_or_none_is_survived() {
        let mut schema = json!({"type": "integer", "minimum": i64::MIN, "maximum": i64::MAX});
        for _ in 0..40 {
            schema = json!({"type": "array", "items": schema, "minItems": 1_000_000});
        }
        let schema = json!({"properties": {"a": schema}, "required": ["a"]});
        let made = bounds().arguments(&schema, &mut Rng::from_seed(1));
        assert!(made.to_string().len() < 4_000_000);
        assert_eq!(
            bounds().arguments(&Value::Null, &mut Rng::from_seed(1)),
            json!({})
        );
    }
}
