//! What is worked out once per decision, for all profiles.
pub mod approx_prefix_cache;
pub mod engine_cache;
pub mod inflight_load;
pub mod session_id;
pub mod token;
