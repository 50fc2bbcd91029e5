//! From a configuration as written to a plan.
//!
//! A text becomes a [`tree`] (elsewhere: this crate reads no YAML), the tree by its schema ([`shape`], [`reader`])
//! the document as [`written`], and that with a [`basis`] the plan ([`resolved`]).
pub mod fault;

pub mod tree;

pub mod scalar;

pub mod shape;

pub mod duration;

pub mod quantity;

pub mod own;

pub mod own_rewrites;

pub mod own_written;

pub mod written;

pub mod reader;

pub mod catalogue;

pub mod compat;

pub mod basis;

pub mod parts;

pub mod resolver;

pub mod resolved;

pub mod presets;

pub mod reweighed;

pub mod page;
