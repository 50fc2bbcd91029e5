//! What differs between an object as asked for and as it stands.
//!
//! Fields that nobody asked for belong to others and are left alone, but for maps that are ours as a whole (a
//! ConfigMap's data, a Service's selector) and for lists, which are ours entry by entry.

use serde_json::{Map, Value, json};

use crate::operate::quantity;

/// A place where an object is not as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// The keys that lead there, up to the first list.
    pub(crate) path: Vec<String>,
    /// Whether something stands there that should not.
    pub(crate) extra: bool,
}

impl Difference {
    /// The place in words.
    pub(crate) fn place(&self) -> String {
        self.path.join(".")
    }
}

/// All differences.
pub(crate) fn find(desired: &Value, live: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    let kind = desired["kind"].as_str().unwrap_or_default();
    if let (Value::Object(desired), Value::Object(live)) = (desired, live) {
        for (key, value) in desired.iter().filter(|(key, _)| !is_identity(key)) {
            let live = live.get(key).unwrap_or(&Value::Null);
            walk(kind, std::slice::from_ref(key), value, live, &mut found);
        }
    }
    found
}

fn is_identity(key: &str) -> bool {
    key == "apiVersion" || key == "kind"
}

fn walk(kind: &str, path: &[String], desired: &Value, live: &Value, found: &mut Vec<Difference>) {
    match (desired, live) {
        (Value::Object(wanted), Value::Object(there)) => {
            for (key, value) in wanted {
                let next = there.get(key).unwrap_or(&Value::Null);
                walk(kind, &below(path, key), value, next, found);
            }
            if is_whole(kind, path) {
                for key in there.keys().filter(|key| !wanted.contains_key(*key)) {
                    found.push(Difference {
                        path: below(path, key),
                        extra: true,
                    });
                }
            }
        }
        _ if same(path, desired, live) => {}
        _ => found.push(Difference {
            path: path.to_vec(),
            extra: false,
        }),
    }
}

fn below(path: &[String], key: &str) -> Vec<String> {
    let mut path = path.to_vec();
    path.push(key.to_owned());
    path
}

/// Maps in which nothing may stand that was not asked for.
fn is_whole(kind: &str, path: &[String]) -> bool {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    matches!(
        (kind, path.as_slice()),
        ("ConfigMap", ["data"])
            | ("Service", ["spec", "selector"])
            | ("EnvoyFilter", ["spec", "workloadSelector", "labels"])
    )
}

/// Whether a value holds all that is wanted; below lists too.
fn same(path: &[String], desired: &Value, live: &Value) -> bool {
    let last = path.last().map_or("", String::as_str);
    match (desired, live) {
        // Other owners may be there too.
        (Value::Array(wanted), Value::Array(there)) if last == "ownerReferences" => wanted
            .iter()
            .all(|one| there.iter().any(|other| holds("", one, other))),
        _ => holds(last, desired, live),
    }
}

fn holds(key: &str, desired: &Value, live: &Value) -> bool {
    match (desired, live) {
        (Value::Object(wanted), Value::Null) => wanted.is_empty(),
        (Value::Array(wanted), Value::Null) => wanted.is_empty(),
        (Value::Object(wanted), Value::Object(there)) => wanted.iter().all(|(name, value)| {
            let other = there.get(name).unwrap_or(&Value::Null);
            let amounts = key == "limits" || key == "requests";
            holds(name, value, other) || (amounts && quantity::same(value, other))
        }),
        (Value::Array(wanted), Value::Array(there)) => {
            wanted.len() == there.len() && wanted.iter().zip(there).all(|(a, b)| holds("", a, b))
        }
        _ => desired == live,
    }
}

/// A merge patch that sets right what server-side apply leaves: entries of lists and keys that others put there.
pub(crate) fn correction(desired: &Value, differences: &[Difference]) -> Value {
    let mut patch = json!({});
    for difference in differences {
        let mut value = &Value::Null;
        if !difference.extra {
            value = difference
                .path
                .iter()
                .fold(desired, |value, key| &value[key.as_str()]);
        }
        let mut place = &mut patch;
        for key in &difference.path {
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            place = &mut place[key.as_str()];
        }
        *place = value.clone();
    }
    patch
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(desired: &Value, live: &Value) -> Vec<String> {
        find(desired, live).iter().map(Difference::place).collect()
    }

    #[test]
    fn what_others_add_is_left_alone_but_not_in_what_is_ours_as_a_whole() {
        let desired =
            json!({"kind": "ConfigMap", "metadata": {"labels": {"a": "1"}}, "data": {"k": "v"}});
        let live = json!({"kind": "ConfigMap", "metadata": {"labels": {"a": "1", "mine": "1"}}, "data": {"k": "v", "x": "y"}});
        assert_eq!(places(&desired, &live), ["data.x"]);
        let fix = correction(&desired, &find(&desired, &live));
        assert_eq!(fix, json!({"data": {"x": null}}));
    }

    #[test]
    fn lists_are_ours_entry_by_entry() {
        let desired = json!({"kind": "Service", "spec": {"ports": [{"port": 1}]}});
        let same = json!({"kind": "Service", "spec": {"ports": [{"port": 1, "nodePort": 5}]}});
        assert_eq!(places(&desired, &same), Vec::<String>::new());
        let more = json!({"kind": "Service", "spec": {"ports": [{"port": 1}, {"port": 2}]}});
        assert_eq!(places(&desired, &more), ["spec.ports"]);
        let fix = correction(&desired, &find(&desired, &more));
        assert_eq!(fix, json!({"spec": {"ports": [{"port": 1}]}}));
    }

    #[test]
    fn what_the_server_writes_its_own_way_is_no_difference() {
        let resources = |cpu: &str| json!({"kind": "Deployment", "spec": {"containers": [{"resources": {"limits": {"cpu": cpu}}}]}});
        assert_eq!(
            places(&resources("1000m"), &resources("1")),
            Vec::<String>::new()
        );
        assert_eq!(
            places(&resources("1000m"), &resources("2")),
            ["spec.containers"]
        );
        let empty = json!({"kind": "X", "spec": {"resources": {}, "none": []}});
        assert_eq!(
            places(&empty, &json!({"kind": "X", "spec": {}})),
            Vec::<String>::new()
        );
    }

    #[test]
    fn another_owner_may_stand_beside_ours() {
        let ours = json!({"kind": "X", "metadata": {"ownerReferences": [{"uid": "1"}]}});
        let both =
            json!({"kind": "X", "metadata": {"ownerReferences": [{"uid": "2"}, {"uid": "1"}]}});
        assert_eq!(places(&ours, &both), Vec::<String>::new());
        let other = json!({"kind": "X", "metadata": {"ownerReferences": [{"uid": "2"}]}});
        assert_eq!(places(&ours, &other), ["metadata.ownerReferences"]);
    }
}
