//! The model server as a state machine: in virtual time as an engine, in real time behind HTTP.

pub mod engine;
