//! EndpointPickerConfig exactly as written: no defaults, no meaning. Format: the reference's
//! `EndpointPickerConfig` in its first generation, plus the reference's second-generation sections as
//! values that the resolver names when it cannot use them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// API versions under which the document is known.
pub const API_VERSIONS: [&str; 2] = [
    "inference.networking.x-k8s.io/v1alpha1",
    "llm-d.ai/v1alpha1",
];

/// The document's kind.
pub const KIND: &str = "EndpointPickerConfig";

/// The whole document.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Written {
    /// One of [`API_VERSIONS`], or left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// [`KIND`], or left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Names of features to switch on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub feature_gates: Vec<String>,
    /// Every plugin instance.
    pub plugins: Vec<WrittenPlugin>,
    /// The scheduling profiles; none means one profile of all plugins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scheduling_profiles: Vec<WrittenProfile>,
    /// Where candidates and their metrics come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_layer: Option<WrittenDataLayer>,
    /// Parsers (second generation).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_handler: Option<Value>,
    /// Queues and priorities (second generation).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow_control: Option<Value>,
    /// When the pool counts as full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saturation_detector: Option<Value>,
    /// Deprecated single parser.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parser: Option<Value>,
}

/// One plugin instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WrittenPlugin {
    /// Defaults to the type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Registered type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The plugin's own parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Value>,
}

/// One scheduling profile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WrittenProfile {
    /// Unique name.
    pub name: String,
    /// The plugins of the profile, in order.
    pub plugins: Vec<WrittenReference>,
}

/// A profile's use of a plugin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WrittenReference {
    /// Name of the plugin.
    pub plugin_ref: String,
    /// Factor of a scorer; 1 when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
}

/// Where candidates come from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WrittenDataLayer {
    /// Whether the standard metrics source is added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inject_defaults: Option<bool>,
    /// Bindings of sources to extractors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Value>,
    /// The plugin that finds endpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discovery: Option<WrittenReference>,
}
