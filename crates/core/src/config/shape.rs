//! From a tree to values by a JSON schema: every scalar becomes what the schema wants, and every mismatch is told.
//!
//! A plain `no`, `012` or `1.20` stays text where text is wanted and is a truth value or a number only where one is
//! wanted, so nothing depends on how YAML would guess. What cannot be read is left out of the values, so that
//! whoever reads on does not stumble over it a second time. Understood of JSON schema: `type`, `properties`,
//! `additionalProperties`, `items`, `enum`, `const`, `$ref`, bounds, and `anyOf` with `null`; where a schema says
//! anything else, values are taken as YAML reads them.

use serde_json::{Map, Number, Value};

use crate::config::fault::{Fault, did_you_mean, hint};
use crate::config::scalar::{Plain, truth_of};
use crate::config::tree::{Entry, Node, Scalar, Tree};

/// Reads `tree` as `schema` wants it; `path` is where the tree stands in its document.
pub fn shaped(tree: &Tree, schema: &Value, path: &str) -> (Option<Value>, Vec<Fault>) {
    let mut shaper = Shaper {
        root: schema,
        faults: Vec::new(),
    };
    let value = shaper.value(tree, schema, path);
    (value, shaper.faults)
}

struct Shaper<'s> {
    root: &'s Value,
    faults: Vec<Fault>,
}

