//! Where the members of the pool come from.
pub mod address;
pub mod entries;
pub mod file;
pub mod kubernetes;
pub mod names;
pub mod watches;
