//! Plugins that rate candidates.
pub mod active_request;
pub mod context_length;
pub mod endpoint_attribute;
pub mod expected_ttft;
pub mod header_label_affinity;
pub mod kv_cache_utilization;
pub mod load_aware;
pub mod lora_affinity;
pub mod no_hit_lru;
pub mod prefix_cache;
pub mod queue_depth;
pub mod running_requests;
pub mod session_affinity;
pub mod token_load;
