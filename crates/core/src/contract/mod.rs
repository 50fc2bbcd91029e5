//! What a plugin sees and what it implements.
pub mod admission;
pub mod context;
pub mod data_layer;
pub mod learner;
pub mod observer;
pub mod pages;
pub mod produced;
pub mod roles;
pub mod spec;
pub mod staleness;
pub mod table;
