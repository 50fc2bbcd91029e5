//! Where the members of the pool come from.
pub mod file;
pub mod kubernetes;
pub mod watches;