impl Shaper<'_> {
    fn value(&mut self, tree: &Tree, schema: &Value, path: &str) -> Option<Value> {
        let schema = resolved(schema, self.root);
        match &tree.node {
            Node::Scalar(scalar) => self.scalar(tree, scalar, schema, path),
            Node::List(items) if wants(schema, "array") => {
                let of = schema.get("items").unwrap_or(&Value::Null);
                let items = items.iter().enumerate().map(|(at, item)| {
                    let path = format!("{path}[{at}]");
                    // An item that cannot be read keeps its place, so that those after it keep their numbers.
                    self.value(item, of, &path)
                        .unwrap_or_else(|| nothing_of(of, self.root))
                });
                Some(Value::Array(items.collect()))
            }
            Node::Map(entries) if wants(schema, "object") => {
                Some(self.object(entries, schema, path))
            }
            Node::List(_) | Node::Map(_) if types(schema).is_empty() => Some(taken(tree)),
            Node::List(_) | Node::Map(_) => {
                self.mismatch(tree, schema, path);
                None
            }
        }
    }

    fn object(&mut self, entries: &[Entry], schema: &Value, path: &str) -> Value {
        let empty = Map::new();
        let known = schema
            .get("properties")
            .and_then(Value::as_object)
            .unwrap_or(&empty);
        let others = schema.get("additionalProperties");
        let mut object = Map::new();
        for entry in entries {
            let dot = if path.is_empty() { "" } else { "." };
            let path = format!("{path}{dot}{}", entry.name);
            let value = match (known.get(&entry.name), others) {
                (Some(of), _) => self.value(&entry.value, of, &path),
                (None, Some(Value::Bool(false))) => {
                    let near = hint(&entry.name, known.keys().map(String::as_str));
                    let message = format!("unknown field \"{}\"{near}", entry.name);
                    self.faults.push(Fault::error(path, message).on_name());
                    None
                }
                (None, Some(of)) => self.value(&entry.value, of, &path),
                (None, None) => Some(taken(&entry.value)),
            };
            if let Some(value) = value {
                object.insert(entry.name.clone(), value);
            }
        }
        Value::Object(object)
    }

    /// `None` also where nothing is written: an empty field is one that is left out.
    fn scalar(
        &mut self,
        tree: &Tree,
        scalar: &Scalar,
        schema: &Value,
        path: &str,
    ) -> Option<Value> {
        let plain = scalar.as_plain();
        if plain == Plain::Nothing {
            return None;
        }
        let types = types(schema);
        if types.is_empty() && choices(schema).is_empty() {
            return Some(taken(tree));
        }
        for kind in &types {
            let value = match *kind {
                "boolean" if scalar.plain => truth_of(&scalar.text).map(Value::Bool),
                "integer" => plain.integer(),
                "number" => plain.number(),
                _ => None,
            };
            if let Some(value) = value {
                return self.bounded(value, schema, path);
            }
        }
        if types.contains(&"string") || types.is_empty() {
            let choices = choices(schema);
            if choices.is_empty() || choices.contains(&scalar.text.as_str()) {
                return Some(Value::String(scalar.text.clone()));
            }
            let near = did_you_mean(&scalar.text, choices.iter().copied())
                .map_or_else(String::new, |near| format!("; did you mean '{near}'?"));
            let message = format!(
                "'{}' is not known; use {}{near}",
                scalar.text,
                choices.join(", ")
            );
            self.faults.push(Fault::error(path, message));
            return None;
        }
        self.mismatch(tree, schema, path);
        None
    }

    fn bounded(&mut self, value: Value, schema: &Value, path: &str) -> Option<Value> {
        let number = value.as_f64().unwrap_or(0.0);
        let (mut least, mut most) = (bound(schema, "minimum"), bound(schema, "maximum"));
        match schema.get("format").and_then(Value::as_str) {
            Some("uint64" | "uint") => least = least.or(Some(0.0)),
            Some("uint32") => (least, most) = (least.or(Some(0.0)), most.or(Some(4_294_967_295.0))),
            Some("int32") => most = most.or(Some(2_147_483_647.0)),
            _ => {}
        }
        let message = match (least, most) {
            (Some(least), _) if number < least => {
                format!("{value} is too small; use {least} or more")
            }
            (_, Some(most)) if number > most => format!("{value} is too large; use at most {most}"),
            _ => return Some(value),
        };
        self.faults.push(Fault::error(path, message));
        None
    }

    fn mismatch(&mut self, tree: &Tree, schema: &Value, path: &str) {
        let wanted: Vec<&str> = types(schema).iter().map(|kind| in_words(kind)).collect();
        let (found, remedy) = match &tree.node {
            Node::List(_) => ("a list".to_owned(), ""),
            Node::Map(_) => ("a map".to_owned(), ""),
            Node::Scalar(scalar) if !scalar.plain => (
                format!("the text '{}'", scalar.text),
                "; leave the quotes out",
            ),
            Node::Scalar(scalar) => match scalar.as_plain() {
                Plain::NotFinite => (format!("{}, which is no finite number", scalar.text), ""),
                Plain::Ambiguous => (
                    format!("{}, which some read as octal", scalar.text),
                    "; leave the leading zero out, or write 0o",
                ),
                _ => (format!("'{}'", scalar.text), ""),
            },
        };
        let remedy = match &tree.node {
            Node::Scalar(scalar)
                if !scalar.plain && Scalar::plainly(&scalar.text).number().is_none() =>
            {
                ""
            }
            _ => remedy,
        };
        let message = format!("needs {}, found {found}{remedy}", wanted.join(" or "));
        self.faults.push(Fault::error(path, message));
    }
}

fn bound(schema: &Value, name: &str) -> Option<f64> {
    schema.get(name).and_then(Value::as_f64)
}

fn in_words(kind: &str) -> &'static str {
    match kind {
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        "object" => "a map",
        "array" => "a list",
        _ => "text",
    }
}

/// A tree as YAML itself reads it; a number that is not finite becomes nothing.
pub fn taken(tree: &Tree) -> Value {
    match &tree.node {
        Node::Scalar(scalar) => match scalar.as_plain() {
            Plain::Nothing | Plain::NotFinite => Value::Null,
            Plain::Truth(truth) => Value::Bool(truth),
            Plain::Integer(_) | Plain::Number(_) => {
                let plain = scalar.as_plain();
                let number = plain.integer().or_else(|| plain.number());
                number.unwrap_or(Value::Null)
            }
            Plain::Text | Plain::Ambiguous => Value::String(scalar.text.clone()),
        },
        Node::List(items) => Value::Array(items.iter().map(taken).collect()),
        Node::Map(entries) => Value::Object(
            entries
                .iter()
                .map(|entry| (entry.name.clone(), taken(&entry.value)))
                .collect(),
        ),
    }
}

