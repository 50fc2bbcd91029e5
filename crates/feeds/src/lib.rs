//! How the outside world reaches the core: the clock, membership, discovery, scraping, configuration.
//!
//! One writer per datum, many readers: the membership is one atomic pointer, gauges are atomics by slot,
//! the plan is one atomic pointer. Nothing here answers requests.

use pointsman_core::contract::spec::PluginSpec;

/// The plugins that feeds carry out; the registry is these and the scheduling plugins.
pub static SPECS: &[&PluginSpec] = &[
    &discovery::file::SPEC,
    &scrape::source::SPEC,
    &scrape::extractor::SPEC,
];

mod bounded;

pub mod clock;

pub mod directives;

pub mod membership;

pub mod discovery;

pub mod scrape;

pub mod plan;
