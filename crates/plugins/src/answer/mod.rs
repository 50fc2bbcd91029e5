//! Plugins that say something of answers: which endpoint served, what the engine counted.

pub mod attribute_reporter;
mod expression;
pub mod served_verifier;
