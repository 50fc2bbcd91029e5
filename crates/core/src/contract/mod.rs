//! What a plugin sees and what it implements.
pub mod context;
pub mod pages;
pub mod roles;
pub mod spec;
pub mod table;
