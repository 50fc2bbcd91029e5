//! Plugins that cross out candidates.
pub mod label_selector;
