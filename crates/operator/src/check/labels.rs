//! Labels and selectors.

use std::collections::BTreeMap;

use serde_json::Value;

/// Labels, or the labels that a selector wants.
pub type Labels<'a> = BTreeMap<&'a str, &'a str>;

/// The texts of an object that is a map of texts.
pub fn labels(map: &Value) -> Labels<'_> {
    let map = map.as_object().into_iter().flatten();
    map.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
        .collect()
}

/// An object's labels.
pub fn labels_of(object: &Value) -> Labels<'_> {
    labels(&object["metadata"]["labels"])
}

/// Whether `carried` holds everything that is wanted.
pub fn matches(wanted: &Labels<'_>, carried: &Labels<'_>) -> bool {
    wanted
        .iter()
        .all(|(key, value)| carried.get(key) == Some(value))
}

/// `a=b,c=d`, as kubectl takes it.
pub fn in_words(labels: &Labels<'_>) -> String {
    let said: Vec<String> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    said.join(",")
}
