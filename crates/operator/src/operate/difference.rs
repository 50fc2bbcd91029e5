//! What differs between an object as asked for and as it stands.
//!
//! Fields that nobody asked for belong to others and are left alone, but for what is ours as a whole: a ConfigMap's
//! data, a Service's selector, the spec of a Gateway or route, and every list with all that stands in it. What the API
//! server fills in by itself is no difference anywhere.

use serde_json::{Map, Value, json};

use crate::operate::given::{is_default, is_whole, unwanted};
use crate::operate::quantity;

/// A place where an object is not as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// The keys that lead there, up to the first list.
    pub(crate) path: Vec<String>,
    /// Whether all that stands there should not.
    pub(crate) extra: bool,
    /// Whether all that was asked for is there, and something more.
    pub(crate) more: bool,
}

impl Difference {
    /// The place in words.
    pub(crate) fn place(&self) -> String {
        self.path.join(".")
    }

    /// What stands there.
    pub(crate) fn at<'a>(&self, live: &'a Value) -> &'a Value {
        let keys = self.path.iter();
        keys.fold(live, |value, key| &value[key.as_str()])
    }
}

/// How something stands to what is asked for, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Same,
    /// All that is asked for, and more.
    More,
    Other,
}

/// All differences.
pub(crate) fn find(desired: &Value, live: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    let kind = desired["kind"].as_str().unwrap_or_default();
    if let (Value::Object(wanted), Value::Object(there)) = (desired, live) {
        for (key, value) in wanted.iter().filter(|(key, _)| !is_identity(key)) {
            let there = there.get(key).unwrap_or(&Value::Null);
            walk(kind, std::slice::from_ref(key), value, there, &mut found);
        }
    }
    for path in unwanted(kind) {
        let one = Difference {
            path: path.iter().map(|key| (*key).to_owned()).collect(),
            extra: true,
            more: true,
        };
        if one.at(desired).is_null() && !is_default(kind, "", "", one.at(live)) {
            found.push(one);
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
            let words: Vec<&str> = path.iter().map(String::as_str).collect();
            if is_whole(kind, &words) {
                let above = words.last().copied().unwrap_or_default();
                let foreign = there.iter().filter(|(key, value)| {
                    !wanted.contains_key(*key) && !is_default(kind, above, key, value)
                });
                for (key, _) in foreign {
                    found.push(Difference {
                        path: below(path, key),
                        extra: true,
                        more: true,
                    });
                }
            }
        }
        _ => match at(kind, path, desired, live) {
            Fit::Same => {}
            fit => found.push(Difference {
                path: path.to_vec(),
                extra: false,
                more: fit == Fit::More,
            }),
        },
    }
}

fn below(path: &[String], key: &str) -> Vec<String> {
    let mut path = path.to_vec();
    path.push(key.to_owned());
    path
}

/// How a value that is no map stands to what is asked for.
fn at(kind: &str, path: &[String], desired: &Value, live: &Value) -> Fit {
    let last = path.last().map_or("", String::as_str);
    match (desired, live) {
        // Other owners may be there too.
        (Value::Array(wanted), Value::Array(there)) if last == "ownerReferences" => {
            let is_there = |one: &Value| {
                let fits = |other| fit(kind, "", one, other) != Fit::Other;
                there.iter().any(fits)
            };
            match wanted.iter().all(is_there) {
                true => Fit::Same,
                false => Fit::Other,
            }
        }
        _ => fit(kind, last, desired, live),
    }
}

/// In lists all is ours, to the last field.
fn fit(kind: &str, key: &str, desired: &Value, live: &Value) -> Fit {
    let worst = |fits: &mut dyn Iterator<Item = Fit>| fits.max().unwrap_or(Fit::Same);
    match (desired, live) {
        (Value::Object(wanted), Value::Null) if wanted.is_empty() => Fit::Same,
        (Value::Array(wanted), Value::Null) if wanted.is_empty() => Fit::Same,
        (Value::Object(wanted), Value::Object(there)) => {
            let amounts = key == "limits" || key == "requests";
            let mut asked = wanted.iter().map(|(name, value)| {
                let other = there.get(name).unwrap_or(&Value::Null);
                match amounts && quantity::same(value, other) {
                    true => Fit::Same,
                    false => fit(kind, name, value, other),
                }
            });
            let mut rest = there.iter().map(|(name, value)| {
                match wanted.contains_key(name) || is_default(kind, key, name, value) {
                    true => Fit::Same,
                    false => Fit::More,
                }
            });
            worst(&mut asked).max(worst(&mut rest))
        }
        (Value::Array(wanted), Value::Array(there)) if wanted.len() == there.len() => {
            let mut pairs = wanted.iter().zip(there);
            worst(&mut pairs.by_ref().map(|(a, b)| fit(kind, key, a, b)))
        }
        _ if desired == live => Fit::Same,
        _ => Fit::Other,
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
    fn what_others_add_inside_lists_and_whole_specs_is_found_and_defaults_are_not() {
        let role = |rule: Value| json!({"kind": "Role", "rules": [rule]});
        let asked = role(json!({"resources": ["pods"]}));
        let edited = role(json!({"resources": ["pods"], "resourceNames": ["x"]}));
        let found = find(&asked, &edited);
        assert_eq!(places(&asked, &edited), ["rules"]);
        assert!(found[0].more && !found[0].extra);
        assert_eq!(
            correction(&asked, &found),
            json!({"rules": [{"resources": ["pods"]}]})
        );
        let asked = json!({"kind": "HTTPRoute", "spec": {"rules": [{"x": 1}]}});
        let edited =
            json!({"kind": "HTTPRoute", "spec": {"hostnames": ["h"], "rules": [{"x": 1}]}});
        assert_eq!(places(&asked, &edited), ["spec.hostnames"]);
        assert!(!find(&edited, &asked)[0].more);
        let asked = json!({"kind": "ConfigMap", "data": {}});
        let edited = json!({"kind": "ConfigMap", "data": {}, "binaryData": {"x": "eA=="}});
        assert_eq!(places(&asked, &edited), ["binaryData"]);
        let gateway = |more: Value| json!({"kind": "Gateway", "spec": {"listeners": [{"name": "l", "allowedRoutes": more}]}});
        let asked = json!({"kind": "Gateway", "spec": {"listeners": [{"name": "l"}]}});
        let from = |word: &str| gateway(json!({"namespaces": {"from": word}}));
        assert_eq!(places(&asked, &from("Same")), Vec::<String>::new());
        assert_eq!(places(&asked, &from("All")), ["spec.listeners"]);
        let pod = |container: Value| json!({"kind": "Deployment", "spec": {"template": {"spec": {"containers": [container]}}}});
        let asked = pod(json!({"name": "c"}));
        let given =
            json!({"name": "c", "terminationMessagePath": "/dev/termination-log", "resources": {}});
        assert_eq!(places(&asked, &pod(given)), Vec::<String>::new());
        let edited = pod(json!({"name": "c", "command": ["sh"]}));
        assert_eq!(places(&asked, &edited), ["spec.template.spec.containers"]);
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
