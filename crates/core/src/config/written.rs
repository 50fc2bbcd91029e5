//! EndpointPickerConfig exactly as written: no defaults, no meaning. Format: the reference's `EndpointPickerConfig`
//! of both generations, plus the one key that is ours.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::own_written::WrittenOwn;

/// API versions under which the document is known.
pub const API_VERSIONS: [&str; 2] = [
    "inference.networking.x-k8s.io/v1alpha1",
    "llm-d.ai/v1alpha1",
];

/// The document's kind.
pub const KIND: &str = "EndpointPickerConfig";

/// The whole document.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Written {
    /// `inference.networking.x-k8s.io/v1alpha1` or `llm-d.ai/v1alpha1`, or left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// `EndpointPickerConfig`, or left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Names of features, each alone or with `=true` or `=false`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub feature_gates: Vec<String>,
    /// Every plugin instance.
    pub plugins: Vec<WrittenPlugin>,
    /// The scheduling profiles; none means one profile of all plugins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scheduling_profiles: Vec<WrittenProfile>,
    /// Where candidates and their metrics come from (second generation).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_layer: Option<WrittenDataLayer>,
    /// How requests are read (second generation).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_handler: Option<WrittenRequestHandler>,
    /// Queues and priorities (second generation); in effect with the feature gate `flowControl`, but for
    /// `saturationDetector`, which always is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow_control: Option<WrittenFlowControl>,
    /// When the pool counts as full: thresholds (first generation) or a plugin (second generation, deprecated).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saturation_detector: Option<WrittenSaturation>,
    /// Deprecated: the only entry of `requestHandler.parsers`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parser: Option<WrittenReference>,
    /// What only pointsman reads; the reference refuses a file that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointsman: Option<WrittenOwn>,
}

/// One plugin instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WrittenPlugin {
    /// Unique; defaults to the type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Registered type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The plugin's own parameters; see its page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Value>,
    /// Whether reading the parameters found faults that the plugin need not find again.
    #[serde(skip)]
    pub broken: bool,
}

/// One scheduling profile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WrittenProfile {
    /// Unique name.
    pub name: String,
    /// The plugins of the profile, in order.
    pub plugins: Vec<WrittenUse>,
}

/// A profile's use of a plugin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WrittenUse {
    /// Name of the plugin.
    pub plugin_ref: String,
    /// Factor of a scorer; 1 when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
}

/// A plugin by its name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WrittenReference {
    /// Name of the plugin.
    pub plugin_ref: String,
}

/// Where candidates and their metrics come from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WrittenDataLayer {
    /// Whether the standard metrics source is added; true when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inject_defaults: Option<bool>,
    /// Bindings of sources to extractors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<WrittenSource>,
    /// The plugin that finds endpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discovery: Option<WrittenReference>,
    /// The plugin that finds other replicas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_discovery: Option<WrittenReference>,
    /// The plugin that tells other replicas what this one knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cross_replica_syncer_plugin_ref: Option<String>,
    /// Time between two tellings; 200ms when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cross_replica_sync_interval: Option<String>,
}

/// A source and what is taken from it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WrittenSource {
    /// Name of the source.
    pub plugin_ref: String,
    /// The extractors that read it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extractors: Vec<WrittenReference>,
}

/// How requests are read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WrittenRequestHandler {
    /// The parsers, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parsers: Vec<WrittenReference>,
}

/// Queues and priorities.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WrittenFlowControl {
    /// Bytes that all queues hold together; no limit when left out or zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<String>,
    /// Requests that all queues hold together; no limit when left out or zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_requests: Option<String>,
    /// Longest wait while the pool has endpoints; 60s when left out, `0s` for no limit.
    #[serde(rename = "defaultRequestTTL", skip_serializing_if = "Option::is_none")]
    pub default_request_ttl: Option<String>,
    /// Longest wait while the pool is empty; `defaultRequestTTL` when left out, `0s` for no limit.
    #[serde(
        rename = "noEndpointRequestTTL",
        skip_serializing_if = "Option::is_none"
    )]
    pub no_endpoint_request_ttl: Option<String>,
    /// Template of priorities that are not listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_priority_band: Option<WrittenBand>,
    /// Template of negative priorities that are not listed; `defaultPriorityBand` when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_negative_priority_band: Option<WrittenBand>,
    /// Bands by priority.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub priority_bands: Vec<WrittenBand>,
    /// The policy that bounds how full each band may run the pool; static-usage-limit-policy when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_limit_policy_plugin_ref: Option<String>,
    /// When the pool counts as full; utilization-detector when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saturation_detector: Option<WrittenReference>,
    /// Whether requests in flight with a negative priority are evicted for those of a higher one that wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_eviction: Option<bool>,
}

/// One band of priorities.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WrittenBand {
    /// The priority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i64>,
    /// Bytes that its queues hold; 1G when left out or zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<String>,
    /// Requests that its queues hold; 5000 when left out or zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_requests: Option<String>,
    /// The policy among its queues; global-strict-fairness-policy when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fairness_policy_ref: Option<String>,
    /// The policy within a queue; fcfs-ordering-policy when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ordering_policy_ref: Option<String>,
}

/// When the pool counts as full.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WrittenSaturation {
    /// Second generation: the plugin that tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin_ref: Option<String>,
    /// First generation: an endpoint with more requests waiting is full; 5 when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_depth_threshold: Option<i64>,
    /// First generation: an endpoint with more of its KV cache in use is full, 0 to 1; 0.8 when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_cache_util_threshold: Option<f64>,
    /// First generation: an endpoint with older metrics is full; 200ms when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_staleness_threshold: Option<String>,
}