/// A parameter that a schema does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// Path below the value that was looked through.
    pub path: String,
    /// The name.
    pub name: String,
    /// The known name that may be meant.
    pub near: Option<String>,
}

/// Every name in `value` that `schema` does not know, at any depth.
pub fn unknown_names(value: &Value, schema: &Value) -> Vec<Unknown> {
    let mut found = Vec::new();
    collect_unknown(value, schema, schema, "", &mut found);
    found
}

fn collect_unknown(
    value: &Value,
    schema: &Value,
    root: &Value,
    path: &str,
    found: &mut Vec<Unknown>,
) {
    let schema = resolved(schema, root);
    match value {
        Value::Array(items) => {
            if let Some(of) = schema.get("items") {
                for (at, item) in items.iter().enumerate() {
                    collect_unknown(item, of, root, &format!("{path}[{at}]"), found);
                }
            }
        }
        Value::Object(object) => {
            let Some(known) = schema.get("properties").and_then(Value::as_object) else {
                return;
            };
            let open = schema
                .get("additionalProperties")
                .is_some_and(|others| *others != Value::Bool(false));
            for (name, value) in object {
                let dot = if path.is_empty() { "" } else { "." };
                let path = format!("{path}{dot}{name}");
                match known.get(name) {
                    Some(of) => collect_unknown(value, of, root, &path, found),
                    None if open => {}
                    None => found.push(Unknown {
                        path,
                        name: name.clone(),
                        near: did_you_mean(name, known.keys().map(String::as_str))
                            .map(str::to_owned),
                    }),
                }
            }
        }
        _ => {}
    }
}

/// Follows references and alternatives that leave only one choice beside `null`.
fn resolved<'s>(mut schema: &'s Value, root: &'s Value) -> &'s Value {
    for _ in 0..16 {
        if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
            let Some(found) = name
                .strip_prefix("#/$defs/")
                .and_then(|name| root.get("$defs")?.get(name))
            else {
                return &Value::Null;
            };
            schema = found;
            continue;
        }
        let alternatives = ["anyOf", "oneOf", "allOf"]
            .iter()
            .find_map(|word| schema.get(*word)?.as_array());
        let Some(alternatives) = alternatives else {
            return schema;
        };
        let mut others = alternatives
            .iter()
            .filter(|one| one.get("type").and_then(Value::as_str) != Some("null"));
        match (others.next(), others.next()) {
            (Some(only), None) => schema = only,
            _ => return schema,
        }
    }
    schema
}

/// The types that a schema names, without `null`.
fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(several)) => several
            .iter()
            .filter_map(Value::as_str)
            .filter(|kind| *kind != "null")
            .collect(),
        _ => Vec::new(),
    }
}

fn wants(schema: &Value, kind: &str) -> bool {
    types(schema).contains(&kind)
}

/// The texts that a schema allows, if it lists them.
fn choices(schema: &Value) -> Vec<&str> {
    if let Some(listed) = schema.get("enum").and_then(Value::as_array) {
        return listed.iter().filter_map(Value::as_str).collect();
    }
    let consts = schema.get("oneOf").and_then(Value::as_array);
    consts.map_or_else(Vec::new, |consts| {
        consts
            .iter()
            .filter_map(|one| one.get("const").and_then(Value::as_str))
            .collect()
    })
}

