//! Every filter, scorer, picker and profile handler, one file each; plugins never use one another.
//!
//! Adding one touches its file, its `pub mod` line and one line of [`ALL`].

use pointsman_core::contract::spec::PluginSpec;

pub mod filter;
pub mod picker;
pub mod profile;
pub mod scorer;

/// Every plugin, in the order of the manual.
pub static ALL: &[&PluginSpec] = &[
    &filter::label_selector::SPEC,
    &scorer::active_request::SPEC,
    &picker::max_score::SPEC,
    &picker::random::SPEC,
    &profile::single::SPEC,
];
