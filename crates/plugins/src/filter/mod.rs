//! Plugins that cross out candidates.
pub mod by_label;
pub mod label_selector;
pub mod role;
