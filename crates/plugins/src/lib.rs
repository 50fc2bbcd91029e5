//! Every filter, scorer, picker and profile handler, one file each; plugins never use one another.
//!
//! Adding one touches its file, its `pub mod` line and one line of [`ALL`].

use pointsman_core::contract::spec::PluginSpec;

pub mod admission;
pub mod answer;
pub mod base64;
pub mod believed;
pub mod decider;
pub mod expected_ttft;
pub mod filter;
pub mod header;
pub mod picker;
pub mod producer;
pub mod profile;
pub mod scorer;
mod session;
mod spread;

/// Every plugin, in the order of the manual.
pub static ALL: &[&PluginSpec] = &[
    &filter::role::DECODE,
    &filter::role::PREFILL,
    &filter::role::ENCODE,
    &filter::label_selector::SPEC,
    &filter::by_label::SPEC,
    &filter::prefix_affinity::SPEC,
    &filter::session_affinity::SPEC,
    &filter::endpoint_attribute::SPEC,
    &filter::utilization::SPEC,
    &filter::header_testing::SPEC,
    &scorer::active_request::SPEC,
    &scorer::load_aware::SPEC,
    &scorer::queue_depth::SPEC,
    &scorer::running_requests::SPEC,
    &scorer::kv_cache_utilization::SPEC,
    &scorer::prefix_cache::SPEC,
    &scorer::no_hit_lru::SPEC,
    &scorer::lora_affinity::SPEC,
    &scorer::token_load::SPEC,
    &scorer::session_affinity::SPEC,
    &scorer::context_length::SPEC,
    &scorer::endpoint_attribute::SPEC,
    &scorer::header_label_affinity::SPEC,
    &scorer::expected_ttft::SPEC,
    &producer::approx_prefix_cache::SPEC,
    &producer::engine_cache::SPEC,
    &producer::token::SPEC,
    &producer::inflight_load::SPEC,
    &producer::session_id::SPEC,
    &picker::max_score::SPEC,
    &picker::random::SPEC,
    &picker::weighted_random::SPEC,
    &profile::single::SPEC,
    &profile::prefill_decode::SPEC,
    &profile::prefill_header::SPEC,
    &profile::data_parallel::SPEC,
    &profile::disagg::SPEC,
    &profile::disagg_headers::SPEC,
    &decider::always::SPEC,
    &decider::prefix_based::SPEC,
    &decider::multimodal::SPEC,
    &admission::utilization::SPEC,
    &admission::concurrency::SPEC,
    &admission::fcfs::SPEC,
    &admission::edf::SPEC,
    &admission::slo_deadline::SPEC,
    &admission::global_strict::SPEC,
    &admission::round_robin::SPEC,
    &admission::static_usage_limit::SPEC,
    &admission::probabilistic::SPEC,
    &header::agent_identity::SPEC,
    &answer::attribute_reporter::SPEC,
    &answer::served_verifier::SPEC,
];
