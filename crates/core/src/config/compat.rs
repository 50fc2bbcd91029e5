//! Which generation of the reference a configuration follows, and why.
//!
//! In this order, the first that applies: what the caller asks for; a flag that only the first generation has; the
//! second generation's API group, or any key, plugin type or parameter that only it has; else the first generation.

use crate::config::catalogue::{SECOND_ONLY, Since, bound_to, listed};
use crate::config::written::{Written, WrittenPlugin};
use crate::contract::spec::Generation;

/// What `--compat` asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Compat {
    /// The configuration decides.
    #[default]
    Auto,
    /// The first generation.
    G1,
    /// The second generation.
    G2,
}

impl Compat {
    /// All choices by their names.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::Auto, "auto"), (Self::G1, "g1"), (Self::G2, "g2")];
}

/// The API group that only the second generation knows.
pub const SECOND_API_VERSION: &str = "llm-d.ai/v1alpha1";

/// The generation to follow and the reason in a few words; `legacy_flag` is a flag given that only the first
/// generation has.
pub fn generation_of(
    written: &Written,
    asked: Compat,
    legacy_flag: Option<&str>,
) -> (Generation, String) {
    match asked {
        Compat::G1 => return (Generation::G1, "asked for by --compat g1".to_owned()),
        Compat::G2 => return (Generation::G2, "asked for by --compat g2".to_owned()),
        Compat::Auto => {}
    }
    if let Some(flag) = legacy_flag {
        let reason = format!("flag {flag}, which only the first generation has");
        return (Generation::G1, reason);
    }
    match only_in_second(written) {
        Some(what) => (Generation::G2, what),
        None => {
            let reason = "nothing in it that only the second generation has";
            (Generation::G1, reason.to_owned())
        }
    }
}

/// The first thing in the document that only the second generation has.
fn only_in_second(written: &Written) -> Option<String> {
    if written.api_version.as_deref() == Some(SECOND_API_VERSION) {
        return Some(format!("apiVersion {SECOND_API_VERSION}"));
    }
    if let Some(key) = second_keys(written).next() {
        return Some(format!("key {key}"));
    }
    written.plugins.iter().find_map(second_in_plugin)
}

/// The keys of the envelope that only the second generation has.
pub fn second_keys(written: &Written) -> impl Iterator<Item = &'static str> {
    let saturation = written.saturation_detector.as_ref();
    [
        ("dataLayer", written.data_layer.is_some()),
        ("requestHandler", written.request_handler.is_some()),
        ("flowControl", written.flow_control.is_some()),
        ("parser", written.parser.is_some()),
        (
            "saturationDetector.pluginRef",
            saturation.is_some_and(|s| s.plugin_ref.is_some()),
        ),
    ]
    .into_iter()
    .filter_map(|(key, present)| present.then_some(key))
}

fn second_in_plugin(plugin: &WrittenPlugin) -> Option<String> {
    let kind = plugin.kind.as_str();
    if listed(kind).is_some_and(|listed| listed.since == Since::Second) {
        return Some(format!("plugin type {kind}"));
    }
    let parameters = plugin.parameters.as_ref()?.as_object()?;
    let name = parameters
        .keys()
        .find(|name| bound_to(SECOND_ONLY, kind, name).is_some())?;
    Some(format!("parameter {name} of {kind}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::written::{WrittenDataLayer, WrittenReference};
    use serde_json::json;

    fn plugin(kind: &str, parameters: serde_json::Value) -> Written {
        Written {
            plugins: vec![WrittenPlugin {
                kind: kind.to_owned(),
                parameters: Some(parameters),
                ..WrittenPlugin::default()
            }],
            ..Written::default()
        }
    }

    #[track_caller]
    fn check(
        written: &Written,
        asked: Compat,
        flag: Option<&str>,
        expected: Generation,
        words: &str,
    ) {
        let (found, reason) = generation_of(written, asked, flag);
        assert_eq!(found, expected, "{reason}");
        assert!(reason.contains(words), "{reason}");
    }

    #[test]
    fn the_first_clause_that_applies_decides() {
        use Generation::{G1, G2};
        let second = Written {
            api_version: Some(SECOND_API_VERSION.to_owned()),
            ..Written::default()
        };
        check(&second, Compat::G1, None, G1, "--compat g1");
        check(&Written::default(), Compat::G2, None, G2, "--compat g2");
        let flag = "--kv-cache-usage-percentage-metric";
        check(&second, Compat::Auto, Some(flag), G1, flag);
        check(&second, Compat::Auto, None, G2, "apiVersion");
        let layered = Written {
            data_layer: Some(WrittenDataLayer::default()),
            ..Written::default()
        };
        check(&layered, Compat::Auto, None, G2, "key dataLayer");
        let parsed = Written {
            parser: Some(WrittenReference::default()),
            ..Written::default()
        };
        check(&parsed, Compat::Auto, None, G2, "key parser");
        let handler = plugin("disagg-profile-handler", json!({}));
        check(
            &handler,
            Compat::Auto,
            None,
            G2,
            "plugin type disagg-profile-handler",
        );
        let producer = plugin("approx-prefix-cache-producer", json!({}));
        check(
            &producer,
            Compat::Auto,
            None,
            G2,
            "approx-prefix-cache-producer",
        );
        let weighted = plugin("prefix-cache-scorer", json!({"matchLengthWeight": 0.5}));
        check(
            &weighted,
            Compat::Auto,
            None,
            G2,
            "parameter matchLengthWeight",
        );
        let lab = plugin("prefix-cache-scorer", json!({"hashBlockSize": 5}));
        check(&lab, Compat::Auto, None, G1, "nothing in it");
    }
}
