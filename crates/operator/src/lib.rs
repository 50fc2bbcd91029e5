//! The operator: custom resources of `sim.llm-d.io`, the objects they stand for, and keeping those as asked.
//!
//! What should stand in the cluster is a pure function of a spec and a few facts ([`desired`]); rendering prints it,
//! [`operate`] makes it so, and [`check`] says of any installation what is wrong
//! with it.

pub mod check;
pub mod crd;
pub mod desired;
pub mod kinds;
pub mod operate;
pub mod preview;
pub mod render;
pub mod spec;
pub mod stack;
mod yaml;
