//! What a custom resource asks for: as written, then with every default filled in and every rule kept.
//!
//! The API server fills in the defaults of the schema, but only inside parts that are there; the rest is done here, so
//! that a file rendered without a server means the same as one that was applied.

pub mod install;
pub mod invalid;
pub mod meta;
pub mod resources;
pub mod simulator;
pub mod validity;
pub mod written;
