//! The model server as a state machine: in virtual time as an engine, in real time behind HTTP.
//!
//! [`engine`] knows no clock, socket or thread. [`server`] plays it in real time behind vLLM's HTTP
//! interface; [`flags`] and [`settings`] say with what numbers. [`fleet`] is many engines and the router
//! in virtual time.

pub mod engine;

pub mod flags;

pub mod settings;

pub mod server;

pub mod fleet;
