//! Labels that a scan gives to nodes: what the router's filters choose by.

use std::collections::BTreeMap;

use crate::report::{Confidence, Node};

/// How KV caches move best between two servers on the node, or between it and its neighbours: `nvlink`, `rdma`, `fs`.
pub const KV_BACKEND: &str = "llm-d.ai/kv-backend";
/// GB/s of that way, in whole numbers; missing where it is not known.
pub const KV_LINK_SPEED: &str = "llm-d.ai/kv-link-gb-per-s";
/// What the two servers must have in common for it.
pub const KV_DOMAIN: &str = "llm-d.ai/kv-domain";

/// Longest value of a label.
const LONGEST: usize = 63;

/// The labels of one node; none without a GPU. `peers`: there is, or may be, another node for its RDMA to reach.
pub(crate) fn of(node: &Node, peers: bool) -> BTreeMap<String, String> {
    if node.gpu.count == 0 {
        return BTreeMap::new();
    }
    let (name, nvlink, rdma) = (node.name.as_str(), &node.nvlink, &node.rdma);
    let block = node.block.as_ref().map(|block| block.value.as_str());
    // A bridge that the product's name only makes likely still decides: the lab's own label was given so.
    let linked = !nvlink.groups.is_empty() && nvlink.confidence >= Confidence::Medium;
    let (backend, speed, domain) = if linked {
        let fastest = nvlink.groups.iter().map(|group| nvlink.slowest(group));
        let domain = nvlink.domain.as_deref().unwrap_or(name);
        ("nvlink", Some(fastest.fold(0.0, f64::max)), domain)
    } else if peers {
        (
            "rdma",
            rdma.gbps.map(|gbps| gbps / 8.0),
            block.unwrap_or(name),
        )
    } else {
        ("fs", None, name)
    };
    let mut labels = BTreeMap::from([
        (KV_BACKEND.to_owned(), backend.to_owned()),
        (KV_DOMAIN.to_owned(), value(domain)),
    ]);
    if let Some(speed) = speed.filter(|speed| *speed >= 1.0) {
        labels.insert(KV_LINK_SPEED.to_owned(), format!("{speed:.0}"));
    }
    labels
}

/// The text as the value of a label: letters, digits, `-`, `_` and `.`, beginning and ending in a letter or digit.
#[must_use]
pub fn value(text: &str) -> String {
    let kept = text.chars().map(|c| {
        if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') {
            c
        } else {
            '-'
        }
    });
    let kept: String = kept.take(LONGEST).collect();
    kept.trim_matches(|c: char| !c.is_ascii_alphanumeric())
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_text_becomes_a_value_that_the_server_takes(text in ".{0,100}") {
            let value = value(&text);
            prop_assert!(value.len() <= LONGEST);
            prop_assert!(value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')));
            prop_assert!(value.is_empty() || value.as_bytes()[0].is_ascii_alphanumeric());
            prop_assert!(value.is_empty() || value.as_bytes()[value.len() - 1].is_ascii_alphanumeric());
        }
    }
}
