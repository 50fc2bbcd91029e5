//! Black-box tests of the formats: tables, properties and small corpora.

#![allow(clippy::unwrap_used)]

mod corpora;
mod json;
mod metrics;
mod prompts;
mod replies;
mod requests;
