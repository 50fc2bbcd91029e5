//! Plugins that choose from the totals.
pub mod max_score;
pub mod random;
pub mod weighted_random;
