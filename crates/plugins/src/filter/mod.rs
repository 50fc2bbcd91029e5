//! Plugins that cross out candidates.
pub mod by_label;
pub mod endpoint_attribute;
pub mod header_testing;
pub mod label_selector;
pub mod prefix_affinity;
pub mod role;
pub mod session_affinity;
pub mod utilization;
