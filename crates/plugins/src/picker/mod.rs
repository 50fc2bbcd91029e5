//! Plugins that choose from the totals.
pub mod max_score;
pub mod random;
