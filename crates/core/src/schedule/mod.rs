//! How a decision is made: the plan, one profile, the loop over profiles, and the frozen result.
pub mod decision;
pub mod named;
pub mod plan;
pub mod profile;
pub mod scheduler;
