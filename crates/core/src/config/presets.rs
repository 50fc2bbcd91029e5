//! The named profiles as configurations: what `--profile NAME` and a `configProfile` mean.

use serde_json::{Value, json};

use crate::config::written::{
    API_VERSIONS, KIND, Written, WrittenPlugin, WrittenProfile, WrittenReference,
};

/// The profiles this build knows, in the order of the manual.
pub const NAMES: [&str; 2] = ["proxy-performance", "proxy-performance-by-backend"];

/// The configuration behind a profile's name.
pub fn preset(name: &str) -> Option<Written> {
    let by_backend = match name {
        "proxy-performance" => false,
        "proxy-performance-by-backend" => true,
        _ => return None,
    };
    let mut plugins = Vec::new();
    let mut references = Vec::new();
    if by_backend {
        let nvlink = json!({"matchLabels": {"llm-d.ai/kv-backend": "nvlink"}});
        plugins.push(plugin(
            "by-label-selector",
            Some("by-kv-backend"),
            Some(nvlink),
        ));
        references.push(reference("by-kv-backend", None));
    }
    plugins.push(plugin(
        "active-request-scorer",
        None,
        Some(json!({"requestTimeout": "2m"})),
    ));
    plugins.push(plugin("max-score-picker", None, None));
    plugins.push(plugin("single-profile-handler", None, None));
    references.push(reference("active-request-scorer", Some(1.0)));
    references.push(reference("max-score-picker", None));
    Some(Written {
        api_version: Some(API_VERSIONS[0].to_owned()),
        kind: Some(KIND.to_owned()),
        plugins,
        scheduling_profiles: vec![WrittenProfile {
            name: "default".to_owned(),
            plugins: references,
        }],
        ..Written::default()
    })
}

fn plugin(kind: &str, name: Option<&str>, parameters: Option<Value>) -> WrittenPlugin {
    WrittenPlugin {
        name: name.map(str::to_owned),
        kind: kind.to_owned(),
        parameters,
    }
}

fn reference(name: &str, weight: Option<f64>) -> WrittenReference {
    WrittenReference {
        plugin_ref: name.to_owned(),
        weight,
    }
}