fn nothing_of(schema: &Value, root: &Value) -> Value {
    let schema = resolved(schema, root);
    if wants(schema, "object") {
        Value::Object(Map::new())
    } else if wants(schema, "string") {
        Value::String(String::new())
    } else if wants(schema, "array") {
        Value::Array(Vec::new())
    } else if wants(schema, "integer") || wants(schema, "number") {
        Value::Number(Number::from(0))
    } else {
        Value::Null
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::fault::Place;
    use serde_json::json;

    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "text": {"type": "string"},
                "flag": {"type": ["boolean", "null"]},
                "count": {"type": "integer", "format": "uint32", "minimum": 0},
                "rate": {"type": "number"},
                "mode": {"$ref": "#/$defs/Mode"},
                "list": {"type": "array", "items": {"type": "object", "properties": {"alpha": {"type": "string"}}}},
                "any": true,
            },
            "additionalProperties": false,
            "$defs": {"Mode": {"oneOf": [{"const": "one", "type": "string"}, {"const": "two", "type": "string"}]}},
        })
    }

    fn scalar(text: &str) -> Tree {
        let (text, plain) = match text.strip_prefix('"') {
            Some(quoted) => (quoted.trim_end_matches('"'), false),
            None => (text, true),
        };
        Tree {
            place: Place { line: 1, column: 1 },
            node: Node::Scalar(Scalar {
                text: text.to_owned(),
                plain,
            }),
        }
    }

    #[track_caller]
    fn check(name: &str, text: &str, expected: Result<Value, &str>) {
        let tree = Tree {
            place: Place { line: 1, column: 1 },
            node: Node::Map(vec![Entry {
                name: name.to_owned(),
                place: Place { line: 1, column: 1 },
                value: scalar(text),
            }]),
        };
        let (value, faults) = shaped(&tree, &schema(), "");
        match expected {
            Ok(expected) => {
                assert_eq!(faults, []);
                assert_eq!(value.unwrap().get(name), Some(&expected), "{name}: {text}");
            }
            Err(words) => {
                assert!(
                    faults.len() == 1 && faults[0].message.contains(words),
                    "{faults:?}"
                );
                assert_eq!(value.unwrap().get(name), None);
            }
        }
    }

    #[test]
    fn scalars_become_what_is_wanted() {
        for text in ["no", "012", "1.20", "true", "0o17", "\"5\""] {
            check("text", text, Ok(json!(text.trim_matches('"'))));
        }
        check("flag", "yes", Ok(json!(true)));
        check("flag", "off", Ok(json!(false)));
        check("flag", "2", Err("needs true or false, found '2'"));
        check("count", "5.0", Ok(json!(5)));
        check("count", "0x10", Ok(json!(16)));
        check("count", "010", Err("octal"));
        check("count", "-1", Err("use 0 or more"));
        check("count", "5000000000", Err("use at most 4294967295"));
        check("count", "\"5\"", Err("leave the quotes out"));
        check(
            "count",
            "\"x\"",
            Err("needs a whole number, found the text 'x'"),
        );
        check("rate", "2", Ok(json!(2)));
        check("rate", ".nan", Err("no finite number"));
        check("rate", "1e400", Err("no finite number"));
        check("mode", "two", Ok(json!("two")));
        check("mode", "twoo", Err("did you mean 'two'?"));
        check("any", "no", Ok(json!("no")));
        check("any", "7", Ok(json!(7)));
        check(
            "txet",
            "x",
            Err("unknown field \"txet\"; did you mean 'text'?"),
        );
    }

    #[test]
    fn names_are_looked_up_at_any_depth() {
        let value = json!({"text": "x", "list": [{"alpha": "b"}, {"alhpa": 1}], "oops": 1});
        let found = unknown_names(&value, &schema());
        let found: Vec<(&str, Option<&str>)> = found
            .iter()
            .map(|u| (u.path.as_str(), u.near.as_deref()))
            .collect();
        assert_eq!(found, [("list[1].alhpa", Some("alpha")), ("oops", None)]);
    }
}
