//! The P/D proxy over real sockets, with engines that do as they are told.

#![allow(clippy::unwrap_used)]

mod break_offs;
mod dialects;
mod faults;
mod legs;
mod paths;
mod rig;
mod spans;
