//! The named profiles as configurations: what `--profile NAME` and a `configProfile` mean.

use serde_json::{Value, json};

use crate::config::written::{
    API_VERSIONS, KIND, Written, WrittenPlugin, WrittenProfile, WrittenUse,
};

/// The profile of the lab when none is named.
pub const LAB: &str = "proxy-performance";

/// Our own profile, the gateway's when none is named.
pub const BALANCED: &str = "balanced";

/// The lab's profiles, in the order of the manual.
pub const LAB_NAMES: [&str; 3] = ["default", LAB, "proxy-performance-by-backend"];

/// All profiles this build knows, in the order of the manual.
pub const NAMES: [&str; 4] = [BALANCED, LAB_NAMES[0], LAB_NAMES[1], LAB_NAMES[2]];

/// The configuration behind a profile's name.
pub fn preset(name: &str) -> Option<Written> {
    match name {
        "default" => Some(default()),
        "proxy-performance" => Some(proxy_performance(false)),
        "proxy-performance-by-backend" => Some(proxy_performance(true)),
        BALANCED => Some(balanced()),
        _ => None,
    }
}

/// Load, prefix cache and KV usage, as the lab weighs them. `hashBlockSize` is what the lab's file says, and no
/// generation reads it.
fn default() -> Written {
    let prefix = json!({
        "hashBlockSize": 5,
        "maxPrefixBlocksToMatch": 256,
        "lruCapacityPerServer": 31250,
    });
    document(
        API_VERSIONS[0],
        &[
            ("load-aware-scorer", None, None, Some(1.0)),
            ("prefix-cache-scorer", None, Some(prefix), Some(2.0)),
            ("kv-cache-utilization-scorer", None, None, Some(1.0)),
            ("decode-filter", None, None, None),
            ("max-score-picker", None, None, None),
            ("single-profile-handler", None, None, None),
        ],
    )
}

/// Requests in flight alone.
fn proxy_performance(by_backend: bool) -> Written {
    let scorer = (
        "active-request-scorer",
        None,
        Some(json!({"requestTimeout": "2m"})),
        Some(1.0),
    );
    let nvlink = json!({"matchLabels": {"llm-d.ai/kv-backend": "nvlink"}});
    let filter = (
        "by-label-selector",
        Some("by-kv-backend"),
        Some(nvlink),
        None,
    );
    let rest = [
        scorer,
        ("max-score-picker", None, None, None),
        ("single-profile-handler", None, None, None),
    ];
    let plugins: Vec<Line> = by_backend
        .then_some(filter)
        .into_iter()
        .chain(rest)
        .collect();
    document(API_VERSIONS[0], &plugins)
}

/// The expected time to the first token, with what each engine's own cache is believed to hold.
fn balanced() -> Written {
    document(
        API_VERSIONS[1],
        &[
            ("engine-prefix-cache-producer", None, None, None),
            ("expected-ttft-scorer", None, None, Some(1.0)),
            ("max-score-picker", None, None, None),
            ("single-profile-handler", None, None, None),
        ],
    )
}

/// A plugin: its type, its name, its parameters and its weight.
type Line = (
    &'static str,
    Option<&'static str>,
    Option<Value>,
    Option<f64>,
);

/// A document with one profile of all these plugins but handlers and producers, which belong to the whole plan.
fn document(api_version: &str, lines: &[Line]) -> Written {
    let plugin = |(kind, name, parameters, _): &Line| WrittenPlugin {
        name: name.map(str::to_owned),
        kind: (*kind).to_owned(),
        parameters: parameters.clone(),
        broken: false,
    };
    let used = |(kind, name, _, weight): &Line| WrittenUse {
        plugin_ref: name.unwrap_or(kind).to_owned(),
        weight: *weight,
    };
    let of_plan = |kind: &str| kind.ends_with("-handler") || kind.ends_with("-producer");
    let in_profile = lines.iter().filter(|line| !of_plan(line.0));
    Written {
        api_version: Some(api_version.to_owned()),
        kind: Some(KIND.to_owned()),
        plugins: lines.iter().map(plugin).collect(),
        scheduling_profiles: vec![WrittenProfile {
            name: "default".to_owned(),
            plugins: in_profile.map(used).collect(),
        }],
        ..Written::default()
    }
}
