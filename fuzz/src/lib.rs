//! Foreign bytes into every parser: what must hold for any input, and an engine that looks for inputs for which it does not.
//!
//! In reading order:
//!
//! - [`target`]: what a target is; [`targets`]: all of them, one file per kind of input.
//! - [`cuts`]: one input as frames, cut in several ways; [`shape`]: how a run went, in one number.
//! - [`corpus`]: where inputs lie.
//! - [`trial`]: one run of a target, with its panic caught and its time taken.
//! - [`mutation`]: new inputs out of old ones.
//! - [`engine`]: the search; [`minimise`]: a failing input made small; [`failure`]: where it is kept.
//!
//! The targets are plain functions, so the coverage-guided fuzzer in `libfuzzer/`, which needs a nightly toolchain, runs the same ones.
//! A run of the engine follows from its seed; the corpora are replayed by a plain test.

pub mod corpus;
pub mod cuts;
pub mod engine;
pub mod failure;
pub mod minimise;
pub mod mutation;
pub mod shape;
pub mod target;
pub mod targets;
pub mod trial;
