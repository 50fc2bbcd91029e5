//! Nodes as the API server lists them: labels and allocatable resources.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::problem::{Notes, Problem, quoted};
use crate::sources::Text;

/// One node of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClusterNode {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its allocatable resources as written.
    pub allocatable: BTreeMap<String, String>,
}

impl ClusterNode {
    /// A label that is not empty.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        let value = self.labels.get(key).map(String::as_str);
        value.filter(|value| !value.is_empty())
    }

    /// How many of a resource there are; 0 where it is missing or no number.
    #[must_use]
    pub fn amount(&self, resource: &str) -> u64 {
        let written = self.allocatable.get(resource);
        written.and_then(|text| quantity(text)).unwrap_or(0)
    }
}

/// A whole quantity: device plugins count in whole numbers, `1k` is 1,000.
fn quantity(text: &str) -> Option<u64> {
    let (digits, factor) = match text.strip_suffix('k') {
        Some(digits) => (digits, 1000),
        None => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// Reads a `NodeList`, a `List`, one `Node`, or a plain array of nodes.
#[must_use]
pub fn read(source: &Text) -> (Vec<ClusterNode>, Vec<Problem>) {
    let mut notes = Notes::new(&source.name);
    let parsed = match serde_json::from_str::<Value>(&source.text) {
        Ok(parsed) => parsed,
        Err(error) => {
            let line = (error.line() > 0).then_some(error.line());
            notes.error(
                line,
                format!("is no JSON: {error}; use the output of kubectl get nodes -o json"),
            );
            return (Vec::new(), notes.done());
        }
    };
    let items = match &parsed {
        Value::Array(items) => items.as_slice(),
        Value::Object(map) if map.get("items").is_some_and(Value::is_array) => map
            .get("items")
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice),
        Value::Object(map) if map.contains_key("metadata") => std::slice::from_ref(&parsed),
        _ => {
            notes.error(
                Some(1),
                "holds no nodes; use the output of kubectl get nodes -o json".to_owned(),
            );
            return (Vec::new(), notes.done());
        }
    };
    let mut nodes: Vec<ClusterNode> = Vec::new();
    for (at, item) in items.iter().enumerate() {
        if let Some(kind) = item["kind"].as_str().filter(|kind| *kind != "Node") {
            notes.warn(
                None,
                format!(
                    "items[{at}] is a {}, not a Node; it is left out",
                    quoted(kind)
                ),
            );
            continue;
        }
        let Some(name) = item["metadata"]["name"]
            .as_str()
            .filter(|name| !name.is_empty())
        else {
            notes.warn(
                None,
                format!("items[{at}] has no metadata.name; it is left out"),
            );
            continue;
        };
        let line = line_of(&source.text, name);
        if nodes.iter().any(|known| known.name == name) {
            notes.warn(
                line,
                format!(
                    "node {} is listed a second time; the first counts",
                    quoted(name)
                ),
            );
            continue;
        }
        let mut node = ClusterNode {
            name: name.to_owned(),
            labels: words(&item["metadata"]["labels"]),
            allocatable: words(&item["status"]["allocatable"]),
        };
        let gpus = node.allocatable.get(GPU);
        if let Some(written) = gpus.filter(|text| quantity(text).is_none()) {
            notes.warn(
                line,
                format!(
                    "node {name}: {GPU} is {}; expected a whole number",
                    quoted(written)
                ),
            );
            node.allocatable.remove(GPU);
        }
        nodes.push(node);
    }
    (nodes, notes.done())
}

/// The resource of NVIDIA's device plugin.
pub const GPU: &str = "nvidia.com/gpu";

/// The line in which a node's name stands as a value of its own; the first such, which is its `name` or a label of it.
fn line_of(text: &str, name: &str) -> Option<usize> {
    let wanted = format!("\"{name}\"");
    text.lines()
        .position(|line| line.contains(&wanted))
        .map(|at| at + 1)
}

fn words(map: &Value) -> BTreeMap<String, String> {
    let entries = map.as_object().into_iter().flatten();
    entries
        .filter_map(|(key, value)| {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                _ => return None,
            };
            Some((key.clone(), text))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lists_single_nodes_and_arrays_are_read() {
        let node = r#"{"kind":"Node","metadata":{"name":"a","labels":{"x":"y"}},"status":{"allocatable":{"nvidia.com/gpu":"8"}}}"#;
        for text in [
            node.to_owned(),
            format!("[{node}]"),
            format!(r#"{{"kind":"NodeList","items":[{node}]}}"#),
        ] {
            let (nodes, problems) = read(&Text::new("nodes.json", text));
            assert_eq!(problems, []);
            assert_eq!(
                (nodes.len(), nodes[0].amount(GPU), nodes[0].label("x")),
                (1, 8, Some("y"))
            );
        }
    }

    #[test]
    fn problems_have_their_line() {
        let told = |text: &str| {
            let (_, problems) = read(&Text::new("n.json", text));
            problems.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert!(told("{\n  \"items\": [\n}")[0].starts_with("n.json:3: is no JSON"));
        assert_eq!(
            told("7"),
            ["n.json:1: holds no nodes; use the output of kubectl get nodes -o json"]
        );
        let list = "[{\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"}},\n{\"metadata\":{}},\n{\"metadata\":{\"name\":\"a\"},\"status\":{\"allocatable\":{\"nvidia.com/gpu\":\"many\"}}}]";
        assert_eq!(
            told(list),
            [
                "n.json: items[0] is a 'Pod', not a Node; it is left out",
                "n.json: items[1] has no metadata.name; it is left out",
                "n.json:3: node a: nvidia.com/gpu is 'many'; expected a whole number",
            ]
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(\\[|\\{\"items\":\\[)?(\\{\"metadata\":(.{0,12}|\\{\"name\":.{0,6}\\})\\},?){0,3}.{0,10}") {
            let _ = read(&Text::new("f", text));
        }
    }
}
