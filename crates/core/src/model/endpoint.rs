//! Who an endpoint is: name, address, labels and the slot that its live readings stand in.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::model::slots::Slot;

/// One candidate of a pool. Identity and labels only; live readings are in [`crate::model::slots::Slots`].
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Full name as in logs: `<namespace>/<name>` (with `-rank-N` where ranks exist).
    pub name: Arc<str>,
    /// Where requests are sent.
    pub address: SocketAddr,
    /// The address as text, for the `Host` of each request.
    pub authority: Arc<str>,
    /// Labels of the pod, or of the endpoints file.
    pub labels: Labels,
    /// The row of the slabs that hold this endpoint's readings.
    pub slot: Slot,
}

impl Endpoint {
    /// An endpoint of these parts.
    pub fn new(name: &str, address: SocketAddr, labels: Labels, slot: Slot) -> Self {
        Self {
            name: name.into(),
            address,
            authority: address.to_string().into(),
            labels,
            slot,
        }
    }
}

/// An immutable label set, sorted by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Arc<[(Box<str>, Box<str>)]>);

impl Labels {
    /// The value under `key`, if the label is present.
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(k, _)| k.as_ref().cmp(key)).ok()?;
        Some(self.0[at].1.as_ref())
    }

    /// All labels in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_ref(), v.as_ref()))
    }
}

impl<K: Into<Box<str>>, V: Into<Box<str>>> FromIterator<(K, V)> for Labels {
    /// Collects labels; of equal keys the last one stays.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(labels: I) -> Self {
        let sorted: std::collections::BTreeMap<Box<str>, Box<str>> = labels
            .into_iter()
            .map(|(k, v)| (k.into(), v.into()))
            .collect();
        Self(sorted.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_found_by_key_and_the_last_duplicate_wins() {
        let labels: Labels = [("b", "1"), ("a", "2"), ("b", "3")].into_iter().collect();
        assert_eq!(labels.get("b"), Some("3"));
        assert_eq!(labels.get("a"), Some("2"));
        assert_eq!(labels.get("c"), None);
        assert_eq!(
            labels.iter().map(|(k, _)| k).collect::<Vec<_>>(),
            ["a", "b"]
        );
    }
}
