//! All targets, in the order in which bytes of their kind come into the house.

use crate::target::Target;

pub mod answer;
pub mod config;
pub mod endpoints;
pub mod extproc;
pub mod handoff;
pub mod headers;
pub mod http1;
pub mod http2;
pub mod json;
pub mod metrics;
pub mod prompt;
pub mod request;
pub mod words;

/// All of them.
pub const ALL: [Target; 12] = [
    http1::TARGET,
    http2::TARGET,
    headers::TARGET,
    request::TARGET,
    prompt::TARGET,
    handoff::TARGET,
    answer::TARGET,
    extproc::TARGET,
    metrics::TARGET,
    config::TARGET,
    endpoints::TARGET,
    words::TARGET,
];

/// The target of this name.
pub fn named(name: &str) -> Option<&'static Target> {
    ALL.iter().find(|target| target.name == name)
}
