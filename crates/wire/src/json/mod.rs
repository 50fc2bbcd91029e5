//! Reading JSON text in one pass, over a list of frames, without building a tree.
//!
//! - [`fault`]: what is wrong with a text, and where.
//! - `cursor`: a position in a list of frames that reads as one text.
//! - `plain`: how far a string runs before a byte that means something.
//! - [`text`]: string contents: escapes undone, keys compared.
//! - [`scanner`]: validates values and walks objects and lists.
//! - `write`: the little JSON we write by hand.

pub(crate) mod cursor;
pub mod fault;
pub(crate) mod plain;
pub mod scanner;
pub mod text;
pub(crate) mod write;
