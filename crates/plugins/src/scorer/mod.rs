//! Plugins that rate candidates.
pub mod active_request;
pub mod expected_ttft;
pub mod kv_cache_utilization;
pub mod load_aware;
pub mod prefix_cache;
pub mod queue_depth;
pub mod running_requests;
